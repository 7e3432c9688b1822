"""Records what PyTorch's losses, optimizers, clipping and schedules compute, and short trainings of a small network, into
test/oracle/training."""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
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


class SmallNet(nn.Module):
    """Two convolutions with norms, a PReLU, and a dense layer: every kind of parameter but embeddings."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(6, momentum=0.3)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = self.act(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


def trainings(folder):
    """Thirty steps on one batch of 16 samples, so that their order does not matter."""
    torch.manual_seed(4)
    x, y = torch.randn(16, 1, 6, 6), torch.arange(16) % 3
    start = SmallNet()
    torch.onnx.export(
        start.train(),
        x[:2],
        str(folder / "small.onnx"),
        dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
        opset_version=17,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
    )
    # The export runs the norms in train mode: begin from what the file holds.
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(str(folder / "small.onnx")).graph.initializer}
    state = {name: torch.from_numpy(stored[name].copy()) if name in stored else value for name, value in start.state_dict().items()}
    np.savez(folder / "small.npz", image=x.numpy(), labels=y.numpy())
    cases = [
        ("sgd:momentum=0.9,nesterov=true,weight-decay=0.01", None, True, lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)),
        ("sgd:momentum=0.9", 0.5, False, lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9)),
        ("adamw:weight-decay=0.1", None, True, lambda groups: torch.optim.AdamW(groups, lr=0.01)),
    ]
    recorded = []
    for name, clip, decays, make in cases:
        model = SmallNet()
        model.load_state_dict(state)
        model.train()
        weights = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() <= 1]
        decay = {"sgd:momentum=0.9,nesterov=true,weight-decay=0.01": 0.01, "adamw:weight-decay=0.1": 0.1}.get(name, 0)
        optimizer = make([{"params": weights, "weight_decay": decay if decays else 0}, {"params": others, "weight_decay": 0}])
        losses = []
        for _ in range(30):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            losses.append(loss.item())
        end = {key: rounded(value.flatten().tolist()) for key, value in model.state_dict().items() if value.dtype == torch.float32}
        recorded.append({"optimizer": name, "clip": clip, "learningRate": optimizer.param_groups[0]["lr"], "losses": rounded(losses), "end": end})
    return recorded


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "test" / "oracle" / "training")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    recorded = {"torch": torch.__version__, "losses": losses(), "optimizers": optimizers(), "clipping": clipping(), "schedules": schedules()}
    (folder / "small.json").write_text(json.dumps({"torch": torch.__version__, "cases": trainings(folder)}, separators=(",", ":")) + "\n")
    (folder / "units.json").write_text(json.dumps(recorded, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
