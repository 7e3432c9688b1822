"""Trains PreResNet-20 on CIFAR-10 in PyTorch by the recipe that docs/training.md compares varshift by.

    python scripts/oracle/train_cifar.py DIR --samples 10000 --epochs 3 --seed 1

DIR holds data_batch_1.bin.gz, ... and test_batch.bin.gz (the binary version, also unpacked). The same in varshift:

    varshift train preresnet-20 --data cifar10:DIR --samples 10000 --validation cifar10:DIR#test --epochs 3 --seed 1 \\
      --mean 0.4914,0.4822,0.4465 --std 0.2470,0.2435,0.2616 --augment crop=4,flip \\
      --optimizer sgd:nesterov=true --lr 0.1 --weight-decay 1e-4 --schedule one-cycle -o net.onnx

Network, initial distributions, data, augmentation and schedule are the same; the random numbers are not, so runs are
compared over seeds. Prints test accuracy after each epoch, then one line of JSON.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class Block(nn.Module):
    """BN-ReLU-conv twice; the shortcut is a convolution of the block's input where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else None

    def forward(self, x):
        y = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return y + (x if self.shortcut is None else self.shortcut(x))


class PreResNet20(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        layers, inputs = [], 16
        for outputs, stride in ((16, 1), (32, 2), (64, 2)):
            for i in range(3):
                layers.append(Block(inputs, outputs, stride if i == 0 else 1))
                inputs = outputs
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.layers = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        return self.fc(F.relu(self.bn(self.layers(self.conv1(x)))).mean((2, 3)))


def load(folder, name):
    path = Path(folder) / f"{name}.bin"
    data = path.read_bytes() if path.exists() else gzip.decompress((Path(folder) / f"{name}.bin.gz").read_bytes())
    rows = np.frombuffer(data, np.uint8).reshape(-1, 3073)
    return torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(rows[:, 0].astype(np.int64))


def normalised(x):
    return (x.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def augmented(x, generator):
    """Random crops of pictures padded by four pixels of black, then random mirror images."""
    padded = F.pad(x, (4, 4, 4, 4))
    out = torch.empty_like(x)
    for i in range(len(x)):
        down, right, mirror = torch.randint(0, 9, (2,), generator=generator).tolist() + [torch.rand((), generator=generator) < 0.5]
        picture = padded[i, :, down : down + 32, right : right + 32]
        out[i] = picture.flip(2) if mirror else picture
    return out


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(normalised(batch)).argmax(1) for batch in x.split(250)]).eq(y).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--samples", type=int, default=30000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    parts = [load(options.folder, f"data_batch_{i + 1}") for i in range((options.samples + 9999) // 10000)]
    x, y = (torch.cat(side)[: options.samples] for side in zip(*parts))
    test = load(options.folder, "test_batch")
    model = PreResNet20()
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.SGD([{"params": weights, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0}], lr=0.1, momentum=0.9, nesterov=True)
    per_epoch = len(x) // options.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=options.epochs * per_epoch, cycle_momentum=False)
    generator = torch.Generator().manual_seed(options.seed)
    curve = []
    for epoch in range(options.epochs):
        model.train()
        start, total = time.time(), 0.0
        for rows in torch.randperm(len(x), generator=generator)[: per_epoch * options.batch].split(options.batch):
            loss = F.cross_entropy(model(normalised(augmented(x[rows], generator))), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / per_epoch
        curve.append({"loss": round(total, 4), "accuracy": accuracy(model, *test), "seconds": round(time.time() - start, 1)})
        print(f"epoch {epoch + 1}: loss {total:.4f}, test accuracy {curve[-1]['accuracy']:.4f}, {curve[-1]['seconds']} s", flush=True)
    print(json.dumps({"torch": torch.__version__, "seed": options.seed, "samples": len(x), "epochs": options.epochs, "curve": curve}))


if __name__ == "__main__":
    main()
