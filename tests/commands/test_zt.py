"""What reconstructions start from: z_t of which step, of how many bits, with how much noise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import Cli
from torch import Tensor

import diffcli
from diffcli.data.pixels import quantize
from diffcli.inference.options import SamplerOptions
from diffcli.inference.restoration import Disturbance
from diffcli.utils.devices import Devices
from diffcli.utils.errors import UserError

CPU = Devices("cpu")


@pytest.fixture(scope="module")
def blur(blur_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A blur model that was trained for a moment, T = 10, with labels."""
    return shutil.copytree(blur_run, tmp_path_factory.mktemp("zt") / "run")


def scores(run: Path, **options: object) -> dict[str, float]:
    metrics = ["rmse", "class_kept"]
    return diffcli.evaluate(run, metrics=metrics, n_test=30, seed=3, devices=CPU, quiet=True, **options).scores  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [1, 2, 8, 12, 16])
def test_rounding_is_that_of_a_picture_file(bits: int) -> None:
    pixels = torch.linspace(-0.7, 0.7, 2001, dtype=torch.float64).float()
    levels = torch.arange(2**bits, dtype=torch.float64) / (2**bits - 1) - 0.5
    # The nearest level of each pixel, by looking at all of them: few at a time, as there may be 65,536.
    nearest = torch.stack([levels[(levels - pixel).abs().argmin()] for pixel in pixels.double()])
    values = quantize(pixels, bits).double()
    ties = ((pixels.double() + 0.5) * (2**bits - 1) % 1 - 0.5).abs() < 1e-3
    assert ((values - nearest).abs() < 1e-6)[~ties].all()
    assert len(values.unique()) <= 2**bits
    assert (float(values.min()), float(values.max())) == (-0.5, 0.5)


def test_noise_belongs_to_an_image_and_not_to_a_batch() -> None:
    zt = torch.zeros(6, 1, 8, 8)
    whole = Disturbance(noise=0.5).of(zt, 4, range(6))
    parts = torch.cat([Disturbance(noise=0.5).of(zt[i : i + 2], 4, range(i, i + 2)) for i in (0, 2, 4)])
    assert torch.equal(whole, parts)
    many = Disturbance(noise=0.5).of(torch.zeros(400, 1, 8, 8), 4, range(400))
    assert abs(float(many.std()) - 0.5) < 0.01
    assert torch.equal(Disturbance().of(zt, 4, range(6)), zt)
    # Rounding comes first: noise is not cut to the range of pixels, nor to levels.
    both = Disturbance(bits=1, noise=0.5).of(zt, 4, range(6))
    assert len(both.unique()) > 300
    assert float(both.abs().max()) > 0.9


def reference(run: Path, images: Tensor, t: int, bits: int | None) -> Tensor:
    """x0_hat in one step from z_t, step by step."""
    model = diffcli.load(run, devices=CPU)
    zt = model.degrade(images, t, seed=3)
    if bits is not None:
        zt = ((zt + 0.5).clamp(0, 1) * (2**bits - 1)).round() / (2**bits - 1) - 0.5
    with torch.inference_mode():
        return model.denoiser(zt, torch.full((len(zt),), t))


@pytest.mark.parametrize(("t", "bits"), [(None, None), (4, None), (4, 3), (None, 6)])
def test_scores_are_those_of_that_zt(blur: Path, t: int | None, bits: int | None) -> None:
    from diffcli.config.build import load_source

    model = diffcli.load(blur, devices=CPU)
    test = load_source(model.preset, None).test
    estimates = reference(blur, test.images, t or model.T, bits)
    errors = (
        (test.images.double() / 255 - (estimates.double() + 0.5).clamp(0, 1)).square().flatten(1).mean(dim=1).sqrt()
    )
    result = diffcli.evaluate(blur, metrics=["rmse"], t=t, zt_bits=bits, label="none", seed=3, devices=CPU, quiet=True)
    assert result.scores["rmse_direct"] == pytest.approx(float(errors.mean()), rel=1e-4)
    assert result.settings["reconstruction"] == {"t": t, "bits": bits, "noise": 0.0}


def test_fewer_bits_and_a_later_step_reconstruct_worse(blur: Path) -> None:
    assert scores(blur, t=2)["rmse_direct"] < scores(blur)["rmse_direct"]
    plain, coarse, noisy = scores(blur), scores(blur, zt_bits=3), scores(blur, zt_noise=0.3)
    assert plain["rmse"] < coarse["rmse"]
    assert plain["rmse"] < noisy["rmse"]
    one, seven = (scores(blur, zt_noise=0.3, zt_bits=8, t=5, batch_size=size)["rmse"] for size in (1, 7))
    assert one == pytest.approx(seven, abs=1e-5)


def test_T_itself_is_the_same_as_none(blur: Path) -> None:
    def evaluation(**options: object) -> diffcli.Evaluation:
        return diffcli.evaluate(blur, metrics=["rmse"], n_test=20, devices=CPU, quiet=True, **options)  # type: ignore[arg-type]

    whole, explicit = evaluation(), evaluation(t=10)
    assert whole.scores == explicit.scores
    assert whole.settings["reconstruction"] == explicit.settings["reconstruction"]


def test_steps_are_fewer_in_proportion(blur: Path) -> None:
    model = diffcli.load(blur, devices=CPU)
    sampling = model.sampling(SamplerOptions(steps=10))
    assert model.starting_at(4, sampling).steps == [4, 3, 2, 1, 0]
    sampling = model.sampling(SamplerOptions(steps=5))
    assert model.starting_at(4, sampling).steps == [4, 2, 0]
    assert model.starting_at(1, sampling).steps == [1, 0]


def test_the_command_line_measures_and_says_it(cli: Cli, blur: Path, workplace: Path) -> None:
    options = ["--run", blur, "--rmse", "--n-test", 9, "--accelerator", "cpu", "-q"]
    result = cli("eval", *options, "--t", 6, "--zt-bits", 8, "--zt-noise", 0.002)
    assert result.code == 0, result.err
    assert "reconstructions from z_6, rounded to 8 bits, with noise 0.002" in " ".join(result.out.split())
    settings = json.loads((blur / "eval.json").read_text())["settings"]["reconstruction"]
    assert settings == {"t": 6, "bits": 8, "noise": 0.002}
    assert "reconstructions from" not in cli("eval", *options).out


def test_numbers_from_another_zt_are_not_compared(cli: Cli, blur: Path, workplace: Path) -> None:
    def settings(**changes: object) -> dict[str, object]:
        return {"reconstruction": {"t": None, "bits": None, "noise": 0.0} | changes}

    from diffcli.studies.best_values import differences

    for key in ("rmse", "ssim", "psnr", "class_kept", "rmse_direct"):
        assert differences(key, [settings(), settings()]) == []
        assert differences(key, [settings(), settings(bits=8)]) == ["what reconstructions start from"]
    for key in ("loss", "nll", "fid_classifier"):
        assert differences(key, [settings(), settings(bits=8)]) == []
    # An evaluation with other bits is no stand-in for this one.
    options = ["--rmse", "--n-test", 9, "--accelerator", "cpu", "-q", "--json"]
    results = [cli("compare", blur, *options, *more) for more in ([], ["--zt-bits", 2], [])]
    assert [result.code for result in results] == [0, 0, 0], results
    first, coarse, again = (json.loads(result.out)["runs"][0]["scores"]["rmse"] for result in results)
    assert first == again != coarse


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--rmse", "--t", "0"], "--t must be at least 1, got 0"),
        (["--rmse", "--t", "11"], "--t must be in 1..10, got 11"),
        (["--rmse", "--zt-bits", "0"], "--zt-bits must be in 1..16, got 0"),
        (["--rmse", "--zt-bits", "17"], "--zt-bits must be in 1..16, got 17"),
        (["--rmse", "--zt-noise", "-1"], "--zt-noise must be in 0..10"),
        (["--rmse", "--zt-noise", "nan"], "--zt-noise must be in 0..10"),
        (["--rmse", "--zt-noise", "inf"], "--zt-noise must be in 0..10"),
        (
            ["--loss", "--t", "5"],
            "--t is of reconstructions, which are measured by --ssim, --psnr, --rmse, --class-kept",
        ),
        (["--fid", "--loss", "--zt-bits", "8"], "--zt-bits is of reconstructions"),
        (["--fid", "--zt-noise", "0.1"], "--zt-noise is of reconstructions"),
    ],
)
def test_what_cannot_apply_is_refused(cli: Cli, blur: Path, options: list[str], expected: str) -> None:
    before = (blur / "eval.json").read_bytes() if (blur / "eval.json").is_file() else None
    for command in (["eval", "--run", blur], ["compare", blur]):
        result = cli(*command, *options, "--accelerator", "cpu", "-q")
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert expected in result.err
    assert ((blur / "eval.json").read_bytes() if (blur / "eval.json").is_file() else None) == before


def test_a_name_that_is_wrong_costs_a_line_in_Python(blur: Path) -> None:
    with pytest.raises(UserError, match="`zt_bits` must be in 1"):
        diffcli.evaluate(blur, zt_bits=40, devices=CPU)
