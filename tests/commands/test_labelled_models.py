"""Models with labels: presets, networks, and what a training keeps of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import TINY, Cli
from torch import Tensor, nn

from diffcli.checkpoints.model_file import read_checkpoint
from diffcli.checkpoints.runs import Run
from diffcli.cli.flags import overrides
from diffcli.config.build import build_denoiser, resolve
from diffcli.config.presets import load_preset
from diffcli.inference.loading import read_model
from diffcli.networks import NETWORKS
from diffcli.utils.errors import UserError

SHAPE = (1, 8, 8)
LABELLED = TINY + "labels: {dropped: 0.3}\n"


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"diffusers-unet"}))  # a slow test has the library
def test_networks_take_labels_where_they_have_classes(name: str) -> None:
    def build(classes: int) -> nn.Module:
        torch.manual_seed(0)
        network = NETWORKS[name](image_shape=SHAPE, classes=classes).eval()
        return network

    plain, labelled = build(0), build(4)
    assert not any("label" in key for key in plain.state_dict())
    for key, weight in plain.state_dict().items():
        assert torch.equal(weight, labelled.state_dict()[key]), "the labels' embedding is drawn last"
    for weight in labelled.parameters():
        nn.init.normal_(weight, std=0.1)  # some layers begin at 0
    xt, time = torch.randn(3, *SHAPE), torch.tensor([0.1, 0.5, 1.0])
    none = labelled(xt, time)
    assert torch.equal(labelled(xt, time, torch.tensor([-1, -1, -1])), none)
    outputs = labelled(xt, time, torch.tensor([0, -1, 3]))
    assert torch.allclose(outputs[1], none[1], atol=1e-6)
    assert not torch.allclose(outputs[0], none[0], atol=1e-4)
    assert not torch.allclose(outputs[0], labelled(xt, time, torch.tensor([1, -1, 3]))[0], atol=1e-4)


BAD = {
    "labels.drop=1": "unknown key 'labels.drop'; did you mean 'labels.dropped'",
    "labels.dropped=1.0": "labels.dropped: .*less than 1",
    "labels.classes=[a, b]": "labels.classes: the classes of data digits are 0, 1, 2",
    "sampler.autoguidance=1.5": "sampler.autoguidance needs an early average; set training.guide_at",
    "sampler.guidance=-1": "sampler.guidance: .*greater than or equal to 0",
    "sampler.guided_t=[0.5]": "sampler.guided_t: .*at least 2",
    "sampler.guided_t=[0.5, 0.2]": "sampler.guided_t is an interval of t/T, its lower end first",
    "training.guide_at=1.0": "training.guide_at: .*less than 1",
    "training.optimizer=sgd": "training.optimizer: .*'adamw' or 'muon'",
}


@pytest.mark.parametrize("assignment", BAD)
def test_bad_values_are_named(assignment: str, workplace: Path) -> None:
    Path("labelled.yaml").write_text(LABELLED)
    with pytest.raises(UserError, match=BAD[assignment]):
        resolve(load_preset("labelled.yaml", overrides([assignment]))[1])


def test_guidance_by_labels_needs_labels(tiny: Path) -> None:
    with pytest.raises(UserError, match=r"sampler\.guidance needs a model with labels"):
        resolve(load_preset(str(tiny), overrides(["sampler.guidance=1.5"]))[1])


def test_a_network_without_classes_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(nn.Module):
        def __init__(self, image_shape: tuple[int, int, int]) -> None:
            super().__init__()
            self.layer = nn.Conv2d(image_shape[0], image_shape[0], 1)

        def forward(self, xt: Tensor, time: Tensor) -> Tensor:
            return self.layer(xt)

    monkeypatch.setitem(NETWORKS, "plain", Plain)  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match="labels: network plain takes none; use cnn or compact-unet or diffusers-unet or dit or unet"
    ):
        resolve(load_preset(str(tiny), overrides(["network={name: plain}", "labels={}"]))[1])
    denoiser = build_denoiser(resolve(load_preset(str(tiny), overrides(["network={name: plain}"]))[1]))
    assert denoiser(torch.zeros(2, *SHAPE), torch.tensor([1, 2]), torch.tensor([3, 4])).shape == (2, *SHAPE)


def test_a_trained_model_keeps_its_classes_shares_and_early_average(cli: Cli, workplace: Path) -> None:
    recipe = LABELLED.replace("lr: 1e-3", "lr: 1e-3, ema: 0.9, guide_at: 0.3")
    recipe = recipe.replace("{name: ancestral}", "{name: ancestral, autoguidance: 1.5, guidance: 1.2}")
    Path("recipe.yaml").write_text(recipe)
    assert cli("train", "--preset", "recipe.yaml", "--out", "run", "--accelerator", "cpu", "-q").code == 0
    content = read_checkpoint(Run(Path("run")).last)
    model = read_model(Run(Path("run")).last)
    assert model.preset.labels is not None
    assert model.preset.labels.classes == list("0123456789")
    assert (model.preset.classes, model.denoiser.classes) == (10, 10)
    shares = content["class_shares"]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0.05
    guide = build_denoiser(model.resolved).eval()
    guide.load_state_dict(content["guide"])
    difference = {
        key: float((weight - guide.state_dict()[key]).abs().max())
        for key, weight in model.denoiser.state_dict().items()
    }
    assert 0 < max(difference.values()) < 0.1
    plain, guided, none = (
        model.sample(4, **options, quiet=True)
        for options in (
            {"autoguidance": 1, "label": 3},
            {"autoguidance": 3, "label": 3},
            {"autoguidance": 1, "label": "none"},
        )
    )
    assert not torch.equal(plain, guided)
    assert not torch.equal(plain, none)
