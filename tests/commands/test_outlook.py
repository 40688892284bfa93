"""What a training will take and what ends it: estimates of ``--dry-run``, warnings before, and the line at the end."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import TINY, Cli
from PIL import Image

import diffcli
from diffcli.config.presets import load_preset
from diffcli.training import outlook
from diffcli.training.options import TrainOptions
from diffcli.training.outlook import Outlook, clock, least_steps
from diffcli.training.plan import plan

CPU = ["--accelerator", "cpu"]
FOLDER = "{name: folder, path: photos, size: 8, channels: 1, mirrored: true, background: black}"


def photos(count: int = 20, channels: int = 1) -> None:
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (8, 8, 3) if channels == 3 else (8, 8), np.uint8)
        Image.fromarray(pixels).save(f"photos/{number}.png")


@pytest.mark.parametrize(
    ("limit", "epochs", "message"),
    [
        (
            "10m",
            2,
            r"ended after all 2 epochs, \d+ of the 600 seconds of max_time 10m; with more training\.epochs it would "
            r"use",
        ),
        ("1s", 100_000, r"ended by max_time 1s, in epoch \d+ of 100000\n"),
    ],
)
def test_the_limit_that_ended_a_training_is_told(cli: Cli, tiny: Path, limit: str, epochs: int, message: str) -> None:
    words = ["--out", "run", "--max-time", limit, "--epochs", epochs, *CPU]
    result = cli("train", "--preset", tiny, *words, "--set", "training.sample_epochs=[]")
    assert result.code == 0, result.err
    assert re.search(message, result.err), result.err
    assert result.out == "run\n"


def test_a_dry_run_estimates_time_and_memory_and_says_what_will_end_it(cli: Cli, tiny: Path) -> None:
    result = cli("train", "--preset", tiny, "--max-time", "10m", "--dry-run", *CPU)
    assert result.code == 0, result.err
    assert yaml.safe_load(result.out)["training"]["max_time"] == "10m"
    assert re.search(r"# estimated from \d+ steps? on 1 thread of a CPU, 32-true:\n", result.out)
    assert re.search(
        r"#   time: \d+ s for 2 epochs, \S+ ms a step, 2 validations; drawing samples comes on top\n", result.out
    )
    assert "#   ends after epoch 2, before max_time 10 min: more epochs would use the rest\n" in result.out
    assert re.search(r"#   memory: at least \d+\.\d\d GiB of the machine's\n", result.out)
    result = cli("train", "--preset", tiny, "--max-time", "1s", "--epochs", 1_000_000, "--dry-run", *CPU)
    assert re.search(r"#   ends by max_time 1 s, in about epoch [\d,]+ of 1,000,000\n", result.out)
    assert [path.name for path in Path().iterdir()] == ["tiny.yaml"]


def test_a_step_that_is_timed_is_one_of_the_preset(workplace: Path, registries: None) -> None:
    Path("slow.py").write_text(
        "import time\nimport torch\nimport diffcli\n\n\n@diffcli.register('network', 'slow')\nclass "
        "Slow(torch.nn.Module):\n"
        "    seen = []\n\n    def __init__(self):\n        super().__init__()\n        self.layer = "
        "torch.nn.Conv2d(1, 1, 1)\n\n"
        "    def forward(self, xt, t):\n        self.seen.append((tuple(xt.shape), torch.is_grad_enabled(), "
        "torch.is_autocast_enabled('cpu')))\n"
        "        time.sleep(0.05)\n        return self.layer(xt)\n"
    )
    slow = diffcli.plugin("slow.py").Slow
    values = yaml.safe_load(TINY) | {"network": {"name": "slow"}}
    values["training"] |= {
        "lr": 1e-3,
        "precision": "bf16-mixed",
        "batch_size": 100,
        "epochs": 7,
        "val_every": 3,
        "ema": 0.9,
    }
    training = plan(TrainOptions(values, devices=diffcli.Devices("cpu")))
    slow.seen.clear()
    estimate = training.outlook()
    assert estimate is not None
    assert estimate.step_seconds >= 0.05
    assert set(slow.seen) == {((100, 1, 8, 8), True, True), ((100, 1, 8, 8), False, True)}
    assert sum(grad for _, grad, _ in slow.seen) == estimate.measured_steps + 1
    batches = training.data.batches_per_epoch
    assert (estimate.steps, estimate.validations) == (7 * batches, 2)
    assert estimate.total_seconds >= 7 * batches * 0.05
    assert estimate.precision == "bf16-mixed"


def test_a_first_step_that_is_slow_is_not_the_one_that_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlook, "MOST_SECONDS", 0.01)
    calls: list[int] = []

    def work() -> None:
        time.sleep(0 if calls else 0.05)
        calls.append(1)

    (second,) = outlook._call_seconds(work, torch.device("cpu"))
    assert len(calls) == 2
    assert second < 0.05
    monkeypatch.setattr(outlook, "LONG_SECONDS", 0.04)
    calls.clear()
    assert outlook._call_seconds(work, torch.device("cpu"))[0] >= 0.05
    assert len(calls) == 1


def outlook_of(**changes: Any) -> Outlook:
    values: dict[str, Any] = {
        "step_seconds": 0.5,
        "measured_steps": 3,
        "validation_seconds": 10.0,
        "steps": 100,
        "epochs": 10,
        "validations": 5,
        "limit": None,
        "device": "a device",
        "precision": "32-true",
        "memory": {},
        "to_fit": True,
    }
    return Outlook(**{**values, **changes})


def test_an_estimate_adds_up() -> None:
    assert outlook_of().total_seconds == 100
    assert outlook_of().steps_done == outlook_of(limit=100.0).steps_done == 100
    assert outlook_of(limit=50.0).steps_done == 50
    assert "time: 1 min 40 s for 10 epochs, 500 ms a step, 5 validations; fitting the prior" in outlook_of().describe()
    assert "ends by max_time 50 s, in about epoch 5 of 10" in outlook_of(limit=50.0).describe()
    assert [clock(seconds) for seconds in (0.1, 59.4, 60, 3599.6, 7500)] == ["1 s", "59 s", "1 min", "1 h", "2 h 5 min"]


NOTES = {
    f"data={FOLDER.replace(', mirrored: true', '')}": ["data is replaced as a whole", "mirrored: true (now false)"],
    "data={name: folder, path: photos, size: 8, channels: 1}": [
        "mirrored: true (now false), background: black (now white)"
    ],
    "data={name: digits}": [],
    f"data={FOLDER}": [],
    "sampler={name: ddim}": ["sampler is replaced as a whole", "steps: 5 (now null)", "clip: true (now false)"],
    "sampler={name: ddim, steps: 7, clip: true}": [],
    "training={epochs: 3}": ["training is replaced as a whole", "lr: 0.01 (now 0.0002)", "batch_size: 4 (now 128)"],
    "training.epochs=3": [],
    "schedule={name: cosine, T: 20}": [],
    "schedule={name: constant, beta: 0.1, T: 30}": [],
    "network={name: cnn, channels: [4, 4]}": ["network is replaced as a whole", "kernel_size: 3 (now 7)"],
}


@pytest.mark.parametrize("change", NOTES)
def test_what_a_replaced_part_no_longer_holds_is_told(cli: Cli, workplace: Path, change: str) -> None:
    photos()
    preset = TINY.replace("{name: digits}", FOLDER).replace(
        "{name: ancestral}", "{name: ancestral, steps: 5, clip: true}"
    )
    Path("mine.yaml").write_text(preset.replace("batch_size: 128, lr: 1e-3", "batch_size: 4, lr: 1e-2"))
    result = cli("train", "--preset", "mine.yaml", "--set", change, "--dry-run", *CPU)
    assert result.code == 0, result.err
    assert ("note: " in result.err) == bool(NOTES[change]), result.err
    for part in NOTES[change]:
        assert part in result.err


def test_a_folder_in_place_of_cifar_is_not_mirrored_and_that_is_told(cli: Cli, workplace: Path) -> None:
    photos(channels=3)
    words = ["train", "--preset", "cifar-fast", "--set", "labels=null", "--dry-run", *CPU, "--set"]
    message = "data is replaced as a whole, so these of the preset no longer hold: mirrored: true (now false)"
    assert message in cli(*words, "data={name: folder, path: photos, size: 8}").err
    assert "note" not in cli(*words, "data={name: folder, path: photos, size: 8, mirrored: true}").err


def test_too_few_steps_are_told_before_a_training(cli: Cli, workplace: Path) -> None:
    photos(300, 3)
    data = "data={name: folder, path: photos, size: 8}"
    result = cli("train", "--preset", "ddpm-linear", "--set", data, "--dry-run", *CPU)
    assert result.code == 0, result.err
    # 300 images are 192 in training, 2 batches.
    assert (
        "warning: 100 steps are too few to learn from for the network cnn with the prediction eps, which take 1,500 "
        "at least: samples "
        "will be near noise; take 750 epochs or more, or the preset colour-fast with these images" in result.err
    )
    words = ["train", "--preset", "ddpm-linear", "--set", data, "--dry-run", *CPU]
    assert "warning" not in cli(*words, "--epochs", 750).err
    assert "warning: 1,498 steps" in cli(*words, "--epochs", 749).err
    short = cli(*words, "--epochs", 1_000_000, "--max-time", "1s", "--batch-size", 190)
    assert "samples will be near noise; take more time, or the preset" in short.err
    # The preset for more than 32x32 needs sides that 8 divides.
    for side, recipe in ((40, ", or the preset colour-64-fast with these images"), (36, "")):
        large = f"data={{name: folder, path: photos, size: {side}}}"
        message = cli("train", "--preset", "ddpm-linear", "--set", large, "--dry-run", "--epochs", 1, *CPU).err
        assert message.endswith(f"take 750 epochs or more{recipe}\n"), message
    small = ["--set", "training.sample_epochs=[]", "--set", "network.channels=[2]", *CPU]
    words = ["train", "--preset", "ddpm-linear", "--set", data, *small, "--epochs", 1]
    assert "warning: 2 steps" in cli(*words, "--out", "run").err
    assert "warning" not in cli(*words, "--out", "quick", "--limit-batches", 1).err
    assert "warning" not in cli(*words, "--out", "silent", "-q").err
    assert "warning" not in cli("train", "--preset", "quickstart", "--dry-run", *CPU).err


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({"prediction": "eps"}, 500),
        ({"prediction": "v"}, 150),
        ({"prediction": "x0", "network": {"name": "cnn"}}, 1500),
        ({"prediction": "x0", "training.warmup": 30}, 60),
    ],
)
def test_how_many_steps_a_model_needs_is_by_what_it_predicts(changes: dict[str, Any], least: int) -> None:
    assert least_steps(load_preset("quickstart", changes)[1]) == least


def test_a_preset_may_be_a_mapping(workplace: Path) -> None:
    values = yaml.safe_load(TINY.replace("1e-3", "0.001"))
    run = diffcli.train(values, {"training.epochs": 1}, devices=diffcli.Devices("cpu"), quiet=True)
    assert run.folder.parent == Path("runs/preset")
    assert values["training"]["epochs"] == 2
    model = diffcli.load("preset")
    assert (model.epoch, model.preset_name) == (1, "preset")
    again = diffcli.train(resume=run, overrides={"training.epochs": 2}, devices=diffcli.Devices("cpu"), quiet=True)
    assert diffcli.load(again).epoch == 2
    for wrong, message in (
        ({}, "preset preset: data is missing"),
        (values | {"trainin": 1}, "unknown key 'trainin'; did you mean 'training'"),
        (3, "`preset` is a name, a YAML file or a mapping of keys to values, got int"),
        ([values], "got list"),
    ):
        with pytest.raises(diffcli.UserError, match=re.escape(message)):
            diffcli.train(wrong)
    with pytest.raises(diffcli.UserError, match="a model is named by a run, a file or folder, or a name; dict is none"):
        diffcli.load(values)


def test_a_model_and_a_data_set_are_shown_in_a_line(hot_run: Path) -> None:
    model = diffcli.load(hot_run)
    text = repr(model)
    assert len(text.replace(str(model.checkpoint), "")) < 200
    assert "\n" not in text
    for part in ("Model tiny, epoch 2", "images 1x8x8", "gaussian-noise T 20", "cnn of ", " weights"):
        assert part in text
    assert repr(model.training_split()) == "ImageSet(1,150 images of 1x8x8, labels 0..9)"
