"""Trains and repairs .pt2 files with varshift and checks them with PyTorch; writes nothing into the repository.

    npm run build && python scripts/oracle/live_pytorch.py

For networks exported by torch.export in train and in eval mode: `varshift train` and `varshift fix` write a .pt2 back,
`varshift fix --from` the statistics into a state dictionary. PyTorch loads each, its eval outputs equal varshift's to
1e-4, what was trained did change, and after the repair hooks see the variances that are stored.
"""

import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

try:
    import numpy as np
    import torch
    from torch import nn
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(0)

from networks import PreResNet

ROOT = Path(__file__).resolve().parents[2]


def run(*command):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def varshift(*arguments):
    return run("node", "dist/cli/main.js", *arguments)


def sequential():
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(12, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 24), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(24), nn.Linear(24, 4),
    )


def preresnet():
    return PreResNet(stem=4, planes=(4, 6), depth=1, classes=4)


def data(rng):
    labels = rng.integers(0, 4, 1200)
    patterns = rng.normal(0, 1, (4, 3, 12, 12))
    return (patterns[labels] + rng.normal(0, 1.5, (1200, 3, 12, 12))).astype(np.float32), labels


def train(net, images, labels, epochs=2):
    optimizer, loss = torch.optim.Adam(net.parameters(), 1e-2), nn.CrossEntropyLoss()
    net.train()
    for _ in range(epochs):
        for at in range(0, len(images), 64):
            optimizer.zero_grad()
            loss(net(torch.from_numpy(images[at:at + 64])), torch.from_numpy(labels[at:at + 64])).backward()
            optimizer.step()


def loaded(build, state):
    net = build()
    net.load_state_dict(state)
    return net.eval()


def largest_shift(net, images):
    """Of the variances that hooks see in eval mode and those that are stored, means over channels."""
    ratios = []

    def seen(module, inputs):
        axes = [axis for axis in range(inputs[0].dim()) if axis != 1]
        real = inputs[0].double().var(axes, unbiased=False).mean()
        stored = module.running_var.double().mean()
        ratios.append(float(max(real / stored, stored / real)))

    handles = [m.register_forward_pre_hook(seen) for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        net(torch.from_numpy(images))
    for handle in handles:
        handle.remove()
    return max(ratios)


def outputs_of(path, images, folder):
    np.savez(folder / "some.npz", x=images)
    (folder / "jobs.json").write_text(json.dumps(
        [{"model": str(path), "data": str(folder / "some.npz"), "outputs": str(folder / "outputs.npz")}]))
    run("npx", "jiti", "scripts/oracle/live-outputs.ts", folder / "jobs.json")
    with np.load(folder / "outputs.npz") as found:
        return found["output0"]


def difference(net, wanted, images):
    with torch.no_grad():
        got = net(torch.from_numpy(images)).numpy()
    return float(np.max(np.abs(got - wanted) / np.maximum(1, np.abs(wanted))))


def check(name, build, mode, folder):
    torch.manual_seed(0)
    images, labels = data(np.random.default_rng(1))
    some = images[:16]
    np.savez(folder / "train.npz", x=images, labels=labels)
    net = build()
    train(net, images, labels)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.train(mode != "eval")
    program = torch.export.export(net, (torch.from_numpy(images[:3]),), dynamic_shapes=({0: torch.export.Dim("N", min=1, max=4096)},))
    source, tuned, fixed = (folder / f"{part}.pt2" for part in ("source", "tuned", "fixed"))
    torch.export.save(program.run_decompositions() if mode == "decomposed" else program, source)

    varshift("train", source, "--data", folder / "train.npz", "--epochs", 2, "--lr", 0.01, "-o", tuned)
    state = dict(torch.export.load(tuned).state_dict)
    trained = loaded(build, state)
    # The bias of a convolution has no gradient in front of a norm.
    unchanged = [key for key, value in state.items() if torch.equal(value, before[key]) and key.split(".")[-1] in ("weight", "running_var")]
    assert not unchanged, f"not trained: {unchanged}"
    error = difference(trained, outputs_of(tuned, some, folder), some)

    result = json.loads(varshift("fix", tuned, "--data", folder / "train.npz", "--json", "-o", fixed))
    repaired = loaded(build, dict(torch.export.load(fixed).state_dict))
    errors = [error, difference(repaired, outputs_of(fixed, some, folder), some)]
    shifts = [largest_shift(trained, images), largest_shift(repaired, images)]

    # The same statistics into a state dictionary of the trained network, without its graph.
    (folder / "shift.json").write_text(json.dumps(result))
    torch.save(state, folder / "state.pt")
    varshift("fix", folder / "state.pt", "--from", folder / "shift.json", "-o", folder / "fixed.pt")
    kept = torch.load(folder / "fixed.pt", weights_only=True)
    assert all(torch.equal(kept[key], value) for key, value in repaired.state_dict().items())
    try:
        from safetensors.torch import load_file, save_file

        save_file(state, folder / "state.safetensors")
        varshift("fix", folder / "state.safetensors", "--from", folder / "shift.json", "-o", folder / "fixed.safetensors")
        kept = load_file(folder / "fixed.safetensors")
        assert all(torch.equal(kept[key], value) for key, value in repaired.state_dict().items())
    except ImportError:
        print("safetensors is not installed: its state dictionaries are not checked")

    # Trained and re-estimated in one go.
    varshift("fix", source, "--data", folder / "train.npz", "--repair", "recalibrate", "--finetune", 1, "-o", fixed)
    both = loaded(build, dict(torch.export.load(fixed).state_dict))
    errors.append(difference(both, outputs_of(fixed, some, folder), some))
    print(f"{name}, {mode}: eval outputs differ by at most {max(errors):.1e}; largest shift ratio by PyTorch "
          f"{shifts[0]:.3f} after training, {shifts[1]:.4f} after fix, {largest_shift(both, images):.3f} after fix --finetune")
    if max(errors) > 1e-4 or shifts[1] > 1.02:
        raise SystemExit("PyTorch disagrees")


def main():
    warnings.simplefilter("ignore")
    for name, build in [("sequential", sequential), ("preresnet", preresnet)]:
        for mode in ("train", "eval", "decomposed"):
            with tempfile.TemporaryDirectory() as folder:
                check(name, build, mode, Path(folder))


if __name__ == "__main__":
    main()
