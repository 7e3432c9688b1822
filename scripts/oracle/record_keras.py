"""Records test/oracle/keras/: two small Keras networks, saved as .keras, .h5 and (by tf2onnx) ONNX, with eval outputs.

Needs its own environment (requirements-keras.txt): TensorFlow and PyTorch disagree about versions of what both need.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import argparse
import json
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from keras import layers

import synthetic
from writing import write_json

SEED = 20180115
SAMPLES = 8
SIZE = 12
EPOCHS = 6


def sequential():
    """Conv-BN-ReLU-Dropout, Conv-BN-ReLU, dense head with Dropout in front of BN."""
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3), name="image"),
            layers.Conv2D(12, 3, padding="same", name="conv_a"),
            layers.BatchNormalization(name="bn_a"),
            layers.ReLU(name="relu_a"),
            layers.Dropout(0.4, name="dropout_a"),
            layers.Conv2D(16, 3, strides=2, padding="same", name="conv_b"),
            layers.BatchNormalization(name="bn_b"),
            layers.ReLU(name="relu_b"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(24, activation="relu", name="dense_a"),
            layers.Dropout(0.5, name="dropout_dense"),
            layers.BatchNormalization(name="bn_dense"),
            layers.Dense(10, name="logits"),
        ],
        name="sequential",
    )


def residual():
    """A functional residual network; spatial and Gaussian dropout beside the plain one, BN without scale once."""
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Conv2D(12, 3, padding="same", use_bias=False, name="stem")(image)
    for index in (1, 2):
        y = layers.BatchNormalization(name=f"bn{index}_a", scale=index == 1)(x)
        y = layers.ReLU(name=f"relu{index}_a")(y)
        y = layers.Conv2D(12, 3, padding="same", use_bias=False, name=f"conv{index}_a")(y)
        y = layers.Dropout(0.5, name=f"dropout{index}")(y) if index == 1 else layers.SpatialDropout2D(0.3, name=f"spatial{index}")(y)
        y = layers.BatchNormalization(name=f"bn{index}_b", momentum=0.9, epsilon=1e-5)(y)
        y = layers.ReLU(name=f"relu{index}_b")(y)
        y = layers.Conv2D(12, 3, padding="same", use_bias=False, name=f"conv{index}_b")(y)
        y = layers.GaussianDropout(0.2, name=f"gaussian{index}")(y)
        x = layers.Add(name=f"add{index}")([x, y])
    x = layers.BatchNormalization(name="bn_last")(x)
    x = layers.ReLU(name="relu_last")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="residual")


def to_float(images):
    return (images.astype(np.float32) / np.float32(255)).transpose(0, 2, 3, 1)


def train(model, inputs, labels):
    model.compile(keras.optimizers.AdamW(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(inputs, labels, batch_size=64, epochs=EPOCHS, verbose=0)
    # Settle the moving statistics under noise with fixed weights: Keras's momentum is the share that is kept.
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    rng = np.random.default_rng(SEED)
    for step in range(150):
        for layer in norms:
            layer.momentum = step / (step + 1)
        pick = rng.integers(0, len(inputs), 64)
        model(inputs[pick], training=True)
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum
    return norms


def settle(path):
    """Rewrites a .keras archive without its clock and memory addresses, so that recording twice gives the same bytes."""
    with zipfile.ZipFile(path) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            if name == "metadata.json":
                data = json.dumps({**json.loads(data), "date_saved": "2018-01-15@00:00:00"}).encode()
            if name == "config.json":
                shared = []
                renumber = lambda match: shared.append(match[1]) or f'"shared_object_id": {140000000000000 + 16 * shared.index(match[1])}'.encode()
                data = re.sub(rb'"shared_object_id": (\d+)', renumber, data)
            archive.writestr(zipfile.ZipInfo(name), data)


def convert(model, training):
    """As tf2onnx's users do with Keras 3: a tf.function over the call, since from_keras reads Keras 2 attributes."""
    specification = (tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="image"),)
    function = tf.function(lambda image: model(image, training=training), input_signature=specification)
    exported, _ = tf2onnx.convert.from_function(function, specification, opset=17)
    # tf2onnx numbers and orders its folded constants as a set happens to list them; here by first use.
    fresh = {}
    for node in exported.graph.node:
        node.ClearField("doc_string")
        for index, name in enumerate(node.input):
            if re.fullmatch(r"const_\w+__\d+", name):
                node.input[index] = fresh.setdefault(name, f"const_fold__{len(fresh)}")
    tensors = list(exported.graph.initializer)
    for tensor in tensors:
        tensor.name = fresh.get(tensor.name, tensor.name)
    del exported.graph.initializer[:]
    exported.graph.initializer.extend(sorted(tensors, key=lambda tensor: tensor.name))
    return exported


def record(folder, log=print):
    x, labels = synthetic.images(4000, SEED + 40, size=SIZE)
    fresh, fresh_labels = synthetic.images(2000, SEED + 50, size=SIZE)
    inputs, held = to_float(x), to_float(fresh)
    for build in (sequential, residual):
        keras.utils.set_random_seed(SEED)
        tf.config.experimental.enable_op_determinism()
        model = build()
        norms = train(model, inputs, labels)
        target = folder / model.name
        target.mkdir(parents=True, exist_ok=True)
        model.compile()  # forgets the optimizer, which would triple the files
        model.save(target / "model.keras")
        settle(target / "model.keras")
        model.save(target / "model.h5")
        samples = fresh[:SAMPLES].transpose(0, 2, 3, 1)
        np.savez_compressed(target / "data.npz", image=samples, labels=fresh_labels[:SAMPLES])
        outputs = model(held[:SAMPLES], training=False).numpy()
        logits = model.predict(held, verbose=0)
        forms = {}
        for file, training in (("model.onnx", False), ("model-training.onnx", True)):
            try:
                exported = convert(model, training)
                onnx.checker.check_model(exported, full_check=True)
            except Exception as problem:
                forms[file] = {"error": f"{type(problem).__name__}: {str(problem).splitlines()[0]}"[:300]}
                continue
            (target / file).write_bytes(exported.SerializeToString(deterministic=True))
            forms[file] = {"operators": [node.op_type for node in exported.graph.node], "error": None}
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            try:
                runner = onnxruntime.InferenceSession(exported.SerializeToString(), options, providers=["CPUExecutionProvider"])
                got = runner.run(None, {"image": held[:SAMPLES]})[0]
                if not training:
                    np.testing.assert_allclose(got, outputs, rtol=1e-3, atol=1e-3)
            except onnxruntime.capi.onnxruntime_pybind11_state.Fail as problem:
                forms[file]["error"] = str(problem).splitlines()[0][:300]
        accuracy = float((logits.argmax(1) == fresh_labels).mean())
        rows = []
        for layer in norms:
            seen = keras.Model(model.inputs, layer.input)
            value = np.asarray(seen.predict(held, verbose=0), np.float64)
            axes = tuple(range(value.ndim - 1))
            stored, real = np.asarray(layer.moving_variance), value.var(axes)
            ratio = float(stored.astype(np.float64).mean() / real.mean())
            rows.append(
                {
                    "layer": layer.name, "epsilon": layer.epsilon, "momentum": layer.momentum, "scale": layer.gamma is not None,
                    "shiftRatio": max(ratio, 1 / ratio), "evalOverStored": 1 / ratio,
                    "storedMean": np.asarray(layer.moving_mean), "storedVariance": stored,
                    "realMean": value.mean(axes), "realVariance": real,
                }
            )  # fmt: skip
        write_json(
            target / "expected.json",
            {
                "name": model.name, "keras": keras.__version__, "tensorflow": tf.__version__, "tf2onnx": tf2onnx.__version__.split(" ")[0], "seed": SEED,
                "inputs": [{"name": "image", "stored": "uint8", "divideBy": 255, "shape": [SIZE, SIZE, 3]}],
                "notes": {
                    "logits": "eval mode, the samples of data.npz",
                    "real": "moments of the BN's input in eval mode over 2000 images that are not recorded",
                },
                "heldOutAccuracy": accuracy, "exports": forms, "norms": rows, "logits": outputs,
            },
        )  # fmt: skip
        sizes = ", ".join(f"{p.name} {p.stat().st_size / 1024:.0f} KiB" for p in sorted(target.iterdir()))
        log(f"{model.name}: accuracy {accuracy:.4f}; shift " + " ".join(f"{r['shiftRatio']:.2f}" for r in rows) + f"; {sizes}")
        for file, form in forms.items():
            log(f"  {file}: {form}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "test" / "oracle")
    record(parser.parse_args().out / "keras")
