#!/usr/bin/env bash
# safetensors 0.8.0 writes every file with mode 0600, whatever the umask says.
# 0.7.0 and before wrote 0644 under the usual umask, as torch.save and numpy.save do. Nothing is said where it happens.
# It hurts whoever shares weights on one machine: a colleague, a web server or a job under another user gets "permission denied"
# for a model file that its owner reads without trouble; containers and wheels carry the mode along.
# What to do: write the bytes of safetensors.torch.save yourself, as diffcli does for model files (tests/commands/test_model_files.py), or chmod after save_file.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
umask 022
for version in 0.7.0 0.8.0; do
  python3 -m venv "v$version"
  "v$version/bin/pip" install --quiet --disable-pip-version-check "safetensors==$version" "numpy==2.2.6" >/dev/null 2>&1
  "v$version/bin/python" - >> modes.txt <<'PY'
import os
import numpy
import safetensors
from safetensors.numpy import save_file

arrays = {"weights": numpy.zeros(3, dtype=numpy.float32)}
save_file(arrays, "model.safetensors")
numpy.save("model.npy", arrays["weights"])
modes = [oct(os.stat(name).st_mode & 0o777) for name in ("model.safetensors", "model.npy")]
print(f"safetensors {safetensors.__version__}, numpy {numpy.__version__}, umask 022: save_file {modes[0]}, numpy.save {modes[1]}")
os.remove("model.safetensors")
PY
done
cat modes.txt
if grep -q "0.7.0.*save_file 0o644, numpy.save 0o644" modes.txt && grep -q "0.8.0.*save_file 0o600, numpy.save 0o644" modes.txt; then
  echo "Still so: files of safetensors 0.8.0 can be read by their owner alone."
else
  echo "Changed: see the modes above."
  exit 1
fi
