"""What is printed: names and notes as they are, whole in a pipe, in any encoding, each error on one line."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Cli
from rich.console import Console

from diffcli.config.presets import preset_files
from diffcli.studies.plots import literal, loss_figure
from diffcli.utils import bars
from diffcli.utils.console import one_line

TRAIN = ["train", "--accelerator", "cpu", "-q", "--limit-batches", 2, "--epochs", 1]
EFFORT = ["--n-test", 4, "--n-fid", 4, "--steps", 2, "--extractor", "classifier", "-q"]
# Markup and emoji codes of the terminal, characters of other scripts and of Markdown, HTML, LaTeX and addresses.
NAMES = ["[/red] :smile:  _$a_{b$|<i>&", "_a::b[lr=1e-3]", "file:数字", "~nobody"]


def diffcli(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, its output in a pipe."""
    command = [sys.executable, "-m", "diffcli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment)


@pytest.mark.filterwarnings("ignore:Glyph")  # pytest undoes the package's own filter
@pytest.mark.parametrize("name", NAMES)
def test_every_command_takes_and_shows_a_name_as_it_is(cli: Cli, workplace: Path, name: str) -> None:
    stem = name.replace("/", "")
    Path("p").mkdir()
    Path(f"p/{stem}.yaml").write_text(TINY)
    training = cli(*TRAIN, "--preset", f"p/{stem}.yaml")
    assert training.code == 0, training
    folder = training.out.strip("\n")
    assert folder.startswith(f"runs/{stem}/")
    assert folder in cli("runs").out
    comparison = cli("compare", folder, "--out", f"{stem}.html", *EFFORT)
    assert comparison.code == 0, comparison
    assert (stem in comparison.out, comparison.err) == (True, "")
    for command in (
        ["sample", "--run", folder, "--n", 2, "--steps", 2, "--out", f"{stem}/grid.png", "-q"],
        ["eval", "--run", folder, "--rmse", *EFFORT],
        ["schedule-plot", "--preset", f"p/{stem}.yaml", "--out", f"./{stem}.pdf"],
        [*TRAIN[:-1], 2, "--resume", f"./{folder}"],
    ):
        result = cli(*command)
        assert (result.code, result.err) == (0, ""), result
        assert stem in result.out


def test_a_description_and_a_note_are_shown_as_they_are(
    cli: Cli, workplace: Path, hot_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "a [bold]b[/bold] [/] :smile: c"
    Path("mine.yaml").write_text(TINY.replace("a tiny model for the tests", f"'{text}'"))
    monkeypatch.setattr("diffcli.config.presets.preset_files", lambda: {"[x]": Path("mine.yaml").absolute()})
    assert text in cli("presets").out
    monkeypatch.undo()
    result = cli("eval", "--run", hot_run, "--extractor", "inception", "--inception-weights", "[/red].pth", *EFFORT[:6])
    assert "[/red].pth" in result.out + result.err


def test_a_preset_is_copied_byte_for_byte(workplace: Path) -> None:
    file = workplace / "mine.yaml"
    file.write_bytes(TINY.replace("tiny", "数字 é").encode() + b"\r\n")
    result = diffcli("presets", "./mine.yaml", PYTHONIOENCODING="cp1252")
    assert (result.returncode, result.stdout) == (0, file.read_bytes())


def test_progress_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(bars, "console", Console(file=stream, force_terminal=True, width=200, color_system=None))
    with bars.bar("steps") as display:
        display.add_task("[red]a[/red] [/]", total=1, note="[/b] loss")
    assert "[red]a[/red] [/]" in stream.getvalue()
    assert "[/b] loss" in stream.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_encoding_that_lacks_a_character_stops_nothing(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    from diffcli.cli import main

    (workplace / "数.yaml").write_text(TINY)
    for command, code, text in (
        ([*TRAIN, "--preset", "数.yaml"], 0, "runs/\\u6570/"),
        ([*TRAIN[:3], *TRAIN[4:], "--preset", "数.yaml", "--out", "字"], 0, "\\u5b57\n"),
        (["runs"], 0, "runs/\\u6570/"),
        (["sample", "--run", "字", "--n", 2, "--steps", 2, "--out", "图.png"], 0, "\\u56fe.png\n"),
        (["eval", "--run", "字", *EFFORT], 0, "\\u6570"),
        (["compare", "字", *EFFORT], 0, "\\u6570"),
        (["train", "--preset", "图.yaml"], 2, "\\u56fe"),
    ):
        stream = io.BytesIO()
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding=encoding, write_through=True))
        with pytest.raises(SystemExit) as error:
            main([str(word) for word in command])
        assert (error.value.code, text in stream.getvalue().decode(encoding)) == (code, True), stream.getvalue()
    assert (workplace / "图.png").is_file()


def test_an_old_locale_stops_nothing(workplace: Path) -> None:
    (workplace / "数.yaml").write_text(TINY)
    process = diffcli(*TRAIN, "--preset", "数.yaml", PYTHONIOENCODING="ascii", LANG="C", PYTHONUTF8="0", LC_ALL="")
    assert (process.returncode, process.stderr) == (0, b"")
    assert process.stdout.startswith(b"runs/\\u6570/")
    plot = diffcli("schedule-plot", "--preset", "数.yaml")  # no word of characters that the font lacks
    assert (plot.returncode, plot.stdout, plot.stderr) == (0, b"schedule.png\n", b"")


def test_bytes_that_are_no_text_are_refused_before_a_training_else_shown_as_they_are(workplace: Path) -> None:
    (workplace / "tiny.yaml").write_text(TINY)
    name = os.fsdecode(b"caf\xe9")
    refusal = diffcli(*TRAIN, "--preset", "tiny.yaml", "--out", name)
    assert refusal.returncode == 2
    assert refusal.stderr.startswith(b"error: caf\xe9 is not text in utf-8")
    assert refusal.stderr.count(b"\n") == 1
    assert [path.name for path in workplace.iterdir()] == ["tiny.yaml"]
    listing = diffcli("presets", name)
    assert (listing.returncode, listing.stderr.startswith(b"error: unknown preset 'caf\xe9'")) == (2, True)


def test_a_pipe_gets_whole_values_on_one_line_each(cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "/".join(["a_rather_long_name_of_a_folder"] * 6)
    monkeypatch.setenv("DIFFCLI_RUNS", long)
    monkeypatch.setenv("COLUMNS", "40")
    Path(f"{'p' * 90}.yaml").write_text(TINY)
    folder = cli(*TRAIN, "--preset", f"{'p' * 90}.yaml").out.strip()
    assert [line for line in cli("runs").out.splitlines() if folder in line and "not evaluated" in line]
    table = cli("eval", "--run", folder, *EFFORT)
    assert f"{'p' * 90}, epoch 1, ancestral, 2 steps" in table.out.splitlines()
    comparison = cli("compare", folder, *EFFORT)
    assert [line for line in comparison.out.splitlines() if "p" * 90 in line and "metric" in line]
    descriptions = {
        name: next(line for line in cli("presets").out.splitlines() if f" {name} " in line) for name in preset_files()
    }
    assert "offline" in descriptions["quickstart"]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_folds_what_is_too_long_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffcli.utils.console import print_table

    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "40")
    name = "".join(f"{number:03d}" for number in range(40))
    print_table(("run", "epochs"), [(name, "1")], framed=False)
    lines = re.sub(r"\x1b\[\d*m", "", stream.getvalue()).splitlines()
    assert max(map(len, lines)) <= 40
    assert name in "".join(line.replace(" 1 ", " ").strip() for line in lines).replace(" ", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\r\n  c", "a b c"),
        ("a  b", "a  b"),
        ("[/red] :x:", "[/red] :x:"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("数字 é", "数字 é"),
        ("a\u2028b\u202ec", "a b\\u202ec"),
    ],
)
def test_one_line(text: str, expected: str) -> None:
    assert one_line(text) == expected


@pytest.mark.parametrize("name", ["a\n\nb", "\x1b[31m[/red]", "x" * 5000, "[bold"])
def test_an_error_is_one_line_whatever_the_name(cli: Cli, name: str) -> None:
    for command in (["schedule-plot", "--preset", name], ["compare", name], [name], ["sample", "--run", name]):
        result = cli(*command)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert "\x1b" not in result.err


def test_labels_of_figures_are_no_mathematics() -> None:
    rows: list[dict[str, Any]] = [{"epoch": "1", "train_loss": "0.5", "val_loss": "0.4"}]
    figure = loss_figure(dict.fromkeys(("$a_{b$c$", "_hidden", os.fsdecode(b"\xff"), "x" * 999), rows))
    figure.savefig(io.BytesIO(), format="png")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(labels) == 8
    assert literal("$5") == r"\$5"
