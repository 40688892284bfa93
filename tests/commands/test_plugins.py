"""Components from outside the package: each kind is trained, resumed, sampled, scored and plotted, by command and in
Python."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import PLUGIN, TINY, Cli
from killing import run_to_end

import diffcli
from diffcli.checkpoints.model_file import read_checkpoint

CNN = {"name": "cnn", "channels": [4, 4], "kernel_size": 3}
COLD = {"prediction": "x0", "prior": {"name": "gaussian"}, "sampler": {"name": "cold"}, "schedule": None}
OURS = {
    "a deterministic degradation": {**COLD, "degradation": {"name": "dim", "level": 0.1}},
    "a degradation with noise": {**COLD, "degradation": {"name": "fog"}, "schedule": {"name": "steep", "T": 7}},
    "a network": {"network": {"name": "one-layer", "kernel_size": 5}},
    "a data set": {"data": {"name": "stripes"}},
    "a prior and a sampler": {
        **COLD,
        "degradation": {"name": "dim"},
        "prior": {"name": "grey", "spread": 0.1},
        "sampler": {"name": "jump", "share": 0.9},
    },
    "noise on a degradation": {**COLD, "degradation": {"name": "dim"}, "noise": {"name": "late", "sigma": 0.1}},
}
SMALL = ["--accelerator", "cpu", "-q"]


def preset_of(changes: dict[str, object], file: Path) -> Path:
    """A tiny preset with components of the plug-in."""
    file.write_text(yaml.safe_dump({**yaml.safe_load(TINY), "network": CNN, **changes}))
    return file


@pytest.mark.parametrize("name", OURS)
def test_what_a_plugin_adds_works_by_command(cli: Cli, workplace: Path, registries: None, name: str) -> None:
    shutil.copy(PLUGIN, "mine.py")
    preset = preset_of(OURS[name], workplace / "mine.yaml")
    ours = ["--plugin", "mine.py"]
    for words in (
        ["train", "--preset", preset, "--out", "run", "--epochs", 1, *SMALL],
        ["train", "--resume", "run", "--epochs", 2, *SMALL],
        ["sample", "--run", "run", "--n", 3, "--steps", 3, "--out", "images.npz", *SMALL],
        ["sample", "--run", "run", "--n", 3, "--steps", 3, "--conditional", "--out", "rows.png", *SMALL],
        ["eval", "--run", "run", "--n-test", 4, "--n-fid", 4, "--steps", 3, "--rmse", "--loss", "--nearest", *SMALL],
        ["compare", "run", "--n-test", 4, "--n-fid", 4, "--steps", 3, "--out", "page.html", *SMALL],
        ["schedule-plot", "--preset", preset, "--out", "plot.png"],
    ):
        result = cli(*ours, *words)
        assert result.code == 0, (words, result.err)
    content = read_checkpoint(Path("run/checkpoints/last.ckpt"))
    assert content["epoch"] == 1
    assert set(content["hyper_parameters"]["plugins"].values()) == {"mine"}
    assert np.load("images.npz")["images"].shape[0] == 3


# By command all are; the two have a degradation, a schedule, a prior and a sampler of the plug-in.
@pytest.mark.parametrize("name", ["a degradation with noise", "a prior and a sampler"])
def test_what_a_plugin_adds_works_in_python(workplace: Path, registries: None, name: str) -> None:
    diffcli.plugin(PLUGIN)
    preset = preset_of(OURS[name], workplace / "mine.yaml")
    devices = diffcli.Devices("cpu")
    run = diffcli.train(preset, {"training.epochs": 1}, devices=devices, quiet=True)
    run = diffcli.train(resume=run, overrides={"training.epochs": 2}, devices=devices, quiet=True)
    model = diffcli.load(run, devices=diffcli.Devices("cpu", "1"))
    images = model.sample(5, steps=3, quiet=True)
    assert images.shape == (5, *model.image_shape)
    steps = list(model.trajectory(5, steps=3))
    assert [step.s for step in steps] == [model.T, *(step.s for step in steps[1:-1]), 0]
    assert torch.equal(diffcli.to_uint8(steps[-1].xs), images)
    assert torch.equal(model.sample(5, steps=3, batch_size=2, quiet=True), images)
    xt = model.degrade(images, t=2)
    assert model.restore(xt, t=2, quiet=True).shape == images.shape
    assert model.estimate(xt, t=2).dtype == torch.uint8
    scores = diffcli.evaluate(model, ["rmse", "loss"], n_test=4, steps=2, quiet=True).scores
    assert {"rmse", "rmse_direct", "rmse_error", "loss", "loss_error"} == set(scores)


def test_a_strangers_run_runs_no_code(workplace: Path) -> None:
    plugin = workplace / "mine.py"
    plugin.write_text(PLUGIN.read_text() + "\nopen('ran', 'a').write('x')\n")
    preset = preset_of(OURS["a network"], workplace / "mine.yaml")
    assert run_to_end(workplace, "--plugin", "mine.py", "train", "--preset", preset, "--out", "run", *SMALL).code == 0
    (workplace / "ran").unlink()
    shutil.copy(plugin, "run/mine.py")
    for words in (
        ["sample", "--run", "run", "--n", "1"],
        ["sample", "--checkpoint", "run/checkpoints/last.ckpt", "--n", "1"],
        ["train", "--resume", "run", "--epochs", "3"],
        ["eval", "--run", "run"],
        ["compare", "run"],
    ):
        result = run_to_end(workplace, *words)
        assert result.code == 2, result
        assert result.err.count("\n") == 1, result.err
        assert "network 'one-layer' of plug-in mine, which is not loaded; name its file with --plugin" in result.err
        assert not (workplace / "ran").exists()
        assert not (workplace / "samples.png").exists()


def test_plugins_come_from_the_environment_and_from_installed_packages(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = preset_of(OURS["a network"], workplace / "mine.yaml")
    words = ["train", "--preset", preset, "--dry-run"]
    assert run_to_end(workplace, *words).code == 2
    with monkeypatch.context() as environment:
        environment.setenv("DIFFCLI_PLUGINS", str(PLUGIN))
        assert run_to_end(workplace, *words).code == 0
    package = workplace / "site"
    package.mkdir()
    shutil.copy(PLUGIN, package / "their_plugin.py")
    (package / "broken_plugin.py").write_text("1 / 0\n")
    (package / "theirs-1.0.dist-info").mkdir()
    (package / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    points = "[diffcli.plugins]\nbroken = broken_plugin\ntheirs = their_plugin\n"
    (package / "theirs-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.setenv("PYTHONPATH", str(package))
    result = run_to_end(workplace, *words)
    assert result.code == 0, result.err
    first, *others = result.err.splitlines()
    assert first == "warning: left out: plug-in broken_plugin fails: ZeroDivisionError: division by zero"
    assert [line[:44] for line in others] == ["warning: 18 steps are too few to learn from "]


BROKEN = {
    "x = (\n": "SyntaxError: '(' was never closed (mine.py, line 1)",
    "import nonexistent_module\n": "ModuleNotFoundError: No module named 'nonexistent_module' (mine.py, line 1)",
    "import diffcli\ndiffcli.register('degradatoin', 'x')\n": "unknown kind 'degradatoin'; did you mean 'degradation'?",
    "import diffcli\ndiffcli.register('data', 'A b')(print)\n": "'A b' is no name of a data",
    "import diffcli\n@diffcli.register('degradation', 'x')\ndef f(): "
    "pass\n": "must be a subclass of diffcli.Degradation",
    "import diffcli\n@diffcli.register('network', 'cnn')\ndef f(): pass\n": "network 'cnn' is diffcli's already",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_plugin_costs_one_line(cli: Cli, workplace: Path, registries: None, text: str) -> None:
    Path("mine.py").write_text(text)
    result = cli("--plugin", "mine.py", "train", "--preset", "quickstart", "--dry-run")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert "plug-in mine.py" in result.err
    assert BROKEN[text] in result.err


def test_a_plugin_that_is_not_there_is_named(cli: Cli, workplace: Path) -> None:
    for name in ("none.py", "~nobody/x.py", "."):
        result = cli("--plugin", name, "train", "--preset", "quickstart", "--dry-run")
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert f"plug-in {name}: there is no such Python file" in result.err


FAULTS = {
    "raise RuntimeError('no such axis')": "degradation ours fails: RuntimeError: no such axis (mine.py, line 8)",
    "return x0[:, :, ::2]": "signal(x0, t) must be finite and of x0's shape",
    "return x0 / 2": "signal(x0, t) must be x0 at t = 0",
    "return x0 / t.view(-1, 1, 1, 1)": "signal(x0, t) must be finite",
}


@pytest.mark.parametrize("body", FAULTS)
def test_a_degradation_that_does_not_keep_to_the_rules_costs_one_line(
    cli: Cli, workplace: Path, registries: None, body: str
) -> None:
    Path("mine.py").write_text(
        "import diffcli\n\n\n@diffcli.register('degradation', 'ours')\nclass Ours(diffcli.Degradation):\n    T = 5\n"
        f"    def signal(self, x0, t):\n        {body}\n"
    )
    preset = preset_of({**COLD, "degradation": {"name": "ours"}}, workplace / "mine.yaml")
    result = cli("--plugin", "mine.py", "train", "--preset", preset, "--out", "run")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert FAULTS[body] in result.err
    assert not Path("run").exists()


def test_a_data_set_must_say_its_shape(cli: Cli, workplace: Path, registries: None) -> None:
    Path("mine.py").write_text("import diffcli\n@diffcli.register('data', 'x')\ndef x(): pass\n")
    preset = preset_of({"data": {"name": "x"}}, workplace / "mine.yaml")
    result = cli("--plugin", "mine.py", "train", "--preset", preset)
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert "data x: it does not say the shape of its images; put @diffcli.of_shape(" in result.err


def test_a_class_of_a_notebook_is_registered_again_when_its_cell_runs_again(registries: None) -> None:
    for T in (3, 4):

        @diffcli.register("degradation", "cell")
        class Cell(diffcli.Degradation):
            def signal(self, x0, t):
                return x0

        Cell.T = T
    from diffcli.config.registry import KINDS

    assert KINDS["degradation"].registry["cell"].T == 4
