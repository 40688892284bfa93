"""The page of what is stable: recorded names are still there, and a run folder has the files that it names."""

from __future__ import annotations

import re

import interface
import pytest
from conftest import ROOT

import diffcli
from diffcli.checkpoints.runs import Run

PAGE = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")


def test_no_recorded_name_is_gone() -> None:
    interface.check(interface.read())


def test_the_names_are_those_of_this_version() -> None:
    record = interface.read()
    assert record["version"] == diffcli.__version__, "a new version: run python tests/interface.py"
    # New names are recorded with the version that brings them.
    for kind, names in record["names"].items():
        assert set(names) <= interface.interface()[kind]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("python", "Model.sample(old_option)"),
        ("python", "Model.old_attribute"),
        ("commands", "diffcli sample --old-option"),
        ("preset keys", "training.old_key"),
        ("components", "network unet: old_parameter"),
        ("study keys", "evaluation.old_key"),
    ],
)
def test_a_removal_fails_and_says_what_to_do(kind: str, name: str) -> None:
    record = {"version": "0.1.0", "former": {}, "names": {kind: [name]}}
    with pytest.raises(AssertionError) as caught:
        interface.check(record)
    assert name in str(caught.value)
    assert "docs/stability.md" in str(caught.value)
    interface.check(record | {"former": {name: "0.2.0"}})  # it was announced, and its time is over
    with pytest.raises(AssertionError):
        interface.check(record | {"former": {name: "99.0.0"}})


def test_each_kind_of_name_is_recorded() -> None:
    names = interface.interface()
    assert {"train(preset)", "Model.sample(guidance)", "Model.prior_states", "Run.best", "Step.xs"} <= names["python"]
    assert {"diffcli sample --label", "diffcli train -q", "diffcli --plugin"} <= names["commands"]
    assert {"training.lr", "labels.dropped", "measurement_noise"} <= names["preset keys"]
    assert {"network compact-unet: width", "sampler ddim: eta", "noise constant: sigma"} <= names["components"]
    assert {"claims.metric", "evaluation.by_epoch.n_fid", "models.preset"} <= names["study keys"]
    assert {"preset quickstart", "study report"} <= names["presets and studies"]


def test_former_names_are_not_recorded() -> None:
    former, record = interface.former_names(), interface.read()
    assert not {name for names in record["names"].values() for name in names} & set(former)


def test_a_run_folder_has_the_files_of_the_page() -> None:
    run = Run("folder")
    paths = [run.preset_file, run.info_file, run.metrics_file, run.best, run.last, run.milestone_file(5), run.samples]
    files = {str(path.relative_to("folder")) for path in [*paths, run.eval_file]}
    table = PAGE.split("| file | what |")[1].split("\n\n")[0]
    named = {name.rstrip("/") for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert named == files
