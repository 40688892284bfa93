"""Every precision trains every preset, or is refused before anything is written; --compile likewise."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import torch
from conftest import SLOW, Cli

from diffcli.presets import preset_files
from diffcli.runs import Run

PRESETS = sorted(preset_files())
MIXED = ("bf16-mixed", "16-mixed")
RECIPES = [
    {"training.clip_norm": clip, "training.ema": ema, "training.lr_decay": decay} | more
    for clip, ema, decay, more in itertools.product(
        ("0.5", "null"), ("0.9", "null"), ("true", "false"), ({"training.optimizer": "muon", "labels": "{}"}, {})
    )
]
CASES = list(itertools.product(PRESETS, MIXED, RECIPES))
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
    small = ["--limit-batches", 2, "--batch-size", 4, "--epochs", 1, "--set", "training.sample_epochs=[]"]
    changed = [f"--set={key}={value}" for key, value in recipe.items()]
    command = ["train", "--preset", name, *small, *changed, "--out", "run", "--accelerator", "cpu", "-q"]
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
    assert "--precision: unknown precision" in result.err
    assert "bf16-mixed" in result.err
    assert result.err.count("\n") == 1
    assert [path.name for path in workplace.iterdir()] == ["tiny.yaml"]


def test_compile_without_a_compiler_is_refused(
    cli: Cli, workplace: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffcli.training import trainer

    def no_compiler(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found in cpp.cxx: (None, 'g++')\nSet TORCHDYNAMO_VERBOSE=1")

    monkeypatch.setattr(trainer.torch, "compile", lambda function: no_compiler)
    result = cli("train", "--preset", tiny, "--compile")
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
