"""ONNX export as users do it, with the two repairs that a recorded file needs.

Exporting in training mode runs the network once in train mode, which moves the running statistics of the module AND of
the file by one step of the example batch (see NOTES.md). The recorded files carry the trained statistics instead.
"""

import contextlib
import io
import logging
import os
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper

from training import snapshot

logging.getLogger("torch.onnx").setLevel(logging.ERROR)


@contextlib.contextmanager
def quiet():
    """Exporters print progress, warnings about training mode, and (from C++) the graph they could not export."""
    sys.stdout.flush()
    kept, sink = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(sink)


def _strip(model):
    """Removes the exporter's diary (paths of source files, graph fragments), keeps the module names."""
    graphs = [model.graph] + list(model.functions)
    for graph in graphs:
        for node in graph.node:
            node.ClearField("doc_string")
            kept = [p for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"]
            del node.metadata_props[:]
            node.metadata_props.extend(kept)
    return model


def restore_statistics(model, state):
    """Sets every initializer that carries a running statistic to the trained value; returns how many had moved."""
    moved = 0
    for tensor in model.graph.initializer:
        if tensor.name in state and tensor.name.endswith(("running_mean", "running_var")):
            wanted = state[tensor.name].numpy()
            if not np.array_equal(numpy_helper.to_array(tensor), wanted):
                moved += 1
                tensor.CopyFrom(numpy_helper.from_array(wanted, tensor.name))
    return moved


def export_legacy(model, examples, names, *, training, opset=17, outputs=("logits",), fold=False):
    """torch.onnx.export(dynamo=False); the module's mode is the caller's choice unless `training` sets it."""
    state, modes = snapshot(model), {m: m.training for m in model.modules()}
    axes = {name: {0: "N"} for name in (*names, *outputs)}
    buffer = io.BytesIO()
    with quiet():
        torch.onnx.export(
            model, tuple(examples), buffer, dynamo=False, training=training, do_constant_folding=fold,
            opset_version=opset, input_names=list(names), output_names=list(outputs), dynamic_axes=axes,
        )  # fmt: skip
    model.load_state_dict(state)
    for module, mode in modes.items():
        module.training = mode
    exported = _strip(onnx.load_from_string(buffer.getvalue()))
    return exported, restore_statistics(exported, state)


def export_dynamo(model, examples, names, *, outputs=("logits",), **options):
    """torch.onnx.export(dynamo=True), the default since PyTorch 2.9; the module's mode is what the caller set."""
    state = snapshot(model)
    batch = torch.export.Dim("N", min=1)
    with quiet():
        program = torch.onnx.export(
            model, tuple(examples), dynamo=True, verbose=False, input_names=list(names), output_names=list(outputs),
            dynamic_shapes=tuple({0: batch} for _ in names), **options,
        )  # fmt: skip
    model.load_state_dict(state)
    exported = _strip(program.model_proto)
    return exported, restore_statistics(exported, state)


def save(model, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def as_inference(model):
    """A copy in which Dropout and BatchNormalization run in inference mode, to compare logits with PyTorch's eval."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.op_type == "Dropout":
            del node.input[2:]
            del node.output[1:]
        if node.op_type == "BatchNormalization":
            del node.output[1:]
            for attribute in list(node.attribute):
                if attribute.name == "training_mode":
                    node.attribute.remove(attribute)
    return copy


def session(model, optimize=True):
    """`optimize=False` keeps the noise: ONNX Runtime's optimizer removes Dropout even in training mode (NOTES.md)."""
    options = onnxruntime.SessionOptions()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def check(model, feeds):
    """onnx.checker, then ONNX Runtime on the file as it is and on its inference form.

    Returns (error line of the run as it is or None, outputs of the inference form).
    """
    onnx.checker.check_model(model, full_check=True)
    error = None
    try:
        session(model, optimize=False).run(None, feeds)
    except Exception as problem:  # ONNX Runtime raises many classes; the first line says which
        error = str(problem).splitlines()[0][:300]
    return error, session(as_inference(model)).run(None, feeds)
