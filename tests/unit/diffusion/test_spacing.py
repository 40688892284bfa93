"""Where a sampler's steps lie."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.samplers import LEAST, MOST, spaced_timesteps, timesteps
from diffcli.diffusion.schedules import cosine, linear


def noise(T: int) -> GaussianNoise:
    return GaussianNoise(cosine(T))


@given(T=st.integers(1, 300), data=st.data())
def test_steps_descend_from_their_start_to_0_however_many(T: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(1, T))
    steps = data.draw(st.integers(1, start))
    path = spaced_timesteps(noise(T), steps, "log-snr", start)
    assert (path[0], path[-1], len(path)) == (start, 0, steps + 1)
    assert all(earlier > later for earlier, later in pairwise(path))


def test_steps_are_evenly_spread_over_log_snr() -> None:
    degradation = noise(1000)
    path = torch.tensor(spaced_timesteps(degradation, 16, "log-snr")[1:-1])
    alphas = torch.cumprod(1 - cosine(1000), dim=0)
    log_snr = (alphas / (1 - alphas)).log()
    gaps = log_snr[path].diff()
    span = torch.log(torch.tensor(MOST)) - torch.log(torch.tensor(LEAST))
    assert torch.allclose(gaps, (span / 15).double().expand_as(gaps), atol=0.1)


def test_even_steps_are_those_of_before() -> None:
    for steps in (None, 1, 7, 30):
        assert spaced_timesteps(noise(30), steps) == timesteps(30, steps)
    assert spaced_timesteps(GaussianNoise(linear(20, 0.001, 0.3)), 20, "log-snr") == timesteps(20)
