"""Training, and the three ways to look at a network: train mode, eval mode, noise off with batch statistics."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NOISES = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def deterministic(seed, threads=1):  # networks this small run slower on two threads than on one, more so beside other work
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)  # nearly dead channels otherwise slow the late epochs down several times


def norms(model):
    return [(name, module) for name, module in model.named_modules() if isinstance(module, NORMS)]


def snapshot(model):
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def to_float(array):
    """Stored samples -> what the network is fed: uint8 is divided by 255 in float32, floats pass."""
    if array.dtype == np.uint8:
        return torch.from_numpy(array).to(torch.float32) / 255
    return torch.from_numpy(array).to(torch.float32)


def train(model, inputs, labels, *, epochs, seed, batch=64, rate=3e-3, log=print):
    """AdamW with a cosine schedule; then the running statistics are averaged over 200 train-mode batches, so that
    they are the population moments under noise rather than a moving average of the last few batches."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-3)
    count = len(labels)
    per_epoch = count // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * per_epoch, pct_start=0.15)
    model.train()
    for epoch in range(epochs):
        order = torch.randperm(count, generator=generator)
        total = 0.0
        for i in range(per_epoch):
            pick = order[i * batch : (i + 1) * batch]
            loss = F.cross_entropy(model(*[x[pick] for x in inputs]), labels[pick])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 4 == 3 or epoch == epochs - 1:
            log(f"  epoch {epoch + 1}: train loss {total / per_epoch:.4f}")
    settle_statistics(model, inputs, generator, batches=200, batch=batch)


def settle_statistics(model, inputs, generator, *, batches, batch):
    """Cumulative average of the train-mode moments (noise on, weights fixed)."""
    momenta = {name: module.momentum for name, module in norms(model)}
    for _, module in norms(model):
        module.reset_running_stats()
        module.momentum = None
    model.train()
    count = len(inputs[0])
    with torch.no_grad():
        for _ in range(batches):
            pick = torch.randint(count, (batch,), generator=generator)
            model(*[x[pick] for x in inputs])
    for name, module in norms(model):
        module.momentum = momenta[name]


class Moments:
    """Forward hooks that accumulate count, mean and M2 of every BN's input in float64 (Chan's formula)."""

    def __init__(self, model):
        self.order, self.values, self.handles = [], {}, []
        for name, module in norms(model):
            self.handles.append(module.register_forward_pre_hook(self._hook(name)))

    def _hook(self, name):
        def hook(_module, arguments):
            x = arguments[0].detach().double()
            axes = [axis for axis in range(x.dim()) if axis != 1]
            n = x.numel() // x.shape[1]
            mean = x.mean(axes)
            m2 = ((x - mean.reshape([1, -1] + [1] * (x.dim() - 2))) ** 2).sum(axes)
            if name not in self.values:
                self.order.append(name)
                self.values[name] = (n, mean, m2)
                return
            n0, mean0, m20 = self.values[name]
            delta, total = mean - mean0, n0 + n
            self.values[name] = (total, mean0 + delta * n / total, m20 + m2 + delta**2 * n0 * n / total)

        return hook

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()

    def count(self, name):
        return self.values[name][0]

    def mean(self, name):
        return self.values[name][1].numpy()

    def variance(self, name):
        """Biased: divided by n."""
        n, _, m2 = self.values[name]
        return (m2 / n).numpy()


def forward(model, inputs, batch=512):
    with torch.no_grad():
        return torch.cat([model(*[x[i : i + batch] for x in inputs]) for i in range(0, len(inputs[0]), batch)])


def score(logits, labels):
    return {
        "accuracy": (logits.argmax(1) == labels).double().mean().item(),
        "crossEntropy": F.cross_entropy(logits.double(), labels).item(),
    }


def evaluate(model, inputs, labels):
    model.eval()
    return score(forward(model, inputs), labels)


def eval_moments(model, inputs):
    """Moments of every BN's input in eval mode, one batch, and the logits."""
    model.eval()
    with Moments(model) as moments:
        logits = forward(model, inputs, batch=len(inputs[0]))
    return moments, logits


def noise_off(model):
    """Dropout in eval mode, BN in train mode."""
    model.train()
    for module in model.modules():
        if isinstance(module, NOISES):
            module.eval()


def recalibrate(model, inputs):
    """Loads the population moments of every BN's input, noise off, BIASED variance; returns the moments.

    All samples form one batch, so that every BN sees inputs normalised by exactly the statistics that are stored.
    """
    saved = snapshot(model)
    noise_off(model)
    for _, module in norms(model):
        module.momentum = 1.0
    with Moments(model) as moments, torch.no_grad():
        model(*inputs)
    for name, module in norms(model):
        n = moments.count(name)
        biased = torch.from_numpy(moments.variance(name))
        # PyTorch's own running statistics must agree with the hooks; it stores the unbiased variance.
        # Its sums are float32, so the agreement is looser over many values.
        rtol = 2e-4 if n < 100_000 else 5e-3
        torch.testing.assert_close(module.running_mean.double(), torch.from_numpy(moments.mean(name)), rtol=rtol, atol=2e-5)
        torch.testing.assert_close(module.running_var.double(), biased * (n / (n - 1)), rtol=rtol, atol=1e-7)
    model.load_state_dict(saved)
    for name, module in norms(model):
        module.momentum = 0.1
        module.running_mean.copy_(torch.from_numpy(moments.mean(name)))
        module.running_var.copy_(torch.from_numpy(moments.variance(name)))
    model.eval()
    return moments


def train_mode(model, inputs, labels, draws, seed):
    """Scores and layer variances in train mode (noise and batch statistics, one batch), averaged over noise draws."""
    saved = snapshot(model)
    torch.manual_seed(seed)
    model.train()
    scores, variances = [], {}
    for _ in range(draws):
        with Moments(model) as moments, torch.no_grad():
            scores.append(score(model(*inputs), labels))
        for name in moments.order:
            variances.setdefault(name, []).append(moments.variance(name).mean())
    model.load_state_dict(saved)
    model.eval()
    mean = {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}
    return mean, {name: float(np.mean(values)) for name, values in variances.items()}


def d_cos2(weight):
    """(sum w)^2 / sum w^2 of each filter, averaged over filters: the theory's d cos^2."""
    w = weight.detach().double().flatten(1)
    value = (w.sum(1) ** 2 / (w**2).sum(1)).mean().item()
    return value if math.isfinite(value) else None
