"""The picture of few evaluations is what its command draws of the models that come along."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from benchmarks import few


def test_the_page_shows_what_the_command_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "few.png"
    monkeypatch.setattr(sys, "argv", ["few", "--out", str(file)])
    few.main()
    reference, picture = (np.asarray(Image.open(path), np.float64) for path in (ROOT / "docs" / few.PICTURE, file))
    assert picture.shape == reference.shape
    # Another computer's rounding moves a pixel here and there; another model or sampler moves strokes.
    assert np.abs(picture - reference).mean() < 0.5
