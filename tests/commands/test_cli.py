"""The command line as a user meets it: what works, and that bad input costs one line and nothing else."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from killing import start
from PIL import Image

from diffcli.checkpoints.runs import Run
from diffcli.cli.flags import flag_of
from diffcli.cli.parameters import Parameters
from diffcli.cli.train import train
from diffcli.config.schema import Training
from diffcli.training.options import KEYS

RECONSTRUCTION_SCORES = ("rmse", "ssim", "psnr", "class_kept")


def test_help_names_every_command(cli) -> None:
    result = cli("--help")
    assert result.code == 0
    for command in ("train", "sample", "eval", "schedule-plot", "compare", "study", "presets", "runs"):
        assert command in result.out
        assert cli(command, "--help").code == 0


def test_presets_are_listed_and_printed(cli) -> None:
    assert "quickstart" in cli("presets").out
    assert {row["name"] for row in json.loads(cli("presets", "--json").out)} >= {"quickstart", "ddpm-linear"}
    assert cli("presets", "quickstart").out == ROOT.joinpath("presets/quickstart.yaml").read_text()


def test_dry_run_writes_nothing(cli, workplace: Path, tiny: Path) -> None:
    result = cli("train", "--preset", tiny, "--epochs", 9, "--dry-run")
    assert result.code == 0
    assert "epochs: 9" in result.out
    assert "# batches per epoch: 9" in result.out
    assert {path.name for path in workplace.iterdir()} == {"tiny.yaml"}


def test_samples_in_every_format(cli, workplace: Path, hot_run: Path) -> None:
    for out in ("grid.png", "images.npz", "files"):
        result = cli("sample", "--run", hot_run, "--n", 5, "--out", out, "--quiet")
        assert result.code == 0, result.err
        assert result.out.strip() == out
    images = np.load("images.npz")["images"]
    assert (images.shape, images.dtype) == ((5, 8, 8, 1), np.uint8)
    assert Image.open("files/00004.png").size == (8, 8)
    assert np.array_equal(np.asarray(Image.open("files/00002.png")), images[2, :, :, 0])
    assert Image.open("grid.png").size == (3 * 66 + 2, 2 * 66 + 2)


def test_reconstructions_and_animation(cli, workplace: Path, hot_run: Path) -> None:
    assert cli("sample", "--run", hot_run, "--conditional", "--n", 3, "--out", "c.png", "--quiet").code == 0
    assert Image.open("c.png").size[0] > 100
    options = ["--n", 4, "--steps", 10, "--trajectory", "walk.gif", "--quiet"]
    assert cli("sample", "--run", hot_run, *options).out.split() == ["samples.png", "walk.gif"]
    assert Image.open("walk.gif").n_frames > 3


def test_eval_gives_a_table_json_and_a_file(cli, hot_run: Path) -> None:
    options = ["eval", "--run", hot_run, "--n-test", 20, "--n-fid", 20, "--extractor", "classifier", "--quiet"]
    result = cli(*options, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    expected = {
        "nearest",
        "nearest_test",
        "loss",
        "nll",
        "nll_kl",
        "nll_error",
    }
    expected |= {name + suffix for name in RECONSTRUCTION_SCORES for suffix in ("", "_direct", "_error")}
    expected |= {"loss_error", "nearest_error"}
    metrics = ("fid", "kid", "sample_precision", "sample_recall", "density", "coverage")
    keys = {f"{name}_{judge}" for name in metrics for judge in ("classifier", "resnet")}
    expected |= {key + suffix for key in keys for suffix in ("", "_floor", "_error")}
    assert set(report["scores"]) == expected
    assert report["settings"]["n_test"] == report["settings"]["n_fid"] == 20
    assert json.loads(Run(hot_run).eval_file.read_text()) == report
    assert all(np.isfinite(value) for value in report["scores"].values())
    table = cli(*options, "--rmse").out
    assert "rmse" in table
    assert "ssim" not in table


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_schedule_plot_draws(cli, workplace: Path, suffix: str) -> None:
    presets = ["--preset", "ddpm-const-lowbeta", "--preset", "ddpm-const-highbeta"]
    assert cli("schedule-plot", *presets, "--out", f"s{suffix}").code == 0
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    assert Path(f"s{suffix}").read_bytes().startswith(starts[suffix])


def test_schedule_plot_writes_numbers(cli, workplace: Path) -> None:
    assert cli("schedule-plot", "--preset", "ddpm-const-lowbeta", "--out", "s.csv").code == 0
    lines = Path("s.csv").read_text().splitlines()
    assert lines[0] == "preset,t,t_over_T,beta,alpha,log_snr"
    assert len(lines) == 2001
    assert float(lines[-1].split(",")[4]) == pytest.approx(0.1352, abs=1e-4)


def test_runs_are_listed(cli, workplace: Path, tiny: Path) -> None:
    assert "no runs" in cli("runs").out
    folder = cli("train", "--preset", tiny, "--epochs", 1, "--quiet", "--accelerator", "cpu").out.strip()
    row = json.loads(cli("runs", "--json").out)[0]
    assert (row["run"], row["preset"], row["epochs"]) == (folder, "tiny", 1)
    assert row["best_val_loss"] > 0


def test_a_resumed_run_ends_like_an_uninterrupted_one(cli, workplace: Path, tiny: Path) -> None:
    options = ["--quiet", "--accelerator", "cpu"]
    cli("train", "--preset", tiny, "--epochs", 3, "--out", "whole", *options)
    cli("train", "--preset", tiny, "--epochs", 2, "--out", "parts", *options)
    assert cli("train", "--resume", "parts", "--epochs", 3, *options).code == 0
    weights = [torch.load(Run(Path(run)).last, weights_only=True)["state_dict"] for run in ("whole", "parts")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    histories = [Run(Path(run)).metrics_file.read_text().splitlines() for run in ("whole", "parts")]
    losses = [[line.split(",")[:4] for line in lines] for lines in histories]
    assert losses[0] == losses[1]
    refusal = cli("train", "--resume", "parts", *options)
    assert refusal.code == 2
    assert "is done: 3 epochs" in refusal.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_keeps_its_work(workplace: Path, tiny: Path, number: int, code: int) -> None:
    command = ["train", "--preset", "tiny.yaml", "--epochs", 5000, "--out", "run", "--accelerator", "cpu"]
    process = start(workplace, *command)
    deadline = time.monotonic() + 120
    while not (workplace / "run/checkpoints/last.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    error = (workplace / "messages.txt").read_text()
    assert process.exitcode == code, error
    assert "diffcli train --resume run" in error.splitlines()[-1]
    assert "Traceback" not in error
    content = torch.load(workplace / "run/checkpoints/last.ckpt", weights_only=True)
    assert content["global_step"] > 0


TRAIN = ["train", "--preset", "tiny.yaml"]
BAD = {
    "no preset": (["train"], "give one of --preset NAME and --resume RUN"),
    "unknown preset": (["train", "--preset", "quikstart"], "did you mean 'quickstart'"),
    "unknown key": ([*TRAIN, "--set", "training.epoch=1"], "did you mean 'training.epochs'"),
    "mistyped value": ([*TRAIN, "--set", "training.epochs=x"], "training.epochs"),
    "beta": ([*TRAIN, "--set", "schedule={name: constant, T: 5, beta: 2}"], "beta must lie in (0, 1)"),
    "T": ([*TRAIN, "--set", "schedule.T=0"], "T must be in"),
    "epochs": ([*TRAIN, "--epochs", "0"], "training.epochs"),
    "not a number": ([*TRAIN, "--epochs", "x"], "--epochs"),
    "unknown option": ([*TRAIN, "--epoch", "1"], "--epoch"),
    "unknown command": (["trian"], "trian"),
    "accelerator": ([*TRAIN, "--accelerator", "abacus"], "abacus"),
    "precision": ([*TRAIN, "--precision", "7"], "training.precision: input should be"),
    "limit": ([*TRAIN, "--limit-batches", "0"], "--limit-batches must be at least 1"),
    "resume nothing": (["train", "--resume", "last"], "holds no runs yet"),
    "missing data": (["train", "--preset", "ddpm-linear", "--dry-run"], "--data-dir or DIFFCLI_DATA"),
    "out not empty": ([*TRAIN, "--out", "full"], "not an empty folder"),
    "out below a file": ([*TRAIN, "--out", "tiny.yaml/run"], "cannot be written"),
    "n": (["sample", "--run", "RUN", "--n", "0"], "--n must be in 1.."),
    "no runs": (["sample"], "no run 'last'"),
    "extension": (["sample", "--run", "RUN", "--out", "grid.jpeg"], "unknown extension '.jpeg'"),
    "unwritable": (["sample", "--run", "RUN", "--out", "tiny.yaml/grid.png"], "cannot be written"),
    "steps": (["sample", "--run", "RUN", "--steps", "21"], "steps must be in 1..20"),
    "zero steps": (["sample", "--run", "RUN", "--steps", "0"], "steps must be in 1..20"),
    "sampler": (["sample", "--run", "RUN", "--sampler", "kold"], "did you mean 'cold'"),
    "batch": (["sample", "--run", "RUN", "--batch-size", "0"], "--batch-size must be at least 1"),
    "missing checkpoint": (["sample", "--checkpoint", "none.ckpt"], "does not exist"),
    "corrupt checkpoint": (["sample", "--checkpoint", "tiny.yaml"], "tiny.yaml is"),
    "trajectory": (["sample", "--run", "RUN", "--trajectory", "walk.mp4"], "unknown extension '.mp4'"),
    "n-fid": (["eval", "--run", "RUN", "--n-fid", "1"], "--n-fid must be at least 2"),
    "n-test": (["eval", "--run", "RUN", "--n-test", "0"], "--n-test must be at least 1"),
    "extractor": (["eval", "--run", "RUN", "--extractor", "vgg"], "unknown extractor 'vgg'"),
    "weights": (["eval", "--run", "RUN", "--fid", "--inception-weights", "x.pth"], "--inception-weights x.pth"),
    "plot extension": (["schedule-plot", "--preset", "quickstart", "--out", "s.gif"], "unknown extension '.gif'"),
    "plot preset": (["schedule-plot", "--preset", "nope"], "unknown preset 'nope'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_costs_one_line(case: str, cli, workplace: Path, tiny: Path, hot_run: Path) -> None:
    (workplace / "full").mkdir()
    (workplace / "full" / "thesis.txt").write_text("precious")
    arguments, expected = BAD[case]
    before = sorted(workplace.rglob("*"))
    result = cli(*[str(hot_run) if word == "RUN" else word for word in arguments])
    assert result.code == 2, result
    assert expected in result.err
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert result.out == ""
    assert sorted(workplace.rglob("*")) == before


@pytest.mark.parametrize(
    ("option", "value", "assignment"),
    [
        ("--epochs", "3", "training.epochs=5"),
        ("--epochs", "3", "training.epochs=3"),
        ("--max-time", "10m", "training.max_time=5m"),
        ("--batch-size", "8", "training.batch_size=16"),
        ("--lr", "1e-3", "training.lr=1e-4"),
        ("--seed", "0", "training.seed=1"),
        ("--precision", "32-true", "training.precision=bf16-mixed"),
        ("--on-bad-image", "skip", "data.on_bad_image=refuse"),
        ("--epochs", "3", "training={epochs: 5}"),
    ],
)
def test_an_option_beside_a_set_of_its_key_is_refused(
    option: str, value: str, assignment: str, cli, workplace: Path, tiny: Path
) -> None:
    result = cli(*TRAIN, option, value, "--set", assignment, "--dry-run")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result
    assert (
        f"{option} {float(value) if option == '--lr' else value} and --set {assignment.partition('=')[0]}" in result.err
    )


def test_every_option_for_a_key_of_presets_has_such_a_refusal() -> None:
    flags = {"--" + parameter.name.replace("_", "-") for parameter in Parameters(train).signature}
    of_keys = {flag for flag in flags if flag[2:].replace("-", "_") in Training.model_fields}
    assert of_keys <= {flag_of(key) for key in KEYS} <= flags


@pytest.mark.parametrize(
    ("command", "key", "hint"),
    [
        ("train", "seed", "--seed is an option of diffcli train"),
        ("train", "precision", "--precision is an option"),
        ("train", "out", "--out is an option"),
        ("train", "batch-size", "--batch-size is an option"),
        ("train", "max_time", "--max-time is an option"),
        ("train", "device", "--devices is an option"),
        ("train", "devices", "--devices is an option"),
        ("train", "num_nodes", "--num-nodes is an option"),
        ("train", "steps", "unknown key 'steps'; did you mean 'sampler.steps'"),
        ("train", "ema", "unknown key 'ema'; did you mean 'training.ema'"),
        ("train", "shedule", "unknown key 'shedule'; did you mean 'schedule'"),
        ("degradation-report", "n", "--n is an option of diffcli degradation-report"),
        ("schedule-plot", "out", "--out is an option of diffcli schedule-plot"),
    ],
)
def test_a_key_that_is_an_option_is_named_as_one(command: str, key: str, hint: str, cli, tiny: Path) -> None:
    result = cli(command, "--preset", "tiny.yaml", "--set", f"{key}=3")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert hint in result.err


@pytest.mark.parametrize("command", [["train", "--preset"], ["train", "--resume"], ["sample", "--run"], ["compare"]])
@pytest.mark.parametrize("path", ["~nosuchuser/x.yaml", "x" * 5000 + "/y.yaml"])
def test_paths_that_no_system_has_cost_one_line(command: list[str], path: str, cli) -> None:
    result = cli(*command, path)
    assert result.code == 2, result
    assert result.err.count("\n") == 1
