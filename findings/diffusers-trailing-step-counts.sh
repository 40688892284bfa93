#!/usr/bin/env bash
# diffusers 0.42.1's schedulers with timestep_spacing="trailing", the spacing that Lin et al. 2024 recommend, draw blank images at some step counts:
# 61, 103, 121, 122, 499 and 57 others of 1 to 1,000. set_timesteps makes its list by np.arange(1000, 0, -1000 / n), which in floating point
# yields n + 1 numbers there, the last nearly 0: one timestep too many, -1. The network is told a time it never saw, and alphas_cumprod[-1] is the
# strongest noise of all, so that the last step takes the finished image for noise. With images whose exact denoiser is known (standard deviation
# 0.5) DDIM and DDPM end at 0.001 with 61 or 499 steps, and near 0.5 with 60, 62 or 500.
# Between 501 and 999 steps DDIM leaves noise instead (0.71 at 501): step() goes T // n = 1 back, whatever the list says (known:
# huggingface/diffusers#11347, #12633); DDPMScheduler was mended for that, and has the -1 all the same.
# It hurts whoever sweeps the number of steps, or picks an odd one: nothing fails, and the sampler looks as if it had a collapse of its own.
# What to do: take step counts that divide num_train_timesteps, or check that scheduler.timesteps has n entries and none below 0.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check "diffusers==0.42.1" "torch==2.14.1" "numpy==2.2.6" >/dev/null 2>&1
cat > trailing.py <<'PY'
import sys

import diffusers
import torch
from diffusers import DDIMScheduler, DDPMScheduler

print(f"diffusers {diffusers.__version__}, torch {torch.__version__}")
SPREAD = 0.5


def ends_of(kind, count):
    """The standard deviation of samples, the exact denoiser of independent normal pixels being known."""
    scheduler, generator = kind(timestep_spacing="trailing", clip_sample=False), torch.Generator().manual_seed(0)
    scheduler.set_timesteps(count)
    x = torch.randn(64, 1, 16, 16, generator=generator)
    for t in scheduler.timesteps:
        a = scheduler.alphas_cumprod[t]
        x0 = a.sqrt() * SPREAD**2 / (a * SPREAD**2 + 1 - a) * x
        x = scheduler.step((x - a.sqrt() * x0) / (1 - a).sqrt(), t, x, generator=generator).prev_sample
    return float(x.std()), scheduler.timesteps


holds = True
for count in (50, 60, 61, 62, 499, 500, 501):
    ends = [ends_of(kind, count) for kind in (DDIMScheduler, DDPMScheduler)]
    times = ends[0][1]
    spreads = " and ".join(f"{spread:.3f}" for spread, _ in ends)
    print(f"{count:>3} steps: {len(times)} timesteps, the last {int(times[-1])}; DDIM and DDPM end at {spreads}, of {SPREAD}")
    blank = len(times) == count + 1 and int(times[-1]) == -1 and max(spread for spread, _ in ends) < 0.01
    holds = holds and blank == (count in (61, 499))
print("Still so: 61 and 499 steps draw blank images." if holds else "Changed: see above.")
sys.exit(0 if holds else 1)
PY
v/bin/python trailing.py
