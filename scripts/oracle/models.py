"""The networks of src/models in PyTorch, with modules named alike, so that a state_dict fits ours by name.

`build("preresnet-20")` gives the network of that name; builders take widths for small ones.
"""

import re

import torch
import torch.nn.functional as F
from torch import nn


def relu(x):
    return F.relu(x, inplace=True)


def conv(inputs, outputs, kernel, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


def stage(block, blocks, inputs, outputs, stride):
    """`blocks` blocks in a row; only the first changes size and width."""
    return nn.Sequential(*(block(inputs if i == 0 else outputs, stride if i == 0 else 1) for i in range(blocks)))


class PreActBasic(nn.Module):
    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3)
        self.shortcut = conv(inputs, channels, 1, stride) if stride > 1 or inputs != channels else None

    def forward(self, x):
        y = self.conv1(relu(self.bn1(x)))
        y = self.conv2(relu(self.bn2(y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class PreActBottleneck(nn.Module):
    def __init__(self, inputs, channels, stride):
        super().__init__()
        outputs = 4 * channels
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, channels, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.bn3 = nn.BatchNorm2d(channels)
        self.conv3 = conv(channels, outputs, 1)
        self.shortcut = conv(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else None

    def forward(self, x):
        y = self.conv1(relu(self.bn1(x)))
        y = self.conv2(relu(self.bn2(y)))
        y = self.conv3(relu(self.bn3(y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class PreResNet(nn.Module):
    def __init__(self, depth, bottleneck=False, width=16, channels=3, classes=10):
        super().__init__()
        blocks = (depth - 2) // (9 if bottleneck else 6)
        self.conv1 = conv(channels, width, 3)
        inputs = width
        for i in range(3):
            planes = width * 2**i
            outputs = 4 * planes if bottleneck else planes
            block = PreActBottleneck if bottleneck else PreActBasic
            made = stage(lambda n, s: block(n, planes, s), blocks, inputs, outputs, 1 if i == 0 else 2)
            setattr(self, f"layer{i + 1}", made)
            inputs = outputs
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(relu(self.bn(x)).mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3)
        self.shortcut = conv(inputs, channels, 1, stride) if stride > 1 or inputs != channels else None

    def forward(self, x):
        y = relu(self.bn1(x))
        trunk = x if self.shortcut is None else self.shortcut(y)
        y = relu(self.bn2(self.conv1(y)))
        return self.conv2(y) + trunk


class WideResNet(nn.Module):
    def __init__(self, depth, widen, width=16, channels=3, classes=10):
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = conv(channels, width, 3)
        inputs = width
        for i in range(3):
            outputs = width * widen * 2**i
            made = stage(lambda n, s: WideBlock(n, outputs, s), blocks, inputs, outputs, 1 if i == 0 else 2)
            setattr(self, f"layer{i + 1}", made)
            inputs = outputs
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(relu(self.bn(x)).mean((2, 3)))


class Bottleneck(nn.Module):
    def __init__(self, inputs, channels, outputs, stride, groups):
        super().__init__()
        self.conv1 = conv(inputs, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, stride, groups)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv(channels, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        projected = stride > 1 or inputs != outputs
        self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)) if projected else None

    def forward(self, x):
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNeXt(nn.Module):
    def __init__(self, depth, cardinality, group_width, width=64, channels=3, classes=10):
        super().__init__()
        blocks = (depth - 2) // 9
        self.conv1 = conv(channels, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for i in range(3):
            inside, outputs = cardinality * group_width * 2**i, 4 * width * 2**i
            made = stage(lambda n, s: Bottleneck(n, inside, outputs, s, cardinality), blocks, inputs, outputs, 1 if i == 0 else 2)
            setattr(self, f"layer{i + 1}", made)
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class ResNet(nn.Module):
    def __init__(self, blocks=(3, 4, 6, 3), width=64, channels=3, classes=1000):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for i, count in enumerate(blocks):
            inside = width * 2**i
            made = stage(lambda n, s: Bottleneck(n, inside, 4 * inside, s, 1), count, inputs, 4 * inside, 1 if i == 0 else 2)
            setattr(self, f"layer{i + 1}", made)
            inputs = 4 * inside
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.max_pool2d(relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, 4 * growth, 1)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = conv(4 * growth, growth, 3)

    def forward(self, x):
        y = self.conv1(relu(self.bn1(x)))
        return torch.cat([x, self.conv2(relu(self.bn2(y)))], 1)


class Transition(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.conv = conv(inputs, outputs, 1)

    def forward(self, x):
        return F.avg_pool2d(self.conv(relu(self.bn(x))), 2)


class DenseNet(nn.Module):
    def __init__(self, depth, growth, channels=3, classes=10):
        super().__init__()
        layers = (depth - 4) // 6
        inputs = 2 * growth
        self.conv1 = conv(channels, inputs, 3)
        for i in range(3):
            block = nn.Sequential(*(DenseLayer(inputs + j * growth, growth) for j in range(layers)))
            setattr(self, f"dense{i + 1}", block)
            inputs += layers * growth
            if i < 2:
                setattr(self, f"trans{i + 1}", Transition(inputs, inputs // 2))
                inputs //= 2
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.trans1(self.dense1(self.conv1(x)))
        x = self.dense3(self.trans2(self.dense2(x)))
        return self.fc(relu(self.bn(x)).mean((2, 3)))


class PlainStage(nn.Module):
    def __init__(self, inputs, widths):
        super().__init__()
        self.count = len(widths)
        for i, width in enumerate(widths):
            setattr(self, f"conv{i + 1}", conv(inputs, width, 3))
            setattr(self, f"bn{i + 1}", nn.BatchNorm2d(width))
            inputs = width

    def forward(self, x):
        for i in range(1, self.count + 1):
            x = relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return F.max_pool2d(x, 2)


class PlainNet(nn.Module):
    """Stages of 3x3 convolutions, each followed by max pooling."""

    def __init__(self, stages, channels=3, classes=10):
        super().__init__()
        self.count = len(stages)
        inputs = channels
        for i, widths in enumerate(stages):
            setattr(self, f"stage{i + 1}", PlainStage(inputs, widths))
            inputs = widths[-1]
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        for i in range(1, self.count + 1):
            x = getattr(self, f"stage{i}")(x)
        return self.fc(x.mean((2, 3)))


VGG = {11: [1, 1, 2, 2, 2], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4]}


def vgg(depth, width=64, **options):
    return PlainNet([[width * min(8, 2**i)] * count for i, count in enumerate(VGG[depth])], **options)


class Dense(nn.Module):
    """linear - BN - ReLU."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x):
        return relu(self.bn(self.linear(x)))


class Mlp(nn.Module):
    """`ratio`: Dropout in front of every dense layer but the first."""

    def __init__(self, sizes, ratio=0.0):
        super().__init__()
        self.hidden = len(sizes) - 2
        for i in range(self.hidden):
            setattr(self, f"hidden{i + 1}", Dense(sizes[i], sizes[i + 1]))
        self.dropout = nn.Dropout(ratio)
        self.fc = nn.Linear(sizes[-2], sizes[-1])

    def forward(self, x):
        x = x.flatten(1)
        for i in range(1, self.hidden + 1):
            x = self.dropout(getattr(self, f"hidden{i}")(x))
        return self.fc(x)


class Autoencoder(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        hidden = sizes[1:-1]
        self.encoder, self.decoder = nn.Module(), nn.Module()
        for part, widths in ((self.encoder, sizes[:-1]), (self.decoder, sizes[:0:-1])):
            for i in range(len(hidden)):
                setattr(part, f"hidden{i + 1}", Dense(widths[i], widths[i + 1]))
        self.encoder.code = Dense(sizes[-2], sizes[-1])
        self.decoder.output = nn.Linear(sizes[1] if hidden else sizes[-1], sizes[0])
        self.hidden = len(hidden)

    def forward(self, x):
        y = x.flatten(1)
        for i in range(1, self.hidden + 1):
            y = getattr(self.encoder, f"hidden{i}")(y)
        code = torch.sigmoid(self.encoder.code.bn(self.encoder.code.linear(y)))
        y = code
        for i in range(1, self.hidden + 1):
            y = getattr(self.decoder, f"hidden{i}")(y)
        return self.decoder.output(y).reshape(x.shape)


def build(name):
    """The network of that name, as src/models parses it, at its full width."""
    numbers = [int(digits) for digits in re.findall(r"\d+", name)]
    if name.startswith("preresnet-"):
        return PreResNet(numbers[0], name.endswith("-bottleneck"))
    if name.startswith("wrn-"):
        return WideResNet(*numbers)
    if name.startswith("resnext-"):
        return ResNeXt(*numbers)
    if name == "resnet-50":
        return ResNet()
    if name.startswith("densenet-bc-"):
        return DenseNet(*numbers)
    if name.startswith("vgg-"):
        return vgg(numbers[0])
    if name.startswith("convnet-"):
        return PlainNet([[width] for width in numbers])
    if name.startswith("mlp-"):
        return Mlp(numbers)
    if name.startswith("autoencoder-"):
        return Autoencoder(numbers)
    raise ValueError(f"no network {name!r}")
