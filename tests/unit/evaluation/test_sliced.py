"""The sliced Wasserstein distance of patches, against a reference in float64, and what each of its scales sees."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import wasserstein_distance
from torch import Tensor

from diffcli.data.datasets import ImageSet, digits
from diffcli.data.pixels import to_uint8
from diffcli.evaluation import sliced
from diffcli.evaluation.distances import Distances
from diffcli.evaluation.sliced import laplacian_pyramid, patches_of, scales, sliced_distances
from diffcli.utils.cache import Cache
from diffcli.utils.devices import Processes

GENERATOR, CPU = torch.Generator(), torch.device("cpu")


def textures(count: int, side: int, seed: int, smooth: float = 1.0) -> Tensor:
    """Colour images of smoothed noise in [0, 1], (count, 3, side, side)."""
    noise = np.random.default_rng(seed).normal(size=(count, 3, side, side))
    texture = ndimage.gaussian_filter(noise, (0, 0, smooth, smooth))
    return torch.from_numpy(np.clip(0.5 + 0.15 * texture / texture.std(), 0, 1)).float()


def bytes_of(images: Tensor) -> Tensor:
    return to_uint8(images.clamp(0, 1) - 0.5)


def distances_of(real: Tensor, images: Tensor, subsets: Tensor | None = None) -> Tensor:
    """The distances of images in [0, 1], (S, scales)."""
    first, second = (patches_of(bytes_of(part), CPU) for part in (real, images))
    return sliced_distances(first, second, all_of(images) if subsets is None else subsets)


def all_of(images: Tensor) -> Tensor:
    return torch.ones(1, len(images), dtype=torch.bool)


def test_scales_go_down_to_twice_a_patch() -> None:
    assert scales(64, 64) == [64, 32, 16]
    assert scales(28, 28) == [28, 14]
    assert scales(32, 48) == [32, 16]
    assert scales(27, 40) == [27, 14]
    assert scales(8, 8) == [8]


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (27, 41), (8, 8)])
def test_the_pyramid_holds_the_images_and_its_filter_is_the_papers(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=GENERATOR.manual_seed(0)).double()
    bands = laplacian_pyramid(images)
    assert [min(band.shape[-2:]) for band in bands] == scales(*size)
    whole = bands[-1]
    for band in bands[-2::-1]:
        whole = band + sliced._double(whole, *band.shape[-2:])
    assert torch.allclose(whole, images, atol=1e-12)
    taps = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    blur = ndimage.convolve(images[0, 0].numpy(), taps, mode="mirror")
    assert np.allclose(sliced._blur(images)[0, 0].numpy(), blur, atol=1e-12)
    # A uniform image is in the last band alone.
    for band in laplacian_pyramid(torch.full((1, 1, *size), 0.7).double())[:-1]:
        assert band.abs().max() < 1e-12


def windows_of(image: Tensor) -> Tensor:
    """Every patch of an image (C, H, W), (N, C, 7, 7)."""
    rows = [image[:, y : y + 7, x : x + 7] for y in range(image.shape[1] - 6) for x in range(image.shape[2] - 6)]
    return torch.stack(rows)


def test_the_distance_equals_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sliced, "AT_ONCE", 48)  # the last part is smaller
    monkeypatch.setattr(sliced, "IMAGES_AT_ONCE", 4)
    real, images = textures(6, 14, 0), textures(9, 14, 1, smooth=0.7)
    subsets = torch.stack([torch.ones(9, dtype=torch.bool), torch.arange(9) < 6])
    directions = sliced._directions(3 * 49).double()
    (patches,), (others,) = (patches_of(bytes_of(part), CPU) for part in (real, images))
    assert any(torch.equal(patches[0, 0], window) for window in windows_of(bytes_of(real)[0] / 255))
    patches, others = patches.double(), others.double()
    mean, deviation = patches.mean(dim=(0, 1, 3, 4)), patches.std(dim=(0, 1, 3, 4))
    lines = [
        ((part - mean[:, None, None]) / deviation[:, None, None]).flatten(2) @ directions for part in (patches, others)
    ]
    expected = [
        np.mean(
            [
                wasserstein_distance(lines[0][..., k].flatten(), lines[1][subset][..., k].flatten())
                for k in range(directions.shape[1])
            ]
        )
        for subset in subsets
    ]
    distances = distances_of(real, images, subsets)[:, 0]
    assert distances[1] == pytest.approx(expected[1], rel=1e-5)  # as many patches: exact
    assert distances[0] == pytest.approx(expected[0], rel=1e-2)  # by as many quantiles as real patches
    assert expected[0] != pytest.approx(expected[1], rel=0.02)


def test_each_scale_sees_its_own_fault() -> None:
    real, others = textures(60, 32, 0), textures(60, 32, 1)

    def distances(images: Tensor) -> list[float]:
        return distances_of(real, images)[0].tolist()

    floor = distances(others)
    blur = torch.from_numpy(ndimage.gaussian_filter(others.numpy(), (0, 0, 0.7, 0.7)))
    fine, coarse = distances(blur)
    assert fine > 5 * floor[0]
    assert coarse < 3 * floor[1]
    dark = distances(others * 0.8)
    assert dark[1] > 5 * floor[1]
    # Half of the contrast is a fault at every scale: the paper's code, which standardises each set by its own
    # deviation, does not see it.
    flat = distances(0.5 + (others - 0.5) / 2)
    assert min(flat[0] / floor[0], flat[1] / floor[1]) > 5
    noisy = distances((others + 0.05 * torch.randn(others.shape, generator=GENERATOR.manual_seed(0))).clamp(0, 1))
    assert noisy[0] > 3 * floor[0]


def of_digits(samples: Tensor, labels: Tensor | None, n: int) -> dict[str, float]:
    source = digits()
    judge = Distances(
        train=source.development,
        test=source.test,
        metrics=frozenset({"swd"}),
        extractors=[],
        classifier=None,
        n=n,
        seed=0,
        processes=Processes(CPU),
        quiet=True,
        cache=Cache(None),
    )
    return judge.of(samples, labels)


def test_scores_stand_beside_floors_and_errors() -> None:
    source = digits()
    real = source.development[torch.arange(200)]
    scores = of_digits(real.images, real.labels, 200)
    assert set(scores) == {f"{key}{suffix}" for key in ("swd", "swd_8") for suffix in ("", "_floor", "_error")}
    assert scores["swd"] == scores["swd_8"]
    assert scores["swd"] == pytest.approx(scores["swd_floor"], rel=0.5)
    noise = torch.randint(0, 256, real.images.shape, generator=GENERATOR.manual_seed(0), dtype=torch.uint8)
    assert of_digits(noise, real.labels, 200)["swd"] > 10 * scores["swd_floor"]
    ones = source.development.images[source.development.labels == 1][:100]
    of_one = of_digits(ones, torch.ones(100, dtype=torch.int64), 100)
    assert of_one["swd"] == pytest.approx(of_one["swd_floor"], rel=0.3)  # the floor has the samples' labels
    assert of_one["swd_floor"] > 3 * scores["swd_floor"]


def test_the_error_is_the_spread_over_sets() -> None:
    real, count = textures(40, 16, 0), 30
    spread, errors = [], []
    for seed in range(12):
        contrast = 0.8 + 0.4 * torch.rand(count, 1, 1, 1, generator=GENERATOR.manual_seed(seed))
        images = textures(count, 16, 10 + seed) * contrast
        scores = Distances(
            train=ImageSet(bytes_of(real), torch.full((40,), -1)),
            test=ImageSet(bytes_of(real), torch.full((40,), -1)),
            metrics=frozenset({"swd"}),
            extractors=[],
            classifier=None,
            n=count,
            seed=seed,
            processes=Processes(CPU),
            quiet=True,
            cache=Cache(None),
        ).of(bytes_of(images), None)
        spread.append(scores["swd"])
        errors.append(scores["swd_error"])
    assert 0.5 < np.mean(errors) / np.std(spread, ddof=1) < 2.5
    assert math.isfinite(sum(errors))


def test_grey_and_tiny_images_of_any_side_have_a_distance() -> None:
    for shape in ((4, 1, 4, 5), (4, 3, 15, 40), (4, 1, 6, 6)):
        images = torch.rand(*shape, generator=GENERATOR.manual_seed(1))
        distances = distances_of(images, images.flip(0))
        assert torch.isfinite(distances).all()
        assert distances.shape == (1, len(scales(*shape[-2:])))
