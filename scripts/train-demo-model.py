"""Trains the demo model: a small pre-activation ResNet with Dropout directly before the last BatchNormalization of
each bottleneck, the placement that shifts most, on pictures of varshift's own generator.

    npx jiti scripts/export-shapes.ts shapes:count=12000,seed=1 train.npz
    npx jiti scripts/export-shapes.ts shapes:count=4000,seed=2 test.npz
    python scripts/train-demo-model.py train.npz test.npz assets/demo.onnx

Needs the packages in scripts/oracle/requirements.txt. Prints accuracy in eval mode as trained, and with all running
statistics re-estimated with dropout off and with dropout on (as torch.optim.swa_utils.update_bn leaves it).
"""

import argparse
import copy
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride, ratio):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.dropout = nn.Dropout(ratio)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.shortcut = None
        if stride != 1 or inputs != 4 * width:
            self.shortcut = nn.Conv2d(inputs, 4 * width, 1, stride, bias=False)

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(self.dropout(y))))
        return y + (x if self.shortcut is None else self.shortcut(x))


class PreResNet(nn.Module):
    def __init__(self, channels, blocks=2, ratio=0.5, classes=10):
        super().__init__()
        self.stem = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        layers, inputs = [], 16
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            for block in range(blocks):
                layers.append(Bottleneck(inputs, width, stride if block == 0 else 1, ratio))
                inputs = 4 * width
        self.layers = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(inputs)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.bn(self.layers(self.stem(x))))
        return self.classifier(x.mean((2, 3)))


def load(path):
    with np.load(path) as arrays:
        return torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["labels"])


def score(model, x, y):
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(batch.float() / 255) for batch in x.split(250)])
    return (logits.argmax(1) == y).float().mean().item(), F.cross_entropy(logits, y).item()


def reestimated(model, x, dropout):
    model = copy.deepcopy(model).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train(dropout)
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for batch in x.split(250):
            model(batch.float() / 255)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("output")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    x, y = load(options.train)
    test_x, test_y = load(options.test)
    model = PreResNet(x.shape[1], ratio=options.ratio)
    batch = 64
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=options.epochs * (len(x) // batch))
    for epoch in range(options.epochs):
        model.train()
        start, total = time.time(), 0.0
        for rows in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            loss = F.cross_entropy(model(x[rows].float() / 255), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        accuracy, _ = score(model, test_x, test_y)
        print(f"epoch {epoch + 1}: loss {total / len(x):.3f}, accuracy {accuracy:.4f}, {time.time() - start:.0f} s", flush=True)

    for name, net in (
        ("as trained", model),
        ("re-estimated, dropout on", reestimated(model, x, True)),
        ("re-estimated, dropout off", reestimated(model, x, False)),
    ):
        accuracy, loss = score(net, test_x, test_y)
        print(f"{name}: accuracy {accuracy:.4f}, cross entropy {loss:.4f}")

    # BN in eval mode: in train mode the exporter's own run would move the running statistics before writing them.
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    torch.onnx.export(
        model,
        x[:2].float() / 255,
        options.output,
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        opset_version=17,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
    )


if __name__ == "__main__":
    main()
