"""Rows of images between those of two seeds: ``diffcli sample --between`` and ``Model.sample(between=...)``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image, ImageSequence

import diffcli
from diffcli.checkpoints.model_file import read_stored, write_model_file
from diffcli.data.pixels import to_uint8
from diffcli.diffusion.samplers import last
from diffcli.inference.loading import find_checkpoint
from diffcli.inference.new_images import images_drawn
from diffcli.inference.options import DrawOptions

CPU = diffcli.Devices("cpu", "1")


@pytest.fixture(scope="module")
def hot(hot_run: Path) -> diffcli.Model:
    return diffcli.load(hot_run, devices=CPU)


@pytest.fixture(scope="module")
def labelled(guided_run: Path) -> diffcli.Model:
    return diffcli.load(guided_run, devices=CPU)


@pytest.fixture(scope="module")
def cold(blur_run: Path) -> diffcli.Model:
    return diffcli.load(blur_run, devices=CPU)


@pytest.mark.parametrize("sampler", ["{name: ddim, eta: 0}", "{name: ddim, eta: 1}", "ancestral", "dpm-solver++"])
def test_a_row_begins_and_ends_with_the_images_of_the_seeds_whatever_the_sampler_draws(
    hot: diffcli.Model, sampler: str
) -> None:
    rows = hot.sample(2, between=(3, 7), steps_between=3, sampler=sampler).unflatten(0, (2, 4))
    for place, seed in ((0, 3), (-1, 7)):
        assert torch.equal(rows[:, place], hot.sample(2, seed=seed, sampler=sampler))
    inner = rows[:, 1:-1].flatten(0, 1)
    assert len({image.numpy().tobytes() for image in rows.flatten(0, 1)}) == 8
    assert torch.equal(
        inner, hot.sample(2, between=(3, 7), steps_between=3, sampler=sampler, batch_size=8)[[1, 2, 5, 6]]
    )


@pytest.mark.parametrize("prior", ["gaussian", "uniform"])
def test_a_cold_model_goes_by_the_normal_numbers_of_its_prior(cold: diffcli.Model, prior: str) -> None:
    images = cold.sample(between=(3, 7), steps_between=2, prior=prior, label="3")
    assert len(images) == 3
    assert torch.equal(
        images[[0, 2]], torch.cat([cold.sample(1, seed=seed, prior=prior, label="3") for seed in (3, 7)])
    )
    assert not torch.equal(images[1], images[0])


@pytest.mark.parametrize(
    ("prior", "reason"),
    [("mixture", r"it draws from \d+ Gaussians"), ("blurred-data", "it draws copies of training images")],
)
def test_between_draws_of_other_priors_there_is_nothing(cold: diffcli.Model, prior: str, reason: str) -> None:
    with pytest.raises(diffcli.UserError, match=f"^`between`: nothing lies between two draws of this prior: {reason}"):
        cold.sample(between=(3, 7), prior=prior, label="3")


@pytest.mark.parametrize(("label", "expected"), [("3", "uniform or gaussian"), ("none", "uniform")])
def test_a_hint_names_the_priors_that_lead_there(cold: diffcli.Model, label: str, expected: str) -> None:
    options: dict[str, Any] = {"between": (3, 7), "steps_between": 2, "label": label, "steps": 2}
    with pytest.raises(diffcli.UserError, match=f"take `prior` {expected}$"):
        cold.sample(prior="mixture", **options)
    for name in expected.split(" or "):
        assert len(cold.sample(prior=name, **options)) == 3


def test_a_hint_names_no_prior_that_is_not_stored(cli: Cli, workplace: Path, blur_run: Path) -> None:
    only = replace(read_stored(find_checkpoint(blur_run)[1]), file=Path("only.safetensors"))
    state = {"mixture": only.prior_states["mixture"]}
    write_model_file(only.file, replace(only, prior_states=state))
    words = ["sample", "--checkpoint", "only.safetensors", "--between", 3, 7, "--prior", "mixture", "--steps", 2]
    for label, prior in (("3", "gaussian"), ("none", "uniform")):
        result = cli(*words, "--label", label)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert result.err.endswith(f"take --prior {prior}, which is fitted to the training images first\n")
        assert cli(*words, "--label", label, "--prior", prior, "--out", "row.png", "--quiet").code == 0
    result = cli("export", "only.safetensors", "--prior", "blurred-data", "--out", "m.pt2")
    assert (result.code, result.err.endswith("; take --prior mixture\n")) == (2, True), result


def test_what_lies_between_draws_of_a_gaussian_has_its_spread(cold: diffcli.Model) -> None:
    options = DrawOptions(between=(3, 7), steps_between=2, label="3")
    walk, count = images_drawn(cold.sampling(options, cold.prior("gaussian")), options, 400)
    assert count == 1200
    xT, _, _ = walk.start(range(1200), cold.image_shape)
    ends, middle = xT[::3].flatten(1), xT[1::3].flatten(1)
    spread = [float((part - part.mean(dim=0)).square().sum(dim=1).mean()) for part in (ends, middle)]
    assert abs(spread[1] / spread[0] - 1) < 0.2  # of a line it would be a half


def test_each_of_several_labels_has_a_row(labelled: diffcli.Model) -> None:
    images = labelled.sample(between=(3, 7), steps_between=1, label=["2", "5", "8"], steps=2)
    assert len(images) == 6
    for place, seed in ((0, 3), (1, 7)):
        assert torch.equal(images[place::2], labelled.sample(3, seed=seed, label=["2", "5", "8"], steps=2))


def test_between_images_of_different_labels_there_is_nothing(labelled: diffcli.Model) -> None:
    with pytest.raises(
        diffcli.UserError, match=r"^`between`: the labels of image \d are \d \(seed 3\) and \d \(seed 7\)"
    ):
        labelled.sample(between=(3, 7))


def test_the_trajectory_ends_at_the_row(hot: diffcli.Model) -> None:
    options: dict[str, Any] = {"between": (3, 7), "steps_between": 2, "steps": 3}
    end = to_uint8(last(hot.trajectory(**options)))
    assert torch.equal(end, hot.sample(**options))


def test_the_command_writes_rows(cli: Cli, workplace: Path, guided_run: Path, labelled: diffcli.Model) -> None:
    words = [
        "sample",
        "--run",
        guided_run,
        "--between",
        3,
        7,
        "--steps-between",
        4,
        "--label",
        "2-3",
        "--steps",
        2,
        "--quiet",
    ]
    words += ["--accelerator", "cpu"]
    for more in (["w.png", "--zoom", 1], ["n.png", "--row-labels"], ["w.npz"], ["w"], ["w.gif", "--zoom", 1]):
        result = cli(*words, "--out", *more)
        assert (result.code, result.out) == (0, f"{more[0]}\n"), result.err
    images = labelled.sample(between=(3, 7), steps_between=4, label="2-3", steps=2)
    assert np.array_equal(np.load("w.npz")["images"], images.movedim(1, 3).numpy())
    picture = np.asarray(Image.open("w.png"))
    assert picture.shape == (2 * 10 + 2, 5 * 10 + 2)
    assert np.array_equal(picture[12:20, 42:50], images[-1, 0].numpy())
    assert Image.open("n.png").width > 5 * 66
    assert len(list(Path("w").iterdir())) == 10
    with Image.open("w.gif") as animation:
        assert len(list(ImageSequence.Iterator(animation))) == 8  # there and back
        assert animation.size == (2 * 10 + 2, 10 + 2)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--between", 3, 3], "--between must be two different seeds, each at least 0, got 3 and 3"),
        (["--between", -1, 3], "--between must be two different seeds, each at least 0, got -1 and 3"),
        (["--between", 3, 7, "--seed", 1], "--between names the seeds; leave --seed out"),
        (["--between", 3, 7, "--conditional"], "--between is of new images; leave out --conditional"),
        (["--steps-between", 3], "--steps-between is of a row between two seeds; add --between, or leave it out"),
        (["--between", 3, 7, "--steps-between", 0], "--steps-between must be in 1..1,000, got 0"),
        (["--out", "x.gif"], "--out x.gif: "),
    ],
)
def test_what_does_not_go_together_is_refused(
    cli: Cli, workplace: Path, hot_run: Path, words: list[object], line: str
) -> None:
    result = cli("sample", "--run", hot_run, *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.removeprefix("error: ").startswith(line)
    assert not list(workplace.iterdir())
