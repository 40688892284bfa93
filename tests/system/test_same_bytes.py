"""The same seed gives the same bytes: for every ready model and every preset, whatever the batch size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import OF_EACH_KIND, ROOT, SLOW
from torch import Tensor, nn

import diffcli
from diffcli.checkpoints.model_file import ready_models
from diffcli.config.build import build_denoiser, resolve
from diffcli.config.presets import load_preset
from diffcli.inference.loading import model_on_devices
from diffcli.inference.model import Model
from diffcli.inference.options import SamplerOptions
from diffcli.inference.restoration import restore
from diffcli.inference.sampling import generate
from diffcli.utils.compile import FIXED_BATCH, FixedBatches

CPU = {name: diffcli.Devices("cpu", "1", engine=name) for name in ("auto", "torch")}
PRESETS = sorted(file.stem for file in (ROOT / "presets").glob("*.yaml"))
IMAGES = {1: 2, 7: 8, 64: 17}
"""Images drawn at each batch size: two batches at 7, none of them a whole number of 16, and rests in both."""


def of_sizes(model: Model, draw: Any, **options: Any) -> dict[int, Tensor]:
    """Float images (N, C, H, W) by batch size."""
    return {
        size: torch.cat(list(draw(model, count, SamplerOptions(batch_size=size, quiet=True, **options))))
        for size, count in IMAGES.items()
    }


def check_same(images: dict[int, Tensor]) -> None:
    whole = images[64]
    for size, part in images.items():
        levels = (whole[: len(part)] - part).abs().max() * 255
        assert torch.equal(whole[: len(part)], part), f"batches of {size}: up to {levels:.2g} grey levels apart"


@pytest.mark.parametrize(
    ("name", "steps"),
    [*((name, None) for name in ready_models()), (ROOT / "docs/trainings/blur-fast-t400/checkpoints/best.ckpt", 50)],
    ids=lambda value: Path(value).parent.parent.name or value if isinstance(value, Path) else str(value),
)
@pytest.mark.parametrize("engine", CPU)
def test_a_trained_model_draws_the_same_whatever_the_batch_size(
    name: str | Path, steps: int | None, engine: str
) -> None:
    model = diffcli.load(name, devices=CPU[engine])
    prior = model.prior(None)

    def draw(model: Model, count: int, options: SamplerOptions) -> Iterator[Tensor]:
        return generate(model.sampling(options, prior), count, model.image_shape)

    check_same(of_sizes(model, draw, steps=steps))


def fresh_model(name: str, engine: str) -> Model:
    """A preset's model with random weights, those that begin as zeros, too."""
    resolved = resolve(load_preset(name)[1])
    torch.manual_seed(0)
    denoiser = build_denoiser(resolved).eval().requires_grad_(False)
    for weights in denoiser.network.parameters():
        if not weights.any():
            nn.init.normal_(weights, std=0.05)
    model = Model(Path(name), name, resolved, denoiser, epoch=1, prior_states={})
    return model_on_devices(model, CPU[engine])


@pytest.mark.parametrize("name", PRESETS if SLOW else OF_EACH_KIND)
@pytest.mark.parametrize("engine", CPU)
def test_a_presets_network_restores_the_same_whatever_the_batch_size(name: str, engine: str) -> None:
    model = fresh_model(name, engine)
    xT = torch.randn(max(IMAGES.values()), *model.image_shape, generator=torch.Generator().manual_seed(1)) / 2

    def draw(model: Model, count: int, options: SamplerOptions) -> Iterator[Tensor]:
        labels = torch.arange(count) % model.preset.classes if model.preset.classes else None
        return restore(model.sampling_from(model.T, options), xT[:count], labels=labels)

    check_same(of_sizes(model, draw, steps=2, autoguidance=1.0))


class Recorder(nn.Module):
    """Adds 1; the sizes of the batches that it was given are in ``sizes``."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, xt: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        assert len(time) == len(xt)
        assert labels is None or len(labels) == len(xt)
        self.sizes.append(len(xt))
        return xt + time.view(-1, 1, 1, 1) + (0 if labels is None else labels.view(-1, 1, 1, 1))


@pytest.mark.parametrize("count", [1, 7, 15, 16, 17, 32, 50])
@pytest.mark.parametrize("labelled", [False, True])
def test_a_network_is_given_batches_of_one_size(count: int, labelled: bool) -> None:
    network = Recorder()
    xt, time = torch.randn(count, 1, 4, 4), torch.rand(count)
    labels = torch.arange(count) if labelled else None
    answer = FixedBatches(network)(xt, time, labels)
    assert torch.equal(answer, Recorder()(xt, time, labels))
    assert network.sizes == [FIXED_BATCH] * -(-count // FIXED_BATCH)
