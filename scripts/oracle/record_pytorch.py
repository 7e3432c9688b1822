"""Records .pt2 archives of small networks, their eval outputs and what hooks see of their norms' inputs.

Writes test/oracle/pytorch.zip: for each network `<name>/<form>.pt2`, `<name>/data.npz` (inputs in0, ..., outputs out0,
...) and `<name>/moments.json`, by module path. Run again under an older PyTorch with `--older`, it adds archives of the
older layouts and state dictionaries (`older/...`) to the same file.
"""

import argparse
import copy
import io
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pytorch_nets import NETS

OUT = Path(__file__).resolve().parents[2] / "test" / "oracle" / "pytorch.zip"
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SAMPLES = 4


def add(bundle, name, contents):
    """The same contents give the same file: no time, one way to deflate."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    bundle.writestr(info, contents, compresslevel=9)


def coarse(values):
    """Numbers of few digits, so that the fixtures stay small."""
    return values.bfloat16().to(values.dtype)


def inputs_of(shape, count, generator):
    if shape is None:
        return torch.randint(0, 11, (count, 5), generator=generator)
    return coarse(torch.randn(count, *shape, generator=generator))


def settle(model, shape, generator):
    """Running statistics as training leaves them: averages over batches with the noise on."""
    tracked = [m for m in model.modules() if getattr(m, "running_mean", None) is not None]
    with torch.no_grad():
        for module in tracked:
            if module.weight is not None:
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
            module.momentum = None
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(inputs_of(shape, 64, generator))
        for values in model.state_dict().values():
            if values.is_floating_point():
                values.copy_(coarse(values))
    for module in tracked:
        module.momentum = 0.1
    return model.eval()


def moments_of(model, x):
    """Mean and biased variance of what each norm sees in eval mode; norms that run twice are left out."""
    seen = {}
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, NORMS) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(lambda _, args, name=name: seen.setdefault(name, []).append(args[0].double())))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    once = {name: values[0].transpose(0, 1).flatten(1) for name, values in seen.items() if len(values) == 1}
    return {name: {"mean": v.mean(1).tolist(), "variance": v.var(1, unbiased=False).tolist()} for name, v in once.items()}


def exported(model, x, form):
    model.train(form.startswith("train"))
    batch = torch.export.Dim("N", min=1, max=4096)
    program = torch.export.export(model, (x[:3],), dynamic_shapes=({0: batch},))
    model.eval()
    return program.run_decompositions() if form.endswith("decomposed") else program


def saved(program):
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def prepared(name):
    build, shape, forms = NETS[name]
    torch.manual_seed(7)
    generator = torch.Generator().manual_seed(8)
    model = settle(build(), shape, generator)
    return model, inputs_of(shape, SAMPLES, generator), forms


def record(bundle, name):
    model, x, forms = prepared(name)
    with torch.no_grad():
        y = model(x)
    outputs = y if isinstance(y, tuple) else (y,)
    buffer = io.BytesIO()
    np.savez(buffer, in0=x.numpy(), **{f"out{i}": value.numpy() for i, value in enumerate(outputs)})
    add(bundle, f"{name}/data.npz", buffer.getvalue())
    add(bundle, f"{name}/moments.json", json.dumps(moments_of(model, x)))
    for form in forms:
        # Exporting in train mode may move statistics; each form starts from the settled ones.
        add(bundle, f"{name}/{form}.pt2", saved(exported(copy.deepcopy(model), x, form)))
    print(name, *forms)


def record_older(bundle):
    """The layout of schema 7 and below, and what torch.save writes."""
    version = torch.__version__.split("+")[0]
    model, x, _ = prepared("preresnet")
    with torch.no_grad():
        y = model(x)
    buffer = io.BytesIO()
    np.savez(buffer, in0=x.numpy(), out0=y.numpy())
    add(bundle, "older/data.npz", buffer.getvalue())
    add(bundle, "older/moments.json", json.dumps(moments_of(model, x)))
    for form in ("train", "eval"):
        add(bundle, f"older/{form}.pt2", saved(exported(copy.deepcopy(model), x, form)))
    states = {
        "state.pt": model.state_dict(),
        "checkpoint.pt": {"epoch": 3, "optimizer": torch.optim.Adam(model.parameters()).state_dict(), "model": model.state_dict()},
        "module.pt": nn.Sequential(nn.Linear(2, 2)),
    }
    for name, value in states.items():
        buffer = io.BytesIO()
        torch.save(value, buffer)
        add(bundle, f"older/{name}", buffer.getvalue())
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer, _use_new_zipfile_serialization=False)
    add(bundle, "older/legacy.pt", buffer.getvalue())
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    add(bundle, "older/script.pt", buffer.getvalue())
    print("older: PyTorch", version)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--older", action="store_true", help="add the archives of an older PyTorch")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.older:
        with zipfile.ZipFile(OUT, "a") as bundle:
            record_older(bundle)
        return
    with zipfile.ZipFile(OUT, "w") as bundle:
        for name in NETS:
            record(bundle, name)
        from safetensors.torch import save

        model, _, _ = prepared("preresnet")
        add(bundle, "preresnet/state.safetensors", save(model.state_dict()))


if __name__ == "__main__":
    main()
