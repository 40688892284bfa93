"""Several processes give what one gives: training, samples, scores."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Cli
from PIL import Image

from diffcli.checkpoints.runs import Run
from diffcli.utils.devices import Processes

TWO = ["--devices", "2", "--strategy", "ddp"]
# A batch of 51: the two never have equal parts.
RECIPE = (
    TINY.replace(
        "batch_size: 128",
        "batch_size: 51, ema: 0.9, stratified_t: true, lr_decay: true, clip_norm: 1.0, optimizer: muon, guide_at: 0.3",
    )
    + "labels: {dropped: 0.3}\n"
)


def diffcli(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which may start others."""
    command = [sys.executable, "-m", "diffcli", *map(str, arguments), "--accelerator", "cpu", "-q"]
    process = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment
    )
    assert process.returncode == 0, process.stderr
    return process


def history(run: str) -> list[dict[str, str]]:
    with Run(Path(run)).metrics_file.open() as stream:
        return list(csv.DictReader(stream))


def test_shares_are_whole_and_in_order() -> None:
    items = list(range(7))
    shares = [Processes(torch.device("cpu"), rank, 3).share(items) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == items
    assert list(Processes(torch.device("cpu")).map_in_order(items, lambda item: item**2)) == [item**2 for item in items]


def alone(cli: Cli, *arguments: object) -> str:
    """The output of the command in one process, which is this one."""
    result = cli(*arguments, "--devices", 1, "--accelerator", "cpu", "-q")
    assert result.code == 0, result.err
    return result.out


SEVERAL = """\
import json, sys
from diffcli.cli import main

for command in json.loads(sys.argv[1]):
    try: main(command)
    except SystemExit as end: assert not end.code, (command, end.code)
"""
SAMPLE = ["--n", "64", "--seed", "0", "--batch-size", "12"]
READY = ["sample", "--model", "blur-fast", "--n", "20", "--steps", "6"]
MEASURE = ["--n-test", "50", "--n-fid", "50", "--extractor", "classifier", "--batch-size", "12", "--json"]


@dataclass
class Both:
    """What several commands, one after another in the same two processes, left and printed."""

    place: Path
    lines: list[str]


@pytest.fixture(scope="module")
def both(hot_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    place = tmp_path_factory.mktemp("both")
    (place / "recipe.yaml").write_text(RECIPE)
    (place / "several.py").write_text(SEVERAL)
    run = ["--run", str(hot_run)]
    commands = [
        ["train", "--preset", "recipe.yaml", "--out", "two"],
        ["sample", *run, *SAMPLE, "--out", "two.npz"],
        [*READY, "--batch-size", "7", "--out", "ready.npz"],
        ["eval", *run, *MEASURE],
    ]
    text = json.dumps([[*command, *TWO, "--accelerator", "cpu", "-q"] for command in commands])
    process = subprocess.run(
        [sys.executable, "several.py", text],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr
    return Both(place, process.stdout.splitlines())


def test_two_processes_train_like_one(cli: Cli, workplace: Path, both: Both) -> None:
    (workplace / "recipe.yaml").write_text(RECIPE)
    assert alone(cli, "train", "--preset", "recipe.yaml", "--out", "one") == "one\n"
    assert both.lines[0] == "two"
    shutil.copytree(both.place / "two", "two")
    one, two = history("one"), history("two")
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for a, b in zip(one, two, strict=True):
        assert float(a["val_loss"]) == pytest.approx(float(b["val_loss"]), abs=1e-4)
        assert float(a["train_loss"]) == pytest.approx(float(b["train_loss"]), abs=1e-4)
    guides = [torch.load(Run(Path(run)).last, weights_only=True)["guide"] for run in ("one", "two")]
    for key, weight in guides[0].items():
        assert torch.allclose(weight, guides[1][key], atol=1e-3), key
    # And the run of two goes on as one.
    alone(cli, "train", "--resume", "two", "--epochs", 3)
    assert history("two")[-1]["epoch"] == "3"


def test_two_processes_sample_the_same_images(cli: Cli, workplace: Path, hot_run: Path, both: Both) -> None:
    alone(cli, "sample", "--run", hot_run, *SAMPLE, "--out", "one.npz")
    assert both.lines[1] == "two.npz"
    one, two = np.load("one.npz")["images"], np.load(both.place / "two.npz")["images"]
    assert one.shape == (64, 8, 8, 1)
    assert np.array_equal(one, two)


def test_two_processes_sample_the_bytes_of_one_with_two_threads_from_a_ready_model(
    cli: Cli, workplace: Path, both: Both
) -> None:
    # A blur's network amplifies what products round.
    torch.set_num_threads(2)
    try:
        alone(cli, *READY, "--batch-size", 20, "--out", "one.npz")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    one, two = np.load("one.npz")["images"], np.load(both.place / "ready.npz")["images"]
    assert both.lines[2] == "ready.npz"
    assert len(np.unique(one)) > 100
    assert np.array_equal(one, two)


def test_two_processes_measure_the_same(cli: Cli, workplace: Path, hot_run: Path, both: Both) -> None:
    reports = [json.loads(alone(cli, "eval", "--run", hot_run, *MEASURE)), json.loads("\n".join(both.lines[3:]))]
    assert reports[1]["settings"]["processes"] == 2
    assert reports[0]["scores"] == pytest.approx(reports[1]["scores"], rel=1e-6)
    assert reports[0]["loss_by_t"] == reports[1]["loss_by_t"]


@pytest.mark.slow
def test_two_processes_fit_a_prior_once_and_share_it(cli: Cli, workplace: Path) -> None:
    settings = ["--epochs", 1, "--limit-batches", 2, "--set", "training.sample_epochs=[]", "--set", "labels={}"]
    train = ["train", "--preset", "quickstart-blur", *settings, "--out"]
    alone(cli, *train, "one")
    diffcli(*train, "two", *TWO)
    one, two = (torch.load(Run(Path(run)).last, weights_only=True)["priors"]["mixture"] for run in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert set(one["labels"].tolist()) == set(range(10))


@pytest.mark.slow
def test_two_processes_restore_the_same_images(cli: Cli, workplace: Path, hot_run: Path) -> None:
    (workplace / "own").mkdir()
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (7, 9, 12), np.uint8)):
        Image.fromarray(image).save(workplace / "own" / f"{number}.png")
    Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), [5, 4], axis=0).repeat(12, axis=1)).save("mask.png")
    for options in (["--t", 8], ["--mask", "mask.png", "--steps", 4, "--resampling", 2]):
        command = ["restore", "own", "--run", hot_run, "--batch-size", 2, *options]
        alone(cli, *command, "--out", "one.npz")
        assert diffcli(*command, "--out", "two.npz", *TWO).stdout == "two.npz\n"
        with np.load("one.npz") as one, np.load("two.npz") as two:
            assert {name: array.tobytes() for name, array in one.items()} == {
                name: array.tobytes() for name, array in two.items()
            }


@pytest.mark.slow
def test_torchrun_starts_the_processes_as_well(cli: Cli, workplace: Path, hot_run: Path) -> None:
    code = "import sys; from diffcli.cli import main; main(sys.argv[1:])"
    (workplace / "run.py").write_text(code)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    # Without the two dashes torchrun takes --run and --n for abbreviations of its own options.
    command = [*launcher, "--", "run.py", "sample"]
    options = ["--run", str(hot_run), "--n", "20", "--devices", "2", "--out", "two.npz", "--accelerator", "cpu", "-q"]
    process = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == "two.npz\n"
    alone(cli, "sample", "--run", hot_run, "--n", 20, "--out", "one.npz")
    assert np.array_equal(np.load("one.npz")["images"], np.load("two.npz")["images"])


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "--run", "RUN", "--strategy", "fsdp"],
        ["sample", "--run", "RUN", "--strategy", "deepspeed_stage_3", "--devices", "2"],
        ["eval", "--run", "RUN", "--strategy", "ddp_spawn", "--devices", "2"],
        ["compare", "RUN", "--strategy", "fsdp"],
        ["train", "--preset", "tiny.yaml", "--strategy", "ddp_spawn", "--devices", "2"],
    ],
)
def test_a_strategy_that_cannot_work_is_refused(cli: Cli, workplace: Path, tiny: Path, hot_run: Path, words) -> None:
    before = sorted(workplace.rglob("*")), sorted(hot_run.rglob("*"))
    result = cli(*[str(hot_run) if word == "RUN" else word for word in words], "--accelerator", "cpu", "-q")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert f"--strategy {words[words.index('--strategy') + 1]}: " in result.err
    assert "ddp" in result.err
    assert (sorted(workplace.rglob("*")), sorted(hot_run.rglob("*"))) == before


ENVIRONMENT = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "0"}


@pytest.mark.parametrize("case", itertools.product(["train", "sample"], ["1", "4"]), ids=str)
def test_other_processes_than_were_started_are_refused(
    cli: Cli, workplace: Path, tiny: Path, hot_run: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str]
) -> None:
    command, devices = case
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    before = sorted(workplace.rglob("*"))
    words = {"train": ["--preset", tiny, "--out", "run"], "sample": ["--run", hot_run, "--n", 2]}[command]
    result = cli(command, *words, "--devices", devices, "--accelerator", "cpu")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert "--devices" in result.err
    assert "2" in result.err
    assert sorted(workplace.rglob("*")) == before


def test_more_processes_than_images_in_a_batch_are_refused(
    cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "recipe.yaml").write_text(RECIPE)
    # As in a program that could be started again; the refusal comes before a process is.
    (workplace / "program.py").touch()
    monkeypatch.setattr(sys, "argv", [str(workplace / "program.py")])
    monkeypatch.setattr("lightning.Trainer.fit", None)
    command = ["train", "--preset", "recipe.yaml", "--batch-size", "1", "--out", "run"]
    result = cli(*command, *TWO, "--accelerator", "cpu")
    assert result.code == 2
    assert result.err == "error: 2 processes cannot share batches of 1; raise --batch-size\n"
    assert not (workplace / "run").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_two_processes_stop_together_and_save(
    workplace: Path, request: pytest.FixtureRequest, number: int, code: int
) -> None:
    (workplace / "recipe.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "diffcli", "train", "--preset", "recipe.yaml", "--epochs", "5000", "--out", "run"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *TWO, "--accelerator", "cpu", "-q"], stderr=subprocess.PIPE, text=True, env=environment
    )
    request.addfinalizer(process.kill)
    last = Run(workplace / "run").last
    deadline = time.monotonic() + 120
    while not last.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    before = last.stat().st_mtime_ns
    process.send_signal(number)  # to the first process alone
    _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert error.splitlines()[-1].endswith("Go on with: diffcli train --resume run")
    assert "Traceback" not in error
    content = torch.load(last, weights_only=True)
    # Between the last step of an epoch and the first of the next one there is nothing new to save.
    steps_into_epoch = content["global_step"] % 23
    assert last.stat().st_mtime_ns > before or steps_into_epoch in (0, 22), content["global_step"]
    epochs = torch.load(last, weights_only=True)["epoch"] + 2
    diffcli("train", "--resume", "run", "--epochs", epochs, *TWO)


SLOW_STEPS = """\
import sys, time
from diffcli.cli import main
from diffcli.training import module

before = module.DiffusionModule.training_step
def slow(self, *batch):  # the processes are never at the same place
    time.sleep(0.3 if self.global_rank else 0.1)
    return before(self, *batch)
module.DiffusionModule.training_step = slow
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_slurm_requeues_a_job_of_two_processes(workplace: Path) -> None:
    (workplace / "recipe.yaml").write_text(RECIPE)
    (workplace / "slow.py").write_text(SLOW_STEPS)
    (workplace / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {workplace}/requeued\n')
    (workplace / "scontrol").chmod(0o755)
    job = {"JOB_ID": str(os.getpid()), "JOB_NAME": "night", "NTASKS": "2", "NTASKS_PER_NODE": "2", "NODEID": "0"}
    command = [sys.executable, "slow.py", "train", "--preset", "recipe.yaml", "--epochs", "5000", "--out", "run"]
    jobs = []
    for rank in "01":
        slurm = {f"SLURM_{key}": value for key, value in (job | {"PROCID": rank, "LOCALID": rank}).items()}
        environment = os.environ | slurm | {"PATH": f"{workplace}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        words = [*command, *TWO, "--accelerator", "cpu", "-q"]
        jobs.append(subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True))
    try:
        deadline = time.monotonic() + 100
        while not Run(workplace / "run").metrics_file.is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in jobs:
            process.send_signal(signal.SIGUSR1)
        while not (workplace / "requeued").is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (workplace / "requeued").read_text() == f"requeue {os.getpid()}\n"
        for process in jobs:  # pre-empted
            process.send_signal(signal.SIGTERM)
        errors = [process.communicate(timeout=60)[1] for process in jobs]
    finally:
        for process in jobs:
            process.kill()
    assert [process.returncode for process in jobs] == [143, 0]
    assert errors[0].count("\n") == 1, errors[0]
    assert errors[1] == ""
    (checkpoint,) = (workplace / "run").glob("hpc_ckpt_*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert int(content["averaging_state"]["n_averaged"]) == content["global_step"]
