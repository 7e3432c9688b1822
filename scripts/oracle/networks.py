"""Small networks with noise upstream of batch normalization, one for each pattern that varshift must know.

Each entry of NETWORKS names the builder and the data it learns from.
"""

from dataclasses import dataclass, field
from typing import Callable

import torch
from torch import nn


class PreActBottleneck(nn.Module):
    """BN-ReLU-conv1 -> BN-ReLU-conv3 -> BN-ReLU-conv1 + shortcut, with Dropout directly before the last BN
    (placement "a") or directly before the last convolution (placement "b")."""

    expansion = 4

    def __init__(self, inputs, planes, stride, ratio, placement):
        super().__init__()
        outputs = planes * self.expansion
        self.placement = placement
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.dropout = nn.Dropout(ratio)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 or inputs != outputs else None

    def forward(self, x):
        y = torch.relu(self.bn1(x))
        trunk = x if self.shortcut is None else self.shortcut(y)
        y = self.conv1(y)
        y = self.conv2(torch.relu(self.bn2(y)))
        if self.placement == "a":
            y = self.dropout(y)
        y = torch.relu(self.bn3(y))
        if self.placement == "b":
            y = self.dropout(y)
        return self.conv3(y) + trunk


class PreResNet(nn.Module):
    def __init__(self, placement="a", ratio=0.5, stem=8, planes=(8, 12, 16), depth=2, channels=3, stem_stride=1, classes=10):
        super().__init__()
        self.stem = nn.Conv2d(channels, stem, 3, stem_stride, 1, bias=False)
        width, stages = stem, []
        for index, p in enumerate(planes):
            blocks = []
            for block in range(depth):
                stride = 2 if index > 0 and block == 0 else 1
                blocks.append(PreActBottleneck(width, p, stride, ratio, placement))
                width = p * PreActBottleneck.expansion
            stages.append(nn.Sequential(*blocks))
        self.layers = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(torch.relu(self.bn(self.layers(self.stem(x)))).mean((2, 3)))


class WideBlock(nn.Module):
    """BN-ReLU-conv -> BN-ReLU-Dropout-conv + shortcut, as wide residual networks do."""

    def __init__(self, inputs, outputs, stride, ratio):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(ratio)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 or inputs != outputs else None

    def forward(self, x):
        y = torch.relu(self.bn1(x))
        trunk = x if self.shortcut is None else self.shortcut(y)
        return self.conv2(self.dropout(torch.relu(self.bn2(self.conv1(y))))) + trunk


class WideResNet(nn.Module):
    def __init__(self, ratio=0.3, widths=(10, 16, 22), depth=2):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        inputs, blocks = 8, []
        for index, width in enumerate(widths):
            for block in range(depth):
                blocks.append(WideBlock(inputs, width, 2 if index > 0 and block == 0 else 1, ratio))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(inputs)
        self.head = nn.Linear(inputs, 10)

    def forward(self, x):
        return self.head(torch.relu(self.bn(self.blocks(self.stem(x)))).mean((2, 3)))


class DenseLayer(nn.Module):
    """BN-ReLU-conv1 -> BN-ReLU-conv3-Dropout, concatenated to its input: every later BN sees the noise."""

    def __init__(self, inputs, growth, ratio):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)
        self.dropout = nn.Dropout(ratio)

    def forward(self, x):
        y = self.conv1(torch.relu(self.norm1(x)))
        y = self.dropout(self.conv2(torch.relu(self.norm2(y))))
        return torch.cat([x, y], 1)


class Transition(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        return self.pool(self.conv(torch.relu(self.norm(x))))


class DenseNet(nn.Module):
    def __init__(self, ratio=0.2, growth=6, depths=(3, 3)):
        super().__init__()
        width = 2 * growth
        parts = [nn.Conv2d(3, width, 3, 1, 1, bias=False)]
        for index, depth in enumerate(depths):
            for _ in range(depth):
                parts.append(DenseLayer(width, growth, ratio))
                width += growth
            if index + 1 < len(depths):
                parts.append(Transition(width, width // 2))
                width //= 2
        self.features = nn.Sequential(*parts)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.features(x))).mean((2, 3)))


class ResNeXtBlock(nn.Module):
    """conv1-BN-ReLU -> grouped conv3-BN-ReLU -> conv1-Dropout-BN + shortcut, ReLU."""

    def __init__(self, inputs, width, outputs, stride, groups, ratio):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.dropout = nn.Dropout(ratio)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        trunk = x if self.shortcut is None else self.shortcut(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.dropout(self.conv3(y))) + trunk)


class ResNeXt(nn.Module):
    def __init__(self, ratio=0.5, groups=4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(
            ResNeXtBlock(16, 16, 24, 1, groups, ratio),
            ResNeXtBlock(24, 24, 32, 2, groups, ratio),
            ResNeXtBlock(32, 24, 32, 1, groups, ratio),
            ResNeXtBlock(32, 32, 48, 2, groups, ratio),
        )
        self.head = nn.Linear(48, 10)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def vgg_bn(ratio=0.3, head_ratio=0.5):
    """conv-BN-ReLU-maxpool-Dropout blocks, then a dense head Dropout-Linear-BN-ReLU-Linear."""
    layers = []
    for inputs, outputs in ((3, 12), (12, 24), (24, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(ratio)]
    layers += [nn.Flatten(), nn.Dropout(head_ratio), nn.Linear(32 * 2 * 2, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 10)]
    return nn.Sequential(*layers)


def keras_style(ratio=0.25, head_ratio=0.5):
    """conv-ReLU-BN-maxpool-Dropout, the order in many Keras examples: noise passes a ReLU before the next BN."""
    layers = []
    for inputs, outputs in ((3, 12), (12, 20), (20, 28)):
        layers += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.ReLU(), nn.BatchNorm2d(outputs, eps=1e-3), nn.MaxPool2d(2), nn.Dropout(ratio)]
    layers += [nn.Flatten(), nn.Linear(28 * 2 * 2, 48), nn.ReLU(), nn.Dropout(head_ratio), nn.BatchNorm1d(48, eps=1e-3), nn.Linear(48, 10)]
    return nn.Sequential(*layers)


def mlp(ratio=0.5, inputs=144, width=64):
    """Linear-ReLU-Dropout-BN, three times."""
    layers = []
    for _ in range(3):
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(ratio), nn.BatchNorm1d(width)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(width, 10))


def conv1d(ratio=0.25):
    """Dropout-conv-ReLU-BN four times, then one BN behind a Dropout directly."""
    layers, inputs = [], 2
    for outputs in (12, 16, 24, 24):
        layers += [nn.Dropout(ratio), nn.Conv1d(inputs, outputs, 5, 1 if inputs == 2 else 2, 2), nn.ReLU(), nn.BatchNorm1d(outputs)]
        inputs = outputs
    layers += [nn.Conv1d(inputs, 24, 3, 1, 1), nn.ReLU(), nn.Dropout(ratio), nn.BatchNorm1d(24)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, 10))


class TwoInput(nn.Module):
    """An image branch and a vector branch, concatenated, Dropout, BN, head."""

    def __init__(self, features=12, ratio=0.5):
        super().__init__()
        self.picture = nn.Sequential(
            nn.Conv2d(3, 12, 3, 1, 1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, 1, 1), nn.BatchNorm2d(24), nn.ReLU(), nn.AvgPool2d(3), nn.Flatten(),
        )  # fmt: skip
        self.numbers = nn.Sequential(nn.Linear(features, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU())
        self.dropout = nn.Dropout(ratio)
        self.bn = nn.BatchNorm1d(24 * 4 + 24)
        self.hidden = nn.Linear(24 * 4 + 24, 32)
        self.bn_hidden = nn.BatchNorm1d(32)
        self.head = nn.Linear(32, 10)

    def forward(self, image, vector):
        joined = torch.cat([self.picture(image), self.numbers(vector)], 1)
        y = self.hidden(self.bn(self.dropout(joined)))
        return self.head(torch.relu(self.bn_hidden(y)))


@dataclass(frozen=True)
class Network:
    build: Callable[[], nn.Module]
    data: str = "images"
    options: dict = field(default_factory=dict)
    epochs: int = 12
    rate: float = 3e-3
    train_count: int = 6000


NETWORKS = {
    "preresnet": Network(lambda: PreResNet("a"), options={"size": 16}),
    "mlp": Network(mlp, data="pixels", options={"size": 12}, epochs=20, rate=1e-3),
    "preresnet-b": Network(lambda: PreResNet("b"), options={"size": 12}),
    "wrn": Network(WideResNet, options={"size": 12}),
    "densenet": Network(DenseNet, options={"size": 12}),
    "resnext": Network(ResNeXt, options={"size": 12}),
    "vgg-bn": Network(vgg_bn, options={"size": 16}),
    "keras-style": Network(keras_style, options={"size": 16}),
    "conv1d": Network(conv1d, data="signals"),
    "two-input": Network(TwoInput, data="image_and_vector"),
}
