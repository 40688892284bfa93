#!/usr/bin/env bash
# torch 2.14.1 writes into every node of an exported graph where its source code lies: absolute paths of the computer that exported it, line
# numbers, and the text of these lines. So do .onnx files (torch.onnx.export, onnxscript 0.7.2) and .pt2 files (torch.export.save), unasked.
# It hurts whoever publishes a model: the file says the user's name and folders and parts of the code, which nobody expects in weights; and the same
# weights exported from another folder, or after a comment was added above the network, are another file with another checksum.
# What to do: take "stack_trace" out of each node's meta before the file is written, as diffcli does (diffcli/inference/graphs.py).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check "torch==2.14.1" "onnx==1.23.2" "onnxscript==0.7.2" "numpy==2.2.6" >/dev/null 2>&1
mkdir somebodys-folder
cat > somebodys-folder/network.py <<'PY'
from torch import nn


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x  # a remark that was not meant for others
PY
v/bin/python - <<'PY'
import logging
import sys
import zipfile
from importlib.metadata import version

import torch

sys.path.insert(0, "somebodys-folder")
from network import Doubled

logging.disable(logging.WARNING)  # of what it cannot register
print(", ".join(f"{name} {version(name)}" for name in ("torch", "onnx", "onnxscript")))


def contents(file):
    """The bytes of a file, unpacked where it is an archive."""
    if not zipfile.is_zipfile(file):
        return open(file, "rb").read()
    with zipfile.ZipFile(file) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def export(file, clean):
    program = torch.export.export(Doubled().eval(), (torch.ones(2),))
    for node in program.graph.nodes if clean else ():
        node.meta.pop("stack_trace", None)
    if file.endswith(".onnx"):
        torch.onnx.export(program, dynamo=True, verbose=False).save(file)
    else:
        torch.export.save(program, file)
    return contents(file)


holds = True
for kind in (".onnx", ".pt2"):
    asis, clean = export("asis" + kind, False), export("clean" + kind, True)
    for what, text in (("the folder's path", b"somebodys-folder/network.py"), ("the line of code", b"a remark that was not meant")):
        print(f"{kind}: {what}: {'in the file' if text in asis else 'not there'}; without stack_trace: {'in the file' if text in clean else 'not there'}")
        holds = holds and text not in clean and (text in asis or what == "the line of code")
print("Still so: paths of the computer are in the files." if holds else "Changed: see above.")
sys.exit(0 if holds else 1)
PY
