"""Grids of pictures: pixel by pixel those of torchvision's ``make_grid``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffcli.inference.pictures import grid, save_animation


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("columns", [None, 1, 3, 12])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 40, 36)])
def test_a_grid_is_that_of_torchvision(count: int, columns: int | None, shape: tuple[int, int, int]) -> None:
    from torchvision.utils import make_grid

    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scale = {8: 8, 36: 2}[shape[-1]]
    magnification = images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    expected = make_grid(magnification, nrow=columns or int(np.ceil(np.sqrt(count))), padding=2, pad_value=64)
    pixels = np.asarray(grid(images, columns))
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    assert np.array_equal(pixels, expected.permute(1, 2, 0).numpy()[:, :, : shape[0]])


@pytest.mark.parametrize("count", [2, 17, 26, 52, 60, 61])
def test_an_animation_is_as_long_as_it_should_be(tmp_path: Path, count: int) -> None:
    # No two neighbours are alike: Pillow would join them into one.
    frames = [torch.full((1, 1, 32, 32), 4 * (number % 61), dtype=torch.uint8) for number in range(count)]
    save_animation(frames, tmp_path / "a.gif", seconds=4)
    times = []
    with Image.open(tmp_path / "a.gif") as file:
        for number in range(file.n_frames):
            file.seek(number)
            times.append(file.info["duration"])
    assert len(times) == count
    assert sum(times) == 5500
    steady = [*times[:-1], times[-1] - 1500]
    assert max(steady) - min(steady) <= 10
