"""Peer of bench/measure.ts: a forward pass in train mode without gradients, which is what update_bn costs."""

import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts" / "oracle"))
import models

NETWORKS = {
    "resnet50": ("resnet-50", None, 224),
    "preresnet110": ("preresnet-164-bottleneck", "bn3", 32),
    "densenet100": ("densenet-bc-100-12", "bn2", 32),
}


def main():
    network, batch, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    name, noisy, size = NETWORKS[network]
    model = models.build(name).train()
    for path, module in model.named_modules():
        if noisy and path.endswith(f".{noisy}"):
            module.register_forward_pre_hook(lambda _, inputs: F.dropout(inputs[0], 0.5))
    x = torch.rand(batch, 3, size, size) * 2 - 1
    print("ready", flush=True)
    with torch.no_grad():
        for _ in sys.stdin:
            start = time.perf_counter()
            model(x)
            print((time.perf_counter() - start) * 1000, flush=True)


if __name__ == "__main__":
    main()
