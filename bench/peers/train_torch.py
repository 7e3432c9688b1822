"""Peer of bench/train.ts: training steps in PyTorch (forward, backward, SGD with momentum), one for each line of stdin.

    python train_torch.py NETWORK BATCH THREADS

Prints `ready VERSION`, then for every line the milliseconds of a step and the peak resident memory in MiB.
"""

import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


def conv(inputs, outputs, kernel, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


def norm_relu(channels):
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def head(channels):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


class PreActivation(nn.Module):
    """BN-ReLU-conv twice. The shortcut's convolution takes the block's input, or (wide) what the first ReLU gives."""

    def __init__(self, inputs, outputs, stride, wide):
        super().__init__()
        self.wide = wide
        self.norm = nn.BatchNorm2d(inputs)
        self.rest = nn.Sequential(conv(inputs, outputs, 3, stride), *norm_relu(outputs), conv(outputs, outputs, 3))
        self.shortcut = conv(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x):
        active = F.relu(self.norm(x), inplace=True)
        kept = x if self.shortcut is None else self.shortcut(active if self.wide else x)
        return self.rest(active) + kept


def pre_activation(widths, blocks, wide=False):
    layers, inputs = [conv(3, 16, 3)], 16
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(PreActivation(inputs, width, 2 if stage > 0 and block == 0 else 1, wide))
            inputs = width
    return nn.Sequential(*layers, *norm_relu(inputs), *head(inputs))


class Aggregated(nn.Module):
    def __init__(self, inputs, width, groups, outputs, stride):
        super().__init__()
        self.layers = nn.Sequential(
            conv(inputs, width, 1), *norm_relu(width), conv(width, width, 3, stride, groups), *norm_relu(width),
            conv(width, outputs, 1), nn.BatchNorm2d(outputs),
        )
        project = inputs != outputs
        self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)) if project else None

    def forward(self, x):
        return F.relu(self.layers(x) + (self.shortcut(x) if self.shortcut else x), inplace=True)


def resnext(groups, group_width):
    layers, inputs = [conv(3, 64, 3), *norm_relu(64)], 64
    for stage in range(3):
        for block in range(2):
            width, outputs = groups * group_width * 2**stage, 256 * 2**stage
            layers.append(Aggregated(inputs, width, groups, outputs, 2 if stage > 0 and block == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, *head(inputs))


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.layers = nn.Sequential(
            *norm_relu(inputs), conv(inputs, 4 * growth, 1), *norm_relu(4 * growth), conv(4 * growth, growth, 3)
        )

    def forward(self, x):
        return torch.cat([x, self.layers(x)], 1)


def densenet(growth, count):
    inputs = 2 * growth
    layers = [conv(3, inputs, 3)]
    for stage in range(3):
        for _ in range(count):
            layers.append(DenseLayer(inputs, growth))
            inputs += growth
        if stage < 2:
            layers += [*norm_relu(inputs), conv(inputs, inputs // 2, 1), nn.AvgPool2d(2)]
            inputs //= 2
    return nn.Sequential(*layers, *norm_relu(inputs), *head(inputs))


def vgg(stages):
    layers, inputs = [], 3
    for widths in stages:
        for width in widths:
            layers += [conv(inputs, width, 3), *norm_relu(width)]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *head(inputs))


def mlp(sizes, ratio):
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:-1]):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True), nn.Dropout(ratio)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


networks = {
    "preresnet-20": lambda: pre_activation((16, 32, 64), 3),
    "wrn-16-4": lambda: pre_activation((64, 128, 256), 2, wide=True),
    "densenet-bc-40-12": lambda: densenet(12, 6),
    "resnext-20-4x16": lambda: resnext(4, 16),
    "vgg-11-bn": lambda: vgg([[64], [128], [256, 256], [512, 512], [512, 512]]),
    "mlp-784-1024-1024-10": lambda: mlp([784, 1024, 1024, 10], 0.5),
}

name, batch, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
model = networks[name]()
model.train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
x = torch.randn(batch, 784) if name.startswith("mlp") else torch.randn(batch, 3, 32, 32)
labels = torch.randint(0, 10, (batch,))
print("ready", torch.__version__, sum(p.numel() for p in model.parameters()), flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), labels)
    loss.backward()
    optimizer.step()
    loss.item()
    ms = (time.perf_counter() - start) * 1000
    print(ms, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
