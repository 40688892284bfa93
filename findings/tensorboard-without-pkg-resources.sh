#!/usr/bin/env bash
# TensorBoard 2.20.0 does not start in a new environment: it asks for "setuptools>=41", of which pip takes the newest,
# and that has no pkg_resources any more, which TensorBoard imports. Writing event files still works, so that a training logs for hours before
# anyone finds that nothing can show it.
# It hurts whoever pins TensorBoard at or below 2.20.0 and installs anew; Python 3.12 and later bring no setuptools of their own, so pip fetches the newest.
# What to do: tensorboard 2.21.0 or later, which diffcli asks for; or setuptools below 82 beside the pinned one.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv old
old/bin/pip install --quiet --disable-pip-version-check "tensorboard==2.20.0" "setuptools==84.2.1" >/dev/null 2>&1
python3 -m venv new
new/bin/pip install --quiet --disable-pip-version-check "tensorboard==2.21.0" "setuptools==84.2.1" >/dev/null 2>&1
old/bin/python - <<'PY'
import os
from importlib.metadata import requires, version

from tensorboard.summary.writer.event_file_writer import EventFileWriter

needs = [line for line in requires("tensorboard") if line.startswith("setuptools")]
writer = EventFileWriter("log")
writer.close()
print(f"event files that it wrote: {len(os.listdir('log'))}")
print(f"tensorboard {version('tensorboard')} asks for {', '.join(needs)}; there is setuptools {version('setuptools')}")
PY
for one in old new; do
  if $one/bin/tensorboard --version_tb >$one.txt 2>&1; then echo "$one: starts"; else echo "$one: does not start: $(tail -n 1 $one.txt)"; fi
done | tee out.txt
old/bin/pip check
if grep -q "^old: does not start: ModuleNotFoundError: No module named 'pkg_resources'" out.txt && grep -q "^new: starts" out.txt; then
  echo "Still so: pip calls the environment whole, and 2.20.0 does not start in it; 2.21.0 does."
else
  echo "Changed: see above."; exit 1
fi
