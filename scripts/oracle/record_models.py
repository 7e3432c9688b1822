"""Records test/oracle/models.json: what PyTorch makes of the small networks that test/conformance/models.test.ts builds.

Parameters and data come from a generator that both sides have (src/ir/random.ts), seeded by the parameter's name, so
only results are stored: outputs in eval and in train mode, the losses of SGD steps, and samples of the parameters
after them. A path of training that meets a ReLU or a maximum at a tie has no gradient to compare (rounding decides),
so each network takes the first seed from which PyTorch in float32, and in float64 from a start moved by 3e-7 of itself, ends
where PyTorch in float64 does. Run: python scripts/oracle/record_models.py [network ...]
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from models import Autoencoder, DenseNet, Mlp, PlainNet, PreResNet, ResNet, ResNeXt, WideResNet, vgg
from writing import write_json

OUT = Path(__file__).resolve().parents[2] / "test" / "oracle" / "models.json"
BATCH, STEPS = 16, 30
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
UNTRAINED = ["resnet"]  # sixteen narrow blocks in a row amplify rounding: outputs are right to 1e-4, gradients to nothing
SAMPLES = 8  # values recorded of each parameter

NETWORKS = {
    "preresnet": (lambda: PreResNet(8, width=4), [3, 8, 8]),
    "preresnet-bottleneck": (lambda: PreResNet(11, bottleneck=True, width=3), [3, 8, 8]),
    "wrn": (lambda: WideResNet(10, 2, width=3), [3, 8, 8]),
    "resnext": (lambda: ResNeXt(11, 2, 4, width=8), [3, 8, 8]),
    "resnet": (lambda: ResNet(width=8, classes=10), [3, 64, 64]),
    "densenet-bc": (lambda: DenseNet(16, 3), [3, 8, 8]),
    "vgg": (lambda: vgg(11, width=4), [3, 32, 32]),
    "convnet": (lambda: PlainNet([[4], [8]]), [3, 8, 8]),
    "mlp": (lambda: Mlp([12, 16, 16, 10]), [12]),
    "autoencoder": (lambda: Autoencoder([12, 8, 4]), [12]),
}


def scramble(bits):
    bits = (bits ^ (bits >> 16)) * 0x7FEB352D & 0xFFFFFFFF
    bits = (bits ^ (bits >> 15)) * 0x846CA68B & 0xFFFFFFFF
    return bits ^ (bits >> 16)


def seed_of(seed, name):
    digest = 0x811C9DC5
    for byte in name.encode():
        digest = (digest ^ byte) * 0x01000193 & 0xFFFFFFFF
    return int(scramble(scramble(seed) ^ digest))


def uniform(shape, low, high, seed, name):
    """src/ir/random.ts: uniform(count, low, high, seedOf(seed, name))."""
    count = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
    seed = (seed_of(seed, name) + 1) * 0x85EBCA6B & 0xFFFFFFFF
    bits = scramble((count * 0x9E3779B1 & 0xFFFFFFFF) ^ np.uint64(seed))
    return torch.tensor((low + (high - low) * (bits / 2.0**32)).reshape(shape), dtype=torch.float32)


def starting(name, shape, seed):
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return uniform(shape, 0.6, 1.4, seed, name)
    if name.endswith("weight"):
        bound = (3 / np.prod(shape[1:])) ** 0.5
        return uniform(shape, -bound, bound, seed, name)
    return uniform(shape, -0.2, 0.2, seed, name)


def state_of(network):
    return {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}


def loss_of(network, x, labels):
    y = network(x)
    return F.mse_loss(y, x) if isinstance(network, Autoencoder) else F.cross_entropy(y, labels)


def samples(tensor):
    flat = tensor.detach().flatten()
    at = np.arange(min(SAMPLES, len(flat))) * len(flat) // min(SAMPLES, len(flat))
    return flat[at].tolist()


def start(build, seed, dtype, moved=0.0):
    """The network at its start, each parameter off by a random share of size `moved`."""
    network = build().to(dtype)
    state = {key: starting(key, value.shape, seed) if value.ndim else value for key, value in network.state_dict().items()}
    network.load_state_dict(state)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 1 + moved * torch.randn_like(parameter)
    return network


def train(network, x, labels, steps):
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), **SGD)
    losses = []
    for _ in range(steps):
        loss = loss_of(network, x, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, state_of(network)


def outputs(network, x):
    with torch.no_grad():
        return [network.train(training)(x)[:4] for training in (False, True)]


def apart(a, b):
    return max((x.double() - y).abs().max().item() for x, y in zip(a, b))


def record(name, build, shape):
    steps = 0 if name in UNTRAINED else STEPS
    for seed in range(40):
        torch.manual_seed(seed)
        x, labels = uniform([BATCH, *shape], -1, 1, seed, "x"), torch.arange(BATCH) * 7 % 10
        single, double, moved = start(build, seed, torch.float32), start(build, seed, torch.float64), start(build, seed, torch.float64, 3e-7)
        in_modes = outputs(single, x)
        drift = apart(in_modes, outputs(double, x.double()))
        single, double = start(build, seed, torch.float32), start(build, seed, torch.float64)
        losses, final = train(single, x, labels, steps)
        _, exact = train(double, x.double(), labels, steps)
        _, nearby = train(moved, x.double(), labels, steps)
        rounding, sensitivity = apart(final.values(), exact.values()), apart(nearby.values(), exact.values())
        print(f"{name}, seed {seed}: losses {losses[:1]} to {losses[-1:]}; outputs off by {drift:.1e}, parameters by {rounding:.1e}, moved {sensitivity:.1e}", flush=True)
        if drift < (2e-4 if name in UNTRAINED else 3e-5) and rounding < 1e-5 and sensitivity < 1e-4:
            break
    else:
        raise SystemExit(f"{name}: no seed whose training is well conditioned")
    return {
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in single.parameters()),
        "eval": in_modes[0].flatten().tolist(),
        "train": in_modes[1].flatten().tolist(),
        "losses": losses,
        "final": {key: samples(value) for key, value in final.items()},
    }


def main():
    torch.use_deterministic_algorithms(True)
    recorded = json.loads(OUT.read_text()) if OUT.exists() else {}
    for name in sys.argv[1:] or NETWORKS:
        recorded[name] = record(name, *NETWORKS[name])
        write_json(OUT, recorded)


if __name__ == "__main__":
    main()
