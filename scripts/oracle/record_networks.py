"""Records test/oracle/networks/<name>/: trained networks, samples, and what PyTorch measures on them."""

import time

import numpy as np
import torch
from onnx import numpy_helper

import synthetic
from exporting import check, export_dynamo, export_legacy, save
from exposure import exposures
from networks import NETWORKS
from training import d_cos2, deterministic, eval_moments, evaluate, norms, recalibrate, score, snapshot, to_float, train, train_mode
from writing import write_json

SEED = 20180115  # the day arXiv:1801.05134 appeared
SAMPLES = 203  # not a multiple of any usual batch size, so the last batch is smaller
HELD_OUT = 4000
LOGITS = 16
TRAINING = torch.onnx.TrainingMode


def generate(network, count, seed):
    """Named inputs as stored, and labels."""
    if network.data == "images":
        x, labels = synthetic.images(count, seed, **network.options)
        return {"image": x}, labels
    if network.data == "pixels":
        x, labels = synthetic.prototypes(count, seed, **network.options)
        return {"pixels": x}, labels
    if network.data == "signals":
        x, labels = synthetic.signals(count, seed, **network.options)
        return {"signal": x}, labels
    image, vector, labels = synthetic.image_and_vector(count, seed, **network.options)
    return {"image": image, "vector": vector}, labels


def tensors(stored):
    return [to_float(array) for array in stored.values()]


def constants(graph):
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return values


def verify(exported, model, stored, tolerance=2e-4):
    """Checks the file, compares its inference form with PyTorch's eval; returns ONNX Runtime's complaint, if any."""
    feeds = {name: x.numpy() for name, x in zip(stored, tensors(stored))}
    error, outputs = check(exported, feeds)
    model.eval()
    with torch.no_grad():
        expected = model(*tensors(stored)).numpy()
    worst = float(np.abs(outputs[0] - expected).max())
    if worst > tolerance * max(1.0, float(np.abs(expected).max())):
        raise AssertionError(f"logits differ by {worst}")
    return error


def describe(model, exported, dynamo, stored, labels, held_out, held_labels):
    """Everything expected.json says about BNs and outputs; leaves the model as it was."""
    inputs, labels = tensors(stored), torch.from_numpy(labels)
    held_inputs, held_labels = tensors(held_out), torch.from_numpy(held_labels)
    saved, modules = snapshot(model), dict(model.named_modules())
    table = constants(exported.graph)
    found = {item["node"].input[3].removesuffix(".running_mean"): item for item in exposures(exported.graph, table.__getitem__)}
    dynamo_nodes = {n.input[3].removesuffix(".running_mean"): n.name for n in dynamo.graph.node if n.op_type == "BatchNormalization"}

    real, before = eval_moments(model, inputs)
    trained, train_variance = train_mode(model, inputs, labels, draws=3, seed=SEED)
    held_before = evaluate(model, held_inputs, held_labels)
    repaired = recalibrate(model, inputs)
    _, after = eval_moments(model, inputs)
    held_after = evaluate(model, held_inputs, held_labels)
    model.load_state_dict(saved)

    rows = []
    for name in real.order:
        module, item = modules[name], found[name]
        stored_mean, stored_variance = saved[f"{name}.running_mean"].numpy(), saved[f"{name}.running_var"].numpy()
        ratio = float(stored_variance.astype(np.float64).mean() / real.variance(name).mean())
        count = repaired.count(name)
        weight = None if item["linear"] is None else item["linear"].input[1]
        rows.append(
            {
                "module": name,
                "node": item["node"].name,
                "dynamoNode": dynamo_nodes.get(name),
                "channels": module.num_features,
                "epsilon": module.eps,
                "exposure": item["exposure"],
                "noises": item["noises"],
                "nearestNoiseRatio": item["nearest"],
                "linear": None if weight is None else weight.removesuffix(".weight"),
                "dCos2": None if weight is None else d_cos2(torch.from_numpy(table[weight].copy())),
                "shiftRatio": max(ratio, 1 / ratio),
                "evalOverStored": 1 / ratio,
                "trainModeVarianceMean": train_variance[name],
                "count": count,
                "storedMean": stored_mean,
                "storedVariance": stored_variance,
                "realMean": real.mean(name),
                "realVariance": real.variance(name),
                "repairedMean": repaired.mean(name),
                "repairedVariance": repaired.variance(name),
                "repairedVarianceUnbiased": repaired.variance(name) * (count / (count - 1)),
            }
        )
    return {
        "scores": {
            "samples": {"count": len(labels), "evalBefore": score(before, labels), "evalAfter": score(after, labels), "trainMode": trained},
            "heldOut": {"count": len(held_labels), "evalBefore": held_before, "evalAfter": held_after},
        },
        "norms": rows,
        "logitsBefore": before[:LOGITS].numpy(),
        "logitsAfter": after[:LOGITS].numpy(),
    }


def record(name, folder, log=print):
    started = time.time()
    network = NETWORKS[name]
    deterministic(SEED)
    train_stored, train_labels = generate(network, network.train_count, SEED + 10)
    held_out, held_labels = generate(network, HELD_OUT, SEED + 20)
    stored, labels = generate(network, SAMPLES, SEED + 30)
    model = network.build()
    train(model, tensors(train_stored), torch.from_numpy(train_labels), epochs=network.epochs, rate=network.rate, seed=SEED, log=log)
    trained_s = time.time() - started

    examples, names = [x[:4] for x in tensors(stored)], list(stored)
    exported, moved = export_legacy(model, examples, names, training=TRAINING.TRAINING)
    model.train()
    dynamo, _ = export_dynamo(model, examples, names)
    files = {"model.onnx": exported, "model-dynamo.onnx": dynamo}
    if name in ("preresnet", "mlp"):
        files["model-dynamo-unoptimized.onnx"], _ = export_dynamo(model, examples, names, optimize=False)
    if name == "preresnet":
        files |= variants(model, examples, names)
    exported_s = time.time() - started - trained_s
    target = folder / name
    complaints = {}
    for file, graph in files.items():
        complaints[file] = verify(graph, model, stored)
        save(graph, target / file)
    np.savez_compressed(target / "data.npz", **stored, labels=labels)

    facts = describe(model, exported, dynamo, stored, labels, held_out, held_labels)
    write_json(
        target / "expected.json",
        {
            "name": name,
            "torch": torch.__version__.split("+")[0],
            "seed": SEED,
            "inputs": [
                {"name": key, "stored": str(x.dtype), "divideBy": 255 if x.dtype == np.uint8 else 1, "shape": list(x.shape[1:])}
                for key, x in stored.items()
            ],
            "labels": "labels",
            "notes": {
                "real": "moments of the BN's input in eval mode with the stored statistics; biased variance; all samples",
                "repaired": "noise off, BN in train mode, all samples as one batch; logitsAfter and evalAfter use the BIASED variance",
                "evalOverStored": "channel mean of realVariance over channel mean of storedVariance; shiftRatio is it or its inverse",
                "dynamoNode": "null: the dynamo exporter folded this BN into the convolution or dense layer before it",
                "trainMode": "noise on, batch statistics, all samples as one batch, averaged over 3 noise draws",
            },
            "onnxRuntimeAsIs": complaints,
            **facts,
        },
    )
    scores = facts["scores"]
    held = scores["heldOut"]
    worst = max(row["shiftRatio"] for row in facts["norms"])
    log(
        f"{name}: trained in {trained_s:.0f} s, exported in {exported_s:.0f} s, {time.time() - started:.0f} s in all; held-out accuracy {held['evalBefore']['accuracy']:.4f} -> {held['evalAfter']['accuracy']:.4f}, "
        f"cross entropy {held['evalBefore']['crossEntropy']:.4f} -> {held['evalAfter']['crossEntropy']:.4f}; "
        f"samples {scores['samples']['evalBefore']['accuracy']:.4f} -> {scores['samples']['evalAfter']['accuracy']:.4f} "
        f"(train mode {scores['samples']['trainMode']['accuracy']:.4f}); largest shift ratio {worst:.3f}; "
        f"{len(norms(model))} norms, {moved} statistics moved by the export; "
        + ", ".join(f"{p.name} {p.stat().st_size // 1024} KiB" for p in sorted(target.iterdir()))
    )
    for file, complaint in complaints.items():
        if complaint:
            log(f"  {file} as it is: {complaint}")


def variants(model, examples, names):
    """How else the same network is exported: BN in eval mode with Dropout kept, eval, old opsets."""
    from training import NOISES

    files = {}
    model.eval()
    for module in model.modules():
        if isinstance(module, NOISES):
            module.train()
    files["model-preserve.onnx"], _ = export_legacy(model, examples, names, training=TRAINING.PRESERVE)
    model.eval()
    files["model-eval.onnx"], _ = export_legacy(model, examples, names, training=TRAINING.EVAL, fold=True)
    for opset in (9, 11):
        files[f"model-opset{opset}.onnx"], _ = export_legacy(model, examples, names, training=TRAINING.TRAINING, opset=opset)
    return files
