"""SSIM as Wang et al. (2004) define it: windows that lie inside the image, the same upright and transposed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pictures import pair
from scipy.ndimage import correlate1d

from diffcli.evaluation.scores import ssim

SKIMAGE = {
    (28, 28): 0.5915671,
    (32, 32): 0.5089003,
    (11, 11): 0.8160736,
    (11, 40): 0.4669303,
    (28, 20): 0.6698573,
    (20, 28): 0.6480806,
    (8, 32): 0.3819106,
    (32, 8): 0.3669471,
    (4, 32): 0.2209597,
    (32, 4): 0.2120025,
    (8, 8): 0.8518683,
    (5, 6): 0.8696450,
    (10, 9): 0.8096060,
}
"""By (H, W): scikit-image 0.26.0, structural_similarity(a, b, gaussian_weights=True, sigma=sigma_of(H, W),
use_sample_covariance=False, data_range=1.0) of pair(H, W)."""


def taps_of(height: int, width: int) -> int:
    shorter = min(height, width)
    return min(11, shorter if shorter % 2 else shorter - 1)


def sigma_of(height: int, width: int) -> float:
    return 1.5 * taps_of(height, width) / 11


def reference(a: np.ndarray, b: np.ndarray) -> float:
    """The mean of Wang et al.'s Eq. 13 over all windows inside, in float64, by scipy's correlation."""
    taps = taps_of(*a.shape)
    radius = taps // 2
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_of(*a.shape)) ** 2)
    weights /= weights.sum()

    def mean(image: np.ndarray) -> np.ndarray:
        blur = correlate1d(correlate1d(image, weights, axis=0), weights, axis=1)
        return blur[radius : a.shape[0] - radius, radius : a.shape[1] - radius]

    both = mean(a * b) - mean(a) * mean(b)
    spread = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
    similar = (2 * mean(a) * mean(b) + 0.01**2) * (2 * both + 0.03**2)
    return float((similar / ((mean(a) ** 2 + mean(b) ** 2 + 0.01**2) * (spread + 0.03**2))).mean())


def ours(a: np.ndarray, b: np.ndarray) -> float:
    first, second = (torch.from_numpy(np.ascontiguousarray(image)).float()[None, None] for image in (a, b))
    return float(ssim(first, second))


@pytest.mark.parametrize("shape", list(SKIMAGE), ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_it_is_that_of_scikit_image_upright_and_transposed(shape: tuple[int, int]) -> None:
    a, b = pair(*shape)
    assert reference(a, b) == pytest.approx(SKIMAGE[shape], abs=1e-6)
    assert ours(a, b) == pytest.approx(SKIMAGE[shape], abs=1e-5)
    assert ours(a.T, b.T) == pytest.approx(SKIMAGE[shape], abs=1e-5)


def test_of_colours_and_strokes_it_is_the_mean_of_the_channels() -> None:
    random = np.random.default_rng(0)
    strokes = (random.random((6, 3, 28, 28)) > 0.8) * random.random((6, 3, 28, 28))
    noisy = np.clip(strokes + 0.2 * random.standard_normal(strokes.shape), 0, 1)
    noisy[0], noisy[1] = strokes[0], 0
    scores = ssim(torch.from_numpy(strokes).float(), torch.from_numpy(noisy).float())
    expected = [
        np.mean([reference(a, b) for a, b in zip(*images, strict=True)]) for images in zip(strokes, noisy, strict=True)
    ]
    assert scores.tolist() == pytest.approx(expected, abs=1e-5)
    assert scores[0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("side", [1, 2])
def test_of_images_too_small_for_any_window_it_still_is_a_number(side: int) -> None:
    images = torch.rand(3, 1, side, 9)
    assert ssim(images, images).tolist() == pytest.approx([1.0] * 3)
