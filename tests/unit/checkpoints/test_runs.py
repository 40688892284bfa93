"""Run folders: created, found, read back, and never half written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from diffcli.checkpoints.runs import Run, all_runs, find_run, lock_run, new_run
from diffcli.utils.errors import UserError
from diffcli.utils.files import written_whole


def make_run(name: str, date: str) -> Run:
    run = Run(Path("runs") / name / date.replace(":", "-"))
    run.folder.mkdir(parents=True)
    run.preset_file.write_text("description: x\n")
    run.info_file.write_text(json.dumps({"started": date}))
    return run


def test_runs_are_found_by_folder_preset_and_last(workplace: Path) -> None:
    old, new = make_run("a", "2026-01-01T10:00:00"), make_run("a", "2026-01-02T10:00:00")
    other = make_run("b", "2026-01-01T12:00:00")
    assert find_run("a") == new
    assert find_run("b") == other
    assert find_run("last") == new
    assert find_run(str(old.folder)) == old


def test_unknown_runs_are_named(workplace: Path) -> None:
    with pytest.raises(UserError, match="holds no runs yet; make one with: diffcli train `preset` quickstart"):
        find_run("last")
    make_run("quickstart", "2026-01-01T10:00:00")
    with pytest.raises(UserError, match="did you mean 'quickstart'"):
        find_run("quikstart")
    (workplace / "empty").mkdir()
    with pytest.raises(UserError, match="is not a run folder"):
        find_run("empty")


def make_run_in(folder: str, preset: str, date: str) -> Run:
    """A run of ``--out``: its folder's name says nothing of its preset."""
    run = Run(Path(folder))
    run.folder.mkdir(parents=True, exist_ok=True)
    run.preset_file.write_text("description: x\n")
    run.info_file.write_text(json.dumps({"started": date, "preset": preset}))
    return run


def test_a_run_counts_wherever_it_is_below_the_runs(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = make_run("quickstart", "2026-01-01T10:00:00+00:00")
    assert (find_run("last"), find_run("quickstart")) == (old, old)
    assert capsys.readouterr().err == ""  # nothing else could be meant
    mine = make_run_in("runs/mine", "quickstart", "2026-01-02T10:00:00+00:00")
    deeper = make_run_in("runs/few-steps/first", "ddpm", "2026-01-03T10:00:00+00:00")
    make_run_in("elsewhere/x", "quickstart", "2026-01-05T10:00:00+00:00")
    assert all_runs() == [old, mine, deeper]
    assert find_run("last") == deeper
    assert capsys.readouterr().err == "note: the run runs/few-steps/first is used, the newest of 3\n"
    assert find_run("quickstart") == mine
    assert capsys.readouterr().err == "note: the run runs/mine is used, the newest of 2 called quickstart\n"
    assert find_run("ddpm") == find_run("few-steps") == find_run("first") == deeper
    assert find_run("mine") == find_run("runs/mine") == mine
    assert capsys.readouterr().err == ""
    deepest = make_run_in("runs/a/b/c/d", "cosine", "2026-01-04T10:00:00+00:00")
    make_run_in("runs", "cosine", "2026-01-05T10:00:00+00:00")  # the folder of runs is none
    assert all_runs() == [old, mine, deeper, deepest]
    assert find_run("last") == find_run("cosine") == find_run("a") == find_run("c") == find_run("d") == deepest


def test_a_run_may_hold_another(workplace: Path) -> None:
    outer = make_run_in("runs/quickstart", "other", "2026-01-02T10:00:00+00:00")
    inner = make_run("quickstart", "2026-01-01T10:00:00+00:00")
    assert all_runs() == [inner, outer]
    # What a kill leaves of a file that was being written is no run, and what a link leads to is one.
    scratch = outer.folder / ".preset.yaml.abc" / "preset.yaml"
    scratch.parent.mkdir()
    scratch.write_text("description: half\n")
    Path("runs/newest").symlink_to(inner.folder.absolute(), target_is_directory=True)
    Path("runs/quickstart/again").symlink_to(outer.folder.absolute(), target_is_directory=True)
    assert all_runs() == [inner, outer]


def test_the_time_of_a_run_is_that_of_its_training(workplace: Path) -> None:
    new = make_run_in("runs/b", "x", "2026-01-02T10:00:00+00:00")
    old = make_run_in("runs/a", "x", "2026-01-01T10:00:00+00:00")
    other = Run(old.folder.rename(workplace / "runs" / "z").relative_to(workplace))
    os.utime(other.folder)
    assert all_runs() == [other, new]
    # Copies began at the same time: always the same one is taken.
    copy = make_run_in("runs/c", "x", "2026-01-02T10:00:00+00:00")
    assert all_runs() == [other, new, copy]


def test_a_link_to_a_run_elsewhere_is_that_run(workplace: Path) -> None:
    make_run_in("elsewhere/x", "quickstart", "2026-01-05T10:00:00+00:00")
    Path("runs").mkdir()
    Path("runs/x").symlink_to(workplace / "elsewhere" / "x", target_is_directory=True)
    assert find_run("last") == find_run("x") == find_run("quickstart") == Run(Path("runs/x"))


def test_runs_root_can_be_moved(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFCLI_RUNS", "elsewhere")
    with new_run("p", None) as run:
        assert run.folder.parent == Path("elsewhere/p")


def test_a_claimed_folder_is_nobody_elses(workplace: Path) -> None:
    with new_run("p", None) as first, new_run("p", None) as second:
        assert first.folder != second.folder
        with pytest.raises(UserError, match="another process trains in"), lock_run(first):
            pass
        with pytest.raises(UserError, match="another process trains in"), new_run("p", first.folder):
            pass
        first.info_file.touch()
    assert first.folder.exists()
    assert not second.folder.exists()  # nothing was written


def test_the_newest_run_is_the_newest_in_every_time_zone(workplace: Path) -> None:
    make_run("a", "2026-01-01T23:00:00+14:00")  # 09:00 UTC
    make_run("b", "2026-01-01T02:00:00-08:00")  # 10:00 UTC
    assert find_run("last").folder.parent.name == "b"
    make_run("c", "2026-01-01T09:30:00+00:00")
    assert [run.folder.parent.name for run in all_runs()] == ["a", "c", "b"]


def test_a_run_without_a_readable_start_is_the_oldest(workplace: Path) -> None:
    make_run("a", "2026-01-01T10:00:00")
    make_run("b", "yesterday")
    assert [run.folder.parent.name for run in all_runs()] == ["b", "a"]


def test_a_failed_write_leaves_nothing(workplace: Path) -> None:
    def interrupt() -> None:
        with written_whole(Path("out.png")) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    Path("out.png").write_text("before")
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert [path.name for path in workplace.iterdir() if "out" in path.name] == ["out.png"]
    assert Path("out.png").read_text() == "before"
