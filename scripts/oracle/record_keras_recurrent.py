"""Records test/oracle/keras-recurrent.zip: Keras models of recurrent, embedding and preprocessing layers.

    python scripts/oracle/record_keras_recurrent.py                          # models of Keras 3
    TF_USE_LEGACY_KERAS=1 python scripts/oracle/record_keras_recurrent.py    # those of Keras 1 and 2, into the same archive

For each model: its file and NAME.json with inputs and eval outputs. Weights are random.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

LEGACY = os.environ.get("TF_USE_LEGACY_KERAS") == "1"
if LEGACY:
    import tf_keras as keras
    from tf_keras import layers
else:
    import keras
    from keras import layers

TARGET = Path(__file__).resolve().parents[2] / "test" / "oracle" / "keras-recurrent.zip"
PREFIX = "keras2-" if LEGACY else "keras3-"
# Keras 3 itself cannot load an .h5 file with a mask that is passed on.
SUFFIXES = [".h5", ".keras"] if LEGACY else [".keras"]
SAMPLES = 4
STEPS = 6


def cells():
    """Every cell, its variants and activations, without a mask."""
    x = keras.Input((STEPS, 3), name="x")
    h = keras.Input((4,), name="h")
    c = keras.Input((4,), name="c")
    sequence, last, state = layers.LSTM(4, return_sequences=True, return_state=True, name="lstm_states")(
        x, initial_state=[h, c]
    )
    outputs = [
        layers.SimpleRNN(4, name="rnn")(x),
        layers.SimpleRNN(3, activation="relu", go_backwards=True, return_sequences=True, name="rnn_back")(x),
        layers.LSTM(4, unroll=True, use_bias=False, name="lstm")(x),
        layers.LSTM(3, recurrent_activation="hard_sigmoid", activation="softsign", name="lstm_hard")(x),
        layers.LSTM(3, activation="selu", return_sequences=True, name="lstm_selu")(x),
        layers.GRU(4, name="gru_after")(x),
        layers.GRU(4, reset_after=False, return_sequences=True, name="gru_before")(x),
        layers.GRU(3, reset_after=False, recurrent_dropout=0.4, name="gru_noise")(x),
        layers.GRU(3, recurrent_dropout=0.4, dropout=0.3, return_sequences=True, name="gru_after_noise")(x),
        layers.LSTM(3, recurrent_dropout=0.2, go_backwards=True, name="lstm_noise")(x),
        layers.RNN(layers.LSTMCell(3), return_sequences=True, name="rnn_lstm")(x),
        layers.RNN(layers.GRUCell(2, reset_after=False), go_backwards=True, name="rnn_gru")(x),
        layers.SimpleRNN(3, recurrent_dropout=0.2, activation="elu", name="rnn_noise")(x),
        *layers.GRU(4, return_state=True, name="gru_states")(x, initial_state=h),
        layers.BatchNormalization(name="bn")(sequence),
        last,
        state,
    ]
    return keras.Model([x, h, c], outputs, name="cells")


def masked():
    """A mask with holes, at the front, at the end and over everything, through layers of all kinds."""
    x = keras.Input((STEPS, 3), name="x")
    m = layers.Masking(mask_value=0.0, name="mask")(x)
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(m)
    outputs = [
        layers.LSTM(3, return_sequences=True, name="lstm_sequence")(m),
        layers.GRU(3, go_backwards=True, return_sequences=True, name="gru_back")(m),
        layers.GRU(3, reset_after=False, name="gru_last")(m),
        *layers.LSTM(3, return_state=True, recurrent_dropout=0.3, name="lstm_noise")(m),
        both,
        layers.Bidirectional(layers.SimpleRNN(2), merge_mode="mul", name="product")(both),
        layers.Bidirectional(layers.GRU(2, recurrent_dropout=0.1), merge_mode="sum", name="sum")(m),
        *layers.Bidirectional(layers.GRU(2, return_sequences=True), merge_mode=None, name="apart")(m),
        layers.TimeDistributed(layers.Dense(2, activation="tanh"), name="each")(m),
        layers.GlobalAveragePooling1D(name="mean")(layers.Dropout(0.5, name="drop")(m)),
    ]
    return keras.Model(x, outputs, name="masked")


def words():
    """Words, of which 0 is padding; two directions of different layers; pictures step by step."""
    w = keras.Input((STEPS,), dtype="int32", name="words")
    film = keras.Input((STEPS, 5, 4, 2), name="film")
    e = layers.Embedding(9, 4, mask_zero=True, name="embedding")(w)
    plain = layers.Embedding(9, 3, name="plain")(w)
    frames = layers.TimeDistributed(layers.Conv2D(3, 2, activation="relu"), name="conv_each")(film)
    frames = layers.TimeDistributed(layers.BatchNormalization(), name="bn_each")(frames)
    frames = layers.TimeDistributed(layers.GlobalMaxPooling2D(), name="pool_each")(frames)
    two = layers.Bidirectional(
        layers.LSTM(3), backward_layer=layers.LSTM(2, go_backwards=True, activation="sigmoid"), name="two"
    )
    outputs = [
        layers.Bidirectional(layers.LSTM(3, dropout=0.2), merge_mode="ave", name="mean")(e),
        two(plain),
        layers.LSTM(3, name="film_lstm")(frames),
    ]
    return keras.Model([w, film], outputs, name="words")


def pictures():
    """Preprocessing within the model."""
    p = keras.Input((6, 5, 3), name="picture")
    by_channel = layers.Normalization(mean=[0.1, 0.2, -0.3], variance=[1.5, 0.4, 0.9], name="by_channel")
    learned = layers.Normalization(name="learned")
    learned.adapt(np.random.default_rng(5).normal(0.4, 2.0, (32, 6, 5, 3)).astype("float32"))
    positions = layers.Normalization(axis=(2, 3), name="positions")
    positions.adapt(np.random.default_rng(6).normal(0.4, 2.0, (32, 6, 5, 3)).astype("float32"))
    outputs = [
        layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(p),
        layers.Resizing(4, 7, name="bilinear")(p),
        layers.Resizing(9, 3, interpolation="nearest", name="nearest")(p),
        by_channel(p),
        layers.Conv2D(2, 3, name="conv")(learned(p)),
        positions(p),
        layers.Normalization(axis=None, mean=0.5, variance=4.0, invert=True, name="inverse")(p),
    ]
    return keras.Model(p, outputs, name="pictures")


def randomise(model, rng):
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            continue
        layer.set_weights(
            [
                rng.uniform(0.5, 1.5, w.shape) if "variance" in v.name or "gamma" in v.name else rng.uniform(-0.7, 0.7, w.shape)
                for v, w in zip(layer.weights, layer.get_weights())
            ]
        )


def value_for(tensor, rng):
    name = tensor.name.split(":")[0]
    shape = (SAMPLES, *tensor.shape[1:])
    if name == "words":
        w = rng.integers(1, 9, shape)
        w[0, 3:], w[1, ::2], w[2, :] = 0, 0, 0
        return w.astype("int32")
    x = rng.normal(0, 1, shape).astype("float32")
    return x


def record(files):
    for number, make in enumerate([cells, masked, words, pictures]):
        name = PREFIX + make.__name__
        rng = np.random.default_rng(number)
        keras.utils.set_random_seed(number)
        model = make()
        randomise(model, rng)
        feeds = [value_for(tensor, rng) for tensor in model.inputs]
        if make is masked:
            x = feeds[0]
            x[0, 4:], x[1, :2], x[2, 1::2], x[3] = 0, 0, 0, 0
        outputs = model(feeds, training=False)
        with tempfile.TemporaryDirectory() as folder:
            for suffix in SUFFIXES if make is words else SUFFIXES[:1]:
                path = Path(folder) / (name + suffix)
                model.save(path)
                files[name + suffix] = path.read_bytes()
        flat = lambda array: [None if np.isnan(v) else float(f"{v:.9g}") for v in np.asarray(array).ravel()]
        files[name + ".json"] = json.dumps(
            {
                "inputs": [
                    {"name": t.name.split(":")[0], "dims": v.shape, "dataType": str(v.dtype), "values": flat(v)}
                    for t, v in zip(model.inputs, feeds)
                ],
                "outputs": [
                    {"layer": t.name.split("/")[0], "dims": np.asarray(o).shape, "values": flat(o)}
                    for t, o in zip(model.outputs, outputs if isinstance(outputs, (list, tuple)) else [outputs])
                ],
            },
            default=int,
        ).encode()


def record_keras1(files):
    """A file as Keras 1 wrote it, three arrays (W, U, b) for each gate; Keras' own conversion says what they compute."""
    import h5py
    from tf_keras.src.saving.legacy.hdf5_format import preprocess_weights_for_loading

    rng = np.random.default_rng(12)
    modern = keras.Sequential([
        keras.Input((STEPS, 3), name="x"),
        layers.Conv1D(4, 2, name="convolution1d_1"),
        layers.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True, name="lstm_1"),
        layers.GRU(3, recurrent_activation="hard_sigmoid", reset_after=False, return_sequences=True, name="gru_1"),
        layers.Bidirectional(
            layers.LSTM(2, recurrent_activation="hard_sigmoid", return_sequences=True, name="lstm_2"), name="bidirectional_1"
        ),
        layers.TimeDistributed(layers.Dense(3, name="dense_1"), name="timedistributed_1"),
        layers.SimpleRNN(3, name="simplernn_1"),
    ])

    def recurrent(kind, name, units, last=False):
        return {"class_name": kind, "config": {
            "name": name, "output_dim": units, "init": "glorot_uniform", "inner_init": "orthogonal", "activation": "tanh",
            "return_sequences": not last, "go_backwards": False, "dropout_W": 0.0, "dropout_U": 0.0,
            **({} if last else {"inner_activation": "hard_sigmoid"})}}

    configs = [
        {"class_name": "Convolution1D", "config": {
            "name": "convolution1d_1", "nb_filter": 4, "filter_length": 2, "border_mode": "valid", "subsample_length": 1,
            "activation": "linear", "bias": True, "batch_input_shape": [None, STEPS, 3], "input_dtype": "float32"}},
        recurrent("LSTM", "lstm_1", 4),
        recurrent("GRU", "gru_1", 3),
        {"class_name": "Bidirectional", "config": {
            "name": "bidirectional_1", "merge_mode": "concat", "layer": recurrent("LSTM", "lstm_2", 2)}},
        {"class_name": "TimeDistributed", "config": {"name": "timedistributed_1", "layer": {
            "class_name": "Dense", "config": {"name": "dense_1", "output_dim": 3, "activation": "linear", "bias": True}}}},
        recurrent("SimpleRNN", "simplernn_1", 3, last=True),
    ]

    def gates(kernel, recurrent_kernel, bias, count):
        """Random arrays of the same shapes, gate by gate."""
        return [rng.normal(0, 0.5, (*part.shape[:-1], part.shape[-1] // count)).astype(np.float32)
                for _ in range(count) for part in (kernel, recurrent_kernel, bias)]

    stored = {}
    for layer in modern.layers:
        weights = layer.get_weights()
        kind = type(layer).__name__
        if kind in ("LSTM", "GRU"):
            stored[layer.name] = gates(*weights, 4 if kind == "LSTM" else 3)
        elif kind == "Bidirectional":
            stored[layer.name] = gates(*weights[:3], 4) + gates(*weights[3:], 4)
        else:
            stored[layer.name] = [rng.normal(0, 0.5, value.shape).astype(np.float32) for value in weights]
            if kind == "Conv1D":
                # Was two-dimensional, with an axis of size 1.
                stored[layer.name][0] = stored[layer.name][0][:, None]
        converted = preprocess_weights_for_loading(layer, [value.copy() for value in stored[layer.name]], "1", "tensorflow")
        layer.set_weights(converted)

    x = rng.normal(0, 1, (SAMPLES, STEPS, 3)).astype(np.float32)
    y = np.asarray(modern(x, training=False))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.h5"
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": configs}).encode()
            file.attrs["keras_version"] = b"1.2.2"
            top = file.create_group("model_weights")
            top.attrs["layer_names"] = [layer.name.encode() for layer in modern.layers]
            for name, arrays in stored.items():
                group = top.create_group(name)
                group.attrs["weight_names"] = [f"{name}_{i}".encode() for i in range(len(arrays))]
                for i, value in enumerate(arrays):
                    group.create_dataset(f"{name}_{i}", data=value)
        files["keras1-recurrent.h5"] = path.read_bytes()
    files["keras1-recurrent.json"] = json.dumps({
        "inputs": [{"name": "convolution1d_1_input", "dims": list(x.shape), "dataType": "float32",
                    "values": [float(v) for v in x.ravel()]}],
        "outputs": [{"layer": "simplernn_1", "dims": list(y.shape), "values": [float(v) for v in y.ravel()]}],
    })
    print("keras1-recurrent", y.shape)


def main():
    files = {}
    if TARGET.exists():
        with zipfile.ZipFile(TARGET) as archive:
            files = {info.filename: archive.read(info) for info in archive.infolist()}
    files = {name: data for name, data in files.items() if name.startswith(("keras1-", "keras2-")) != LEGACY}
    record(files)
    if LEGACY:
        record_keras1(files)
    with zipfile.ZipFile(TARGET, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[name])
    print(TARGET, TARGET.stat().st_size)


if __name__ == "__main__":
    sys.exit(main())
