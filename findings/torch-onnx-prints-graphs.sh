#!/usr/bin/env bash
# torch.onnx.export(..., dynamo=False) of PyTorch 2.14.1 prints the whole graph of a network, hundreds of lines with the paths of the user's source
# files, on standard output when an operation has no counterpart in ONNX, whatever `verbose` says. It comes from below Python: neither
# contextlib.redirect_stdout nor a replaced sys.stdout keeps it off, and it lands in the middle of what the program prints there itself.
# It hurts programs that try the export and go on without it when it fails, and whose standard output is read by another program (JSON, a picture).
# What to do: replace torch._C._jit_onnx_log around the call, as diffcli/utils/engine.py does, or export in a process of its own; and take one thread at a
# time, for the exporter has a state that all threads share.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check "torch==2.14.1" "onnx==1.23.2" "numpy==2.2.6" >/dev/null 2>&1
cat > export.py <<'PY'
import contextlib
import io
import warnings

import torch

warnings.simplefilter("ignore")


class Exponential(torch.nn.Module):
    """The exponential of a matrix, for which ONNX has no operation."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(4, 4)

    def forward(self, x):
        return torch.linalg.matrix_exp(self.first(x))


with contextlib.redirect_stdout(io.StringIO()) as stream:
    try:
        torch.onnx.export(Exponential(), (torch.zeros(4, 4),), "x.onnx", dynamo=False, verbose=False)
        outcome = "exported"
    except torch.onnx.errors.UnsupportedOperatorError:
        outcome = "refused"
print(f'{{"torch": "{torch.__version__}", "outcome": "{outcome}", "seen by redirect_stdout": {len(stream.getvalue())}}}')
PY
v/bin/python export.py > out.txt
echo "What the program printed is its last line; what stands above it the library printed:"
cut -c 1-150 out.txt
if [ "$(tail -n 1 out.txt | grep -c '"outcome": "refused", "seen by redirect_stdout": 0')" = 1 ] && [ "$(grep -c 'graph(' out.txt)" -ge 1 ]; then
  echo "Still so: a refused export prints its graph on standard output, past redirect_stdout."
else
  echo "Changed: see above."; exit 1
fi
