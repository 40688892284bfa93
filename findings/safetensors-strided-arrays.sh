#!/usr/bin/env bash
# safetensors 0.8.0's NumPy side writes an array that is not contiguous in C order with other values than it has, and says nothing:
# the bytes of its memory are written as they lie, under the array's own shape. A transposed, sliced or Fortran-ordered array comes back scrambled.
# It hurts whoever converts weights or images between layouts (x.transpose(0, 3, 1, 2), x[:, ::2]) and saves the view: shapes fit, values do not.
# What to do: numpy.ascontiguousarray before save_file; or the PyTorch side, which refuses such tensors. diffcli writes tensors by that side alone.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check "safetensors==0.8.0" "numpy==2.2.6" >/dev/null 2>&1
v/bin/python - <<'PY'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

print(f"safetensors {safetensors.__version__}, numpy {np.__version__}")
base = np.arange(6, dtype=np.float32).reshape(2, 3)
views = {"transposed": base.T, "every second column": base[:, ::2], "Fortran order": np.asfortranarray(base)}
differences = []
for name, array in views.items():
    save_file({"x": array}, "model.safetensors")
    copy = load_file("model.safetensors")["x"]
    differences.append(copy.shape == array.shape and not np.array_equal(copy, array))
    print(f"{name}: saved {array.tolist()}, loaded {copy.tolist()}")
save_file({"x": np.ascontiguousarray(base.T)}, "model.safetensors")
sound = np.array_equal(load_file("model.safetensors")["x"], base.T)
print(f"contiguous copy of the transposed array: {'the same values' if sound else 'other values'}")
print("Still so: views are written with other values." if all(differences) and sound else "Changed: see above.")
sys.exit(0 if all(differences) and sound else 1)
PY
