"""Checks written files with Keras itself; writes nothing into the repository. Skipped where Keras is not installed.

    npm run build && python scripts/oracle/live_keras.py                  # Keras 3
    npm run build && TF_USE_LEGACY_KERAS=1 python scripts/oracle/live_keras.py   # Keras 2

1. Every recorded model is written by varshift with other running statistics: Keras loads it, and its eval outputs equal
   varshift's to 1e-4.
2. A network with Dropout in front of BatchNormalization is trained, repaired by `varshift fix`, and measured by Keras:
   stored variance against the variance that each layer sees at inference.
3. The same network with its noise changed or moved and trained on, in one go (`fix --repair ... --finetune`).
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import importlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

try:
    import numpy as np

    LEGACY = os.environ.get("TF_USE_LEGACY_KERAS") == "1"
    if LEGACY:
        import tf_keras as keras
    else:
        import keras
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(0)

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "keras2-" if LEGACY else "keras3-"
CHANNELS_FIRST = "channels-first"


def run(*command):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def listed(value):
    return np.array(value["values"], np.float32).reshape(value["shape"])


def as_list(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def outputs_of(jobs, folder):
    """Through varshift, for each job: model, data, perhaps where to write the model with other statistics."""
    stated = [{**{key: str(value) for key, value in job.items()}, "outputs": str(folder / f"outputs{i}.npz")}
              for i, job in enumerate(jobs)]
    (folder / "jobs.json").write_text(json.dumps(stated))
    run("npx", "jiti", "scripts/oracle/live-outputs.ts", folder / "jobs.json")
    for job in stated:
        with np.load(job["outputs"]) as found:
            yield [found[f"output{i}"] for i in range(len(found.files))]


def difference(ours, theirs):
    return max(float(np.max(np.abs(a - b) / np.maximum(1, np.abs(b)))) for a, b in zip(ours, theirs, strict=True))


def recorded_models(folder):
    jobs, feeds = [], []
    with zipfile.ZipFile(ROOT / "test" / "oracle" / "keras-layers.zip") as archive:
        for name in archive.namelist():
            # TensorFlow does not run channels_first on a CPU.
            if not name.startswith(PREFIX) or name.endswith(".json") or CHANNELS_FIRST in name:
                continue
            source = folder / name
            source.write_bytes(archive.read(name))
            try:
                keras.models.load_model(source)
            except Exception as error:
                print(f"{name}: Keras does not load its own file ({str(error).splitlines()[0][:90]})")
                continue
            expected = json.loads(archive.read(name.rsplit(".", 1)[0] + ".json"))
            inputs = {key: listed(value) for key, value in expected["inputs"].items()}
            np.savez(folder / f"{name}.npz", **inputs)
            jobs.append({"model": source, "data": folder / f"{name}.npz", "written": folder / f"written-{name}"})
            feeds.append(list(inputs.values()))
    worst = 0.0
    for job, feed, ours in zip(jobs, feeds, outputs_of(jobs, folder), strict=True):
        model = keras.models.load_model(job["written"])
        theirs = [np.asarray(value) for value in as_list(model(feed if len(feed) > 1 else feed[0], training=False))]
        error = difference(ours, theirs)
        worst = max(worst, error)
        if error > 1e-4:
            raise SystemExit(f"{job['model'].name}: outputs of the written file differ by {error}")
    print(f"{len(jobs)} files written by varshift and loaded by Keras {keras.__version__}: outputs differ by at most {worst:.1e}")


def shift(model, images):
    """Largest ratio of stored to real variance (channel means) over the layers, in eval mode."""
    ratios = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            before = np.asarray(keras.Model(model.inputs, layer.input)(images, training=False))
            real = before.var(axis=tuple(range(before.ndim - 1))).mean()
            stored = np.asarray(layer.moving_variance).mean()
            ratios.append(max(stored / real, real / stored))
    return max(ratios)


# What stands in the network in place of its two Dropouts.
repairs = {
    "uout": ["Uout", "Uout"],
    "gaussian": ["GaussianDropout", "GaussianDropout"],
    "moment-preserving": ["MomentPreservingDropout", "MomentPreservingDropout"],
    "move-dropout-after-last-norm": ["Dropout"],
}


def changed_and_trained(source, fixed, images, repair, noises, folder):
    """A repair that changes the layers and trains on, in one go: Keras loads it and goes on training."""
    run("node", "dist/cli/main.js", "fix", source, "--repair", repair, "--finetune", 1, "--data", folder / "train.npz",
        "--force", "-o", fixed)
    repaired = keras.models.load_model(fixed)
    found = [type(layer).__name__ for layer in repaired.layers if type(layer).__name__ in {name for names in repairs.values() for name in names}]
    theirs = [np.asarray(repaired(images[:64], training=False))]
    [ours] = outputs_of([{"model": fixed, "data": folder / "some.npz"}], folder)
    error = difference(ours, theirs)
    after = shift(repaired, images)
    noisy = not np.array_equal(np.asarray(repaired(images[:64], training=True)), theirs[0])
    print(f"{source.name}, {repair} and an epoch: {' '.join(found)}; outputs differ by {error:.1e}; "
          f"largest shift ratio by Keras {after:.3f}")
    if error > 1e-4 or found != noises or after > 1.2 or not noisy:
        raise SystemExit("Keras disagrees")


def trained_network(folder):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 3000)
    patterns = rng.normal(0, 1, (4, 12, 12, 3))
    images = (patterns[labels] + rng.normal(0, 1.5, (3000, 12, 12, 3))).astype(np.float32)
    layers = keras.layers
    model = keras.Sequential([
        layers.Input((12, 12, 3), name="image") if not LEGACY else layers.InputLayer((12, 12, 3), name="image"),
        layers.Conv2D(12, 3, padding="same", name="conv_a"), layers.BatchNormalization(name="bn_a"), layers.ReLU(),
        layers.Dropout(0.5, name="drop_a"), layers.Conv2D(16, 3, strides=2, name="conv_b"),
        layers.BatchNormalization(name="bn_b"), layers.ReLU(), layers.GlobalAveragePooling2D(),
        layers.Dense(24, activation="relu", name="dense"), layers.Dropout(0.5, name="drop_b"),
        layers.BatchNormalization(name="bn_c"), layers.Dense(4, name="logits"),
    ])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, batch_size=64, epochs=8, verbose=0)
    np.savez(folder / "train.npz", image=images, labels=labels)
    for suffix in (".keras", ".h5"):
        source, fixed = folder / f"model{suffix}", folder / f"fixed{suffix}"
        model.save(source)
        run("node", "dist/cli/main.js", "fix", source, "--data", folder / "train.npz", "-o", fixed)
        repaired = keras.models.load_model(fixed)
        np.savez(folder / "some.npz", image=images[:64])
        theirs = [np.asarray(repaired(images[:64], training=False))]
        [ours] = outputs_of([{"model": fixed, "data": folder / "some.npz"}], folder)
        error = difference(ours, theirs)
        before, after = shift(model, images), shift(repaired, images)
        state = "optimizer kept" if repaired.optimizer is not None else "no optimizer"
        print(f"{suffix}: largest shift ratio by Keras {before:.3f} before, {after:.4f} after; outputs differ by {error:.1e}; {state}")
        if after > 1.02 or error > 1e-4 or before < 1.2:
            raise SystemExit("the repair does not show")
        for repair, noises in repairs.items():
            changed_and_trained(source, fixed, images, repair, noises, folder)


def main():
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "varshift_layers.py").write_text(run("node", "dist/cli/main.js", "layer", "keras"))
        sys.path.insert(0, name)
        importlib.import_module("varshift_layers")
        trained_network(Path(name))
        recorded_models(Path(name))


if __name__ == "__main__":
    main()
