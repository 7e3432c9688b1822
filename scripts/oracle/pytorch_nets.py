"""Small networks that between them use every ATen operator that varshift translates, for record_pytorch.py."""

import torch
import torch.nn.functional as F
from torch import nn

from networks import DenseNet, PreResNet


class Function(nn.Module):
    """A function of a batch and of some modules, with parameters of their own."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(modules)

    def forward(self, x):
        return torch.cat([y.flatten(1) for y in self.function(self.layers, x)], 1)


class InvertedResidual(nn.Module):
    """expand-BN-hardswish -> depthwise-BN-ReLU6 -> squeeze and excitation -> Dropout2d-project-BN + shortcut."""

    def __init__(self, width=6, inner=10):
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner, eps=1e-3), nn.Hardswish(inplace=True))
        self.depthwise = nn.Sequential(nn.Conv2d(inner, inner, 3, 1, 1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(inplace=True))
        self.excite = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inner, 4, 1), nn.SiLU(), nn.Conv2d(4, inner, 1), nn.Hardsigmoid())
        self.dropout = nn.Dropout2d(0.3)
        self.project = nn.Sequential(nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.depthwise(self.expand(x))
        return x + self.project(self.dropout(y * self.excite(y)))


class Shuffle(nn.Module):
    """Channels are split, one half is convolved, and both are shuffled; a Dropout in place, as a function."""

    def __init__(self, width=8):
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(width // 2, width // 2, 3, 1, 1), nn.BatchNorm2d(width // 2), nn.ReLU(inplace=True))
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x):
        kept, changed = x.chunk(2, dim=1)
        y = torch.cat((kept, self.branch(changed)), 1)
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        return self.bn(F.dropout(y, 0.4, self.training, inplace=True))


class Attention(nn.Module):
    def __init__(self, width=8, tokens=11, length=5):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.position = nn.Parameter(torch.randn(1, length, width))
        self.encoder = nn.TransformerEncoderLayer(width, 2, 16, dropout=0.2, batch_first=True, activation="gelu")
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.bn = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, 3)

    def forward(self, tokens):
        x = self.encoder(self.embedding(tokens) + self.position)
        x = self.attention(x, x, x, need_weights=False)[0]
        x = F.scaled_dot_product_attention(x, x, x, is_causal=True)
        return self.head(self.bn(x.transpose(1, 2)).transpose(1, 2)), torch.einsum("bij,bkj->bik", x, x)


class Noises(nn.Module):
    """Noise that the network spells out itself: stochastic depth, Gaussian, uniform and additive."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 1, 1)
        self.paths = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(4))

    def forward(self, x):
        y = self.conv(x)
        for i, bn in enumerate(self.paths):
            if self.training:
                if i == 0:
                    y = y * (torch.empty(y.shape[0], 1, 1, 1).bernoulli_(0.8) / 0.8)
                if i == 1:
                    y = y * (1 + 0.5 * torch.randn(y.shape))
                if i == 2:
                    y = y * (1 + (torch.rand_like(y) * 2 - 1) * 0.7)
                if i == 3:
                    y = y + torch.randn_like(y) * 0.5
            y = bn(y)
        return y.mean((2, 3))


class Tied(nn.Module):
    """One norm used twice, tied weights, a strided buffer that is not saved, a block without gradient, writes in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.bn = nn.BatchNorm1d(4)
        self.alias = self.bn
        self.own = nn.BatchNorm1d(4)
        self.register_buffer("matrix", torch.randn(3, 4).t()[:, 1:], persistent=False)

    def forward(self, x):
        with torch.no_grad():
            y = self.first(x).relu()
        y = self.alias(self.second(self.bn(y)))
        z = y.clone()
        z[:, 1:3] = y[:, :2] * 2
        z[:, 0].add_(1.0)
        return z @ self.matrix, self.own(F.dropout(y, 0.4, self.training))


def norms():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8, affine=False), nn.GroupNorm(4, 8), nn.InstanceNorm2d(8, affine=True),
        nn.InstanceNorm2d(8, affine=True, track_running_stats=True), nn.BatchNorm2d(8, track_running_stats=False), nn.LayerNorm([8, 8, 8]),
        nn.Conv2d(8, 4, 3, stride=2, dilation=2, padding=2, groups=2), nn.BatchNorm2d(4), nn.LocalResponseNorm(3), nn.Flatten(), nn.RMSNorm(64),
    )  # fmt: skip


def drops():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.Dropout2d(0.2), nn.BatchNorm2d(6), nn.SELU(), nn.AlphaDropout(0.3), nn.BatchNorm2d(6), nn.FeatureAlphaDropout(0.25),
        nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.Dropout(0.1, inplace=True), nn.BatchNorm2d(6),
    )  # fmt: skip


def vgg():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 1, 1), nn.BatchNorm2d(6), nn.ReLU(True), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(6, 8, 3), nn.PReLU(8), nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 12), nn.BatchNorm1d(12), nn.GLU(), nn.Linear(6, 4),
    )  # fmt: skip


def volumes():
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Dropout3d(0.3), nn.ConvTranspose3d(4, 2, 2, 2), nn.BatchNorm3d(2),
        nn.AvgPool3d(2), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


def signals():
    return nn.Sequential(
        nn.Conv1d(2, 6, 5, 2, 2), nn.BatchNorm1d(6), nn.ELU(), nn.Dropout1d(0.25), nn.ConvTranspose1d(6, 4, 4, 2, 1, output_padding=1), nn.BatchNorm1d(4),
        nn.AvgPool1d(2, ceil_mode=True), nn.Upsample(scale_factor=2, mode="linear"), nn.AdaptiveMaxPool1d(3), nn.Flatten(), nn.Linear(12, 3),
    )  # fmt: skip


def activations(layers, x):
    return [layer(x) for layer in layers] + [F.glu(x, 1)]


ACTIVATIONS = (
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.1), nn.ELU(0.7), nn.CELU(1.2), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish(),
    nn.Hardsigmoid(), nn.Hardtanh(-2, 2), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.Softplus(2.0), nn.Softsign(), nn.PReLU(), nn.LogSigmoid(),
    nn.Softshrink(), nn.Hardshrink(), nn.Threshold(0.1, 0.2), nn.Softmax(1), nn.LogSoftmax(1), nn.Tanhshrink(), nn.Softmin(1), nn.RReLU(),
)  # fmt: skip


def arithmetic(_, x):
    a, b = x[:, :3], x[:, 3:]
    return [
        a + b, a - b, a * b, a / (b.abs() + 1), a + 2, 2 - a, a * 3.5, 1 / (b.abs() + 0.5), a.pow(2), a.abs().pow(1.5), a.exp(), (a.abs() + 1).log(),
        a.abs().sqrt(), (a.abs() + 1).rsqrt(), a.clamp(-0.5, 0.5), a.clamp(min=0), a.clamp_max(0.3), torch.minimum(a, b), torch.maximum(a, b),
        torch.where(a > 0, a, b), torch.where(a > 0, a, 0.0), a.masked_fill(b < 0, -3.0), torch.addcmul(a, a, b, value=0.5), a.sign(), a.floor(), a.erf(),
        torch.lerp(a, b, 0.3), (a > b).float(), ((a > 0) & (b > 0)).float(), (~(a > 0)).float(), torch.add(a, b, alpha=2), torch.log1p(a.abs()),
        torch.sin(a) * torch.cos(b), a % 1.5, torch.floor_divide(a, 0.3), torch.square(a), torch.reciprocal(b.abs() + 1), (a.long() + b.long()).float(),
        torch.logical_or(a > 0, b > 0).float(), a.double().float(), torch.full_like(a, 2.0), torch.zeros_like(a) + 1, torch.nan_to_num(a), a.neg().abs(),
    ]  # fmt: skip


def shapes(_, x):
    n = x.shape[0]
    return [
        x.view(n, -1), x.permute(0, 2, 3, 1), x.transpose(1, 2).contiguous().view(n, -1), x[:, 1], x[:, ::2], x[..., 1:3], x[:, -1, 0], x.unsqueeze(1).squeeze(1),
        torch.stack([x, x * 2], 1), torch.cat(x.split(1, 1)[::-1], 1), torch.cat(x.chunk(3, 1), 1), x[:, :1].expand(-1, 3, -1, -1), x.repeat(1, 2, 1, 1),
        torch.roll(x, (1, -2), (2, 3)), x.flip(2), F.pad(x, (1, 2, 0, 1)), F.pad(x, (1, 1, 1, 1), "reflect"), F.pad(x, (1, 1, 1, 1), "replicate"), x.unbind(1)[1],
        F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2), x.movedim(1, -1), x.unflatten(1, (2, 2)), F.channel_shuffle(x, 2), x.narrow(2, 1, 3),
        x.index_select(1, torch.tensor([2, 0])), x[:, [0, 2]], torch.tril(x), x.split([1, 3], 1)[1], x.tile(1, 1, 2, 1), x.flatten(2).mean(2),
    ]  # fmt: skip


def reductions(_, x):
    return [
        x.mean((2, 3)), x.sum(-1), x.amax((1, 2)), x.amin(3), x.max(2)[0], x.min(1).values, x.var((2, 3)), x.std(1), x.var(1, unbiased=False),
        x.mean((1, 2, 3), keepdim=True), x.norm(dim=1), F.normalize(x, dim=1), x.argmax(1).float(), x.cumsum(1), x.logsumexp(1), x.prod(1),
        (x > 2).any(1).float(), torch.topk(x.flatten(1), 3)[0], torch.sort(x, 1)[0], torch.var_mean(x, 1)[1],
    ]  # fmt: skip


def pools(layers, x):
    return [layer(x) for layer in layers]


POOLS = (
    nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, dilation=2), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d(3, 2, ceil_mode=True),
    nn.AvgPool2d((2, 3), (1, 2)), nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((5, 2)), nn.AdaptiveAvgPool2d((3, None)), nn.AdaptiveAvgPool2d(12),
    nn.AdaptiveMaxPool2d(1), nn.AdaptiveMaxPool2d(5), nn.LPPool2d(2, 2),
)  # fmt: skip


def resizes(_, x):
    return [
        F.interpolate(x, size=(9, 11)), F.interpolate(x, scale_factor=2), F.interpolate(x, scale_factor=1.7, mode="bilinear"),
        F.interpolate(x, size=(9, 3), mode="bilinear"), F.interpolate(x, size=(9, 3), mode="bilinear", align_corners=True),
        F.interpolate(x, size=(9, 12), mode="bicubic"), F.interpolate(x, size=(7, 7), mode="nearest-exact"), F.interpolate(x, scale_factor=(0.5, 2)),
    ]  # fmt: skip


ALL = ("train", "eval", "train-decomposed", "eval-decomposed")
EVAL = ("eval", "eval-decomposed")

# name: (build, shape of a sample, forms)
NETS = {
    "preresnet": (lambda: PreResNet("a", 0.5, 4, (4, 5), 1), (3, 8, 8), ALL),
    "densenet": (lambda: DenseNet(0.3, 4, (2, 1)), (3, 8, 8), ("train", "eval-decomposed")),
    "mobile": (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), InvertedResidual(), InvertedResidual(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 8, 8), ("train", "eval-decomposed")),
    "shuffle": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), Shuffle(), Shuffle()), (3, 8, 8), ("train", "eval-decomposed")),
    "vgg": (vgg, (3, 10, 10), ("train-decomposed", "eval")),
    "signals": (signals, (2, 24), ("train", "eval")),
    "volumes": (volumes, (1, 4, 4, 4), ("train", "eval-decomposed")),
    "norms": (norms, (3, 8, 8), ("train", "eval-decomposed")),
    "drops": (drops, (3, 8, 8), ALL),
    "noises": (Noises, (3, 6, 6), ("train", "train-decomposed")),
    "tied": (Tied, (4,), ("train", "eval", "eval-decomposed")),
    "attention": (Attention, None, ("train-decomposed", "eval")),
    "activations": (lambda: Function(activations, *ACTIVATIONS), (6,), EVAL),
    "arithmetic": (lambda: Function(arithmetic), (6,), EVAL),
    "shapes": (lambda: Function(shapes), (4, 4, 4), EVAL),
    "reductions": (lambda: Function(reductions), (4, 5, 5), EVAL),
    "pools": (lambda: Function(pools, *POOLS), (2, 10, 10), EVAL),
    "resizes": (lambda: Function(resizes), (1, 6, 6), EVAL),
}  # fmt: skip
