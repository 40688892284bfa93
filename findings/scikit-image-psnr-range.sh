#!/usr/bin/env bash
# scikit-image 0.25.2's peak_signal_noise_ratio takes a float image's range from its values: 1 where the first image has none below 0,
# 2 where it has a single one, however small. The same pair of images then scores 6 dB more, and nothing is said.
# It hurts whoever compares restorations that are not clamped (a network's output, a resized picture): one pixel at -1e-6 in the reference is worth
# 6 dB, more than most methods differ by; and swapping the two arguments changes the score, though a mean squared error has no order.
# What to do: pass data_range=1 always. diffcli clamps to [0, 1] and measures with range 1 (docs/metrics.md).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check "scikit-image==0.25.2" "numpy==2.2.6" >/dev/null 2>&1
v/bin/python - <<'PY'
import sys

import numpy as np
import skimage
from skimage.metrics import peak_signal_noise_ratio as psnr

print(f"scikit-image {skimage.__version__}, numpy {np.__version__}")
clean = np.random.default_rng(0).uniform(0.01, 1, (16, 16))
clean[0, 0] = 0
noisy = np.minimum(clean + 0.1 * np.random.default_rng(1).normal(size=clean.shape), 1)
below = clean.copy()
below[0, 0] = -1e-6
near = psnr(clean, noisy), psnr(below, noisy)
unit_range = psnr(clean, noisy, data_range=1), psnr(below, noisy, data_range=1)
print(f"no value below 0: {near[0]:.2f} dB; one pixel at -1e-6: {near[1]:.2f} dB; data_range=1: {unit_range[0]:.2f} and {unit_range[1]:.2f} dB")
print(f"arguments swapped: {psnr(noisy, clean):.2f} dB")
holds = near[1] - near[0] > 5 and psnr(noisy, clean) - near[0] > 5 and abs(unit_range[1] - unit_range[0]) < 1e-3
print("Still so: one negative pixel doubles the range." if holds else "Changed: see above.")
sys.exit(0 if holds else 1)
PY
