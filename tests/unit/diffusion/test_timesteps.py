"""The steps that a sampler takes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcli.diffusion.samplers import (
    timesteps,
)


@given(T=st.integers(1, 3000), data=st.data())
def test_timesteps_descend_from_T_to_0(T: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, T))
    path = timesteps(T, steps)
    assert (path[0], path[-1], len(path)) == (T, 0, steps + 1)
    assert all(earlier > later for earlier, later in pairwise(path))


def test_all_steps_visit_every_t() -> None:
    assert timesteps(5) == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("steps", [0, -1, 11])
def test_steps_out_of_range_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=r"steps must be in 1..10"):
        timesteps(10, steps)
