"""``diffcli sample``."""

from __future__ import annotations

from diffcli.cli.app import MAKE, command
from diffcli.inference.options import SampleOptions


@command(
    MAKE,
    "diffcli sample --n 64 --out grid.png",
    "diffcli sample --run quickstart --label 0-9 --guidance 1.5 --out digits.png",
    "diffcli sample --steps 50 --sampler cold --out images.npz",
    "diffcli sample --n 16 --trajectory trajectory.gif",
)
def sample(options: SampleOptions) -> None:
    """Sample from a trained model; the files written are printed."""
    from diffcli.inference.save_samples import sample as draw

    for path in draw(options):
        print(path)
