"""Degraded images out of files of 8 bits: what the model is told of their noise, and what it keeps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import BLURRED, Cli, shared
from PIL import Image
from torch import Tensor

import diffcli
from diffcli.data.pixels import rounding, to_model, to_uint8
from diffcli.evaluation.classifier import JUDGES, load_classifier

CPU = diffcli.Devices("cpu", "1")
RESTORE = ["restore", "--degraded", "--accelerator", "cpu"]
NOTE = "note: the files are taken as exact but for their 8 bits, sigma 0.0011\n"


@pytest.fixture(scope="module")
def noise_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny blur model that is told of measurement noise."""
    return shared(tmp_path_factory, "measured", BLURRED + "input: wiener\nmeasurement_noise: 0.02\n")


def save(images: Tensor) -> list[str]:
    """Files of 8 bits of images uint8 (N, 1, H, W)."""
    names = [f"{number:03d}.png" for number in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image[0].numpy()).save(name)
    return names


def arrays(name: str = "r.npz") -> dict[str, Tensor]:
    with np.load(name) as content:
        return {key: torch.from_numpy(content[key]).permute(0, 3, 1, 2) for key in content}


def test_a_file_has_the_noise_of_its_bits_unless_it_is_said(cli: Cli, workplace: Path, noise_run: Path) -> None:
    model = diffcli.load(noise_run, devices=CPU)
    files = to_uint8(model.degrade(model.sample(3, label=4, quiet=True), 6))
    common = [*RESTORE, *save(files), "--run", noise_run, "--t", 6, "--out", "r.npz"]
    first = cli(*common)
    assert (first.code, first.out) == (0, "r.npz\n")
    assert NOTE in first.err
    assert cli(*common, "-q").err == ""
    by_default = arrays()
    for words, sigma in (([], rounding(8)), (["--sigma", 0], 0.0), (["--sigma", 0.015], 0.015)):
        result = cli(*common, *words)
        assert result.code == 0
        assert (NOTE in result.err) == (not words)
        content = arrays()
        assert torch.equal(content["images"], model.restore(to_model(files), 6, sigma=sigma, quiet=True))
        assert torch.equal(content["one_step"], model.estimate(to_model(files), 6, sigma=sigma))
        assert torch.equal(content["one_step"], by_default["one_step"]) == (not words)
    assert round(rounding(8), 5) == 0.00113
    error = to_model(to_uint8(torch.linspace(-0.5, 0.5, 100_003))) - torch.linspace(-0.5, 0.5, 100_003)
    assert float(error.square().mean().sqrt()) == pytest.approx(rounding(8), rel=0.01)


def test_a_model_of_exact_images_is_restored_from_as_ever_and_takes_no_sigma(
    cli: Cli, workplace: Path, blur_run: Path, noise_run: Path
) -> None:
    model = diffcli.load(blur_run, devices=CPU)
    images = model.sample(2, quiet=True)
    common = [*RESTORE, *save(images), "--t", 6, "--out", "r.npz", "--run"]
    assert "8 bits" not in cli(*common, blur_run).err
    assert torch.equal(arrays()["images"], model.restore(to_model(images), 6, quiet=True))
    Path("r.npz").unlink()
    for run, sigma, expected in (
        (
            blur_run,
            0.01,
            "--sigma is of measurements; add --degradation, or leave it out",
        ),
        (
            noise_run,
            0.03,
            "--sigma must be in 0..0.02 for this model, which was trained for noise of up to 0.02; got 0.03",
        ),
        (noise_run, -1, "--sigma must be in 0..1, got -1.0: pixels have a range of 1"),
        (noise_run, "nan", "--sigma must be"),
    ):
        result = cli(*common, run, "--sigma", sigma)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
        assert result.err.startswith(f"error: {expected}")
    alone = cli("restore", "000.png", "--run", noise_run, "--sigma", 0.01, "--out", "r.npz")
    assert "--sigma is of measurements; add --degradation, or leave it out" in alone.err
    assert not Path("r.npz").exists()
    with pytest.raises(diffcli.UserError, match=r"^`sigma` must be in 0\.\.0\.02"):
        diffcli.load(noise_run, devices=CPU).restore(to_model(images), 6, sigma=0.5)


def test_an_evaluation_tells_of_the_disturbance(cli: Cli, workplace: Path, noise_run: Path) -> None:
    common = ["eval", "--run", noise_run, "--rmse", "--n-test", 40, "--json", "--accelerator", "cpu", "-q", "--t", 6]

    def rmse(*words: object) -> float:
        result = cli(*common, *words)
        assert result.code == 0, result.err
        answer = json.loads(result.out)
        assert answer["settings"]["measurement_noise"] == 0.02
        return float(answer["scores"]["rmse"])

    model = diffcli.load(noise_run, devices=CPU)
    source = model.source().test
    from diffcli.evaluation.subsets import random_subset
    from diffcli.inference.options import SamplerOptions
    from diffcli.inference.restoration import Disturbance, reconstruct

    images = source.images[random_subset(len(source), 40, 0)]
    for words, disturbance, sigma in (
        (["--zt-bits", 4], Disturbance(4), 1 / 15 / 12**0.5),
        (["--zt-noise", 0.01], Disturbance(None, 0.01), 0.01),
        (["--zt-noise", 0.5], Disturbance(None, 0.5), 0.02),
    ):
        assert disturbance.sigma == pytest.approx(sigma if sigma < 0.02 else disturbance.sigma)
        sampling = model.sampling_from(6, SamplerOptions(batch_size=40)).with_sigma(min(disturbance.sigma, 0.02))
        estimates = torch.cat([batch for batch, _ in reconstruct(sampling, images, disturbance=disturbance)])
        errors = (estimates.clamp(-0.5, 0.5) - to_model(images)).square().flatten(1).mean(dim=1).sqrt()
        assert rmse(*words) == pytest.approx(float(errors.mean()), rel=1e-3)


def test_a_model_file_and_a_resume_keep_it(cli: Cli, workplace: Path, noise_run: Path) -> None:
    model = diffcli.load(noise_run, devices=CPU)
    diffcli.export(noise_run, "m.safetensors")
    other = diffcli.load("m.safetensors", devices=CPU)
    xt = model.degrade(model.sample(2, quiet=True), 6)
    assert torch.equal(other.restore(xt, 6, sigma=0.01, quiet=True), model.restore(xt, 6, sigma=0.01, quiet=True))
    refusal = cli("train", "--resume", noise_run, "--epochs", 2, "--set", "measurement_noise=0.01")
    assert refusal.code == 2
    assert "measurement_noise cannot change on a resume" in refusal.err


def test_samples_start_from_a_file_of_8_bits_and_the_model_is_told(
    noise_run: Path, blur_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffcli.diffusion.denoiser import Denoiser

    sigmas: list[float] = []
    output = Denoiser.output

    def record(denoiser: Denoiser, *arguments: Any) -> Tensor:
        sigmas.append(denoiser.sigma)
        return output(denoiser, *arguments)

    monkeypatch.setattr(Denoiser, "output", record)
    for run, sigma in ((blur_run, 0.0), (noise_run, rounding(8))):
        model = diffcli.load(run, devices=CPU)
        assert isinstance(model.denoiser, Denoiser)
        first = next(iter(model.trajectory(400, quiet=True)))
        sigmas.clear()
        model.sample(2, quiet=True)
        assert set(sigmas) == {sigma}
        sigmas.clear()
        model.restore(first.xs[:2], model.T, quiet=True)
        assert set(sigmas) == {0.0}, "what is at hand is exact unless it is said"
        # What no image of the prior has: its modes of the greatest frequencies.
        faint = first.xs.diff(dim=3).diff(dim=2).diff(dim=3).diff(dim=2)
        spread = float(faint.std() / (6 * 6) ** 0.5)
        assert spread == pytest.approx(sigma, rel=0.2, abs=6e-4)


@dataclass(frozen=True)
class Digits:
    """Legible digits, uint8 (N, 1, 28, 28), and what they show, (N,)."""

    images: Tensor
    labels: Tensor

    @torch.inference_mode()
    def legibility(self, images: Tensor) -> Tensor:
        """Whether restored ``images`` are read as what was there, by each of the judges, bool (2, N)."""
        networks = [load_classifier("mnist", judge).network for judge in JUDGES]
        return torch.stack([network(images.float() / 255).argmax(dim=1) == self.labels for network in networks])


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Digits that the ready noise model drew, and that both judges read as what was asked for."""
    labels = torch.arange(100) % 10
    candidates = Digits(diffcli.load("mnist-fast", devices=CPU).sample(100, label=labels.tolist(), quiet=True), labels)
    legible = candidates.legibility(candidates.images).all(dim=0)
    assert float(legible.float().mean()) > 0.95
    return Digits(candidates.images[legible], labels[legible])


@pytest.mark.parametrize(("t", "samples", "one_step"), [(20, 0.95, 0.97), (60, 0.85, 0.9), (100, 0.7, 0.75)])
def test_the_ready_blur_model_keeps_the_digits_of_files(
    t: int, samples: float, one_step: float, cli: Cli, workplace: Path, digits: Digits
) -> None:
    files = save(to_uint8(diffcli.load("blur-fast", devices=CPU).degrade(digits.images, t)))
    result = cli(*RESTORE, *files, "--model", "blur-fast", "--t", t, "--out", "r.npz")
    assert result.code == 0, result.err
    for name, expected in (("images", samples), ("one_step", one_step)):
        shares = digits.legibility(arrays()[name]).float().mean(dim=1)
        assert float(shares.min()) >= expected, (name, shares)
