"""The conditions that a degradation must satisfy to be undone (report 3.3): smooth in t, the identity at 0, a z_T of
its own for each image.

Images are float (N, C, H, W) in [-0.5, 0.5]; what is measured is in units of pixels, whose range is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcli.diffusion.degradations import Degradation

BATCH = 250


@dataclass(frozen=True)
class Conditions:
    """The report's three conditions as numbers."""

    largest_step: float
    """The largest change from t - 1 to t, root mean square over images and pixels of A_t x_0 - A_{t-1} x_0."""
    largest_at: int
    """The t of that change."""
    unevenness: float
    """The largest change over the mean one: 1 where every step changes the images as much, T where one does everything;
    0 where nothing changes."""
    identity_error: float
    """The largest |x_0 - D(x_0, 0)| of all pixels."""
    identified: float
    """Share of images whose disturbed z_T lies nearer to their own A_T x_0 than to any other image's."""
    margin: float
    """Median over images of the root mean square distance per pixel from A_T x_0 to the nearest other image's."""


def _signal(degradation: Degradation, x0: Tensor, t: int) -> Tensor:
    at_t = torch.full((len(x0),), t, device=x0.device)
    return degradation.degrade(x0, at_t, torch.zeros_like(x0))


def step_sizes(degradation: Degradation, x0: Tensor) -> Tensor:
    """The sizes of the steps: root mean square of A_t x_0 - A_{t-1} x_0 for t = 1..T, float64 (T,)."""
    squares = torch.zeros(degradation.T, dtype=torch.float64)
    for batch in x0.split(BATCH):
        before = _signal(degradation, batch, 0)
        for t in range(1, degradation.T + 1):
            after = _signal(degradation, batch, t)
            squares[t - 1] += (after - before).double().square().sum().cpu()
            before = after
    return (squares / x0.numel()).sqrt()


@torch.no_grad()
def unevenness(degradation: Degradation, x0: Tensor) -> float:
    """The distance of A_T x_0 from uniform images: root mean square of its pixels about the mean of each image's
    channel."""
    squares = 0.0
    for batch in x0.split(BATCH):
        signal = _signal(degradation, batch, degradation.T).double()
        squares += float((signal - signal.mean(dim=(2, 3), keepdim=True)).square().sum())
    return math.sqrt(squares / x0.numel())


def identity_error(degradation: Degradation, x0: Tensor) -> float:
    """The largest |x_0 - D(x_0, 0)|, noise included, of all pixels."""
    at_0 = torch.zeros(len(x0), dtype=torch.int64, device=x0.device)
    return float((degradation.degrade(x0, at_0, torch.ones_like(x0)) - x0).abs().max())


def uniqueness(
    degradation: Degradation, x0: Tensor, disturbance: float, generator: torch.Generator
) -> tuple[float, float]:
    """(share of images that z_T identifies, median distance to the nearest other one), see :class:`Conditions`.

    Args:
        x0: at least two images, (N, C, H, W); each z_T is compared with the A_T x_0 of all of them.
        disturbance: standard deviation of the normal noise added to z_T, besides the degradation's own sigma_T.
        generator: of the noise, on the CPU.
    """
    signal = torch.cat([_signal(degradation, batch, degradation.T) for batch in x0.split(BATCH)]).flatten(1).double()
    # About their mean: distances are the same, and float64 keeps those between images that hardly differ.
    signal = signal - signal.mean(dim=0)
    sigma = math.hypot(float(degradation.sigmas[degradation.T]), disturbance)
    zT = signal + sigma * torch.randn(signal.shape, generator=generator, dtype=torch.float64).to(signal.device)
    hits, margins = 0, []
    for start in range(0, len(signal), BATCH):
        rows = torch.arange(start, min(start + BATCH, len(signal)), device=signal.device)
        # A twin at the same distance, such as where all images end alike, is no identification.
        to_all = torch.cdist(zT[rows], signal, compute_mode="donot_use_mm_for_euclid_dist")
        to_own = to_all.gather(1, rows[:, None])
        hits += int(((to_all <= to_own).sum(dim=1) == 1).sum())
        distances = torch.cdist(signal[rows], signal, compute_mode="donot_use_mm_for_euclid_dist")
        distances[torch.arange(len(rows)), rows] = math.inf
        margins.append(distances.amin(dim=1))
    return hits / len(signal), float(torch.cat(margins).median()) / math.sqrt(signal.shape[1])


@torch.no_grad()
def conditions(
    degradation: Degradation, x0: Tensor, disturbance: float, generator: torch.Generator, subset_size: int = 100
) -> Conditions:
    """The report's three conditions, measured.

    Args:
        x0: at least two images, (N, C, H, W) on the degradation's device.
        disturbance: of z_T, see :func:`uniqueness`.
        subset_size: as many images are enough for the smoothness and the identity.
    """
    sizes = step_sizes(degradation, x0[:subset_size])
    largest, mean = float(sizes.max()), float(sizes.mean())
    identified, margin = uniqueness(degradation, x0, disturbance, generator)
    return Conditions(
        largest_step=largest,
        largest_at=int(sizes.argmax()) + 1,
        unevenness=largest / mean if mean > 0 else 0.0,
        identity_error=identity_error(degradation, x0[:subset_size]),
        identified=identified,
        margin=margin,
    )
