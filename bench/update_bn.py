"""Peer of bench/measure.ts: a forward pass in train mode without gradients, which is what update_bn costs."""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


def conv(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)


class PostBottleneck(nn.Module):
    def __init__(self, inputs, width, stride, project):
        super().__init__()
        self.layers = nn.Sequential(
            conv(inputs, width, 1), nn.BatchNorm2d(width), nn.ReLU(True),
            conv(width, width, 3, stride), nn.BatchNorm2d(width), nn.ReLU(True),
            conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width),
        )
        self.shortcut = nn.Sequential(conv(inputs, 4 * width, 1, stride), nn.BatchNorm2d(4 * width)) if project else nn.Identity()

    def forward(self, x):
        return F.relu(self.layers(x) + self.shortcut(x), inplace=True)


class PreBottleneck(nn.Module):
    def __init__(self, inputs, width, stride, project):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(True), conv(inputs, width, 1),
            nn.BatchNorm2d(width), nn.ReLU(True), conv(width, width, 3, stride),
            nn.Dropout(0.5), nn.BatchNorm2d(width), nn.ReLU(True), conv(width, 4 * width, 1),
        )
        self.shortcut = conv(inputs, 4 * width, 1, stride) if project else nn.Identity()

    def forward(self, x):
        return self.layers(x) + self.shortcut(x)


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(True), conv(inputs, 4 * growth, 1),
            nn.BatchNorm2d(4 * growth), nn.ReLU(True), conv(4 * growth, growth, 3), nn.Dropout(0.5),
        )

    def forward(self, x):
        return torch.cat([x, self.layers(x)], 1)


def head(channels, classes):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def resnet50():
    layers, inputs = [conv(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)], 64
    for width, blocks, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            layers.append(PostBottleneck(inputs, width, first if block == 0 else 1, block == 0))
            inputs = 4 * width
    return nn.Sequential(*layers, *head(inputs, 1000)), 224


def preresnet110():
    layers, inputs = [conv(3, 16, 3)], 16
    for width, first in ((16, 1), (32, 2), (64, 2)):
        for block in range(18):
            layers.append(PreBottleneck(inputs, width, first if block == 0 else 1, block == 0))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.BatchNorm2d(inputs), nn.ReLU(True), *head(inputs, 10)), 32


def densenet100():
    growth, inputs = 12, 24
    layers = [conv(3, inputs, 3)]
    for stage in range(3):
        for _ in range(16):
            layers.append(DenseLayer(inputs, growth))
            inputs += growth
        if stage < 2:
            layers += [nn.BatchNorm2d(inputs), nn.ReLU(True), conv(inputs, inputs // 2, 1), nn.AvgPool2d(2)]
            inputs //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(inputs), nn.ReLU(True), *head(inputs, 10)), 32


network, batch, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
model, size = {"resnet50": resnet50, "preresnet110": preresnet110, "densenet100": densenet100}[network]()
model.train()
x = torch.rand(batch, 3, size, size) * 2 - 1
print("ready", flush=True)
with torch.no_grad():
    for _ in sys.stdin:
        start = time.perf_counter()
        model(x)
        print((time.perf_counter() - start) * 1000, flush=True)
