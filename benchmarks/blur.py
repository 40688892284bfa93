"""Time of the blur in closed form against as many calls of torchvision's ``gaussian_blur``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from benchmarks.rounds import alternate, rate_of, ratios, spread, table
from diffcli.data.datasets import mnist
from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import GaussianBlur
from diffcli.diffusion.schedules import constant

T = 100


@torch.inference_mode()
def against_torchvision(data_dir: Path, rounds: int, images: int = 256) -> str:
    """MNIST images to t = 100 (variance 1 a step, kernel 11, reflect padding), both ways."""
    x0 = to_model(mnist(data_dir=data_dir, download=False).test.images[:images])
    blur = GaussianBlur(constant(T, 1.0), (1, 28, 28))
    at_T = torch.full((len(x0),), T)

    def closed_form() -> Tensor:
        return blur.degrade(x0, at_T)

    def one_after_another() -> Tensor:
        xt = x0
        for _ in range(T):
            xt = gaussian_blur(xt, [11, 11], [1.0, 1.0])
        return xt

    difference = float((closed_form() - one_after_another()).abs().max())
    sides = {"closed form": closed_form, f"{T} x gaussian_blur": one_after_another}
    rates = alternate({name: rate_of(work, len(x0)) for name, work in sides.items()}, rounds)
    rows = [[name, spread(rates[name]), spread(ratios(rates, "closed form", name))] for name in sides]
    header = [f"{images} images to t = {T}", "images/s", "the closed form is times that"]
    return table(header, rows) + f"\n\nLargest difference of a pixel: {difference:.1e}."
