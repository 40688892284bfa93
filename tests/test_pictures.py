"""Grids of pictures: pixel by pixel those of torchvision's ``make_grid``."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffcli.reporting.pictures import grid


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("columns", [None, 1, 3, 12])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 40, 36)])
def test_a_grid_is_that_of_torchvision(count: int, columns: int | None, shape: tuple[int, int, int]) -> None:
    from torchvision.utils import make_grid

    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scale = 4 if shape[-1] == 8 else 1
    enlarged = images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    expected = make_grid(enlarged, nrow=columns or int(np.ceil(np.sqrt(count))), padding=2, pad_value=64)
    drawn = np.asarray(grid(images, columns))
    drawn = drawn[:, :, None] if drawn.ndim == 2 else drawn
    assert np.array_equal(drawn, expected.permute(1, 2, 0).numpy()[:, :, : shape[0]])
