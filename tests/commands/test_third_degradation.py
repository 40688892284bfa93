"""A degradation that was made up for a test works whole: trained, resumed, sampled, evaluated, plotted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fading import LINEAR, preset

from diffcli.config.build import resolve
from diffcli.config.presets import load_preset, to_yaml

pytestmark = pytest.mark.usefixtures("fading")


@pytest.mark.parametrize("noise", [None, LINEAR], ids=["deterministic", "with noise"])
def test_a_third_degradation_trains_resumes_samples_evaluates_and_plots(cli, workplace: Path, noise: Any) -> None:
    (workplace / "mine.yaml").write_text(to_yaml(resolve(preset(noise=noise)).preset))
    quiet = ["--accelerator", "cpu", "--quiet"]
    assert cli("train", "--preset", "mine.yaml", "--out", "run", "--limit-batches", 2, *quiet).code == 0
    assert cli("train", "--resume", "run", "--epochs", 2, "--limit-batches", 2, *quiet).code == 0
    assert cli("sample", "--run", "run", "--n", 3, "--out", "s.npz", *quiet).code == 0
    assert cli("sample", "--run", "run", "--n", 2, "--conditional", "--out", "s.png", *quiet).code == 0
    result = cli("eval", "--rmse", "--loss", "--run", "run", "--n-test", 5, *quiet)
    assert result.code == 0, result.err
    assert cli("schedule-plot", "--preset", "mine.yaml", "--out", "s.svg").code == 0
    assert cli("schedule-plot", "--preset", "mine.yaml", "--out", "s.csv").code == 0
    header, *rows = (workplace / "s.csv").read_text().splitlines()
    assert header == "preset,t,t_over_T,signal,change" + (",sigma" if noise else "")
    assert len(rows) == 6
    assert float(rows[-1].split(",")[3]) == pytest.approx(0.1, rel=1e-5)


def test_a_blur_with_and_without_noise_share_a_plot(cli, workplace: Path) -> None:
    noisy = load_preset("quickstart-blur")[1].model_copy(update={"noise": preset(noise=LINEAR).noise})
    (workplace / "noisy.yaml").write_text(to_yaml(resolve(noisy).preset))
    presets = ["--preset", "quickstart-blur", "--preset", "noisy.yaml"]
    assert cli("schedule-plot", *presets, "--out", "s.png").code == 0
    assert cli("schedule-plot", *presets, "--out", "s.csv").code == 0
    lines = (workplace / "s.csv").read_text().splitlines()
    assert lines[0].endswith(",sigma")
    assert lines[1].endswith(",")  # no noise there
    assert float(lines[-1].rpartition(",")[2]) == pytest.approx(0.3)
