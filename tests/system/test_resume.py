"""A training that is interrupted at any moment and resumed ends where an uninterrupted one does: weights, curves,
table."""

from __future__ import annotations

import csv
import os
import random
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import OF_EACH_KIND, SLOW, TINY, Cli, save_pictures
from lightning.pytorch import Callback

from diffcli.checkpoints.runs import Run
from diffcli.config.presets import preset_files
from diffcli.training import checkpoint_callbacks as checkpoints
from diffcli.training import run as command

HOOKS = (
    "on_fit_start",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_backward",
    "on_before_optimizer_step",
    "on_before_zero_grad",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_save_checkpoint",
)
TRAIN = ("train", "--accelerator", "cpu", "-q")
Sender = Callable[[Callback], None]


class Kill(BaseException):
    """Stands for SIGKILL: nothing is saved or said after it."""


class Blow(Callback):
    """Counts the hooks of a training, and strikes at the one with number ``moment``."""

    def __init__(self, moment: int, strike: Callable[[], None]) -> None:
        self.moment, self.strike, self.count = moment, strike, 0

    def __getattribute__(self, name: str) -> Any:
        if name in HOOKS:
            self.count += 1
            if self.count == self.moment:
                self.strike()
        return super().__getattribute__(name)


def kill() -> None:
    raise Kill


STRIKES: dict[str, Callable[[], None]] = {
    "SIGINT": lambda: os.kill(os.getpid(), signal.SIGINT),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "SIGKILL": kill,
}
CODES = {"SIGINT": 130, "SIGTERM": 143}


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    """Sends a blow into the next trainings; checkpoints are then written at every moment at which one may be."""
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoints, "SECONDS_BEFORE_EPOCH_END", 0.0)
    build = command.build_trainer

    def put(blow: Callback) -> None:
        def build_with_blow(*arguments: Any, **options: Any) -> Any:
            trainer = build(*arguments, **options)
            trainer.callbacks.insert(getattr(blow, "moment", 0) % (len(trainer.callbacks) + 1), blow)
            return trainer

        monkeypatch.setattr(command, "build_trainer", build_with_blow)

    yield put
    monkeypatch.setattr(command, "build_trainer", build)


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard draws of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "logs")).Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def table(run: Path) -> list[tuple[str, ...]]:
    """A run's metrics.csv, but for the times."""
    with Run(run).metrics_file.open() as stream:
        rows = list(csv.DictReader(stream))
    return [(row["epoch"], row["step"], row["train_loss"], row["val_loss"]) for row in rows]


def tensors(content: Any) -> Iterator[torch.Tensor]:
    """Every tensor in nested dictionaries and lists, in order."""
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from tensors(value)


def assert_equal_runs(one: Path, other: Path) -> None:
    assert table(one) == table(other)
    assert curves(one) == curves(other)
    for name in ("best", "last"):
        files = [getattr(Run(run), name) for run in (one, other)]
        assert [file.is_file() for file in files] in ([True] * 2, [False] * 2)
        if files[0].is_file():
            contents = [torch.load(file, weights_only=True) for file in files]
            for key in ("state_dict", "current_model_state", "optimizer_states", "priors", "guide", "global_step"):
                ours, theirs = (list(tensors(content.get(key))) for content in contents)
                assert len(ours) == len(theirs)
                assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), (name, key)
    pictures = [{p.name: p.read_bytes() for p in Run(run).samples.glob("*.png")} for run in (one, other)]
    assert pictures[0] == pictures[1]


def random_preset(rng: random.Random) -> str:
    """A small preset whose training uses some of what has a state."""
    training = {
        "epochs": rng.randint(2, 4),
        "batch_size": rng.choice([300, 576, 1150]),
        "val_every": rng.randint(1, 3),
        "sample_epochs": rng.choice(["[]", "[1, 2]"]),
        "sample_n": 2,
        "lr": "1e-3",
        "lr_decay": rng.choice(["true", "false"]),
        "warmup": rng.choice([0, 3]),
        "stratified_t": rng.choice(["true", "false"]),
    }
    if rng.random() < 0.5:
        training["ema"] = 0.9
    if rng.random() < 0.3:
        training |= {"max_time": "9h", "lr_decay": "false"}
    if rng.random() < 0.5:
        training |= {"clip_norm": 0.5, "weight_decay": 0.01}
    if rng.random() < 0.5:
        training |= {"optimizer": "muon"}
    if rng.random() < 0.5:
        training |= {"guide_at": rng.choice([0.1, 0.4])}
    keys = ", ".join(f"{key}: {value}" for key, value in training.items())
    preset = TINY[: TINY.index("training:")] + f"training: {{{keys}}}\n"
    if rng.random() < 0.5:
        prior = rng.choice(["{name: mixture, components: 2}", "{name: uniform}"])
        preset = (
            preset.replace("{name: linear, T: 20, beta_min: 0.001, beta_max: 0.3}", "{name: constant, T: 5, beta: 0.4}")
            .replace("gaussian-noise", "gaussian-blur, kernel_size: 5")
            .replace("prediction: eps", "prediction: x0")
            .replace("{name: standard-normal}", prior)
            .replace("{name: ancestral}", "{name: cold}")
        )
    return preset + rng.choice(["", "labels: {dropped: 0.2}\n"])


def check(cli: Cli, send: Sender, start: list[object], rng: random.Random, strikes: int) -> None:
    """Trains to the end once; then again and again with a blow, going on as the message says, and compares."""
    counter = Blow(0, kill)
    send(counter)
    result = cli(*TRAIN, *start, "--out", "whole")
    assert result.code == 0, result.err
    total = counter.count
    for _ in range(strikes):
        name = rng.choice(list(STRIKES))
        blow = Blow(rng.randint(1, total), STRIKES[name])
        send(blow)
        if name == "SIGKILL":
            with pytest.raises(Kill):
                cli(*TRAIN, *start, "--out", "parts")
        else:
            result = cli(*TRAIN, *start, "--out", "parts")
            assert result.code in (CODES[name], 0), (result, blow.moment)
            assert result.code or blow.moment > 0.8 * total  # a blow at the very end may find nothing left to stop
        send(Blow(0, kill))
        again = ["--resume", "parts"] if Run(Path("parts")).preset_file.is_file() else [*start, "--out", "parts"]
        result = cli(*TRAIN, *again)
        assert result.code == 0 or "is done" in result.err, (result, name, blow.moment)
        assert_equal_runs(Path("whole"), Path("parts"))
        shutil.rmtree("parts")


# The three recipes have, together, all that a random one may have, and each kind of blow.
@pytest.mark.parametrize("seed", range(20) if SLOW else (1, 8, 19))
def test_a_random_recipe_survives_an_interrupt_at_a_random_moment(
    cli: Cli, send: Sender, workplace: Path, seed: int
) -> None:
    rng = random.Random(seed)
    Path("recipe.yaml").write_text(random_preset(rng))
    check(cli, send, ["--preset", "recipe.yaml"], rng, strikes=3)


@pytest.mark.parametrize("name", sorted(preset_files()) if SLOW else OF_EACH_KIND)
def test_every_preset_survives_an_interrupt_at_a_random_moment(
    cli: Cli,
    send: Sender,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    name: str,
) -> None:
    if not SLOW:
        request.getfixturevalue("small_presets")
    monkeypatch.setenv("DIFFCLI_DATA", str(request.getfixturevalue("small_mnist")))
    save_pictures()
    small = ["--limit-batches", 3, "--batch-size", 4, "--epochs", 3]
    for key, value in {"sample_epochs": [2], "sample_n": 2, "val_every": 2}.items():
        small += ["--set", f"training.{key}={value}"]
    small += ["--set", "sampler.steps=2"]
    if "fast" in name:  # with a budget of time the learning rate follows the clock
        small += ["--set", "training.max_time=null"]
    if "unlabelled" in name:  # more clusters than these few images are refused
        small += ["--set", "labels.clusters=10"]
    check(cli, send, ["--preset", name, *small], random.Random(name), strikes=4 if SLOW else 1)


def test_an_interrupt_in_an_epoch_without_validation_is_resumed_as_the_message_says(
    cli: Cli, send: Sender, workplace: Path, small_presets: None
) -> None:
    start = ["--preset", "quickstart", "--limit-batches", 3, "--epochs", 12, "--data-dir", "my data"]
    assert cli(*TRAIN, *start, "--out", "whole").code == 0
    step = 20  # in the seventh epoch; validations come after every tenth

    class AtStep(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == step:
                os.kill(os.getpid(), signal.SIGINT)

    send(AtStep())
    result = cli(*TRAIN, *start)
    assert result.code == 130
    assert "the work so far is saved" in result.err
    words = shlex.split(result.err.rsplit("diffcli ", 1)[1])
    assert words[-2:] == ["--data-dir", "my data"]
    send(Blow(0, kill))
    result = cli(*words, "-q", "--accelerator", "cpu")
    assert result.code == 0, result.err
    assert_equal_runs(Path("whole"), Path(result.out.strip()))
    with Run(Path(result.out.strip())).metrics_file.open() as stream:
        speeds = [float(row["images_per_second"]) for row in csv.DictReader(stream)]
    assert min(speeds) > 1.0  # an epoch resumed near its end once counted the images of its rest alone: 0.1


def test_a_run_ended_by_its_time_goes_on_in_the_middle_of_the_epoch(cli: Cli, send: Sender, workplace: Path) -> None:
    Path("recipe.yaml").write_text(TINY.replace("epochs: 2", "epochs: 10, max_time: 9h, val_every: 5"))
    assert cli(*TRAIN, "--preset", "recipe.yaml", "--out", "whole").code == 0

    class AtStep(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = trainer.global_step == 50

    send(AtStep())
    assert cli(*TRAIN, "--preset", "recipe.yaml", "--out", "parts").code == 0
    send(Blow(0, kill))
    assert torch.load(Run(Path("parts")).last, weights_only=True)["global_step"] == 50
    assert cli(*TRAIN, "--resume", "parts").code == 0
    assert table(Path("whole")) == table(Path("parts"))


def test_a_moved_run_keeps_its_best_checkpoint(cli: Cli, workplace: Path, tiny: Path) -> None:
    assert cli(*TRAIN, "--preset", tiny, "--out", "run").code == 0
    best = Run(Path("run")).best.read_bytes()
    for state in torch.load(Run(Path("run")).last, weights_only=True)["callbacks"].values():
        assert "run" not in str(state)  # no path travels in a checkpoint
    shutil.move("run", "elsewhere")
    # With such a learning rate every further epoch is worse.
    assert cli(*TRAIN, "--resume", "elsewhere", "--epochs", 4, "--lr", 1.0).code == 0
    assert Run(Path("elsewhere")).best.read_bytes() == best
    assert not Path("run").exists()
