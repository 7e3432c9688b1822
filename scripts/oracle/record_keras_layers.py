"""Records test/oracle/keras-layers.zip: small Keras models that together hold every layer that varshift reads.

    python scripts/oracle/record_keras_layers.py                          # models of Keras 3, and of Keras 1 by hand
    TF_USE_LEGACY_KERAS=1 python scripts/oracle/record_keras_layers.py    # those of Keras 2, into the same archive

For each model: NAME.keras and NAME.h5 (or one of them) and NAME.json with inputs and eval outputs. Weights are random.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import io
import json
import re
import sys
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np

LEGACY = os.environ.get("TF_USE_LEGACY_KERAS") == "1"
if LEGACY:
    import tf_keras as keras
    from tf_keras import layers
else:
    import keras
    from keras import layers

TARGET = Path(__file__).resolve().parents[2] / "test" / "oracle" / "keras-layers.zip"
PREFIX = "keras2-" if LEGACY else "keras3-"
SAMPLES = 3


def seq(*parts, name="net"):
    return keras.Sequential(list(parts), name=name)


def conv2d():
    return seq(
        keras.Input((9, 7, 3), name="image"),
        layers.Conv2D(4, 3, padding="same", strides=2, name="conv_same"),
        layers.BatchNormalization(name="bn_a"),
        layers.ReLU(name="relu"),
        layers.SpatialDropout2D(0.3, name="spatial"),
        layers.Conv2D(6, (2, 3), padding="same", groups=2, use_bias=False, activation="tanh", name="conv_groups"),
        layers.GaussianNoise(0.2, name="noise"),
        layers.BatchNormalization(scale=False, momentum=0.9, epsilon=1e-5, name="bn_b"),
        layers.MaxPooling2D((2, 2), strides=1, padding="same", name="max"),
        layers.Conv2D(5, 2, dilation_rate=2, name="conv_dilated"),
        layers.AveragePooling2D(2, padding="same", name="average"),
        layers.Flatten(name="flat"),
        layers.Dense(4, activation="softmax", name="scores"),
    )


def conv1d():
    return seq(
        keras.Input((12, 3), name="series"),
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2, name="causal"),
        layers.BatchNormalization(name="bn"),
        layers.LeakyReLU(name="leaky"),
        layers.SpatialDropout1D(0.2, name="spatial"),
        layers.ZeroPadding1D((1, 2), name="pad"),
        layers.SeparableConv1D(5, 3, depth_multiplier=2, padding="same", name="separable"),
        layers.MaxPooling1D(2, padding="same", name="max"),
        layers.Conv1DTranspose(4, 3, strides=2, padding="same", name="transpose"),
        layers.Cropping1D((1, 1), name="crop"),
        layers.UpSampling1D(2, name="up"),
        layers.AveragePooling1D(3, strides=2, name="average"),
        *([] if LEGACY else [layers.DepthwiseConv1D(2, depth_multiplier=2, name="depthwise")]),
        layers.GlobalMaxPooling1D(name="global"),
    )


def conv3d():
    return seq(
        keras.Input((5, 6, 4, 2), name="volume"),
        layers.Conv3D(3, 2, padding="same", name="conv"),
        layers.BatchNormalization(center=False, name="bn"),
        layers.SpatialDropout3D(0.2, name="spatial"),
        layers.ZeroPadding3D(((1, 0), (0, 1), (1, 1)), name="pad"),
        layers.MaxPooling3D(2, strides=1, name="max"),
        layers.Conv3DTranspose(2, 3, strides=2, padding="same", name="transpose"),
        layers.Cropping3D(((0, 1), (1, 0), (1, 1)), name="crop"),
        layers.AveragePooling3D(2, padding="same", name="average"),
        layers.UpSampling3D((1, 2, 1), name="up"),
        layers.GlobalAveragePooling3D(name="global"),
    )


def mobile():
    image = keras.Input((8, 10, 3), name="image")
    x = layers.ZeroPadding2D(((0, 1), (2, 1)), name="pad")(image)
    x = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, name="depthwise")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU(6.0, name="relu6")(x)
    x = layers.SeparableConv2D(4, 3, padding="same", activation="relu", name="separable")(x)
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(x)
    x = layers.PReLU(name="prelu_all")(x)
    x = layers.Conv2DTranspose(3, 3, strides=2, padding="same", name="transpose_same")(x)
    x = layers.Conv2DTranspose(3, 2, strides=3, padding="valid", name="transpose_valid")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="bilinear")(x)
    x = layers.Cropping2D(((1, 0), (2, 3)), name="crop")(x)
    x = layers.AveragePooling2D(3, name="average")(x)
    x = layers.UpSampling2D((1, 2), name="nearest")(x)
    y = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    y = layers.Conv2D(3, 1, activation="sigmoid", name="gate")(y)
    x = layers.Multiply(name="scale")([x, y])
    return keras.Model(image, [layers.GlobalMaxPooling2D(name="max")(x), layers.Flatten(name="flat")(y)], name="mobile")


def norms():
    x = image = keras.Input((4, 5, 6), name="image")
    x = layers.BatchNormalization(axis=1, name="bn_rows")(x)
    x = layers.BatchNormalization(axis=2, scale=False, center=False, name="bn_columns")(x)
    x = layers.LayerNormalization(name="ln")(x)
    x = layers.LayerNormalization(axis=[2, 3], epsilon=1e-5, name="ln_two")(x)
    x = layers.LayerNormalization(axis=1, name="ln_rows")(x)
    x = layers.GroupNormalization(3, name="groups")(x)
    x = layers.GroupNormalization(-1, axis=1, scale=False, name="instances")(x)
    x = layers.UnitNormalization(name="unit")(x)
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.LayerNormalization(scale=False, center=False, name="ln_plain")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(4, name="dense")(x)
    x = layers.BatchNormalization(name="bn_flat")(x)
    return keras.Model(image, x, name="norms")


def activations():
    names = ["relu", "elu", "selu", "gelu", "sigmoid", "hard_sigmoid", "tanh", "softplus", "softsign", "swish",
             "exponential", "softmax", "linear", "mish" if not LEGACY else "relu"]
    if not LEGACY:
        names += ["relu6", "leaky_relu", "celu", "silu", "hard_silu", "log_sigmoid", "hard_tanh", "tanh_shrink",
                  "hard_shrink", "soft_shrink", "log_softmax", "squareplus"]
    x = keras.Input((5,), name="x")
    outputs = [layers.Dense(3, activation=name, name=f"{i}_{name}")(x) for i, name in enumerate(names)]
    extra = [layers.ReLU(2.0, 0.1, 0.5, name="relu"), layers.ReLU(negative_slope=0.2, name="relu_slope"),
             layers.LeakyReLU(0.2, name="leaky"), layers.ELU(0.7, name="elu"), layers.PReLU(name="prelu"),
             layers.Softmax(name="softmax"), layers.Activation("tanh", name="tanh"),
             layers.Activation(layers.LeakyReLU(0.4), name="wrapped")]
    if LEGACY:
        extra.append(layers.ThresholdedReLU(0.3, name="thresholded"))
    outputs += [layer(x) for layer in extra]
    return keras.Model(x, layers.Concatenate(name="all")(outputs), name="activations")


def merges():
    a = keras.Input((4, 4, 3), name="a")
    b = keras.Input((4, 4, 3), name="b")
    c = keras.Input((6, 3), name="c")
    x = layers.Conv2D(3, 3, padding="same", name="conv")(a)
    parts = [layers.Add(name="add")([x, b, a]), layers.Subtract(name="subtract")([x, b]),
             layers.Multiply(name="multiply")([x, b]), layers.Average(name="average")([x, b, a]),
             layers.Maximum(name="maximum")([x, b]), layers.Minimum(name="minimum")([x, b])]
    x = layers.Concatenate(name="channels")(parts)
    x = layers.Concatenate(axis=1, name="rows")([x, x])
    x = layers.BatchNormalization(name="bn")(x)
    g = layers.GlobalAveragePooling2D(name="pool")(x)
    g = layers.Dense(3, name="dense")(g)
    d = layers.Dot(axes=(2, 1), name="dot")([c, g])
    e = layers.Dot(axes=(1, 1), name="dot_matrix")([c, c])
    f = layers.Dot(axes=-1, normalize=True, name="cosine")([g, g])
    h = layers.Dot(axes=2, name="dot_last")([c, c])
    return keras.Model([a, b, c], [d, e, f, h], name="merges")


def shared():
    """Layers and models applied twice, models inside models, several inputs and outputs."""
    inner_in = keras.Input((6,), name="inner_in")
    # Keras 2 cannot save two layers of one name in a .h5 file.
    other = "_deep" if LEGACY else ""
    y = layers.Dense(5, name="dense")(inner_in)
    y = layers.BatchNormalization(name="bn")(y)
    deeper = keras.Sequential(
        [keras.Input((5,)), layers.Dropout(0.4, name="drop"),
         layers.Dense(5, activation="relu", name=f"dense{other}"), layers.BatchNormalization(name=f"bn{other}")],
        name="deeper")
    inner = keras.Model(inner_in, [deeper(y), y], name="inner")
    a = keras.Input((6,), name="a")
    b = keras.Input((6,), name="b")
    dense = layers.Dense(6, name="dense")
    norm = layers.BatchNormalization(name="bn")
    x = layers.Dropout(0.5, name="dropout")(norm(dense(a)))
    z = norm(dense(b))
    p, q = inner(x)
    r, s = inner(z)
    out = layers.Add(name="sum")([p, s, r])
    return keras.Model([a, b], [layers.Dense(2, name="last")(out), q], name="shared")


def frozen():
    """A frozen model inside a model: its arrays all count as not trained, which changes their order in a .h5 file."""
    inner = keras.Sequential(
        [keras.Input((5,)), layers.Dense(5, name="one"), layers.BatchNormalization(name="bn"),
         layers.Dense(5, name="two")], name="base")
    half = keras.Sequential(
        [keras.Input((5,)), layers.Dense(5, name="three"), layers.BatchNormalization(name="bn_half"),
         layers.Dense(5, name="four")], name="half")
    inner.trainable = False
    half.layers[0].trainable = False
    x = keras.Input((5,), name="x")
    return keras.Model(x, layers.Dense(2, name="head")(half(inner(x))), name="frozen")


def shapes():
    x = keras.Input((6,), name="x")
    y = layers.RepeatVector(4, name="repeat")(x)
    y = layers.Permute((2, 1), name="permute")(y)
    y = layers.Reshape((4, -1, 2), name="reshape")(y)
    y = layers.Conv2D(3, 2, name="conv")(y)
    z = layers.Permute((3, 1, 2), name="permute_conv")(y)
    z = layers.ActivityRegularization(l2=0.01, name="cost")(z)
    y = layers.Dense(4, activation="relu", name="dense_positions")(y)
    y = layers.BatchNormalization(name="bn")(y)
    return keras.Model(x, [layers.Flatten(name="flat")(y), z], name="shapes")


def noises():
    x = keras.Input((7, 4), name="x")
    y = layers.Dropout(0.3, noise_shape=(None, 1, 4), name="shared_drop")(x)
    y = layers.GaussianDropout(0.3, name="gaussian")(y)
    y = layers.BatchNormalization(name="bn")(y)
    y = layers.AlphaDropout(0.2, name="alpha")(y)
    y = layers.GaussianNoise(0.1, name="additive")(y)
    y = layers.Dense(3, name="dense")(y)
    y = layers.Dropout(0.25, name="drop")(y)
    y = layers.BatchNormalization(name="bn_b")(y)
    return keras.Model(x, layers.GlobalAveragePooling1D(name="pool")(y), name="noises")


def overlap():
    """Layers that bear the names of the groups of other layers."""
    return seq(
        keras.Input((4,), name="x"),
        layers.Dense(4, name="dense_1"),
        layers.BatchNormalization(name="batch_normalization_1"),
        layers.Dropout(0.5, name="dropout_1"),
        layers.Dense(4, name="dense"),
        layers.BatchNormalization(name="batch_normalization"),
        layers.BatchNormalization(name="batch_normalization_2", center=False),
        layers.Dense(4, name="dense_2"),
    )


def open_size():
    """Height and width are not known."""
    return seq(
        keras.Input((None, None, 3), name="image"),
        layers.Conv2D(4, 3, strides=2, padding="same", name="conv"),
        layers.BatchNormalization(name="bn"),
        layers.MaxPooling2D(2, padding="same", name="max"),
        layers.Conv2D(2, 3, padding="same", activation="relu", name="conv_b"),
    )


def operators():
    """Python operators on tensors, which Keras turns into layers of its own."""
    a = keras.Input((4,), name="a")
    x = layers.Dense(4, name="dense")(a)
    x = layers.BatchNormalization(name="bn")(x * 2.0 + a)
    return keras.Model(a, (1.0 - x) / 3.0, name="operators")



def channels(order):
    size = (3, 8, 7) if order == "channels_first" else (8, 7, 3)
    axis = 1 if order == "channels_first" else -1
    return seq(
        keras.Input(size, name="image"),
        layers.Conv2D(4, 3, padding="same", data_format=order, name="conv"),
        layers.BatchNormalization(axis=axis, name="bn"),
        layers.SpatialDropout2D(0.5, data_format=order, name="spatial"),
        layers.ReLU(name="relu"),
        layers.ZeroPadding2D(1, data_format=order, name="pad"),
        layers.DepthwiseConv2D(3, data_format=order, name="depthwise"),
        layers.MaxPooling2D(2, data_format=order, name="max"),
        layers.UpSampling2D(2, data_format=order, name="up"),
        layers.Flatten(data_format=order, name="flat"),
        layers.Dense(3, name="dense"),
    )


def double():
    """All in float64."""
    return seq(
        keras.Input((5,), name="x", dtype="float64"),
        layers.Dense(4, dtype="float64", name="dense"),
        layers.BatchNormalization(dtype="float64", name="bn"),
        layers.Dropout(0.3, dtype="float64", name="drop"),
        layers.Dense(2, dtype="float64", name="out"),
    )


MODELS = [conv2d, conv1d, conv3d, mobile, norms, activations, merges, shared, frozen, shapes, noises, overlap,
          open_size, operators, double]


def randomise(model, rng):
    for weight in model.weights:
        name = getattr(weight, "path", weight.name)
        value = rng.normal(0, 0.5, weight.shape)
        if "moving_variance" in name or "variance" in name.split("/")[-1]:
            value = rng.uniform(0.5, 2, weight.shape)
        if "gamma" in name:
            value = rng.uniform(0.5, 1.5, weight.shape)
        weight.assign(value)


def settle(path):
    """A .keras archive without its clock and memory addresses, so that recording twice gives the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(out, "w") as target:
        for info in archive.infolist():
            data = archive.read(info)
            if info.filename == "metadata.json":
                data = json.dumps({**json.loads(data), "date_saved": "2018-01-15@00:00:00"}).encode()
            if info.filename == "config.json":
                shared = []

                def renumber(match):
                    if match[1] not in shared:
                        shared.append(match[1])
                    return f'"shared_object_id": {140000000000000 + 16 * shared.index(match[1])}'.encode()

                data = re.sub(rb'"shared_object_id": (\d+)', renumber, data)
            target.writestr(zipfile.ZipInfo(info.filename), data)
    return out.getvalue()


def saved(model, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        model.save(path)
        return settle(path) if suffix == ".keras" else path.read_bytes()


def as_list(value):
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else [value]


def expectation(model, rng, size=(6, 5)):
    inputs = {}
    for tensor in model.inputs:
        shape = [SAMPLES if i == 0 else n or size[i - 1] for i, n in enumerate(tensor.shape)]
        name = tensor.name.split(":")[0]
        inputs[name] = rng.normal(0, 1, shape).astype(np.float32)
    feeds = list(inputs.values())
    outputs = as_list(model(feeds if len(feeds) > 1 else feeds[0], training=False))
    return inputs, [np.asarray(output) for output in outputs]


def listed(array):
    return {"shape": list(array.shape), "values": [float(f"{v:.7g}") for v in array.reshape(-1).tolist()]}


def stated(inputs, outputs, norms):
    return json.dumps({
        "inputs": {name: listed(value) for name, value in inputs.items()},
        "outputs": [listed(value) for value in outputs],
        "norms": norms,
    }).encode()


def norms_of(model):
    """Running statistics of every BatchNormalization, by the path of its layer."""
    found = {}

    def walk(part, prefix):
        for layer in part.layers:
            path = prefix + layer.name
            if hasattr(layer, "layers"):
                walk(layer, path + "/")
            elif hasattr(layer, "moving_mean"):
                found[path] = {"mean": listed(np.asarray(layer.moving_mean)),
                               "variance": listed(np.asarray(layer.moving_variance))}

    walk(model, "")
    return found


def record(files):
    for i, make in enumerate(MODELS):
        keras.backend.clear_session()
        rng = np.random.default_rng(20180115 + i)
        model = make()
        randomise(model, rng)
        inputs, outputs = expectation(model, rng)
        name = PREFIX + make.__name__.replace("_", "-")
        files[f"{name}.keras"] = saved(model, ".keras")
        files[f"{name}.h5"] = saved(model, ".h5")
        files[f"{name}.json"] = stated(inputs, outputs, norms_of(model))
        print(name, [output.shape for output in outputs])
    record_channels_first(files)
    if not LEGACY:
        record_custom(files)
        record_keras1(files)


def record_channels_first(files):
    rng = np.random.default_rng(7)
    last = channels("channels_last")
    randomise(last, rng)
    inputs, outputs = expectation(last, rng)
    flipped = channels("channels_first")
    flipped.set_weights(last.get_weights())
    inputs = {name: value.transpose(0, 3, 1, 2) for name, value in inputs.items()}
    files[f"{PREFIX}channels-first.keras"] = saved(flipped, ".keras")
    files[f"{PREFIX}channels-first.h5"] = saved(flipped, ".h5")
    files[f"{PREFIX}channels-first.json"] = stated(inputs, outputs, norms_of(flipped))


def record_custom(files):
    """Layers that only their Python code knows."""

    @keras.saving.register_keras_serializable(package="mine")
    class Wave(layers.Layer):
        def build(self, shape):
            self.k = self.add_weight(shape=(shape[-1],), name="k")

        def call(self, x):
            return x * keras.ops.sin(self.k)

    model = seq(
        keras.Input((8, 8, 3), name="image"),
        layers.Conv2D(4, 3, name="conv"),
        layers.Dropout(0.5, name="drop"),
        layers.BatchNormalization(name="bn"),
        Wave(name="wave"),
        layers.Lambda(lambda x: x + 1, name="plus_one"),
        layers.Dropout(0.25, name="drop_b"),
        layers.Conv2D(3, 3, name="conv_b"),
        layers.BatchNormalization(name="bn_b"),
    )
    files["custom.keras"] = saved(model, ".keras")
    files["custom.h5"] = saved(model, ".h5")


def record_keras1(files):
    """Files as Keras 1.2 wrote them: its spelling of configurations, its order of kernels."""
    rng = np.random.default_rng(11)
    modern = seq(
        keras.Input((8, 7, 3), name="image"),
        layers.Conv2D(4, 3, padding="same", strides=2, activation="relu", name="convolution2d_1"),
        layers.BatchNormalization(epsilon=1e-3, name="batchnormalization_1"),
        layers.MaxPooling2D(2, name="maxpooling2d_1"),
        layers.Flatten(name="flatten_1"),
        layers.Dropout(0.25, name="dropout_1"),
        layers.Dense(5, name="dense_1"),
        layers.BatchNormalization(epsilon=1e-3, name="batchnormalization_2"),
        layers.Activation("hard_tanh", name="activation_1"),
        layers.Dense(3, activation="softmax", name="dense_2"),
    )
    randomise(modern, rng)
    inputs, outputs = expectation(modern, rng)

    def configs(order):
        first = {"name": "convolution2d_1", "trainable": True, "nb_filter": 4, "nb_row": 3, "nb_col": 3,
                 "border_mode": "same", "subsample": [2, 2], "dim_ordering": order, "activation": "relu", "bias": True,
                 "batch_input_shape": [None, 8, 7, 3] if order == "tf" else [None, 3, 8, 7], "input_dtype": "float32"}
        norm = {"trainable": True, "mode": 0, "momentum": 0.99, "epsilon": 0.001}
        return [
            {"class_name": "Convolution2D", "config": first},
            {"class_name": "BatchNormalization",
             "config": {**norm, "name": "batchnormalization_1", "axis": -1 if order == "tf" else 1}},
            {"class_name": "MaxPooling2D", "config": {"name": "maxpooling2d_1", "pool_size": [2, 2], "strides": [2, 2],
                                                      "border_mode": "valid", "dim_ordering": order}},
            {"class_name": "Flatten", "config": {"name": "flatten_1", "trainable": True}},
            {"class_name": "Dropout", "config": {"name": "dropout_1", "trainable": True, "p": 0.25}},
            {"class_name": "Dense", "config": {"name": "dense_1", "output_dim": 5, "activation": "linear", "bias": True,
                                               "input_dim": None}},
            {"class_name": "BatchNormalization", "config": {**norm, "name": "batchnormalization_2", "axis": -1}},
            {"class_name": "Activation", "config": {"name": "activation_1", "activation": "hard_tanh"}},
            {"class_name": "Dense", "config": {"name": "dense_2", "output_dim": 3, "activation": "softmax"}},
        ]

    def written(order, backend=None):
        out = io.BytesIO()
        with h5py.File(out, "w") as file:
            file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": configs(order)}).encode()
            if backend:
                file.attrs["backend"] = backend.encode()
            top = file.create_group("model_weights")
            layer_names = [layer.name for layer in modern.layers]
            # Long lists were split over several attributes.
            top.attrs["layer_names0"] = [name.encode() for name in layer_names[:4]]
            top.attrs["layer_names1"] = [name.encode() for name in layer_names[4:]]
            for layer in modern.layers:
                group = top.create_group(layer.name)
                suffixes = {"Conv2D": ["W", "b"], "Dense": ["W", "b"],
                            "BatchNormalization": ["gamma", "beta", "running_mean", "running_std"]}
                names = [f"{layer.name}_{suffix}" for suffix in suffixes.get(type(layer).__name__, [])]
                group.attrs["weight_names"] = [name.encode() for name in names]
                for name, value in zip(names, layer.get_weights()):
                    if order == "th" and value.ndim == 4:
                        value = value.transpose(3, 2, 0, 1)
                        if backend == "theano":
                            value = value[:, :, ::-1, ::-1]
                    if order == "th" and name == "dense_1_W":
                        # Flatten takes channels first.
                        rows = value.reshape(2, 1, 4, 5) if value.shape[0] == 8 else value.reshape(2, 2, 4, 5)
                        value = rows.transpose(2, 0, 1, 3).reshape(value.shape)
                    group.create_dataset(name, data=value)
        return out.getvalue()

    by_path = norms_of(modern)
    files["keras1-tf.h5"] = written("tf")
    files["keras1-tf.json"] = stated(inputs, outputs, by_path)
    turned = {name: value.transpose(0, 3, 1, 2) for name, value in inputs.items()}
    files["keras1-th.h5"] = written("th")
    files["keras1-th.json"] = stated(turned, outputs, by_path)
    files["keras1-theano.h5"] = written("th", "theano")
    files["keras1-theano.json"] = stated(turned, outputs, by_path)


def main():
    files = {}
    if TARGET.exists():
        with zipfile.ZipFile(TARGET) as archive:
            files = {info.filename: archive.read(info) for info in archive.infolist()}
    files = {name: data for name, data in files.items() if name.startswith("keras2-") != LEGACY}
    record(files)
    with zipfile.ZipFile(TARGET, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[name])
    print(TARGET, TARGET.stat().st_size)


if __name__ == "__main__":
    sys.exit(main())
