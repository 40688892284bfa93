#!/usr/bin/env bash
# One grey PNG of 16 bits is three different pictures in torchvision 0.29.1: the classic ToTensor() gives int16 in which the brighter half is negative, so that
# white is -1 and black 0; ImageFolder's loader gives 8 bits in which nearly everything is white, for what is above 255 of 65,535 is clipped; v2's ToImage with
# ToDtype(float32, scale=True), and decode_image, give the picture. Nothing warns.
# It hurts whoever trains on microscopy, X-rays, depth or astronomy, which come as such files: the network learns white squares, or negatives with a tear at half
# grey, and the loss falls all the same.
# What to do: v2.ToImage() and v2.ToDtype(torch.float32, scale=True) in place of ToTensor(), and a loader of one's own for ImageFolder, such as
# loader=torchvision.io.decode_image. diffcli scales 16 bits to 8 wherever it reads pictures.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check "torch==2.14.1" "torchvision==0.29.1" "pillow==12.3.0" "numpy==2.2.6" >/dev/null 2>&1
v/bin/python - <<'PY'
import sys

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.datasets.folder import default_loader
from torchvision.io import decode_image
from torchvision.transforms import ToTensor, v2

print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}")
ramp = np.array([[0, 16384, 32767, 32768, 49152, 65535]], np.uint16)
Image.fromarray(ramp).save("ramp.png")
picture = Image.open("ramp.png")
scaled = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
readings = {
    "in the file": ramp[0].tolist(),
    "ToTensor()": ToTensor()(picture).flatten().tolist(),
    "ImageFolder's loader": np.asarray(default_loader("ramp.png"))[0, :, 0].tolist(),
    "decode_image()": decode_image("ramp.png").flatten().tolist(),
    "v2.ToImage(), v2.ToDtype(float32, scale=True)": [round(value, 4) for value in scaled(picture).flatten().tolist()],
}
print(f"a ramp from black to white, Pillow's mode {picture.mode}:")
for name, values in readings.items():
    print(f"  {name}: {values}")
holds = (
    readings["ToTensor()"] == [0, 16384, 32767, -32768, -16384, -1]
    and readings["ImageFolder's loader"] == [0, 255, 255, 255, 255, 255]
    and readings["decode_image()"] == ramp[0].tolist()
    and readings["v2.ToImage(), v2.ToDtype(float32, scale=True)"] == [0.0, 0.25, 0.5, 0.5, 0.75, 1.0]
)
print("Still so: ToTensor() makes the brighter half negative, ImageFolder's loader makes it white." if holds else "Changed: see above.")
sys.exit(0 if holds else 1)
PY
