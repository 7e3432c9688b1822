"""Synthetic data with structure: learnable in seconds, not trivial, and generated from a seed alone.

All values are small integers (uint8 or multiples of 1/64), so that the recorded samples are exact and compress well.
"""

import numpy as np

CLASSES = 10


def _palette(rng, count):
    """Background and foreground colours (count x 3 each) that differ by a visible but modest step."""
    background = rng.uniform(0.15, 0.85, (count, 3))
    step = rng.uniform(0.2, 0.5, (count, 3)) * rng.choice([-1.0, 1.0], (count, 1))
    return background, np.clip(background + step, 0.0, 1.0)


def _pattern(kind, u, v, rng):
    """One pattern in [0, 1] on a grid of coordinates u, v in [-1, 1]; `kind` is the class."""
    if kind < 4:  # gratings of four orientations
        angle = kind * np.pi / 4 + rng.normal(0, 0.12)
        frequency = rng.uniform(1.3, 2.6)
        wave = np.sin(np.pi * frequency * (u * np.cos(angle) + v * np.sin(angle)) + rng.uniform(0, 2 * np.pi))
        return 0.5 + 0.5 * wave
    cu, cv = rng.uniform(-0.35, 0.35, 2)
    radius = rng.uniform(0.4, 0.7)
    du, dv = u - cu, v - cv
    distance = np.hypot(du, dv)
    bar = rng.uniform(0.12, 0.2)
    if kind == 4:  # disc
        return (distance < radius).astype(float)
    if kind == 5:  # ring
        return (np.abs(distance - radius) < bar).astype(float)
    if kind == 6:  # square
        return (np.maximum(np.abs(du), np.abs(dv)) < radius * 0.85).astype(float)
    if kind == 7:  # upright cross
        return ((np.minimum(np.abs(du), np.abs(dv)) < bar) & (np.maximum(np.abs(du), np.abs(dv)) < radius)).astype(float)
    if kind == 8:  # diagonal cross
        p, q = (du + dv) / np.sqrt(2), (du - dv) / np.sqrt(2)
        return ((np.minimum(np.abs(p), np.abs(q)) < bar) & (np.maximum(np.abs(p), np.abs(q)) < radius)).astype(float)
    frequency = rng.uniform(1.6, 2.6)  # checkerboard
    return (np.sin(np.pi * frequency * u + cu * 9) * np.sin(np.pi * frequency * v + cv * 9) > 0).astype(float)


def images(count, seed, size=16, noise=0.2, classes=CLASSES):
    """Images (count x 3 x size x size, uint8) and labels (count, int64)."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    axis = np.linspace(-1, 1, size)
    v, u = np.meshgrid(axis, axis, indexing="ij")
    background, foreground = _palette(rng, count)
    out = np.empty((count, 3, size, size))
    for i, label in enumerate(labels):
        shape = _pattern(int(label), u, v, rng)
        clutter = np.hypot(u - rng.uniform(-1, 1), v - rng.uniform(-1, 1)) < 0.22
        shape = np.where(clutter, rng.uniform(0, 1), shape)
        light = 1 + rng.uniform(-0.25, 0.25) * u + rng.uniform(-0.25, 0.25) * v
        out[i] = (background[i] + (foreground[i] - background[i]) * shape[..., None]).transpose(2, 0, 1) * light
    out += rng.normal(0, noise, out.shape)
    # Steps of 4 of 255: fewer levels compress better and cost the task nothing.
    return (np.clip(np.rint(out * 63.75), 0, 63) * 4).astype(np.uint8), labels.astype(np.int64)


def prototypes(count, seed, size=12, noise=0.15):
    """Noisy, shifted blends of fixed smooth templates, two a class (count x size*size, uint8): a task for dense layers."""
    fixed = np.random.default_rng(1502)
    coarse = fixed.normal(0, 1, (2 * CLASSES, 5, 5))
    grid = np.linspace(0, 4, size + 2)
    low = np.minimum(grid.astype(int), 3)
    part = grid - low
    rows = coarse[:, low] * (1 - part)[None, :, None] + coarse[:, low + 1] * part[None, :, None]
    templates = rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % CLASSES)
    out = np.empty((count, size, size))
    for i, label in enumerate(labels):
        top, left = rng.integers(0, 3, 2)
        own = templates[label + CLASSES * rng.integers(0, 2)]
        other = templates[rng.integers(0, 2 * CLASSES)]
        blend = rng.uniform(0.5, 1.2) * own + rng.uniform(0, 0.5) * other
        out[i] = blend[top : top + size, left : left + size]
    out = 0.05 + 0.25 * out + noise * rng.normal(0, 1, out.shape)  # about half of the pixels clip to 0
    return (np.clip(np.rint(out * 63.75), 0, 63) * 4).astype(np.uint8).reshape(count, -1), labels.astype(np.int64)


def signals(count, seed, length=64, channels=2, noise=0.2):
    """Waveforms (count x channels x length, uint8, 128 is zero) of ten kinds, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % CLASSES)
    t = np.linspace(0, 1, length)
    out = np.empty((count, channels, length))
    for i, label in enumerate(labels):
        # class = waveform (5) x relation of the two channels (in phase or in opposition)
        waveform, opposed = divmod(int(label), 2)
        f, phase = rng.uniform(2.0, 6.0), rng.uniform(0, 1)
        cycle = (f * t + phase) % 1.0
        wave = [
            np.sin(2 * np.pi * cycle),
            np.sign(cycle - 0.5),
            2 * cycle - 1,
            np.sin(2 * np.pi * (f * t * (0.5 + t) + phase)),
            np.exp(-(((t - rng.uniform(0.25, 0.75)) / 0.06) ** 2)) * 2 - 0.3,
        ][waveform]
        gain = rng.uniform(0.4, 1.0, (channels, 1))
        sign = np.ones((channels, 1))
        sign[1:] = -1 if opposed else 1
        out[i] = gain * sign * wave
    out += rng.normal(0, noise, out.shape)
    return np.clip(np.rint(128 + 60 * out), 0, 255).astype(np.uint8), labels.astype(np.int64)


def image_and_vector(count, seed, size=12, features=12):
    """Five kinds of images and two kinds of vectors; the label is their combination."""
    pictures, kinds = images(count, seed, size=size, classes=5)
    rng = np.random.default_rng(seed + 1)
    second = rng.integers(0, 2, count)
    direction = np.random.default_rng(20180115).normal(0, 1, (3, features))
    latent = rng.normal(0, 1, (count, 2))
    # The second label is the sign of a product of two latents: a linear layer alone cannot read it.
    latent[:, 1] = np.abs(latent[:, 1]) * np.where(second == 1, 1, -1) * np.sign(latent[:, 0])
    vector = latent @ direction[:2] + 0.15 * rng.normal(0, 1, (count, features)) + direction[2]
    vector = (np.clip(np.rint(vector * 64), -512, 511) / 64).astype(np.float32)
    return pictures, vector, (kinds * 2 + second).astype(np.int64)
