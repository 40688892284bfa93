"""The page of what is stable: recorded names are still there, and a run folder has the files that it names."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import interface
import pytest
from conftest import ROOT

import diffcli
from diffcli.checkpoints.runs import Run
from diffcli.utils.former_names import warn

PAGE = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
NEW_KINDS = "other kinds are recorded now: run python tests/interface.py"


def test_no_recorded_name_is_gone() -> None:
    interface.check(interface.read())


def test_the_names_are_those_of_this_version() -> None:
    record = interface.read()
    assert record["version"] == diffcli.__version__, "a new version: run python tests/interface.py"
    assert set(record) == {"version", "former", "names", "calls", "run folder"}, NEW_KINDS
    assert set(record["names"]) == set(interface.interface()), NEW_KINDS
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
        ("commands", "diffcli sample <1>"),
        ("commands", "diffcli export <1...>"),
        ("values", "training.precision: 8"),
        ("values", "network diffusers-unet: upsample_type: bicubic"),
        ("plug-ins", "network: old_context"),
    ],
)
def test_a_removal_fails_and_says_what_to_do(kind: str, name: str) -> None:
    record = {"version": "0.1.0", "former": {}, "names": {kind: [name]}}
    with pytest.raises(AssertionError) as error:
        interface.check(record)
    assert name in str(error.value)
    assert "docs/stability.md" in str(error.value)
    interface.check(record | {"former": {name: "0.2.0"}})  # it was announced, and its time is over
    with pytest.raises(AssertionError):
        interface.check(record | {"former": {name: "99.0.0"}})


def test_a_call_that_worked_and_fails_now_is_named() -> None:
    then = {
        "load()": {"needs": [], "order": ["devices", "name"]},
        "Model.sample()": {"needs": [], "order": ["n", "seed"]},
        "Model.posterior()": {"needs": ["y"], "order": ["y", "degradation"]},
        "diffcli compare": {"needs": []},
        "diffcli degradation-report": {"needs": []},
        "schedule linear": {"needs": []},
        "sampler ddim": {"needs": [], "defaults": {"eta": "1.0", "old_parameter": "1"}},
        "diffcli sample": {"needs": [], "defaults": {"--seed": "1", "--zoom": "'auto'"}},
        "preset": {"needs": ["description", "data", "degradation", "network", "prediction", "prior", "training"]},
        "study claims.than": {"needs": []},
        "evaluate()": {"needs": ["run"], "order": ["run", "metrics"]},  # needs less today, and takes more
        "Model.old_method()": {"needs": [], "order": ["t"]},  # is gone: its name is recorded, too
    }
    assert list(interface.changes({"calls": then})) == [
        "load() has devices in another place, or takes it by name alone",
        "load() has name in another place, or takes it by name alone",
        "Model.sample() has seed in another place, or takes it by name alone",
        "Model.posterior() needs degradation",
        "diffcli compare needs <1>",
        "diffcli degradation-report needs --preset",
        "schedule linear needs T",
        "sampler ddim has eta 0.0 by default, which was 1.0",
        "diffcli sample has --seed 0 by default, which was 1",
        "preset needs sampler",
        "study claims.than needs claims.than.model",
    ]
    with pytest.raises(AssertionError, match=r"worked with diffcli .* fails now, or means something else") as error:
        interface.check({"version": "0.1.0", "former": {}, "names": {}, "calls": then})
    assert "preset needs sampler" in str(error.value)
    assert not list(interface.changes({"calls": interface.calls()}))


def test_the_values_of_keys_and_options_are_those_that_the_page_means() -> None:
    """Each key and option of the list is one."""
    names = interface.interface()
    own = {option.rpartition(" --")[2].replace("-", "_") for option in names["commands"]}
    for key in interface.VALUES:
        assert key in names["preset keys"] | own | {"metrics"}, key


def test_each_kind_of_name_is_recorded() -> None:
    names = interface.interface()
    assert {"train(preset)", "Model.sample(guidance)", "Model.prior_states", "Run.best", "Step.xs"} <= names["python"]
    assert {"diffcli sample --label", "diffcli train -q", "diffcli --plugin"} <= names["commands"]
    assert {"training.lr", "labels.dropped", "measurement_noise"} <= names["preset keys"]
    assert {"network compact-unet: width", "sampler ddim: eta", "noise constant: sigma"} <= names["components"]
    assert {"claims.metric", "evaluation.by_epoch.n_fid", "models.preset"} <= names["study keys"]
    assert {"preset quickstart", "study report"} <= names["presets and studies"]
    assert {"diffcli compare <1...>", "diffcli export <1>"} <= names["commands"]
    assert {"training.optimizer: muon", "data npz: layout: HWC", "extractor: classifier"} <= names["values"]
    assert {"metrics: fid", "figures.show: bits", "prediction: v", "input: wiener"} <= names["values"]
    assert all(f"`{name}`" in PAGE for name in names["environment"])
    assert {"diffcli.plugins", "DIFFCLI_DATA"} <= names["environment"]
    assert {"network", "network: classes", "sampler: draw"} <= names["plug-ins"]


def test_a_run_folder_has_the_keys_and_columns_that_it_had(tmp_path: Path) -> None:
    keys = interface.run_folder_keys(interface.small_run(tmp_path / "run"))
    columns = {key.removeprefix("logs/metrics.csv: ") for key in keys if key.startswith("logs/metrics.csv")}
    (row,) = (line for line in PAGE.splitlines() if line.startswith("| `logs/metrics.csv` |"))
    assert columns == set(re.findall(r"`([^`]+)`", row.split("|")[2]))
    assert {"run.json: sessions.began", "eval.json: scores.rmse", "eval.json: settings.sampler.steps"} <= keys
    assert set(interface.read().get("run folder", [])) <= keys


def test_the_filter_of_the_page_makes_errors_of_former_names_alone() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code)
        warnings.warn("another library's", DeprecationWarning, stacklevel=1)
        with pytest.raises(DeprecationWarning, match=r"`Model\.old` is called `Model\.new` now"):
            warn("Model.old", "Model.new", "0.2.0")


def test_former_names_are_not_recorded() -> None:
    former, record = interface.former_names(), interface.read()
    assert not {name for names in record["names"].values() for name in names} & set(former)


def test_a_run_folder_has_the_files_of_the_page() -> None:
    run = Run("folder")
    paths = [run.preset_file, run.info_file, run.metrics_file, run.best, run.last, run.milestone_file(5), run.samples]
    files = {str(path.relative_to("folder")) for path in [*paths, run.eval_file]}
    table = PAGE.split("| file | what |")[1].split("\n\n")[0]
    names = {name.rstrip("/") for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert names == files
