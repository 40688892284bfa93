"""The command line's manners: help whose examples run, completion, errors that offer the next command, lines in
pipes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from conftest import TINY, Cli, save_own_images
from pictures import make_images
from pipelines import save_pipeline, small_network

from diffcli.checkpoints.model_file import ready_models
from diffcli.cli import app
from diffcli.inference import graphs
from diffcli.studies.study_files import study_files

ROOT: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = ROOT.commands
CPU = "--accelerator cpu"
SHORT = {
    "train": f"--epochs 1 --limit-batches 1 {CPU}",
    "sample": f"--n 10 --steps 2 {CPU}",
    "restore": f"--steps 2 {CPU}",
    "eval": f"--n-test 4 --n-fid 4 --steps 2 --extractor classifier {CPU}",
    "compare": f"--n-test 4 --n-fid 4 --steps 2 --extractor classifier {CPU}",
    "study": f"--extractor classifier {CPU}",
    "degradation-report": "--n 20",
    "play": f"--port 0 {CPU}",
}
"""What is added to an example, so that it takes seconds."""


def examples(name: str) -> list[str]:
    """The examples of a command's help."""
    return re.findall(r"^- `(diffcli .*)`$", COMMANDS[name].epilog or "", flags=re.MULTILINE)


def with_short_budgets(name: str, model: str) -> None:
    """A shipped study of one of its models, trained for a batch."""
    values = yaml.safe_load(study_files()[name].read_text())
    for section in values.get("sections", []):
        section.pop("table", None)  # which lies beside the study that comes along
    values.pop("budget", None)
    others = [label for label in values["models"] if label != model]
    values["budgets"] = {"quick": {"epochs": 1, "limit_batches": 1, "without": others}}
    values["evaluation"] = {"n_test": 4, "n_fid": 4, "steps": 2, "metrics": ["rmse"]}
    Path(f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def test_the_examples_of_every_help_run(
    cli: Cli, workplace: Path, small_mnist: Path, small_presets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    monkeypatch.setenv("DIFFCLI_DATA", str(small_mnist))
    # docs/export.md has the command of the help: there it writes.
    monkeypatch.setitem(graphs.WRITERS, ".onnx", lambda graph, facts, path: float(path.write_bytes(b"")))
    monkeypatch.setattr("diffcli.play.server.serve", lambda models, listener, ready: listener.close())
    save_own_images()
    make_images(Path("photos"))
    with_short_budgets("degradations", "noise")
    with_short_budgets("report", "low beta")
    mine = {"title": "mine", "models": {"a": "quickstart"}, "budget": {"epochs": 1, "limit_batches": 1}}
    Path("mine.yaml").write_text(yaml.safe_dump(mine | {"evaluation": {"n_test": 4, "n_fid": 4, "steps": 2}}))
    quick = shlex.split(SHORT["train"])
    assert cli("train", "--preset", "quickstart-blur", *quick).code == 0
    later = ["export", "play"]  # what is exported is played with
    for name in [*(name for name in COMMANDS if name not in later), *later]:
        for example in examples(name):
            if example == "diffcli play" and not ready_models():
                continue
            if name == "import":  # what it needs is made by the library, which may be missing
                if find_spec("diffusers") is None:
                    continue
                save_pipeline("ddpm-digits", None, small_network())
            _, command, *words = shlex.split(example)
            assert command == name
            short = shlex.split(SHORT.get(name, ""))
            if name == "study":
                words = [f"{word}.yaml" if word in ("degradations", "report") else word for word in words]
            if "--resume" in words:  # the run ends after its first epoch; its epochs keep their length
                short = ["--epochs", "2", *short[-2:]]
            result = cli(command, *words, *short)
            assert result.code == 0, (example, result.err)


def test_every_command_has_a_group_and_examples() -> None:
    for name, command in COMMANDS.items():
        assert isinstance(command.rich_help_panel, str), name
        assert examples(name), name


def test_options_are_grouped(cli: Cli) -> None:
    text = cli("train", "--help").out
    positions = [text.index(f"─ {group} ─") for group in ("Options", "Model", "Training", "Data", "Devices")]
    assert positions == sorted(positions)
    assert positions[2] < text.index("--epochs") < positions[3] < text.index("--data-dir") < positions[4]
    assert "--fid" in cli("eval", "--help").out.partition("─ Metrics ─")[2].partition("─ Model ─")[0]


def completions(line: str) -> list[str]:
    """What bash is given for an unfinished line."""
    words = line.split(" ")
    environment = {"_DIFFCLI_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    process = subprocess.run(
        [sys.executable, "-m", "diffcli"], capture_output=True, text=True, env=os.environ | environment
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout.split()


def test_a_shell_completes_commands_options_and_names(workplace: Path, hot_run: Path) -> None:
    shutil.copytree(hot_run, workplace / "runs" / "mine" / "first")
    assert completions("diffcli tr") == ["train"]
    assert completions("diffcli train --ep") == ["--epochs"]
    assert completions("diffcli train --preset quickstart-b") == ["quickstart-blur"]
    assert completions("diffcli sample --run m")[0] == "mine"
    assert completions("diffcli sample --run runs/") == ["runs/mine/first"]
    assert completions("diffcli study de") == ["degradations"]
    assert completions("diffcli presets nothing") == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_script_for_bash_completes_in_bash(cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Typer asks which shell started the process: here that may be none.
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("bash", "/bin/bash"))
    script = cli("--show-completion").out
    Path("completion.sh").write_text(script)
    Path("diffcli").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m diffcli "$@"\n')
    Path("diffcli").chmod(0o755)
    function = re.search(r"complete .*-F (\S+) diffcli", script)
    assert function is not None
    call = (
        f"source ./completion.sh; COMP_WORDS=(diffcli schedule); COMP_CWORD=1; {function[1]} diffcli; echo "
        "${COMPREPLY[@]}"
    )
    path = f"{workplace}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.run(["bash", "-c", call], capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert process.stdout.strip() == "schedule-plot", process


NEXT = {
    "an unknown command": (["trian"], "diffcli --help"),
    "an unknown option": (["train", "--epoch", "1"], "diffcli train --help"),
    "a missing argument": (["compare"], "diffcli compare --help"),
    "no runs": (["sample"], "diffcli train --preset quickstart"),
    "no preset": (["train"], "diffcli presets"),
    "an unknown preset": (["train", "--preset", "nope"], "diffcli presets"),
    "an unknown study": (["study", "nope"], "diffcli study degradations --show"),
    "a run that is done": (["train", "--resume", "a run", *CPU.split()], "diffcli train --resume 'a run' --epochs 12"),
    "a folder in use": (["train", "--preset", "tiny.yaml", "--out", "a run"], "diffcli train --resume 'a run'"),
    "an unknown run": (["sample", "--run", "nope", *CPU.split()], "diffcli runs"),
}
"""By case, bad input and the command that its error offers."""


@pytest.mark.parametrize("case", NEXT)
def test_errors_offer_the_next_command(case: str, cli: Cli, tiny: Path, hot_run: Path) -> None:
    shutil.copytree(hot_run, "a run")
    if case == "an unknown run":
        shutil.copytree(hot_run, "runs/mine/first")
    arguments, hint = NEXT[case]
    result = cli(*arguments)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert hint in result.err
    _, *words = shlex.split(hint)
    if "--help" in words:
        assert cli(*words).code == 0
    else:
        COMMANDS[words[0]].make_context(words[0], words[1:])  # raises on what does not parse


def test_a_bug_says_what_its_report_needs(workplace: Path) -> None:
    code = (
        "import diffcli.config.presets as presets\n"
        "presets.preset_files = lambda: 1 / 0\n"
        "from diffcli.cli import main\n"
        "main(['presets'])\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 1
    assert "ZeroDivisionError" in process.stderr.splitlines()[-2]
    assert "'diffcli doctor'" in process.stderr.splitlines()[-1]


def test_a_pipe_gets_lines_of_progress_only_where_asked(cli: Cli, workplace: Path, tiny: Path) -> None:
    train = ["train", "--preset", tiny, "--accelerator", "cpu", "--limit-batches", 2]
    assert cli(*train).err == ""
    lines = cli(*train, "--progress").err.splitlines()
    assert [re.sub("[\\d.,]+ images", "N images", line).partition(":")[0] for line in lines] == [
        "epoch 1/2",
        "epoch 2/2",
    ]
    assert all(
        re.fullmatch(r"epoch \d/2: train loss [\d.]+, val loss [\d.]+, [\d.,]+ images/s", line) for line in lines
    )
    newest = max(Path("runs/tiny").iterdir())  # two could be meant: named, for else a note says which one is used
    sample = ["sample", "--run", newest, "--n", 40, "--batch-size", 10, "--steps", 5, "--accelerator", "cpu"]
    assert cli(*sample).err == ""
    lines = cli(*sample, "--progress").err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        f"sampling 40 images: {step} of 20 steps" for step in range(2, 21, 2)
    ]
    assert lines[-1].endswith(" 0:00 left")
    assert cli(*sample).err == ""  # one command's wish is not the next one's
    both = cli(*sample, "--progress", "--quiet")
    assert (both.code, both.err) == (2, "error: --quiet and --progress contradict each other; give one of them\n")


def test_fitted_priors_are_told_of_only_where_asked(cli: Cli, workplace: Path) -> None:
    Path("p.yaml").write_text(
        TINY.replace("standard-normal", "gaussian").replace("gaussian-noise", "gaussian-noise") + ""
    )
    train = ["train", "--preset", "p.yaml", "--accelerator", "cpu", "--limit-batches", 1, "--epochs", 1]
    assert cli(*train).err == ""
    lines = cli(*train, "--progress").err.splitlines()
    assert re.fullmatch(r"fitting the priors to 1,\d\d\d degraded training images", lines[0])
    bars = [line for line in lines if line.startswith("fitting the priors: ")]
    assert bars[-1].endswith(" 0:00 left")
    assert not any("minutes" in line for line in lines)
