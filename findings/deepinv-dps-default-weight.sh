#!/usr/bin/env bash
# deepinv 0.5.0's sampling.DPS, called with its defaults, draws images that have next to nothing to do with the measurement, though its page says
# that the defaults are those of the original algorithm (Chung et al. 2023). Its gradient is as good as absent: a weight of 100 does what the
# paper's step length of 1 does. With images whose exact denoiser is known, and measurements that are nearly the images, answers and images correlate
# by less than 0.1 at the default and by more than 0.9 with weight 100.
# It hurts whoever compares methods "at their defaults": DPS then looks as if it could not restore anything.
# What to do: search the weight (1, 30 and 100 in benchmarks/restoring.py of diffcli), and look at the residual of an answer before scoring it.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check "deepinv==0.5.0" "torch==2.14.1" "torchvision==0.29.1" "numpy==2.2.6" >/dev/null 2>&1
cat > dps.py <<'PY'
import sys
from importlib.metadata import version

import deepinv
import torch

print(f"deepinv {version('deepinv')}, torch {torch.__version__}")
SPREAD, SIGMA = 0.2, 0.01
torch.manual_seed(0)
images = 0.5 + SPREAD * torch.randn(64, 1, 8, 8)


class Exact(deepinv.models.Denoiser):
    """The mean of an image given one with noise, where pixels are independent and normal."""

    def forward(self, x, sigma, **_):
        variance = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1, 1, 1) ** 2
        return 0.5 + SPREAD**2 / (SPREAD**2 + variance) * (x - 0.5)


physics = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(SIGMA))
measurements = physics(images)
agreement = {}
for weight in (None, 100.0):
    words = {} if weight is None else {"weight": weight}
    answers = deepinv.sampling.DPS(Exact(), **words)(measurements, physics).float()
    agreement[weight] = float(torch.corrcoef(torch.stack([answers.flatten(), images.flatten()]))[0, 1])
    residual = float((answers - measurements).square().mean().sqrt()) / SIGMA
    print(f"{'defaults' if weight is None else f'weight {weight:g}'}: correlation with the images {agreement[weight]:.3f}, residual {residual:.1f} sigma")
holds = agreement[None] < 0.3 and agreement[100.0] > 0.9
print("Still so: the defaults do not look at the measurement." if holds else "Changed: see above.")
sys.exit(0 if holds else 1)
PY
v/bin/python dps.py
