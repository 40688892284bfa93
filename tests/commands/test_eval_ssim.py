"""``diffcli eval --ssim`` of images that are not square."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli
from pictures import pair


def test_eval_of_wide_images_measures_it_and_says_the_window(cli: Cli, tiny: Path, workplace: Path) -> None:
    from PIL import Image

    (workplace / "pics").mkdir()
    for number in range(40):
        a, _ = pair(4, 32)
        Image.fromarray((a * (200 + number)).astype(np.uint8)).save(workplace / "pics" / f"{number}.png")
    tiny.write_text(
        tiny.read_text().replace("{name: digits}", "{name: folder, path: pics, size: [4, 32], channels: 1}")
    )
    assert cli("train", "--preset", tiny, "--out", "run", "--limit-batches", 1, "-q", "--accelerator", "cpu").code == 0
    result = cli("eval", "--run", "run", "--ssim", "--accelerator", "cpu", "-q")
    assert (result.code, result.err) == (0, "")
    settings = json.loads(Path("run/eval.json").read_text())["settings"]
    assert settings["ssim"] == {"taps": 3, "sigma": pytest.approx(1.5 * 3 / 11), "borders": "inside", "data_range": 1.0}
