"""Records test/oracle/noise/: untrained graphs `noise -> conv -> BN`, as each exporter writes each noise, or by hand.

Every graph is run by ONNX Runtime with noise on, on inputs of ones, and the mean and relative variance that its noise
really has are recorded beside the ones that theory gives.
"""

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from exporting import export_dynamo, export_legacy, save, session
from training import deterministic
from writing import write_json

SEED = 42
CHANNELS = 4
DRAWS = 4000  # samples of ones to estimate the noise's moments from


class FDropout(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.3, self.training)


class DropPathBernoulli(nn.Module):
    """timm's form: a mask of one value a sample, drawn in place, divided by keep."""

    def forward(self, x, keep=0.8):
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask.div_(keep)


class DropPathFloor(nn.Module):
    """The older form: floor(keep + uniform)."""

    def forward(self, x, keep=0.8):
        mask = keep + torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype)
        return x.div(keep) * mask.floor()


class StochasticDepth(nn.Module):
    """torchvision's form: one draw a sample ("row") or one for the whole batch ("batch")."""

    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def forward(self, x, survival=0.8):
        size = [x.shape[0] if self.mode == "row" else 1] + [1] * (x.ndim - 1)
        noise = torch.empty(size, dtype=x.dtype).bernoulli_(survival)
        return x * noise.div_(survival)


class GaussianLike(nn.Module):
    def forward(self, x):
        return x * (1 + 0.4 * torch.randn_like(x))


class GaussianNormal(nn.Module):
    def forward(self, x):
        return x * torch.normal(torch.ones_like(x), 0.4)


class GaussianNormalSize(nn.Module):
    def forward(self, x):
        return x * torch.normal(1.0, 0.4, x.shape)


class GaussianInPlace(nn.Module):
    def forward(self, x):
        return x * torch.empty_like(x).normal_(1.0, 0.4)


class UoutInPlace(nn.Module):
    def forward(self, x, beta=0.3):
        return x + x * torch.empty_like(x).uniform_(-beta, beta)


class UoutRand(nn.Module):
    def forward(self, x, beta=0.3):
        return x + x * (torch.rand_like(x) * (2 * beta) - beta)


class AdditiveGaussian(nn.Module):
    def forward(self, x):
        return x + 0.2 * torch.randn_like(x)


class BernoulliMask(nn.Module):
    def forward(self, x, keep=0.7):
        return x * torch.bernoulli(torch.full_like(x, keep)) / keep


class RandThreshold(nn.Module):
    def forward(self, x, keep=0.7):
        return x * (torch.rand_like(x) < keep).to(x.dtype) / keep


def _bn(features, rank):
    norm = {3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[rank](features)
    with torch.no_grad():
        # Distinct values: equal initializers are merged by the dynamo exporter (NOTES.md).
        for tensor, low, high in ((norm.weight, 0.5, 1.5), (norm.bias, -0.5, 0.5), (norm.running_mean, -0.3, 0.3), (norm.running_var, 0.5, 1.5)):
            tensor.uniform_(low, high)
    return norm


def _conv(inputs, outputs, rank):
    return {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[rank](inputs, outputs, 3, padding=1, bias=False)


class Chain(nn.Module):
    """noise -> conv -> BN, for N x C x L, N x C x H x W or N x C x D x H x W."""

    def __init__(self, noise, rank=4):
        super().__init__()
        self.noise, self.conv, self.bn = noise, _conv(CHANNELS, 6, rank), _bn(6, rank)

    def forward(self, x):
        return self.bn(self.conv(self.noise(x)))


class Residual(nn.Module):
    """x + Dropout(conv(x)) -> BN"""

    def __init__(self):
        super().__init__()
        self.conv, self.noise, self.bn = _conv(CHANNELS, CHANNELS, 4), nn.Dropout(0.3), _bn(CHANNELS, 4)

    def forward(self, x):
        return self.bn(x + self.noise(self.conv(x)))


class Concat(nn.Module):
    """cat(x, Dropout(conv(x))) -> BN"""

    def __init__(self):
        super().__init__()
        self.conv, self.noise, self.bn = _conv(CHANNELS, CHANNELS, 4), nn.Dropout(0.3), _bn(2 * CHANNELS, 4)

    def forward(self, x):
        return self.bn(torch.cat([x, self.noise(self.conv(x))], 1))


def facts(kind, parameter, value, s2, shares, note=None):
    return {"kind": kind, "parameter": parameter, "value": value, "s2": s2, "shares": shares, "note": note}


def bernoulli(ratio, shares, note=None):
    return facts("bernoulli", "ratio", ratio, ratio / (1 - ratio), shares, note)


ALPHA = "drops to -1.7580993408473766, then an affine map that keeps mean 0 and variance 1; not multiplicative"

# name: (builder, shape of one sample, facts)
MODULES = {
    "dropout": (lambda: Chain(nn.Dropout(0.3)), (CHANNELS, 8, 8), bernoulli(0.3, "element")),
    "f-dropout": (lambda: Chain(FDropout()), (CHANNELS, 8, 8), bernoulli(0.3, "element")),
    "dropout1d": (lambda: Chain(nn.Dropout1d(0.3), 3), (CHANNELS, 16), bernoulli(0.3, "channel")),
    "dropout2d": (lambda: Chain(nn.Dropout2d(0.3)), (CHANNELS, 8, 8), bernoulli(0.3, "channel")),
    "dropout3d": (lambda: Chain(nn.Dropout3d(0.3), 5), (CHANNELS, 4, 4, 4), bernoulli(0.3, "channel")),
    "alpha-dropout": (lambda: Chain(nn.AlphaDropout(0.3)), (CHANNELS, 8, 8), facts("alpha", "ratio", 0.3, None, "element", ALPHA)),
    "feature-alpha-dropout": (lambda: Chain(nn.FeatureAlphaDropout(0.3)), (CHANNELS, 8, 8), facts("alpha", "ratio", 0.3, None, "channel", ALPHA)),
    "drop-path-bernoulli": (lambda: Chain(DropPathBernoulli()), (CHANNELS, 8, 8), bernoulli(0.2, "sample")),
    "drop-path-floor": (lambda: Chain(DropPathFloor()), (CHANNELS, 8, 8), bernoulli(0.2, "sample")),
    "stochastic-depth-row": (lambda: Chain(StochasticDepth("row")), (CHANNELS, 8, 8), bernoulli(0.2, "sample")),
    "stochastic-depth-batch": (lambda: Chain(StochasticDepth("batch")), (CHANNELS, 8, 8), bernoulli(0.2, "batch")),
    "gaussian-randn-like": (lambda: Chain(GaussianLike()), (CHANNELS, 8, 8), facts("gaussian", "sigma", 0.4, 0.16, "element")),
    "gaussian-normal": (lambda: Chain(GaussianNormal()), (CHANNELS, 8, 8), facts("gaussian", "sigma", 0.4, 0.16, "element", "torch.normal(ones_like(x), 0.4)")),
    "gaussian-normal-size": (lambda: Chain(GaussianNormalSize()), (CHANNELS, 8, 8), facts("gaussian", "sigma", 0.4, 0.16, "element", "torch.normal(1.0, 0.4, x.shape)")),
    "gaussian-in-place": (lambda: Chain(GaussianInPlace()), (CHANNELS, 8, 8), facts("gaussian", "sigma", 0.4, 0.16, "element", "empty_like(x).normal_(1.0, 0.4)")),
    "uout-in-place": (lambda: Chain(UoutInPlace()), (CHANNELS, 8, 8), facts("uniform", "beta", 0.3, 0.03, "element", "empty_like(x).uniform_(-beta, beta)")),
    "uout-rand": (lambda: Chain(UoutRand()), (CHANNELS, 8, 8), facts("uniform", "beta", 0.3, 0.03, "element", "rand_like(x) * 2 beta - beta")),
    "additive-gaussian": (lambda: Chain(AdditiveGaussian()), (CHANNELS, 8, 8), facts("additive", "sigma", 0.2, None, "element", "adds a variance of 0.04")),
    "bernoulli-mask": (lambda: Chain(BernoulliMask()), (CHANNELS, 8, 8), bernoulli(0.3, "element", "torch.bernoulli(full_like(x, keep)) / keep")),
    "rand-threshold": (lambda: Chain(RandThreshold()), (CHANNELS, 8, 8), bernoulli(0.3, "element", "(rand_like(x) < keep) / keep")),
    "dropout-residual": (Residual, (CHANNELS, 8, 8), bernoulli(0.3, "element", "x + dropout(conv(x)) -> BN")),
    "dropout-concat": (Concat, (CHANNELS, 8, 8), bernoulli(0.3, "element", "cat(x, dropout(conv(x))) -> BN")),
}  # fmt: skip


# --- written by hand: forms that other tools write, and what the exporters cannot express


def _f(name, value):
    return numpy_helper.from_array(np.asarray(value, np.float32), name)


def _i(name, value):
    return numpy_helper.from_array(np.asarray(value, np.int64), name)


def _hand(name, nodes, initializers=(), opset=17, inputs=(), spatial=(8, 8)):
    """Completes `x -> nodes -> noisy` with conv and BN."""
    rng = np.random.default_rng(SEED)
    shape = ["N", CHANNELS, *spatial]
    tail = [
        helper.make_node("Conv", ["noisy", "conv.weight"], ["convolved"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["convolved", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"], ["y"], "bn", epsilon=1e-5),
    ]
    weights = [
        _f("conv.weight", rng.normal(0, 0.2, (6, CHANNELS, 3, 3))),
        _f("bn.weight", rng.uniform(0.5, 1.5, 6)),
        _f("bn.bias", rng.uniform(-0.5, 0.5, 6)),
        _f("bn.running_mean", rng.uniform(-0.3, 0.3, 6)),
        _f("bn.running_var", rng.uniform(0.5, 1.5, 6)),
    ]
    graph = helper.make_graph(
        list(nodes) + tail,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape), *inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 6, *spatial])],
        [*initializers, *weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, producer_name="by hand")


def _node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs, outputs, f"noise/{kind}_{outputs[0]}", **attributes)


def _sample_shape():
    """Nodes that compute [N, 1, 1, 1] from x."""
    return [_node("Shape", ["x"], ["batch"], start=0, end=1), _node("Concat", ["batch", "ones"], ["mask_shape"], axis=0)]


def _channel_shape():
    """Nodes that compute [N, C, 1, 1] from x."""
    return [_node("Shape", ["x"], ["leading"], start=0, end=2), _node("Concat", ["leading", "ones"], ["mask_shape"], axis=0)]


def _fill(value):
    return helper.make_tensor("value", TensorProto.FLOAT, [1], [value])


def hand_written():
    on = numpy_helper.from_array(np.array(True), "on")
    yield (
        "hand-dropout-attribute",
        _hand("opset 7 Dropout", [_node("Dropout", ["x"], ["noisy"], ratio=0.3)], opset=9),
        bernoulli(0.3, "element", "opset 7 to 11: ratio is an attribute and inference is the only mode"),
    )
    yield (
        "hand-dropout-training-input",
        _hand(
            "training mode as a graph input",
            [_node("Dropout", ["x", "ratio", "training"], ["noisy", "mask"])],
            [_f("ratio", 0.3)],
            inputs=[helper.make_tensor_value_info("training", TensorProto.BOOL, [])],
        ),
        bernoulli(0.3, "element", "training_mode is a graph input"),
    )
    yield (
        "hand-dropout-default-ratio",
        _hand("Dropout without ratio", [_node("Dropout", ["x", "", "on"], ["noisy"])], [on]),
        bernoulli(0.5, "element", "ratio left out: 0.5"),
    )
    yield (
        "hand-spatial-dropout",
        _hand(
            "channel mask by Dropout of ones",
            [*_channel_shape(), _node("ConstantOfShape", ["mask_shape"], ["plain"], value=_fill(1.0)),
             _node("Dropout", ["plain", "ratio", "on"], ["mask"]), _node("Mul", ["x", "mask"], ["noisy"])],
            [_i("ones", [1, 1]), _f("ratio", 0.3), on],
        ),
        bernoulli(0.3, "channel", "Mul(x, Dropout(ones[N,C,1,1]))"),
    )  # fmt: skip
    yield (
        "hand-drop-path",
        _hand(
            "one Bernoulli a sample",
            [*_sample_shape(), _node("ConstantOfShape", ["mask_shape"], ["keeps"], value=_fill(0.8)),
             _node("Bernoulli", ["keeps"], ["mask"]), _node("Div", ["mask", "keep"], ["scaled"]), _node("Mul", ["x", "scaled"], ["noisy"])],
            [_i("ones", [1, 1, 1]), _f("keep", 0.8)],
        ),
        bernoulli(0.2, "sample"),
    )  # fmt: skip
    yield (
        "hand-drop-path-floor",
        _hand(
            "floor(keep + uniform)",
            [*_sample_shape(), _node("ConstantOfShape", ["mask_shape"], ["plain"], value=_fill(0.0)),
             _node("RandomUniformLike", ["plain"], ["uniform"], low=0.0, high=1.0), _node("Add", ["uniform", "keep"], ["shifted"]),
             _node("Floor", ["shifted"], ["mask"]), _node("Div", ["x", "keep"], ["scaled"]), _node("Mul", ["scaled", "mask"], ["noisy"])],
            [_i("ones", [1, 1, 1]), _f("keep", 0.8)],
        ),
        bernoulli(0.2, "sample"),
    )  # fmt: skip
    yield (
        "hand-stochastic-depth-batch",
        _hand(
            "one Bernoulli a batch",
            [_node("Bernoulli", ["keep"], ["mask"]), _node("Div", ["mask", "keep"], ["scaled"]), _node("Mul", ["x", "scaled"], ["noisy"])],
            [_f("keep", [[[[0.8]]]])],
        ),
        bernoulli(0.2, "batch"),
    )
    yield (
        "hand-bernoulli-mask",
        _hand(
            "Bernoulli of a full mask",
            [_node("Shape", ["x"], ["mask_shape"]), _node("Expand", ["keep", "mask_shape"], ["keeps"]), _node("Bernoulli", ["keeps"], ["mask"]),
             _node("Mul", ["x", "mask"], ["masked"]), _node("Div", ["masked", "keep"], ["noisy"])],
            [_f("keep", 0.7)],
        ),
        bernoulli(0.3, "element"),
    )  # fmt: skip
    yield (
        "hand-select",
        _hand(
            "GreaterEqual and Where, as TensorFlow writes dropout",
            [_node("RandomUniformLike", ["x"], ["uniform"]), _node("GreaterOrEqual", ["uniform", "ratio"], ["kept"]),
             _node("Mul", ["x", "scale"], ["scaled"]), _node("Where", ["kept", "scaled", "zero"], ["noisy"])],
            [_f("ratio", 0.3), _f("scale", 1 / 0.7), _f("zero", 0.0)],
        ),
        bernoulli(0.3, "element"),
    )  # fmt: skip
    yield (
        "hand-gaussian-dropout",
        _hand("N(1, sigma^2)", [_node("RandomNormalLike", ["x"], ["m"], mean=1.0, scale=0.4), _node("Mul", ["x", "m"], ["noisy"])]),
        facts("gaussian", "sigma", 0.4, 0.16, "element"),
    )
    yield (
        "hand-uout",
        _hand("1 + U(-beta, beta)", [_node("RandomUniformLike", ["x"], ["m"], low=0.7, high=1.3), _node("Mul", ["x", "m"], ["noisy"])]),
        facts("uniform", "beta", 0.3, 0.03, "element"),
    )
    yield (
        "hand-uout-add",
        _hand(
            "x + x r",
            [_node("RandomUniformLike", ["x"], ["r"], low=-0.3, high=0.3), _node("Mul", ["x", "r"], ["xr"]), _node("Add", ["x", "xr"], ["noisy"])],
        ),
        facts("uniform", "beta", 0.3, 0.03, "element"),
    )
    yield (
        "hand-additive-gaussian",
        _hand("x + N(0, sigma^2)", [_node("RandomNormalLike", ["x"], ["r"], mean=0.0, scale=0.2), _node("Add", ["x", "r"], ["noisy"])]),
        facts("additive", "sigma", 0.2, None, "element", "adds a variance of 0.04"),
    )
    alpha, ratio = -1.7580993408473766, 0.3
    a = ((1 - ratio) * (1 + ratio * alpha**2)) ** -0.5
    yield (
        "hand-alpha-dropout",
        _hand(
            "drop to alpha', then a x + b",
            [_node("RandomUniformLike", ["x"], ["uniform"]), _node("GreaterOrEqual", ["uniform", "ratio"], ["kept"]),
             _node("Where", ["kept", "x", "alpha"], ["dropped"]), _node("Mul", ["dropped", "a"], ["scaled"]), _node("Add", ["scaled", "b"], ["noisy"])],
            [_f("ratio", ratio), _f("alpha", alpha), _f("a", a), _f("b", -a * alpha * ratio)],
        ),
        facts("alpha", "ratio", ratio, None, "element", ALPHA),
    )  # fmt: skip


def summary(model):
    """Node forms in order, e.g. "Dropout(x, 0.3, true)": scalars that are constants are shown by value."""
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t) if node.attribute[0].name == "value" else None

    def show(name):
        value = values.get(name)
        if value is not None and value.size == 1:
            return str(value.item() if value.dtype == bool else f"{value.item():.7g}")
        return name or "-"

    shown = []
    for node in model.graph.node:
        if node.op_type != "Constant":
            attributes = [f"{a.name}={helper.get_attribute_value(a)}" for a in node.attribute if a.name in {"ratio", "mean", "scale", "low", "high", "training_mode"}]
            shown.append(f"{node.op_type}({', '.join([show(i) for i in node.input] + attributes)}) -> {len(node.output)}")
    return shown


def measure(model, sample):
    """Mean and variance of the value between noise and the node behind it, on inputs of ones, by ONNX Runtime.

    Only for chains whose convolution reads the noise. Training inputs are switched on. Returns None where none is drawn.
    """
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    if conv.input[0] == model.graph.input[0].name:
        return None
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(helper.make_tensor_value_info(conv.input[0], TensorProto.FLOAT, None))
    feeds = {model.graph.input[0].name: np.ones((DRAWS, *sample), np.float32)}
    for extra in model.graph.input[1:]:
        if extra.type.tensor_type.elem_type == TensorProto.BOOL:
            feeds[extra.name] = np.array(True)
    onnxruntime.set_seed(SEED)
    runner = session(probe, optimize=False)
    runs = [runner.run(None, feeds)[0].astype(np.float64) for _ in range(3)]
    one = runs[0]
    axes = tuple(range(2, one.ndim))
    # What shares one draw, seen from the values: is a sample's channel constant, is a sample constant, is all constant?
    if all(r.std() == 0 for r in runs):
        shares = "none" if all(r.flat[0] == 1 for r in runs) else "batch"
    elif np.all(one.std(axis=(1, *axes)) < 1e-9):
        shares = "sample"
    elif np.all(one.std(axis=axes) < 1e-9):
        shares = "channel"
    else:
        shares = "element"
    if shares == "batch":
        runs = [np.array([runner.run(None, {**feeds, model.graph.input[0].name: feeds[model.graph.input[0].name][:1]})[0].flat[0] for _ in range(2000)])]
    values = np.concatenate([r.ravel() for r in runs])
    return {"mean": float(values.mean()), "variance": float(values.var()), "shares": shares}


def error_line(problem):
    """The one line of an exporter's error that says what was missing."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    named = [line for line in lines if "No ONNX function" in line or "Unsupported" in line or "not supported" in line]
    text = (named or lines or [type(problem).__name__])[0]
    return f"{type(problem).__name__}: {text.split('  [Caused')[0]}"[:300]


def record(folder, log=print):
    deterministic(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []

    def keep(name, exporter, sample, description, build):
        row = {"name": name, "exporter": exporter, **description}
        try:
            model = build()
            onnx.checker.check_model(model, full_check=True)
        except Exception as problem:
            rows.append({**row, "file": None, "error": error_line(problem)})
            log(f"{name} {exporter}: {rows[-1]['error']}")
            return
        file = f"{name}-dynamo.onnx" if exporter == "dynamo" else f"{name}.onnx"
        save(model, folder / file)
        try:
            measured, error = measure(model, sample), None
        except Exception as problem:
            measured, error = None, str(problem).splitlines()[0][:300]
        rows.append({**row, "file": file, "measured": measured, "onnxRuntimeError": error, "nodes": summary(model)})
        log(f"{file}: s2 {description['s2']}, {description['shares']}; measured {measured} {error or ''}")

    for name, (builder, sample, description) in MODULES.items():
        torch.manual_seed(SEED)
        module = builder().train()
        examples = [torch.rand(3, *sample)]
        keep(name, "legacy", sample, description, lambda m=module, e=examples: export_legacy(m, e, ["x"], training=torch.onnx.TrainingMode.TRAINING, outputs=("y",))[0])
        module.train()
        keep(name, "dynamo", sample, description, lambda m=module, e=examples: export_dynamo(m, e, ["x"], outputs=("y",))[0])
    for name, model, description in hand_written():
        keep(name, "hand", (CHANNELS, 8, 8), description, lambda m=model: m)
    write_json(folder / "noise.json", {"torch": torch.__version__.split("+")[0], "seed": SEED, "graphs": rows})
