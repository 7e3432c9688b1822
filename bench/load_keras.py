"""Reading a large Keras file, all arrays in memory, against Keras' own load_model: ratio of times and peak memory.

    npm run build && python bench/load_keras.py [--size-mb 200] [--rounds 5]

Each run is a process of its own; both take turns. Times leave out starting Python and importing Keras, and starting Node.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

LOAD = """
import sys, time, json, resource
import keras
start = time.perf_counter()
model = keras.models.load_model(sys.argv[1])
ms = (time.perf_counter() - start) * 1000
print(json.dumps({"ms": ms, "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def made(path, size):
    import keras

    layers = [keras.Input((32, 32, 64))]
    for i in range(max(1, size // (4 * 9 * 512 * 512))):
        layers += [keras.layers.Conv2D(512, 3, padding="same", name=f"conv{i}"), keras.layers.BatchNormalization(name=f"bn{i}")]
    keras.Sequential(layers).save(path)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size-mb", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    try:
        import keras
    except ImportError as error:
        print(f"skipped: {error}")
        return
    root = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".keras", ".h5"):
            path = Path(folder) / f"model{suffix}"
            made(path, given.size_mb * 1_000_000)
            size = path.stat().st_size
            pairs = [(run(sys.executable, "-c", LOAD, path), run("node", root / "files-worker.mjs", "load", path))
                     for _ in range(given.rounds)]
            theirs = statistics.median(a["ms"] for a, _ in pairs)
            ours = statistics.median(b["ms"] for _, b in pairs)
            ratio = statistics.median(b["ms"] / a["ms"] for a, b in pairs)
            peak = statistics.median(b["peakBytes"] for _, b in pairs)
            print(f"{suffix} {size / 1e6:.0f} MB: load_model of Keras {keras.__version__} {theirs:.0f} ms, "
                  f"varshift {ours:.0f} ms, ratio {ratio:.2f}; peak memory {peak / size:.2f} times the file")


if __name__ == "__main__":
    main()
