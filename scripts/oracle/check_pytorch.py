"""check_pytorch.py NETWORK ARCHIVE NPZ: loads a repaired archive into PyTorch and compares.

Prints JSON: `largestError` of the eval outputs against those in NPZ (out0, ...), and `momentError`, the largest relative
difference between the running statistics and what hooks see of the norms' inputs in eval mode.
"""

import json
import sys
import warnings

import numpy as np
import torch

from pytorch_nets import NETS
from record_pytorch import moments_of

warnings.simplefilter("ignore")
network, archive, ours = sys.argv[1:]
program = torch.export.load(archive)
data = np.load(ours)
x = torch.from_numpy(data["in0"])

# The weights and statistics of the file in the network's own source, in eval mode.
model = NETS[network][0]()
model.load_state_dict(program.state_dict, strict=False)
model.load_state_dict({**program.constants, **model.state_dict()}, strict=False)
for name, values in program.constants.items():
    if isinstance(values, torch.Tensor) and hasattr(model, name):
        setattr(model, name, values)
model.eval()
with torch.no_grad():
    y = model(x)
outputs = y if isinstance(y, tuple) else (y,)
error = 0.0
for i, value in enumerate(outputs):
    wanted = data[f"out{i}"]
    error = max(error, float(np.max(np.abs(value.numpy() - wanted) / np.maximum(1, np.abs(wanted)))))

moments = moments_of(model, x)
state = model.state_dict()
worst = 0.0
for name, seen in moments.items():
    mean, variance = state[f"{name}.running_mean"].double().numpy(), state[f"{name}.running_var"].double().numpy()
    scale = max(seen["variance"])
    worst = max(worst, float(np.max(np.abs(mean - np.array(seen["mean"])))) / scale**0.5)
    worst = max(worst, float(np.max(np.abs(variance - np.array(seen["variance"])))) / scale)
print(json.dumps({"largestError": error, "momentError": worst}))
