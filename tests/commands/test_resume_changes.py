"""What a resume changes takes effect, or is refused; nothing is recorded and ignored."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SLOW, TINY, Cli
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from diffcli.checkpoints.runs import Run, run_preset
from diffcli.training import run as command
from diffcli.training.resume import MAY_CHANGE, REASONS

TRAIN = ("train", "--accelerator", "cpu", "-q")


class Witness(Callback):
    """Notes what the steps of a training were really done with."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        group = trainer.optimizers[0].param_groups[0]
        self.facts |= {"lr": group["lr"], "weight_decay": group["weight_decay"], "clip_norm": trainer.gradient_clip_val}
        self.facts["precision"] = trainer.precision

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.facts["validated"] = self.facts.get("validated", 0) + 1

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.facts["epochs"] = trainer.current_epoch


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Witness:
    witness = Witness()
    build = command.build_trainer

    def build_with_witness(*arguments: Any, **options: Any) -> Any:
        trainer = build(*arguments, **options)
        trainer.callbacks.append(witness)
        return trainer

    monkeypatch.setattr(command, "build_trainer", build_with_witness)
    return witness


APPLIED: dict[str, tuple[Any, Callable[[dict[str, Any], Run], Any]]] = {
    "training.epochs": (4, lambda facts, run: facts["epochs"]),
    "training.precision": ("bf16-mixed", lambda facts, run: facts["precision"]),
    "training.lr": (1e-5, lambda facts, run: facts["lr"]),
    "training.weight_decay": (0.5, lambda facts, run: facts["weight_decay"]),
    "training.clip_norm": (0.25, lambda facts, run: facts["clip_norm"]),
    "training.val_every": (3, lambda facts, run: 3 if facts["validated"] == 1 else None),
    "training.sample_epochs": ([3], lambda facts, run: [3] if list(run.samples.glob("epoch-003-*")) else None),
    "training.sample_n": (9, lambda facts, run: 9 if big_grid(run) else None),
}
"""Keys that a resume may change: a new value, and what was seen of it in the training (of epoch 3) or the run
folder."""
REFUSALS = {
    "training.seed": 5,
    "training.val_share": 0.1,
    "training.batch_size": 64,
    "training.ema": 0.9,
    "training.warmup": 5,
    "training.lr_decay": "true",
    "training.t_distribution": "logit-normal",
    "training.stratified_t": "true",
    "training.min_snr": 5,
    "training.loss": "v",
    "training.optimizer": "muon",
    "training.guide_at": 0.5,
    "labels": "{}",
    "schedule": "{name: linear, T: 20, beta_min: 0.001, beta_max: 0.2}",
    "prediction": "x0",
    "sampler": "{name: ddim}",
    "network.kernel_size": 5,
    "distillation": "{teacher: mnist-fast}",
}


def big_grid(run: Run) -> bool:
    file = run.samples / "epoch-003-unconditional.png"
    return file.is_file() and Image.open(file).size == Image.new("L", (3 * 66 + 2, 3 * 66 + 2)).size


def test_every_key_of_the_table_is_tried() -> None:
    exceptions = {"description", "training.max_time", "data.path", "data.on_bad_image"}
    assert set(APPLIED) | exceptions == MAY_CHANGE
    assert set(REASONS) <= {key.partition(".")[0] for key in REFUSALS} | set(REFUSALS) | {
        "data",
        "measurement_noise",  # of other presets than this: see test_restored_files.py
        "degradation",
        "input",
        "noise",
        "prior",
    }


@pytest.mark.parametrize("decay", ["false", "true"])
@pytest.mark.parametrize("seed", range(8 if SLOW else 2))
def test_a_random_change_on_a_resume_is_applied_or_refused(
    cli: Cli, witness: Witness, workplace: Path, seed: int, decay: str
) -> None:
    rng = random.Random(f"{seed} {decay}")
    Path("tiny.yaml").write_text(TINY.replace("sample_epochs: [1]", f"sample_epochs: [3], lr_decay: {decay}"))
    assert cli(*TRAIN, "--preset", "tiny.yaml", "--out", "run").code == 0
    files = {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()}
    for key in rng.sample([*APPLIED, *REFUSALS], 5):
        witness.facts.clear()
        value = APPLIED[key][0] if key in APPLIED else REFUSALS[key]
        epochs = [] if key == "training.epochs" else ["--epochs", 3]
        result = cli(*TRAIN, "--resume", "run", *epochs, "--set", f"{key}={value}")
        if key in REFUSALS:
            if decay == "true" and key == "training.lr_decay":  # no change
                assert result.code == 0, result.err
            else:
                assert result.code == 2, (key, result)
                assert f"{key.split('.')[0]}" in result.err
                assert "cannot change on a resume: " in result.err or key == "network.kernel_size"
                assert result.err.count("\n") == 1
                assert {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()} == files
                continue
        else:
            assert result.code == 0, (key, result)
            outcome = APPLIED[key][1](witness.facts, Run(Path("run")))
            if key == "training.lr" and decay == "true":
                assert 0 < outcome < value
            else:
                assert outcome == value, key
            setting = run_preset(Run(Path("run"))).model_dump()["training"][key.split(".")[1]]
            assert setting == value
        shutil.rmtree("run")
        assert cli(*TRAIN, "--preset", "tiny.yaml", "--out", "run").code == 0
        files = {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()}


def test_a_preset_file_changed_by_hand_counts_as_a_change(cli: Cli, workplace: Path, hot_run: Path) -> None:
    shutil.copytree(hot_run, "run")
    file = Run(Path("run")).preset_file
    file.write_text(file.read_text().replace("seed: 0", "seed: 7"))
    result = cli(*TRAIN, "--resume", "run", "--epochs", 3)
    assert result.code == 2
    assert "training.seed cannot change on a resume" in result.err


def test_the_length_of_an_epoch_stays(cli: Cli, witness: Witness, workplace: Path, tiny: Path) -> None:
    assert cli(*TRAIN, "--preset", tiny, "--out", "run", "--limit-batches", 2).code == 0
    result = cli(*TRAIN, "--resume", "run", "--limit-batches", 3, "--epochs", 3)
    assert result.code == 2
    assert "the run began with 2" in result.err
    assert cli(*TRAIN, "--resume", "run", "--epochs", 3).code == 0
    assert torch.load(Run(Path("run")).last, weights_only=True)["global_step"] == 6


def test_other_images_than_at_the_beginning_are_noticed(cli: Cli, workplace: Path) -> None:
    Path("photos").mkdir()
    for number in range(30):
        Image.new("L", (8, 8), 8 * number).save(f"photos/{number:02d}.png")
    Path("mine.yaml").write_text(
        TINY.replace("{name: digits}", "{name: folder, path: photos, size: 8, channels: 1}").replace("T: 20", "T: 5")
    )
    assert cli(*TRAIN, "--preset", "mine.yaml", "--out", "run").code == 0
    Image.new("L", (8, 8), 255).save("photos/30.png")
    result = cli(*TRAIN, "--resume", "run", "--epochs", 3)
    assert result.code == 2
    assert "24 then, 25 now" in result.err
    Path("photos/30.png").unlink()
    Path("photos").rename("moved")
    result = cli(*TRAIN, "--resume", "run", "--epochs", 3, "--set", "data.path=moved")
    assert result.code == 0, result.err
    Image.new("L", (8, 8), 1).save("moved/00.png")
    result = cli(*TRAIN, "--resume", "run", "--epochs", 4)
    assert result.code == 2
    assert "are not those that the run began with" in result.err


def test_a_checkpoint_of_weights_alone_goes_on_with_nothing(cli: Cli, workplace: Path, hot_run: Path) -> None:
    shutil.copytree(hot_run, "run")
    last = Run(Path("run")).last
    whole = torch.load(last, weights_only=True)
    weights = ("epoch", "global_step", "state_dict", "hyper_parameters", "priors")
    torch.save({key: whole[key] for key in weights if key in whole}, last)  # as published runs keep them
    before = last.read_bytes()
    result = cli(*TRAIN, "--resume", "run", "--epochs", 3)
    assert result.code == 2
    assert "holds weights alone" in result.err
    assert result.err.count("\n") == 1
    assert last.read_bytes() == before


def test_two_resumes_of_one_run_do_not_mix(cli: Cli, workplace: Path, hot_run: Path) -> None:
    from diffcli.checkpoints.runs import lock_run

    shutil.copytree(hot_run, "run")
    with lock_run(Run(Path("run"))):
        result = cli(*TRAIN, "--resume", "run", "--epochs", 3)
    assert result.code == 2
    assert result.err == "error: another process trains in run; wait for it, or name another folder\n"
