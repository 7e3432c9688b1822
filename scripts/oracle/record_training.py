"""Records what PyTorch's losses, optimizers, clipping and schedules compute, into test/oracle/training/units.json."""

import argparse
import json
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]


def rounded(values):
    return [float(f"{v:.9g}") for v in values]


def losses():
    torch.manual_seed(1)
    logits, labels = torch.randn(6, 5) * 2, torch.tensor([0, 3, 4, 1, 1, 2])
    weights = torch.tensor([1.0, 2.0, 0.5, 1.5, 3.0])
    x, t = torch.randn(6, 4) * 2, torch.randn(6, 4)
    bits = (torch.rand(6, 4) > 0.5).float() * 0.8 + 0.1
    chance = torch.rand(6, 4) * 0.98 + 0.01
    cases = [
        ("cross-entropy", {}, nn.CrossEntropyLoss(), logits, labels),
        ("cross-entropy", {"smoothing": 0.1}, nn.CrossEntropyLoss(label_smoothing=0.1), logits, labels),
        ("cross-entropy", {"weights": weights.tolist()}, nn.CrossEntropyLoss(weight=weights), logits, labels),
        ("cross-entropy", {"smoothing": 0.2, "weights": weights.tolist()}, nn.CrossEntropyLoss(weight=weights, label_smoothing=0.2), logits, labels),
        ("mse", {}, nn.MSELoss(), x, t),
        ("l1", {}, nn.L1Loss(), x, t),
        ("huber", {}, nn.HuberLoss(), x, t),
        ("huber", {"delta": 0.4}, nn.HuberLoss(delta=0.4), x, t),
        ("binary-cross-entropy", {}, nn.BCEWithLogitsLoss(), x * 8, bits),
        ("binary-cross-entropy-of-probabilities", {}, nn.BCELoss(), chance, bits),
    ]
    recorded = []
    for name, settings, loss, output, target in cases:
        output = output.clone().requires_grad_()
        value = loss(output, target)
        value.backward()
        recorded.append(
            {
                "id": name,
                "settings": settings,
                "shape": list(output.shape),
                "output": rounded(output.flatten().tolist()),
                "target": rounded(target.flatten().tolist()),
                "loss": value.item(),
                "gradient": rounded(output.grad.flatten().tolist()),
            }
        )
    return recorded


def optimizers():
    cases = [
        ("sgd", {"momentum": 0}, lambda p: torch.optim.SGD(p, lr=0.1)),
        ("sgd", {"momentum": 0.9, "weightDecay": 0.01}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01)),
        ("sgd", {"momentum": 0.9, "nesterov": True, "weightDecay": 0.01}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)),
        ("adam", {}, lambda p: torch.optim.Adam(p, lr=0.1)),
        ("adam", {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6, "weightDecay": 0.02}, lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.02)),
        ("adamw", {}, lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.01)),
        ("adamw", {"weightDecay": 0.2}, lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.2)),
    ]
    torch.manual_seed(2)
    start, gradients = torch.randn(6), torch.randn(8, 6)
    rates = [0.1, 0.1, 0.05, 0.2, 0.1, 0.01, 0.1, 0.3]
    recorded = []
    for name, settings, make in cases:
        parameter = nn.Parameter(start.clone())
        optimizer = make([parameter])
        path = []
        for gradient, rate in zip(gradients, rates):
            optimizer.param_groups[0]["lr"] = rate
            parameter.grad = gradient.clone()
            optimizer.step()
            path.append(rounded(parameter.tolist()))
        recorded.append({"id": name, "settings": settings, "path": path})
    return {"start": rounded(start.tolist()), "gradients": [rounded(g.tolist()) for g in gradients], "rates": rates, "cases": recorded}


def clipping():
    torch.manual_seed(3)
    gradients = [torch.randn(4), torch.randn(2, 3)]
    recorded = []
    for limit in (0.5, 100.0):
        parameters = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient.clone()
        norm = nn.utils.clip_grad_norm_(parameters, limit)
        recorded.append({"limit": limit, "norm": norm.item(), "clipped": [rounded(p.grad.flatten().tolist()) for p in parameters]})
    return {"gradients": [rounded(g.flatten().tolist()) for g in gradients], "cases": recorded}


def schedules():
    steps, per_epoch = 40, 10
    cases = [
        ("step", {"at": [2, 3], "gamma": 0.2}, lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [20, 30], 0.2)),
        ("cosine", {}, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps)),
        ("cosine", {"end": 0.1}, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps, eta_min=0.1)),
        ("one-cycle", {}, lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=steps, cycle_momentum=False)),
        ("one-cycle", {"rise": 0.15, "div": 10, "finalDiv": 100}, lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=steps, pct_start=0.15, div_factor=10, final_div_factor=100, cycle_momentum=False)),
    ]
    recorded = []
    for name, settings, make in cases:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = make(optimizer)
        factors = []
        for _ in range(steps):
            factors.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        recorded.append({"id": name, "settings": settings, "factors": rounded(factors)})
    return {"steps": steps, "perEpoch": per_epoch, "cases": recorded}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "test" / "oracle" / "training")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    recorded = {"torch": torch.__version__, "losses": losses(), "optimizers": optimizers(), "clipping": clipping(), "schedules": schedules()}
    (folder / "units.json").write_text(json.dumps(recorded, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
