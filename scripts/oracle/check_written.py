"""Keras' part of check-written.ts: loads the models of a folder and compares outputs; measures the layers."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import json
import sys
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
sys.path.insert(0, str(folder))
from varshift_layers import MomentPreservingDropout, Uout, keras  # noqa: E402

LEGACY = os.environ.get("TF_USE_LEGACY_KERAS") == "1"
NAME = "Keras 2" if LEGACY else "Keras 3"
failed = False
for case in json.loads((folder / "cases.json").read_text())["cases"]:
    path = Path(case["path"])
    if not path.name.startswith("written-keras2-" if LEGACY else "written-keras3-"):
        continue
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # noqa: BLE001
        reason = str(error).splitlines()[0][:200]
        try:
            keras.models.load_model(path.with_name(path.name.removeprefix("written-")), compile=False)
        except Exception:  # noqa: BLE001
            print(f"{NAME} {path.name}: Keras cannot load its own file either: {reason}")
            continue
        print(f"{NAME} {path.name}: not loaded: {reason}")
        failed = True
        continue
    feeds = [np.array(i["values"], i["dataType"]).reshape(i["dims"]) for i in case["inputs"]]
    try:
        results = model(feeds if len(feeds) > 1 else feeds[0], training=False)
    except Exception as error:  # noqa: BLE001
        if "NHWC tensor format on the CPU" not in str(error):
            raise
        print(f"{NAME} {path.name}: loaded; TensorFlow does not run channels_first on the CPU")
        continue
    results = results if isinstance(results, (list, tuple)) else [results]
    worst = 0.0
    for result, expected in zip(results, case["outputs"]):
        wanted = np.array([np.nan if v is None else v for v in expected])
        got = np.asarray(result).ravel()
        assert (np.isnan(got) == np.isnan(wanted)).all(), path
        worst = max(worst, float(np.nanmax(np.abs(got - wanted))))
    print(f"{NAME} {path.name}: {worst:.1e}")
    failed |= not worst < 1e-4

rng = np.random.default_rng(7)
x = (rng.uniform(0, 1, (4000, 5, 3)) ** 4 + [0, 2, -1]).astype("float32")
for name, layer in [("Uout(0.5)", Uout(0.5)), ("MomentPreservingDropout(0.4)", MomentPreservingDropout(0.4))]:
    y = np.asarray(layer(x, training=True))
    ratio = y.var((0, 1)) / x.var((0, 1))
    shift = y.mean((0, 1)) - x.mean((0, 1))
    print(f"{NAME} {name} in training: variance x {np.round(ratio, 3)}, mean + {np.round(shift, 3)}")
    assert (np.asarray(layer(x, training=False)) == x).all()
sys.exit(1 if failed else 0)
