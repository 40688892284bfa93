"""What a run tells of the sessions that it was trained in."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from diffcli import __version__
from diffcli.checkpoints.records import sessions, story
from diffcli.checkpoints.runs import Run

BEFORE = {
    "started": "2026-11-01T10:00:00.000000+00:00",
    "written": "2026-11-02T10:00:00.000000+00:00",
    "packages": {"diffcli": "0.2.0", "torch": "2.4.0"},
    "precision": "bf16-mixed",
    "resumed": False,
}


def test_each_start_of_a_training_is_told(cli, workplace: Path, tiny: Path) -> None:
    assert cli("train", "--preset", str(tiny), "--out", "run").code == 0
    assert cli("train", "--resume", "run", "--epochs", "4").code == 0
    first, second = sessions(Run(Path("run")).info())
    assert first["step"] == 0
    assert second["step"] > 0
    for session in (first, second):
        assert session["diffcli"] == __version__
        assert session["torch"] == torch.__version__
        assert session["threads"] == torch.get_num_threads()
        assert session["device"]
        assert session["command"][0] == "diffcli"


def test_a_run_of_an_earlier_version_keeps_what_it_told(cli, workplace: Path, tiny: Path) -> None:
    assert cli("train", "--preset", str(tiny), "--out", "run").code == 0
    file = Run(Path("run")).info_file
    info = json.loads(file.read_text())
    info = {key: value for key, value in info.items() if key != "sessions"} | BEFORE
    file.write_text(json.dumps(info))
    assert cli("train", "--resume", "run", "--epochs", "4").code == 0
    before, now = sessions(Run(Path("run")).info())
    assert (before["diffcli"], before["torch"], before["step"]) == ("0.2.0", "2.4.0", 0)
    assert now["diffcli"] == __version__
    begun, versions, *_ = story(Run(Path("run")).info())
    assert begun.startswith("begun 2026-11-01, resumed 1 time, last on ")
    assert versions == f"diffcli 0.2.0, {__version__}"


def test_resumes_that_were_not_counted_are_not_denied() -> None:
    assert story(BEFORE)[0] == "begun 2026-11-01"
    assert story(BEFORE | {"resumed": True})[0] == "begun 2026-11-01, resumed at least 1 time, last on 2026-11-02"
    assert story({}) == ["begun unknown"]
