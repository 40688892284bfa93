"""The spacing of a trained model's steps, by command."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Cli

from diffcli.diffusion.degradations import Mask
from diffcli.diffusion.samplers import spaced_timesteps

SHAPE = (1, 8, 8)


def test_without_a_ratio_there_is_no_such_spacing(cli: Cli, workplace: Path) -> None:
    with pytest.raises(ValueError, match="needs a signal-to-noise ratio, which Mask has not"):
        spaced_timesteps(Mask(SHAPE, T=20), 5, "log-snr")
    refusal = cli("train", "--preset", "quickstart-blur", "--set", "sampler.spacing=log-snr", "--out", "run")
    assert refusal.code == 2
    assert "sampler.spacing log-snr needs a degradation with one ratio of signal to noise" in refusal.err
    assert not Path("run").exists()


def test_a_trained_model_takes_either(cli: Cli, workplace: Path, hot_run: Path) -> None:
    pictures = set()
    for spacing in ("even", "log-snr"):
        sampler = f"{{name: ddim, steps: 5, spacing: {spacing}}}"
        result = cli(
            "sample", "--run", str(hot_run), "--n", "2", "--sampler", sampler, "--out", f"{spacing}.png", "--quiet"
        )
        assert result.code == 0, result.err
        pictures.add(Path(f"{spacing}.png").read_bytes())
    assert len(pictures) == 2
    assert cli("sample", "--run", str(hot_run), "--sampler", "{name: ddim, spacing: odd}", "--out", "no.png").code == 2
