"""Test images drawn at random: which ones, by what, and that scores are of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Cli

import diffcli
from diffcli.config.build import load_source
from diffcli.data.pixels import to_model
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.evaluation.subsets import random_subset
from diffcli.inference.restoration import degrade_batch
from diffcli.utils.devices import Devices

CPU = Devices("cpu")


def test_a_subset_is_random_whole_and_a_function_of_its_numbers() -> None:
    indices = random_subset(10_000, 1000, seed=5)
    assert len(set(indices.tolist())) == 1000
    assert torch.equal(indices, random_subset(10_000, 1000, seed=5))
    assert torch.equal(indices[:100], random_subset(10_000, 100, seed=5))
    assert len(set(indices.tolist()) & set(random_subset(10_000, 1000, seed=6).tolist())) < 200  # 100 by chance
    # Evenly from the whole set: the mean of 1,000 of 0..9,999 has a standard deviation of 87.
    assert abs(float(indices.double().mean()) - 4999.5) < 400
    assert torch.equal(random_subset(7, 7, seed=5), torch.arange(7))
    assert torch.equal(random_subset(7, 9, seed=5), torch.arange(7))


def test_scores_are_those_of_the_random_images(hot_run: Path) -> None:
    model = diffcli.load(hot_run, devices=CPU)
    test = load_source(model.preset, None).test

    def expected(indices: torch.Tensor) -> float:
        x0 = to_model(test.images[indices])
        zt, t = degrade_batch(
            model.denoiser.degradation, x0, model.T, image_generators(2, Stream.RECONSTRUCTION, range(len(x0)))
        )
        with torch.inference_mode():
            estimates = model.denoiser(zt, t).clamp(-0.5, 0.5)
        return float((estimates - x0).double().square().flatten(1).mean(dim=1).sqrt().mean())

    def evaluation_of(seed: int, n: int | None) -> diffcli.Evaluation:
        return diffcli.evaluate(hot_run, metrics=["rmse"], n_test=n, seed=seed, steps=2, devices=CPU, quiet=True)

    few, whole = evaluation_of(2, 40), evaluation_of(2, None)
    assert few.scores["rmse_direct"] == pytest.approx(expected(random_subset(len(test), 40, 2)), rel=1e-5)
    assert few.scores["rmse_direct"] != pytest.approx(expected(torch.arange(40)), rel=1e-3)
    assert whole.scores["rmse_direct"] == pytest.approx(expected(torch.arange(len(test))), rel=1e-5)
    assert (few.settings["n_test"], few.settings["test_subset"]) == (40, "random, by the seed")
    assert whole.settings["test_subset"] == "all"


def test_the_loss_is_of_the_same_images(hot_run: Path) -> None:
    losses = {
        seed: diffcli.evaluate(hot_run, metrics=["loss"], n_test=30, seed=seed, devices=CPU, quiet=True).scores["loss"]
        for seed in (0, 0, 1)
    }
    assert losses[0] != losses[1]


def test_degradation_report_measures_on_random_images_too(cli: Cli, tiny: Path) -> None:
    def report(*options: object) -> dict[str, float]:
        result = cli("degradation-report", "--preset", tiny, "--json", "--disturbance", 0, *options)
        assert result.code == 0, result.err
        values: dict[str, float] = json.loads(result.out)["tiny"]
        return values

    # Without noise in what is measured of it, only the images can make the difference.
    margins = {report("--n", 30, "--seed", seed)["margin"] for seed in (0, 1)}
    assert len(margins) == 2
    assert len({report("--seed", seed)["margin"] for seed in (0, 1)}) == 1
