#!/usr/bin/env bash
# torchvision 0.29.1's Resize gives two different pictures of one transparent image: as a PIL image, the colours that hide in its transparent pixels stay
# hidden; as a tensor (of v2.functional.pil_to_tensor or torchvision.io.decode_image), they are mixed into the visible pixels of the edge. The documentation calls
# the two nearly equal with antialias. Reading without transparency does not help: decode_image(mode="RGB") and ImageFolder's loader show hidden colours bare.
# It hurts whoever trains on icons, emoji or stickers of several colours: nine of ten of Noto's emoji have such pixels. Each picture gets a fringe of colours
# that nobody painted, or smooth edges become jagged, and a diffusion model learns that.
# What to do: lay the picture over a background in its own size (PIL.Image.alpha_composite), then resize, as diffcli's folders do; or resize PIL images.
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
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as F

print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}")
pixels = np.zeros((8, 8, 4), np.uint8)
pixels[:, :3] = 255, 0, 0, 255  # three columns of red
pixels[:, 3:] = 0, 255, 0, 0  # the rest is transparent, and green where nobody sees it
Image.fromarray(pixels).save("icon.png")
picture = Image.open("icon.png")
as_picture = np.asarray(F.resize(picture, [4, 4], antialias=True))[0]
as_tensor = F.resize(decode_image("icon.png", mode=ImageReadMode.RGB_ALPHA), [4, 4], antialias=True)[:, 0].T.numpy()
print("resized to half, the pixel across the edge (red, green, blue, opacity):")
print(f"  as a PIL image {as_picture[1].tolist()}, as a tensor {as_tensor[1].tolist()}")
bare = {
    "ImageFolder's loader": np.asarray(default_loader("icon.png"))[0, -1].tolist(),
    "decode_image(mode='RGB')": decode_image("icon.png", mode=ImageReadMode.RGB)[:, 0, -1].tolist(),
}
print("a transparent pixel, read without transparency: " + ", ".join(f"{name} {colour}" for name, colour in bare.items()))
holds = (
    as_picture[1].tolist() == [255, 0, 0, 128]
    and as_tensor[1, 1] >= 100
    and as_tensor[1, 3] == as_picture[1, 3]
    and all(colour == [0, 255, 0] for colour in bare.values())
)
print("Still so: as a tensor, the hidden green is half of a visible pixel." if holds else "Changed: see above.")
sys.exit(0 if holds else 1)
PY
