"""The names of the registered samplers, so that a new one is tested wherever all of them are."""

from __future__ import annotations

from diffcli.config.build import samplers_for
from diffcli.diffusion.degradations import GaussianBlur, GaussianNoise
from diffcli.diffusion.schedules import constant

ON_NOISE = samplers_for(GaussianNoise(constant(4, 0.1)))
"""Those that serve Gaussian noise."""
ON_BLUR = samplers_for(GaussianBlur(constant(4, 1.0), (1, 8, 8)))
"""Those that serve a blur, and with it every degradation."""
