"""The Python API: the same images and scores as the commands, and errors that name arguments."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli

import diffcli
from diffcli.checkpoints.runs import Run
from diffcli.cli.flags import with_flags

CPU = diffcli.Devices("cpu", "1")


@pytest.fixture(scope="module")
def model(hot_run: Path) -> diffcli.Model:
    return diffcli.load(hot_run, devices=CPU)


def test_the_images_are_those_of_the_command(cli: Cli, workplace: Path, hot_run: Path, model: diffcli.Model) -> None:
    assert cli("sample", "--run", hot_run, "--n", 5, "--seed", 3, "--out", "s.npz", "--accelerator", "cpu").code == 0
    ours = model.sample(5, seed=3, batch_size=2)
    assert ours.dtype == torch.uint8
    assert np.array_equal(np.load("s.npz")["images"], ours.permute(0, 2, 3, 1).numpy())
    assert not torch.equal(model.sample(5, seed=4), ours)


def test_scores_are_those_of_the_command(cli: Cli, workplace: Path, hot_run: Path, model: diffcli.Model) -> None:
    evaluation = diffcli.evaluate(model, ["rmse", "nearest"], n_test=5, n_fid=5, steps=3)
    options = ["--rmse", "--nearest", "--n-test", 5, "--n-fid", 5, "--steps", 3, "--accelerator", "cpu", "--json"]
    assert cli("eval", "--checkpoint", Run(hot_run).best, *options).out.count(str(evaluation.scores["rmse"])) == 1
    names = {f"rmse{beside}" for beside in ("", "_error", "_direct")}
    assert evaluation.scores.keys() == {*names, "nearest", "nearest_error", "nearest_test"}


def test_a_model_is_found_by_run_folder_preset_and_checkpoint(workplace: Path, hot_run: Path) -> None:
    run = Run(hot_run)
    for name in (run, hot_run, str(hot_run), run.best, str(run.best)):
        model_of_name = diffcli.load(name, devices=CPU)
        assert (model_of_name.checkpoint, model_of_name.run) == (run.best, run)
    assert model_of_name.T == 20
    trained_here = diffcli.train("quickstart", {"training.epochs": 1}, limit_batches=1, devices=CPU, quiet=True)
    assert diffcli.load("quickstart", devices=CPU).run == diffcli.load(devices=CPU).run == trained_here


def test_degraded_to_the_end_and_restored_is_reconstructed(model: diffcli.Model) -> None:
    images = model.sample(3)
    xT = model.degrade(images, t=model.T, seed=1)
    assert torch.equal(model.degrade(images, t=0), images / 255 - 0.5)
    deterministic = {"sampler": "ddim", "seed": 1}
    assert torch.equal(model.restore(xT, model.T, **deterministic), model.reconstruct(images, **deterministic))
    assert torch.equal(
        model.restore(xT, model.T, batch_size=1, **deterministic), model.restore(xT, model.T, **deterministic)
    )
    assert model.restore(xT, t=1).shape == images.shape


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda model: model.sample(0), "`n` must be in 1..10,000,000, got 0"),
        (lambda model: model.sample("2"), "`n` must be a whole number, got '2'"),
        (lambda model: model.sample(2, steps="5"), "`steps` must be a whole number, got '5'"),
        (lambda model: model.sample(2, seed=None), "`seed` must be a whole number, got None"),
        (lambda model: model.sample(2, guidance="much"), "`guidance` must be a number, got 'much'"),
        (lambda model: model.sample(2, batch_size=None), "`batch_size` must be at least 1, or auto, got None"),
        (lambda model: model.sample(2, batch_size=2.5), "`batch_size` must be at least 1, or auto, got 2.5"),
        (lambda model: model.restore(torch.zeros(2, 1, 8, 8), "3"), "`t` must be a whole number, got '3'"),
        (lambda model: model.sample(2, step=3), "unknown argument 'step'; did you mean 'steps'?"),
        (lambda model: model.sample(2, steps=99), "steps must be in 1..20"),
        (lambda model: model.sample(2, prior="unform"), "`prior`: unknown prior 'unform'; did you mean 'uniform'?"),
        (lambda model: model.sample(2, sampler="dimm"), "unknown sampler 'dimm'; did you mean 'ddim'?"),
        (lambda model: model.sample(2, sampler={"eta": 1}), "`sampler`: name is missing"),
        (lambda model: model.sample(2, seed=-1), "`seed` must be at least 0, got -1"),
        (lambda model: model.degrade(torch.zeros(2, 1, 8, 8), 3), "images must be uint8 in 0..255, got float32"),
        (lambda model: model.degrade(torch.zeros(2, 8, 8).byte(), 3),
            r"images must be of shape (N, 1, 8, 8), got (2, 8, 8)"),
        (lambda model: model.restore(torch.zeros(2, 1, 8, 8), 0), "`t` must be in 1..20, got 0"),
        (lambda model: model.restore(torch.zeros(2, 1, 8, 8)), "missing a required argument: 't'"),
        (lambda model: model.estimate(torch.zeros(2, 1, 8, 8), 21), "`t` must be in 1..20, got 21"),
        (lambda model: diffcli.load("nowhere"), "unknown run 'nowhere'; known: blur-fast"),
        (lambda model: diffcli.load("nowhere.ckpt"), "checkpoint nowhere.ckpt does not exist"),
        (lambda model: diffcli.train(), "give one of `preset` NAME and `resume` RUN"),
        (lambda model: diffcli.train("quickstart", {"training.epoch": 1}), "did you mean 'training.epochs'?"),
        (lambda model: diffcli.train("quickstart", {"training.epochs": "1"}),
            "training.epochs: input should be a valid"),
        (lambda model: diffcli.evaluate(model, ["fidd"]), "`metrics`: unknown metric 'fidd'; did you mean 'fid'?"),
        (lambda model: diffcli.evaluate(model, n_fid=1), "`n_fid` must be at least 2, got 1"),
        (lambda model: diffcli.compare([], out=Path("x.doc")), "`out` x.doc: unknown extension '.doc'"),
        (lambda model: diffcli.Nothing, None),
    ],
)  # fmt: skip
def test_errors_name_the_argument(model: diffcli.Model, workplace: Path, call, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(AttributeError, match="module 'diffcli' has no attribute 'Nothing'"):
            call(model)
        return
    with pytest.raises(diffcli.UserError) as error:
        call(model)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert "--" not in str(error.value)
    assert list(workplace.iterdir()) == []


def test_messages_are_shown_with_flags() -> None:
    text = with_flags(
        "`n_fid` must be at least 2; a lower `training.lr` or `training.clip_norm` may help, not `x`.png` or C"
    )
    assert text == "--n-fid must be at least 2; a lower --lr or --set training.clip_norm may help, not --x.png` or C"


def test_a_training_runs_in_a_thread(workplace: Path) -> None:
    # A notebook or a server may call from one, where Python lets nobody handle signals.
    runs = []

    def work() -> None:
        runs.append(diffcli.train("quickstart", {"training.epochs": 1}, limit_batches=1, devices=CPU, quiet=True))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert runs[0].last.is_file()


def test_functions_show_their_arguments() -> None:
    assert "n_fid: 'int' = 1000" in str(inspect.signature(diffcli.evaluate))
    assert list(inspect.signature(diffcli.train).parameters)[:3] == ["preset", "overrides", "resume"]
    assert list(inspect.signature(diffcli.Model.sample).parameters)[:2] == ["self", "n"]
    for name in diffcli.__all__:
        if name != "__version__":
            assert (getattr(diffcli, name).__doc__ or "").strip(), name
