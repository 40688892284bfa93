"""The preset's schema: every preset loads, every slip is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import OF_EACH_KIND

from diffcli.cli.flags import overrides
from diffcli.config.build import build_denoiser, resolve
from diffcli.config.presets import CHECKOUT_PRESETS, find_preset, load_preset, preset_files, to_yaml, with_overrides
from diffcli.config.schema import validate
from diffcli.utils.errors import UserError

PRESETS = sorted(preset_files())


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_and_takes_a_training_step(name: str) -> None:
    import torch

    from diffcli.training.module import DiffusionModule

    resolved = resolve(load_preset(name)[1])
    shape = resolved.image_shape
    module = DiffusionModule(resolved, name)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    images = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    from diffcli.data.pixels import to_model

    T = module.denoiser.degradation.T
    before = [weight.clone() for weight in module.parameters()]
    module.denoiser.loss(to_model(images), torch.tensor([1, T]), torch.randn(images.shape)).mean().backward()
    optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize("name", PRESETS)
def test_resolved_presets_survive_yaml(name: str, tmp_path: Path) -> None:
    preset = resolve(load_preset(name)[1]).preset
    file = tmp_path / "resolved.yaml"
    file.write_text(to_yaml(preset))
    assert resolve(load_preset(str(file))[1]).preset == preset


def test_some_presets_stand_for_all_in_long_tests() -> None:
    def kinds(names: list[str]) -> set[tuple[str, object]]:
        presets = [load_preset(name)[1] for name in names]
        parts = {("shape", resolve(preset).image_shape) for preset in presets}
        for part in ("network", "degradation", "noise", "prior", "sampler"):
            parts |= {(part, getattr(preset, part).name) for preset in presets if getattr(preset, part) is not None}
        parts |= {("prediction", preset.prediction) for preset in presets}
        parts |= {("attention", preset.network.parameters.get("attention", False)) for preset in presets}
        return parts | {("clusters", preset.labels is not None and bool(preset.labels.clusters)) for preset in presets}

    assert kinds(OF_EACH_KIND) == kinds(PRESETS)


def test_report_presets_hold_the_reports_numbers() -> None:
    for name, beta, T in (("ddpm-const-lowbeta", 0.001, 2000), ("ddpm-const-highbeta", 0.1, 200)):
        preset = load_preset(name)[1]
        assert preset.schedule.parameters == {"T": T, "beta": beta}
        training = preset.training
        assert (training.epochs, training.batch_size, training.lr) == (50, 128, 2e-4)
        assert training.sample_epochs == [5, 15, 30, 45]
        assert training.val_share == 0.2


def test_resolving_writes_defaults_out() -> None:
    preset = resolve(load_preset("ddpm-linear")[1]).preset
    assert preset.network.parameters["channels"] == [16, 32, 32, 16]
    assert preset.sampler.parameters == {"variance": "beta"}


def test_presets_are_found_by_name_by_path_and_beside_the_user(workplace: Path, tiny: Path) -> None:
    assert find_preset("quickstart") == CHECKOUT_PRESETS / "quickstart.yaml"
    assert find_preset("tiny.yaml") == Path("tiny.yaml")
    (workplace / "presets").mkdir()
    tiny.rename(workplace / "presets" / "mine.yaml")
    assert find_preset("mine") == Path("presets/mine.yaml")
    assert load_preset("mine")[0] == "mine"


def test_scientific_numbers_without_a_dot_are_numbers(tiny: Path) -> None:
    assert load_preset(str(tiny), overrides(["training.lr=3e-4"]))[1].training.lr == 3e-4


def test_set_replaces_a_value_or_a_whole_component(tiny: Path) -> None:
    preset = load_preset(str(tiny), overrides(["schedule={name: cosine, T: 7}", "training.seed=5", "sampler.steps=3"]))[
        1
    ]
    assert preset.schedule.model_dump() == {"name": "cosine", "T": 7}
    assert (preset.training.seed, preset.sampler.steps) == (5, 3)


def test_set_does_not_change_what_it_was_given() -> None:
    values = {"training": {"epochs": 1}}
    assert with_overrides(values, {"training.epochs": 2}) == {"training": {"epochs": 2}}
    assert values == {"training": {"epochs": 1}}


BAD = {
    "training.epoch=3": r"unknown key 'training.epoch'; did you mean 'training.epochs'",
    "trainig.epochs=3": r"unknown key 'trainig'; did you mean 'training'",
    "shedule=1": r"unknown key 'shedule'; did you mean 'schedule'",
    "training.epochs=many": r"training.epochs: .*integer.*'many'",
    "training.epochs=1.5": r"training.epochs: .*integer",
    "training.epochs=0": r"training.epochs: .*greater than or equal to 1.*0",
    "training.lr=-1": r"training.lr: .*greater than 0",
    "training.lr=.nan": r"training.lr",
    "schedule.beta=1.5": r"unknown key 'schedule.beta'; did you mean 'schedule.beta_m",
    "schedule={name: constant, T: 5, beta: 1.5}": r"beta must lie in \(0, 1\), got 1.5",
    "schedule.T=0": r"T must be in 1..100000, got 0",
    "schedule.T=ten": r"schedule.T: .*integer.*'ten'",
    "schedule.name=quadratic": r"unknown schedule 'quadratic'.*constant, cosine, linear",
    "network.name=cn": r"unknown network 'cn'; did you mean 'cnn'",
    "network.chanels=[1]": r"unknown key 'network.chanels'; did you mean 'network.channels'",
    "network.image_shape=[1]": r"unknown key 'network.image_shape'",
    "network.channels=[a]": r"network.channels.0: .*integer",
    "network.kernel_size=4": r"kernel_size must be odd",
    "sampler.steps=0": r"sampler.steps: .*greater than or equal to 1",
    "sampler.steps=21": r"steps must be in 1..20",
    "sampler.variance=gamma": r"sampler.variance: .*'beta' or 'posterior'",
    "prediction=epsilon": r"unknown prediction 'epsilon'.*eps",
    "degradation.name=blurr": r"unknown degradation",
    "data.name=mnits": r"unknown data 'mnits'; did you mean 'mnist'",
    "data={name: folder, path: x, size: 2}": r"data.size: .*greater than or equal to 4",
    "training={": r"--set training is not valid YAML",
    "training": r"write it as key.key=value",
    "=3": r"write it as key.key=value",
    "prediction.name=eps": r"'prediction' holds one value",
}


@pytest.mark.parametrize("assignment", BAD)
def test_bad_values_are_named(assignment: str, tiny: Path) -> None:
    with pytest.raises(UserError, match=BAD[assignment]) as error:
        build_denoiser(resolve(load_preset(str(tiny), overrides([assignment]))[1]))
    assert "\n" not in str(error.value)


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'quickstart'"):
        find_preset("quikstart")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "a preset is a mapping"),
        ("a: [1\n", "is not valid YAML"),
        ("description: x\ndescription: y\n", "'description' is given twice"),
        ("description: x\n", "data is missing"),
        ("!!python/object/apply:os.system ['touch owned']\n", "is not valid YAML"),
        ("1: x\n", "is not text"),
        ("", "a preset is a mapping"),
    ],
)
def test_bad_files_are_named(text: str, message: str, workplace: Path) -> None:
    (workplace / "bad.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_preset("bad.yaml")
    assert not (workplace / "owned").exists()


def test_missing_binary_and_huge_files_are_named(workplace: Path) -> None:
    with pytest.raises(UserError, match=r"preset file nowhere\.yaml does not exist"):
        load_preset("nowhere.yaml")
    (workplace / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="cannot be read as a preset"):
        load_preset("binary.yaml")
    (workplace / "huge.yaml").write_text("a" * 200_000)
    with pytest.raises(UserError, match="larger than 100000 bytes"):
        load_preset("huge.yaml")


def test_validate_reports_one_line() -> None:
    with pytest.raises(UserError) as error:
        validate(yaml.safe_load("description: 3"), "here")
    assert "\n" not in str(error.value)
