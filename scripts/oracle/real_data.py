"""Trains small pre-activation ResNets (Dropout directly before the last BN of each bottleneck) on real images and
exports them in training mode, for trials that are too large for the repository.

  python scripts/oracle/real_data.py --fashion <folder of IDX .gz> --cifar <folder of .bin.gz> --out <folder>

Writes <out>/<set>/model.onnx, calibration.npz (training images), test.npz and result.json. Inputs are uint8 / 255,
N x C x H x W; nothing else is done to them.
"""

import argparse
import gzip
import time
from pathlib import Path

import numpy as np
import onnx
import torch

from exporting import check, export_legacy, save
from networks import PreResNet
from training import NOISES, deterministic, eval_moments, evaluate, norms, recalibrate, snapshot, to_float, train
from writing import write_json

SEED = 20180115


def idx(path):
    """An IDX file of unsigned bytes."""
    raw = gzip.decompress(path.read_bytes())
    dimensions = raw[3]
    shape = np.frombuffer(raw, ">u4", dimensions, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()


def fashion(folder):
    parts = []
    for prefix in ("train", "t10k"):
        parts += [idx(folder / f"{prefix}-images-idx3-ubyte.gz")[:, None], idx(folder / f"{prefix}-labels-idx1-ubyte.gz").astype(np.int64)]
    return parts


def cifar(folder):
    def read(path):
        rows = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8).reshape(-1, 3073)
        return rows[:, 1:].reshape(-1, 3, 32, 32).copy(), rows[:, 0].astype(np.int64)

    batches = [read(path) for path in sorted(folder.glob("data_batch_*.bin.gz"))]
    return [np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches]), *read(folder / "test_batch.bin.gz")]


SETS = {
    "fashion-mnist": {
        "read": fashion,
        "build": lambda: PreResNet("a", 0.5, stem=8, planes=(8, 12, 16), depth=2, channels=1, stem_stride=2),
        "images": 12000,
        "epochs": 12,
    },
    "cifar-10": {
        "read": cifar,
        "build": lambda: PreResNet("a", 0.5, stem=12, planes=(12, 16, 24), depth=2, channels=3, stem_stride=2),
        "images": 15000,
        "epochs": 8,
    },
}


def update_bn(model, inputs, batch=64):
    """PyTorch's own recipe: cumulative train-mode moments, which leaves the dropout on."""
    torch.manual_seed(SEED)
    for _, module in norms(model):
        module.reset_running_stats()
        module.momentum = None
    model.train()
    with torch.no_grad():
        for i in range(0, len(inputs[0]), batch):
            model(*[x[i : i + batch] for x in inputs])
    for _, module in norms(model):
        module.momentum = 0.1


def run(name, settings, folder, out, threads):
    started = time.time()
    deterministic(SEED, threads)
    x, y, test_x, test_y = settings["read"](folder)
    pick = np.random.default_rng(SEED).permutation(len(x))[: settings["images"]]
    x, y = x[pick], y[pick]
    inputs, labels = [to_float(x)], torch.from_numpy(y)
    test, test_labels = [to_float(test_x)], torch.from_numpy(test_y)
    model = settings["build"]()
    train(model, inputs, labels, epochs=settings["epochs"], seed=SEED)
    trained_s = time.time() - started
    saved = snapshot(model)

    before = evaluate(model, test, test_labels)
    calibration = [inputs[0][:2000]]
    real, _ = eval_moments(model, calibration)
    rows = []
    for norm in real.order:
        stored, now = saved[f"{norm}.running_var"].double().mean().item(), float(real.variance(norm).mean())
        rows.append({"module": norm, "storedVarianceMean": stored, "realVarianceMean": now, "shiftRatio": max(stored / now, now / stored)})
    scores = {"asTrained": before}
    update_bn(model, inputs)
    scores["updateBnNoiseOn"] = evaluate(model, test, test_labels)
    for count in (64, 256, 1024, 2000):
        model.load_state_dict(saved)
        recalibrate(model, [inputs[0][:count]])
        scores[f"recalibratedNoiseOff{count}"] = evaluate(model, test, test_labels)
    model.load_state_dict(saved)

    exported, _ = export_legacy(model, [inputs[0][:4]], ["image"], training=torch.onnx.TrainingMode.TRAINING)
    error, outputs = check(exported, {"image": test[0][:64].numpy()})
    model.eval()
    with torch.no_grad():
        np.testing.assert_allclose(outputs[0], model(test[0][:64]).numpy(), rtol=1e-3, atol=1e-3)
    target = out / name
    save(exported, target / "model.onnx")
    np.savez_compressed(target / "calibration.npz", image=x[:2000], labels=y[:2000])
    np.savez_compressed(target / "test.npz", image=test_x, labels=test_y)
    dropouts = sum(isinstance(module, NOISES) for module in model.modules())
    write_json(
        target / "result.json",
        {
            "set": name, "torch": torch.__version__.split("+")[0], "onnx": onnx.__version__, "seed": SEED, "trainImages": settings["images"],
            "epochs": settings["epochs"], "parameters": sum(p.numel() for p in model.parameters()), "norms": len(rows), "dropouts": dropouts,
            "onnxRuntimeAsIs": error, "trainedSeconds": trained_s, "testScores": scores, "shift": rows,
        },
    )  # fmt: skip
    print(f"{name}: {trained_s:.0f} s; " + "; ".join(f"{key} {v['accuracy']:.4f} / {v['crossEntropy']:.4f}" for key, v in scores.items()))
    print("  shift ratios " + " ".join(f"{row['shiftRatio']:.2f}" for row in rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, help="folder of Fashion-MNIST's four IDX .gz files")
    parser.add_argument("--cifar", type=Path, help="folder of CIFAR-10's data_batch_*.bin.gz and test_batch.bin.gz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1, help="more pay only on an idle machine (default 1)")
    options = parser.parse_args()
    if not options.fashion and not options.cifar:
        parser.error("name at least one of --fashion and --cifar")
    for name, folder in (("fashion-mnist", options.fashion), ("cifar-10", options.cifar)):
        if folder:
            run(name, SETS[name], folder, options.out, options.threads)


if __name__ == "__main__":
    main()
