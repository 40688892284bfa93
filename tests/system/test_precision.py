"""Every precision trains every preset, or is refused before anything is written; --compile likewise."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SLOW, Cli, save_pictures

from diffcli.checkpoints.runs import Run
from diffcli.config.presets import preset_files
from diffcli.inference.loading import load
from diffcli.utils.compile import precision_of
from diffcli.utils.devices import Devices

PRESETS = sorted(preset_files())
HALVES = ("bf16-mixed", "16-mixed")
RECIPES = [
    {"training.clip_norm": clip, "training.ema": ema, "training.lr_decay": decay} | more
    for clip, ema, decay, more in itertools.product(
        ("0.5", "null"), ("0.9", "null"), ("true", "false"), ({"training.optimizer": "muon", "labels": "{}"}, {})
    )
]
CASES = list(itertools.product(PRESETS, HALVES, RECIPES))
SHORT = [case for case in CASES if case[0] in ("quickstart", "mnist-fast", "blur-fast") and "true" in str(case[2])]


@pytest.mark.parametrize(
    "case",
    CASES if SLOW else [*random.Random(0).sample(SHORT, 4), ("mnist-fast", "bf16-mixed", RECIPES[0])],
    ids=str,
)
def test_a_precision_trains_a_preset(
    cli: Cli,
    workplace: Path,
    small_mnist: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[str, str, dict[str, str]],
) -> None:
    name, precision, recipe = case
    monkeypatch.setenv("DIFFCLI_DATA", str(small_mnist))
    save_pictures()
    small = ["--limit-batches", 2, "--batch-size", 4, "--epochs", 1, "--set", "training.sample_epochs=[]"]
    assignments = [f"--set={key}={value}" for key, value in recipe.items()]
    command = ["train", "--preset", name, *small, *assignments, "--out", "run", "--accelerator", "cpu", "-q"]
    result = cli(*command, "--precision", precision)
    assert result.code == 0, result.err
    content = torch.load(Run(Path("run")).last, weights_only=True)
    assert {value.dtype for value in content["state_dict"].values()} == {torch.float32}
    # What one precision began another one goes on with.
    result = cli("train", "--resume", "run", "--epochs", 2, "--accelerator", "cpu", "-q")
    assert result.code == 0, result.err


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "64", "transformer-engine", "half", "", "8"])
def test_other_precisions_are_refused(cli: Cli, workplace: Path, tiny: Path, precision: str) -> None:
    result = cli("train", "--preset", tiny, "--precision", precision)
    assert result.code == 2
    assert "training.precision: input should be" in result.err
    assert "bf16-mixed" in result.err
    assert result.err.count("\n") == 1
    assert [path.name for path in workplace.iterdir()] == ["tiny.yaml"]


def test_a_presets_precision_is_taken_and_a_resume_keeps_it(cli: Cli, workplace: Path, tiny: Path) -> None:
    short = ["--limit-batches", 1, "--accelerator", "cpu", "-q"]
    for words, out in ((["--set", "training.precision=bf16-mixed"], "key"), (["--precision", "bf16"], "flag")):
        assert cli("train", "--preset", tiny, "--epochs", 1, "--out", out, *words, *short).code == 0
        assert cli("train", "--resume", out, "--epochs", 2, *short).code == 0
        assert Run(Path(out)).info()["precision"] == "bf16-mixed"
    assert cli("train", "--resume", "flag", "--epochs", 3, "--precision", "32", *short).code == 0
    assert Run(Path("flag")).info()["precision"] == "32-true"


def test_auto_is_what_the_processor_is_fast_at(
    cli: Cli, workplace: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ["--epochs", 1, "--limit-batches", 1, "--accelerator", "cpu", "-q"]
    for number, (features, expected) in enumerate(
        [({}, "32-true"), ({"avx512_bf16": True}, "bf16-mixed"), ({"amx_bf16": True}, "bf16-mixed")]
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda features=features: features, raising=False)
        assert precision_of(Devices("cpu", precision="auto")) == expected
        if number < 2:
            result = cli("train", "--preset", tiny, "--out", f"run{number}", "--precision", "auto", *short)
            assert result.code == 0, result.err
            assert Run(Path(f"run{number}")).info()["precision"] == expected


@pytest.mark.parametrize(
    ("capability", "expected"), [((9, 0), "bf16-mixed"), ((8, 0), "bf16-mixed"), ((7, 5), "32-true")]
)
def test_auto_on_cuda(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert precision_of(Devices("cuda", precision="auto")) == expected


def test_samples_and_scores_in_bfloat16(cli: Cli, hot_run: Path, workplace: Path) -> None:
    shutil.copytree(hot_run, "run")
    words = ["--run", "run", "--steps", 3, "--accelerator", "cpu", "-q"]
    images, scores = {}, {}
    for precision in ("32-true", "bf16-mixed"):
        result = cli("sample", *words, "--n", 6, "--out", f"{precision}.npz", "--precision", precision)
        assert result.code == 0, result.err
        images[precision] = np.load(f"{precision}.npz")["images"].astype(float)
        result = cli("eval", *words, "--rmse", "--loss", "--n-test", 4, "--json", "--precision", precision)
        assert result.code == 0, result.err
        evaluation = json.loads(result.out)
        assert evaluation["settings"]["precision"] == precision
        scores[precision] = evaluation["scores"]
    difference = np.abs(images["32-true"] - images["bf16-mixed"])
    assert difference.max() > 0
    assert difference.mean() < 3
    for key, value in scores["32-true"].items():
        assert 0 < abs(scores["bf16-mixed"][key] - value) < 0.05 * value, key


def test_bfloat16_changes_the_network_alone(hot_run: Path) -> None:
    model = load(hot_run, devices=Devices("cpu", "1", precision="bf16-mixed"))
    dtypes = []
    module = next(m for m in model.denoiser.network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear))
    module.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    step = list(model.trajectory(2, steps=2))[-1]
    assert set(dtypes) == {torch.bfloat16}
    assert step.xs.dtype == step.x0_hat.dtype == torch.float32
    assert {weight.dtype for weight in model.denoiser.parameters()} == {torch.float32}


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_other_precisions_are_refused_there_too(cli: Cli, hot_run: Path, workplace: Path, command: str) -> None:
    result = cli(command, "--run", hot_run, "--precision", "half")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "--precision: unknown precision" in result.err
    assert not list(workplace.iterdir())


def test_compile_without_a_compiler_is_refused(
    cli: Cli, hot_run: Path, workplace: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found in cpp.cxx: (None, 'g++')\nSet TORCHDYNAMO_VERBOSE=1")

    monkeypatch.setattr(torch, "compile", lambda function: no_compiler)
    for command in (["train", "--preset", tiny], ["sample", "--run", hot_run], ["eval", "--run", hot_run]):
        result = cli(*command, "--compile")
        assert result.code == 2
        assert "No working C++ compiler found" in result.err
        assert "leave --compile out" in result.err
        assert result.err.count("\n") == 1
        assert [path.name for path in workplace.iterdir()] == ["tiny.yaml"]


@pytest.mark.slow
def test_a_compiled_training_equals_an_uncompiled_one(cli: Cli, workplace: Path, tiny: Path) -> None:
    command = ["train", "--preset", tiny, "--epochs", 1, "--accelerator", "cpu", "-q"]
    assert cli(*command, "--out", "eager").code == 0
    result = cli(*command, "--out", "compiled", "--compile")
    assert result.code == 0, result.err
    states = [torch.load(Run(Path(run)).last, weights_only=True)["state_dict"] for run in ("eager", "compiled")]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        assert torch.allclose(value, states[1][key], atol=1e-3), key
