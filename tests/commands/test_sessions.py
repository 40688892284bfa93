"""What a run tells of the sessions that it was trained in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from diffcli import __version__
from diffcli.checkpoints.records import sessions, story
from diffcli.checkpoints.runs import Run, check_version

UNCOUNTED: dict[str, Any] = {
    "started": "2026-11-01T10:00:00.000000+00:00",
    "sessions": [{"began": "2026-11-02T10:00:00.000000+00:00", "step": None, "diffcli": "0.2.0"}],
}
"""Of a run of version 0.2, as 0.3 wrote it when it resumed it: whether that had been resumed before was not known any
more."""


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


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--resume", "run", "--epochs", "4"],
        ["sample", "--run", "run", "--out", "out.png"],
        ["sample", "--run", "run/checkpoints/best.ckpt", "--out", "out.png"],
    ],
    ids=["resume", "sample", "checkpoint"],
)
def test_a_run_of_a_version_that_is_no_longer_read_is_refused_in_a_line(
    cli, workplace: Path, tiny: Path, command: list[str]
) -> None:
    assert cli("train", "--preset", str(tiny), "--out", "run").code == 0
    file = Run(Path("run")).info_file
    info = json.loads(file.read_text())
    info["packages"]["diffcli"] = "0.2.0"
    file.write_text(json.dumps(info))
    result = cli(*command)
    assert result.code == 2
    assert "run is of diffcli 0.2.0, and runs are read from 0.3 on; diffcli 0.4.0 reads it" in result.err
    assert result.err.count("\n") == 1
    assert json.loads(file.read_text()) == info
    assert not Path("out.png").exists()
    assert cli("runs").code == 0


def test_a_run_of_a_version_that_is_read_is_not_refused(tmp_path: Path) -> None:
    for version in ("0.3.0", "0.4.0", "0.10.0", "1.0", "unknown", None):
        (tmp_path / "run.json").write_text(json.dumps({"packages": {"diffcli": version}}))
        check_version(Run(tmp_path))
    others: list[dict[str, Any]] = [{}, {"packages": []}, {"packages": {}}]
    for info in others:
        (tmp_path / "run.json").write_text(json.dumps(info))
        check_version(Run(tmp_path))


def test_resumes_that_were_not_counted_are_not_denied() -> None:
    session = UNCOUNTED["sessions"][0] | {"step": 0}
    assert story(UNCOUNTED | {"sessions": [session]})[0] == "begun 2026-11-01"
    assert story(UNCOUNTED)[0] == "begun 2026-11-01, resumed at least 1 time, last on 2026-11-02"
    assert story({}) == ["begun unknown"]
