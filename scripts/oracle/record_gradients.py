"""Records gradients that PyTorch computes (float64) of single operators and small graphs in ONNX's text form."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from writing import write_json


def _mixed(bits):
    bits &= 0xFFFFFFFF
    bits = ((bits ^ (bits >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return bits ^ (bits >> 16)


def uniform(dims, low, high, seed):
    """The same numbers as `uniform` of src/ir/random.ts."""
    values = [
        low + (high - low) * (_mixed(((i + 1) * 0x9E3779B1) ^ ((seed + 1) * 0x85EBCA6B & 0xFFFFFFFF)) / 2**32)
        for i in range(math.prod(dims))
    ]
    return np.array(values).reshape(dims)


def _rounded(values):
    return torch.from_numpy(values.astype(np.float32).astype(np.float64))


CASES = []


def case(name, operands, body, function, constants="", opset=17):
    """`operands`: shape, or (shape, low, high), by name; `body` computes y, `function` does so in PyTorch."""
    CASES.append((name, operands, body, function, constants, opset))


def record(folder):
    torch.set_default_dtype(torch.float64)
    recorded = []
    for number, (name, operands, body, function, constants, opset) in enumerate(CASES):
        tensors, declared = {}, []
        for i, (operand, given) in enumerate(operands.items()):
            shape, low, high = given if isinstance(given[0], tuple) else (given, -1, 1)
            seed = 10 * number + i
            tensors[operand] = _rounded(uniform(shape, low, high, seed)).requires_grad_()
            declared.append(f"float32[{', '.join(map(str, shape))}] {operand} = uniform({low}, {high}, {seed})")
        if constants:
            declared.append(constants)
        version = "" if opset == 17 else f'<ir_version: 10, opset_import: ["": {opset}]> '
        y = function(*tensors.values())
        loss = (y * _rounded(uniform(tuple(y.shape), -1, 1, 10 * number + 9))).sum()
        loss.backward()
        recorded.append(
            {
                "name": name,
                "graph": f"{version}g () => () <{', '.join(declared)}> {{ {body} }}",
                "weights": 10 * number + 9,
                "loss": loss.item(),
                "gradients": {operand: tensor.grad.flatten().numpy() for operand, tensor in tensors.items()},
            }
        )
    write_json(folder / "gradients.json", {"torch": torch.__version__, "cases": recorded})


# Convolutions
W = (3, 2, 3, 3)
case("conv", {"x": (2, 2, 5, 4), "w": W, "b": (3,)}, "y = Conv <pads = [1, 1, 1, 1]> (x, w, b)", lambda x, w, b: F.conv2d(x, w, b, padding=1))
case("conv, stride and dilation", {"x": (2, 2, 7, 8), "w": (3, 2, 3, 2)}, "y = Conv <strides = [2, 3], dilations = [1, 2], pads = [1, 2, 1, 2]> (x, w)", lambda x, w: F.conv2d(x, w, stride=(2, 3), dilation=(1, 2), padding=(1, 2)))
case("conv, one-sided padding", {"x": (2, 2, 5, 5), "w": W}, "y = Conv <strides = [2, 2], pads = [0, 1, 2, 0]> (x, w)", lambda x, w: F.conv2d(F.pad(x, (1, 0, 0, 2)), w, stride=2))
case("conv, rows behind the last window", {"x": (1, 2, 6, 8), "w": W}, "y = Conv <strides = [2, 3]> (x, w)", lambda x, w: F.conv2d(x, w, stride=(2, 3)))
case("conv, groups", {"x": (2, 4, 5, 4), "w": (6, 2, 3, 3), "b": (6,)}, "y = Conv <group = 2, pads = [1, 1, 1, 1], strides = [2, 1]> (x, w, b)", lambda x, w, b: F.conv2d(x, w, b, padding=1, stride=(2, 1), groups=2))
case("conv, depthwise", {"x": (2, 3, 5, 4), "w": (6, 1, 3, 3)}, "y = Conv <group = 3, pads = [1, 1, 1, 1]> (x, w)", lambda x, w: F.conv2d(x, w, padding=1, groups=3))
case("conv 1x1", {"x": (2, 4, 3, 5), "w": (3, 4, 1, 1)}, "y = Conv (x, w)", lambda x, w: F.conv2d(x, w))
case("conv 1x1, stride", {"x": (2, 4, 5, 5), "w": (3, 4, 1, 1)}, "y = Conv <strides = [2, 2]> (x, w)", lambda x, w: F.conv2d(x, w, stride=2))
case("conv 1-D", {"x": (2, 4, 9), "w": (4, 2, 4), "b": (4,)}, "y = Conv <group = 2, strides = [2], dilations = [2], pads = [3, 3]> (x, w, b)", lambda x, w, b: F.conv1d(x, w, b, stride=2, dilation=2, padding=3, groups=2))
case("conv 3-D", {"x": (1, 2, 3, 4, 4), "w": (2, 2, 2, 3, 2)}, "y = Conv <strides = [1, 2, 1], pads = [1, 1, 0, 1, 1, 0]> (x, w)", lambda x, w: F.conv3d(x, w, stride=(1, 2, 1), padding=(1, 1, 0)))
case("transposed conv", {"x": (2, 3, 3, 4), "w": (3, 2, 3, 3), "b": (2,)}, "y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]> (x, w, b)", lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1))
case("transposed conv, groups", {"x": (2, 4, 5), "w": (4, 3, 3)}, "y = ConvTranspose <group = 2, strides = [3], dilations = [2], pads = [1, 1]> (x, w)", lambda x, w: F.conv_transpose1d(x, w, stride=3, dilation=2, padding=1, groups=2))
case("transposed conv 3-D", {"x": (1, 2, 2, 3, 2), "w": (2, 2, 2, 2, 3)}, "y = ConvTranspose <strides = [2, 1, 2], pads = [0, 1, 1, 0, 1, 1]> (x, w)", lambda x, w: F.conv_transpose3d(x, w, stride=(2, 1, 2), padding=(0, 1, 1)))
case("one weight for two convs", {"x": (2, 2, 4, 4), "w": (2, 2, 3, 3)}, "a = Conv <pads = [1, 1, 1, 1]> (x, w) b = Relu (a) y = Conv <pads = [1, 1, 1, 1]> (b, w)", lambda x, w: F.conv2d(F.relu(F.conv2d(x, w, padding=1)), w, padding=1))

# Matrices
case("gemm", {"a": (3, 4), "b": (5, 4), "c": (5,)}, "y = Gemm <transB = 1> (a, b, c)", lambda a, b, c: F.linear(a, b, c))
case("gemm, scaled and transposed", {"a": (4, 3), "b": (4, 5), "c": (3, 1)}, "y = Gemm <transA = 1, alpha = 0.5, beta = 2.0> (a, b, c)", lambda a, b, c: 0.5 * a.T @ b + 2 * c)
case("matmul, batched", {"a": (2, 3, 4), "b": (2, 4, 2)}, "y = MatMul (a, b)", lambda a, b: a @ b)
case("matmul, broadcast", {"a": (2, 1, 3, 4), "b": (3, 4, 2)}, "y = MatMul (a, b)", lambda a, b: a @ b)
case("matmul, one weight", {"a": (2, 3, 4), "b": (4, 5)}, "y = MatMul (a, b)", lambda a, b: a @ b)
case("matmul, vectors", {"a": (2, 3, 4), "b": (4,)}, "y = MatMul (a, b)", lambda a, b: a @ b)
case("attention", {"q": (2, 3, 4), "k": (2, 5, 4), "v": (2, 5, 3)}, "t = Transpose <perm = [0, 2, 1]> (k) s = MatMul (q, t) p = Softmax <axis = -1> (s) y = MatMul (p, v)", lambda q, k, v: torch.softmax(q @ k.transpose(1, 2), -1) @ v)
case("einsum", {"a": (2, 3, 4), "b": (2, 4, 2)}, 'y = Einsum <equation = "bij,bjk->bki"> (a, b)', lambda a, b: torch.einsum("bij,bjk->bki", a, b))

# Normalisations
NORM = {"x": (4, 3, 2, 3), "s": ((3,), -2, 2), "b": (3,)}
STATISTICS = "float32[3] m = {0.5, -1, 0.25}, float32[3] v = {1, 0.5, 2}"
MEAN, VARIANCE = [0.5, -1, 0.25], [1, 0.5, 2]


def batch_norm(x, s, b, training):
    return F.batch_norm(x, torch.tensor(MEAN), torch.tensor(VARIANCE, dtype=torch.float64), s, b, training)


case("batch norm, train", NORM, "y, r, t = BatchNormalization <training_mode = 1, momentum = 0.0> (x, s, b, m, v)", lambda x, s, b: batch_norm(x, s, b, True), STATISTICS)
case("batch norm, train, running statistics kept", NORM, "y, r, t = BatchNormalization <training_mode = 1> (x, s, b, m, v)", lambda x, s, b: batch_norm(x, s, b, True), STATISTICS)
case("batch norm, train, vectors", {**NORM, "x": (7, 3)}, "y, r, t = BatchNormalization <training_mode = 1, momentum = 0.0> (x, s, b, m, v)", lambda x, s, b: batch_norm(x, s, b, True), STATISTICS)
case("batch norm, train, mean far from zero", {**NORM, "x": ((4, 3, 2, 3), 9, 11)}, "y, r, t = BatchNormalization <training_mode = 1, momentum = 0.0> (x, s, b, m, v)", lambda x, s, b: batch_norm(x, s, b, True), STATISTICS)
case("batch norm, eval", NORM, "y = BatchNormalization (x, s, b, m, v)", lambda x, s, b: batch_norm(x, s, b, False), STATISTICS)
case("batch norm, eval, statistics too", {**NORM, "m": (3,), "v": ((3,), 0.5, 2)}, "y = BatchNormalization (x, s, b, m, v)", lambda x, s, b, m, v: (x - m[:, None, None]) / torch.sqrt(v + 1e-5)[:, None, None] * s[:, None, None] + b[:, None, None])
case("layer norm", {"x": (2, 3, 5), "s": (5,), "b": (5,)}, "y = LayerNormalization (x, s, b)", lambda x, s, b: F.layer_norm(x, (5,), s, b))
case("layer norm, two axes", {"x": (2, 3, 5), "s": (3, 5)}, "y = LayerNormalization <axis = 1> (x, s)", lambda x, s: F.layer_norm(x, (3, 5), s))
case("instance norm", {"x": (2, 3, 2, 3), "s": (3,), "b": (3,)}, "y = InstanceNormalization (x, s, b)", lambda x, s, b: F.instance_norm(x, weight=s, bias=b))
case("group norm", {"x": (2, 4, 2, 3), "s": (4,), "b": (4,)}, "y = GroupNormalization <num_groups = 2> (x, s, b)", lambda x, s, b: F.group_norm(x, 2, s, b), opset=21)

# Pools
X = {"x": (2, 2, 5, 6)}
case("max pool", X, "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)", lambda x: F.max_pool2d(x, 2))
case("max pool, overlapping", X, "y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x)", lambda x: F.max_pool2d(x, 3, 2, 1))
case("max pool, rounded up, dilated", X, "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2], dilations = [2, 2], ceil_mode = 1> (x)", lambda x: F.max_pool2d(x, 2, 2, dilation=2, ceil_mode=True))
case("max pool 1-D", {"x": (2, 2, 9)}, "y = MaxPool <kernel_shape = [3], strides = [2]> (x)", lambda x: F.max_pool1d(x, 3, 2))
case("average pool", X, "y = AveragePool <kernel_shape = [2, 3], strides = [2, 3]> (x)", lambda x: F.avg_pool2d(x, (2, 3)))
case("average pool, padded", X, "y = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x)", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False))
case("average pool, padding counts", X, "y = AveragePool <kernel_shape = [3, 3], strides = [2, 1], pads = [1, 1, 1, 1], count_include_pad = 1> (x)", lambda x: F.avg_pool2d(x, 3, (2, 1), 1))
case("average pool, rounded up", X, "y = AveragePool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)", lambda x: F.avg_pool2d(x, 2, ceil_mode=True))
case("global average pool", X, "y = GlobalAveragePool (x)", lambda x: x.mean((2, 3), keepdim=True))
case("global max pool", X, "y = GlobalMaxPool (x)", lambda x: x.amax((2, 3), keepdim=True))

# Functions of one variable
A = {"x": ((3, 5), -2, 2)}
P = {"x": ((3, 4), 0.5, 3)}
for name, operator, function in [
    ("relu", "Relu", F.relu),
    ("leaky relu", "LeakyRelu <alpha = 0.2>", lambda x: F.leaky_relu(x, 0.2)),
    ("elu", "Elu <alpha = 1.5>", lambda x: F.elu(x, 1.5)),
    ("selu", "Selu", F.selu),
    ("celu", "Celu <alpha = 2.0>", lambda x: F.celu(x, 2)),
    ("sigmoid", "Sigmoid", torch.sigmoid),
    ("hard sigmoid", "HardSigmoid <alpha = 0.16666667, beta = 0.5>", lambda x: torch.clamp(x / 6 + 0.5, 0, 1)),
    ("hard sigmoid, steep", "HardSigmoid <alpha = 0.5, beta = 0.2>", lambda x: torch.clamp(x / 2 + 0.2, 0, 1)),
    ("hard swish", "HardSwish", F.hardswish),
    ("tanh", "Tanh", torch.tanh),
    ("softplus", "Softplus", F.softplus),
    ("softsign", "Softsign", F.softsign),
    ("thresholded relu", "ThresholdedRelu <alpha = 0.5>", lambda x: F.threshold(x, 0.5, 0)),
    ("shrink", "Shrink <lambd = 0.7, bias = 0.7>", lambda x: F.softshrink(x, 0.7)),
    ("abs", "Abs", torch.abs),
    ("negative", "Neg", torch.neg),
    ("exp", "Exp", torch.exp),
    ("erf", "Erf", torch.erf),
    ("sin", "Sin", torch.sin),
    ("cos", "Cos", torch.cos),
    ("atan", "Atan", torch.atan),
    ("softmax", "Softmax <axis = 1>", lambda x: torch.softmax(x, 1)),
    ("softmax, first axis", "Softmax <axis = 0>", lambda x: torch.softmax(x, 0)),
    ("log softmax", "LogSoftmax", lambda x: torch.log_softmax(x, -1)),
    ("floor", "Floor", torch.floor),
]:
    case(name, A, f"y = {operator} (x)", function)
for name, operator, function in [
    ("gelu", "Gelu", F.gelu),
    ("gelu by tanh", 'Gelu <approximate = "tanh">', lambda x: F.gelu(x, approximate="tanh")),
    ("mish", "Mish", F.mish),
]:
    case(name, A, f"y = {operator} (x)", function, opset=20)
case("hard swish, both ends", {"x": ((3, 5), -5, 5)}, "y = HardSwish (x)", F.hardswish)
case("swish", A, "s = Sigmoid (x) y = Mul (x, s)", F.silu)
for name, operator, function in [("sqrt", "Sqrt", torch.sqrt), ("log", "Log", torch.log), ("reciprocal", "Reciprocal", torch.reciprocal)]:
    case(name, P, f"y = {operator} (x)", function)
case("prelu", {"x": (2, 3, 4), "s": ((3, 1), 0, 1)}, "y = PRelu (x, s)", lambda x, s: F.prelu(x, s.flatten()))
case("clip", A, "y = Clip (x, low, high)", lambda x: torch.clamp(x, -0.5, 1), "float32 low = {-0.5}, float32 high = {1}")

# Arithmetic
AB = {"a": (2, 3, 4), "b": (3, 1)}
case("add, broadcast", AB, "y = Add (a, b)", lambda a, b: a + b)
case("sub, broadcast", AB, "y = Sub (b, a)", lambda a, b: b - a)
case("mul, broadcast", AB, "y = Mul (a, b)", lambda a, b: a * b)
case("mul, both broadcast", {"a": (2, 1, 4), "b": (3, 1)}, "y = Mul (a, b)", lambda a, b: a * b)
case("div, broadcast", {"a": (2, 3, 4), "b": ((3, 1), 1, 2)}, "y = Div (a, b)", lambda a, b: a / b)
case("div, number over a value", {"b": ((2, 3), 1, 2)}, "y = Div (two, b)", lambda b: 2 / b, "float32 two = {2}")
case("pow, square", {"a": (2, 3)}, "y = Pow (a, p)", lambda a: a**2, "float32 p = {2}")
case("pow, cube", {"a": (2, 3)}, "y = Pow (a, p)", lambda a: a**3, "float32 p = {3}")
case("pow, both", {"a": ((2, 3), 0.5, 2), "b": (3,)}, "y = Pow (a, b)", lambda a, b: a**b)
case("max", AB, "y = Max (a, b)", lambda a, b: torch.maximum(a, b))
case("min of three", {"a": (2, 3), "b": (3,), "c": (2, 3)}, "y = Min (a, b, c)", lambda a, b, c: torch.minimum(torch.minimum(a, b), c))
case("sum of three", {"a": (2, 3), "b": (3,), "c": (1,)}, "y = Sum (a, b, c)", lambda a, b, c: a + b + c)
case("mean of two", {"a": (2, 3), "b": (3,)}, "y = Mean (a, b)", lambda a, b: (a + b) / 2)
case("where", {"a": (2, 3), "b": (3,)}, "y = Where (c, a, b)", lambda a, b: torch.where(torch.tensor([[True], [False]]), a, b), "bool[2, 1] c = {1, 0}")
case("value used three times", {"a": (2, 3)}, "b = Mul (a, a) c = Add (b, a) y = Mul (c, a)", lambda a: (a * a + a) * a)
case("dropout with a given mask", {"a": (2, 4)}, "m = Mul (keep, two) y = Mul (a, m)", lambda a: a * torch.tensor([[2.0, 0, 0, 2], [0, 2, 2, 2]]), "float32[2, 4] keep = {1, 0, 0, 1, 0, 1, 1, 1}, float32 two = {2}")

# Reductions
R = {"x": (2, 3, 4)}
case("reduce mean", R, "y = ReduceMean <axes = [1]> (x)", lambda x: x.mean(1, keepdim=True))
case("reduce mean of all", R, "y = ReduceMean <keepdims = 0> (x)", lambda x: x.mean())
case("reduce sum", R, "y = ReduceSum <keepdims = 0> (x, axes)", lambda x: x.sum((0, 2)), "int64[2] axes = {0, -1}")
case("reduce max", R, "y = ReduceMax <axes = [1, 2]> (x)", lambda x: x.amax((1, 2), keepdim=True))
case("reduce min", R, "y = ReduceMin <axes = [-1], keepdims = 0> (x)", lambda x: x.amin(-1))
case("reduce L1", R, "y = ReduceL1 <axes = [1]> (x)", lambda x: x.abs().sum(1, keepdim=True))
case("reduce L2", R, "y = ReduceL2 <axes = [1], keepdims = 0> (x)", lambda x: x.norm(dim=1))
case("reduce sum of squares", R, "y = ReduceSumSquare <axes = [2]> (x)", lambda x: (x * x).sum(2, keepdim=True))
case("reduce log sum exp", R, "y = ReduceLogSumExp <axes = [2]> (x)", lambda x: torch.logsumexp(x, 2, keepdim=True))
case("reduce product", R, "y = ReduceProd <axes = [2], keepdims = 0> (x)", lambda x: x.prod(2))
case("reduce product, a zero", R, "m = Mul (x, z) y = ReduceProd <axes = [2], keepdims = 0> (m)", lambda x: (x * torch.tensor([1.0, 0, 1, 1])).prod(2), "float32[4] z = {1, 0, 1, 1}")

# What moves elements
case("reshape and transpose", R, "t = Transpose <perm = [2, 0, 1]> (x) y = Reshape (t, s)", lambda x: x.permute(2, 0, 1).reshape(8, 3), "int64[2] s = {8, -1}")
case("concat", {"a": (2, 3), "b": (2, 1)}, "y = Concat <axis = 1> (a, b, a)", lambda a, b: torch.cat([a, b, a], 1))
case("split, one part used", {"x": (2, 6)}, "a, b, c = Split <axis = 1> (x) y = Mul (a, c)", lambda x: x[:, :2] * x[:, 4:])
case("slice, steps", {"x": (2, 7, 3)}, "y = Slice (x, from, to, axis, step)", lambda x: x[:, 1:6:2], "int64[1] from = {1}, int64[1] to = {6}, int64[1] axis = {1}, int64[1] step = {2}")
case("slice, backwards", {"x": (2, 5)}, "y = Slice (x, from, to, axis, step)", lambda x: x[:, 1:].flip(1), "int64[1] from = {-1}, int64[1] to = {0}, int64[1] axis = {1}, int64[1] step = {-1}")
case("pad", {"x": (2, 3, 3)}, "y = Pad (x, p)", lambda x: F.pad(x, (1, 2, 0, 1)), "int64[6] p = {0, 0, 1, 0, 1, 2}")
case("pad, cutting", {"x": (2, 3, 4)}, "y = Pad (x, p)", lambda x: F.pad(x, (-1, 2)), "int64[6] p = {0, 0, -1, 0, 0, 2}")
case("pad, reflect", {"x": (1, 2, 4, 3)}, 'y = Pad <mode = "reflect"> (x, p)', lambda x: F.pad(x, (2, 1, 1, 3), mode="reflect"), "int64[8] p = {0, 0, 1, 2, 0, 0, 3, 1}")
case("pad, edge", {"x": (1, 2, 3, 3)}, 'y = Pad <mode = "edge"> (x, p)', lambda x: F.pad(x, (2, 1, 0, 3), mode="replicate"), "int64[8] p = {0, 0, 0, 2, 0, 0, 3, 1}")
case("gather rows", {"x": (4, 3)}, "y = Gather (x, i)", lambda x: x[torch.tensor([[0, 3], [3, 1]])], "int64[2, 2] i = {0, 3, 3, 1}")
case("gather columns", {"x": (2, 4, 3)}, "y = Gather <axis = 1> (x, i)", lambda x: x[:, [2, 2, 3]], "int64[3] i = {2, -2, 3}")
case("gather elements", {"x": (2, 4)}, "y = GatherElements <axis = 1> (x, i)", lambda x: x.gather(1, torch.tensor([[0, 3, 3], [1, 1, 1]])), "int64[2, 3] i = {0, 3, 3, 1, 1, 1}")
case("expand", {"x": (3, 1)}, "y = Expand (x, s)", lambda x: x.expand(2, 3, 4), "int64[3] s = {2, 1, 4}")
case("tile", {"x": (2, 3)}, "y = Tile (x, r)", lambda x: x.repeat(2, 3), "int64[2] r = {2, 3}")
case("squeeze and unsqueeze", {"x": (2, 1, 3)}, "s = Squeeze (x, one) y = Unsqueeze (s, ends)", lambda x: x.squeeze(1)[None, :, :, None], "int64[1] one = {1}, int64[2] ends = {0, -1}")
case("flatten", {"x": (2, 3, 2)}, "y = Flatten (x)", lambda x: x.flatten(1))
case("resize, nearest", {"x": (1, 2, 2, 3)}, 'y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, _, s)', lambda x: F.interpolate(x, scale_factor=(2, 3)), "float32[4] s = {1, 1, 2, 3}")
case("resize, linear", {"x": (1, 2, 3, 4)}, 'y = Resize <mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"> (x, _, _, z)', lambda x: F.interpolate(x, size=(5, 6), mode="bilinear"), "int64[4] z = {1, 2, 5, 6}")
case("resize, linear, corners aligned", {"x": (1, 2, 3, 4)}, 'y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, _, _, z)', lambda x: F.interpolate(x, size=(5, 6), mode="bilinear", align_corners=True), "int64[4] z = {1, 2, 5, 6}")
case("depth to space", {"x": (1, 8, 2, 2)}, 'y = DepthToSpace <blocksize = 2, mode = "CRD"> (x)', lambda x: F.pixel_shuffle(x, 2))
case("cumulated sum", {"x": (2, 4)}, "y = CumSum (x, one)", lambda x: x.cumsum(1), "int64 one = {1}")
case("largest two", {"x": (2, 5)}, "y, i = TopK (x, two)", lambda x: x.topk(2).values, "int64[1] two = {2}")
case("upper triangle", {"x": (3, 3)}, "y = Trilu <upper = 0> (x)", lambda x: x.tril())
case("cross entropy of a small net", {"x": (4, 3), "w": (5, 3), "v": (3, 5)}, "a = Gemm <transB = 1> (x, w) h = Relu (a) z = Gemm <transB = 1> (h, v) l = LogSoftmax (z) p = GatherElements <axis = 1> (l, t) m = ReduceMean <keepdims = 0> (p) y = Neg (m)", lambda x, w, v: F.cross_entropy(F.relu(x @ w.T) @ v.T, torch.tensor([0, 2, 1, 1])), "int64[4, 1] t = {0, 2, 1, 1}")
