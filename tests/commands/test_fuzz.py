"""Bad input of every kind costs one line: presets, options, checkpoints, images, made up by the hundred.

``make test-slow`` runs at least 300 bad presets and option sets, 100 damaged checkpoints and 30 bad images; the usual
tests a tenth of the first two.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import SLOW, TINY, Cli
from fuzzing import check_refused
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

counts: dict[str, int] = {"presets": 0, "options": 0}


def examples(slow: int) -> settings:
    """That many examples in the slow tests, a tenth of them otherwise; always the same ones."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow]
    return settings(
        max_examples=slow if SLOW else slow // 10,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=quiet,
        phases=[Phase.generate],
    )


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "inf", "nan", "~", "../x", "cosine", "1e400", -1, 0, 10**9, 10**12, 2**63, 0.5, -0.5]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
)


def leaves(values: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of everything in a preset, the mappings included."""
    paths = [(*above, key) for key in values]
    below = [leaves(value, (*above, key)) for key, value in values.items() if isinstance(value, dict)]
    return paths + [path for group in below for path in group]


RESOLVED = yaml.safe_load(TINY)
COMPACT = {**RESOLVED, "network": {"name": "compact-unet", "width": 8, "blocks": 1, "middle": 1, "attention": True}}
UNET = {**RESOLVED, "network": {"name": "unet", "width": 8, "downsamplings": 2}}
BLUR = {
    **RESOLVED,
    "schedule": {"name": "constant", "T": 5, "beta": 1.0},
    "degradation": {"name": "gaussian-blur", "kernel_size": 5, "padding": "reflect"},
    "prediction": "x0",
    "prior": {"name": "mixture", "components": 3, "residual": 1e-6},
    "sampler": {"name": "cold", "steps": 3, "clip": True},
    "training": {"epochs": 1, "max_time": "10m", "ema": 0.9, "clip_norm": 1.0, "sample_epochs": [1]},
}


@examples(400)
@given(data=st.data())
def test_changed_presets(data: st.DataObject, cli: Cli, workplace: Path) -> None:
    base = data.draw(st.sampled_from([RESOLVED, COMPACT, UNET, BLUR]))
    path = data.draw(st.sampled_from(leaves(base)))
    preset = yaml.safe_load(yaml.safe_dump(base))
    target = preset
    for key in path[:-1]:
        target = target[key]
    how = data.draw(st.sampled_from(["set", "set", "set", "remove", "rename", "add"]))
    if how == "remove":
        del target[path[-1]]
    elif how == "rename":
        target[data.draw(st.text(min_size=1, max_size=10))] = target.pop(path[-1])
    elif how == "add":
        target[data.draw(st.text(min_size=1, max_size=10))] = data.draw(VALUES)
    else:
        target[path[-1]] = data.draw(VALUES)
    Path("changed.yaml").write_bytes(yaml.safe_dump(preset, allow_unicode=True).encode("utf-8", "surrogatepass"))
    before = sorted(workplace.rglob("*"))
    result = cli("train", "--preset", "changed.yaml", "--dry-run")
    if result.code == 0:  # some changes are harmless
        assert "epochs:" in result.out
        assume(False)
    check_refused(result, workplace, before)
    counts["presets"] += 1


DAMAGED_YAML = [
    b"",
    b"\xff\xfe\x00",
    b"description: [",
    b"a: b: c",
    b"\tdescription: x",
    b"- a\n- list\n",
    b"just text",
    b"a: 1\na: 2\n",
    b"? [1, 2]\n: 3\n",
    b"--- a\n--- b\n",
    b"!!python/object/apply:os.system ['touch executed']",
    b"description: !!python/name:os.system x",
    b"a: &a [1]\nb: *a\n",
    b"a: *nobody\n",
    b"a: &a [*a]\n",
    b"x: 2026-99-99\n",
    b"x: !!binary '@@'\n",
    b"x: !!timestamp y\n",
    b"[" * 5000,
    b"{a: " * 3000,
    b"x: " + b"9" * 5000,
    b"description: " + b"x" * 200_000,
    b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (97 + i, 97 + i, b",".join([b"*%c" % (96 + i)] * 9)) for i in range(1, 12)
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(DAMAGED_YAML)))
def test_files_that_are_no_presets(number: int, cli: Cli, workplace: Path) -> None:
    Path("damaged.yaml").write_bytes(DAMAGED_YAML[number])
    before = sorted(workplace.rglob("*"))
    check_refused(cli("train", "--preset", "damaged.yaml", "--dry-run"), workplace, before)
    counts["presets"] += 1


JUNK = st.one_of(
    st.sampled_from(
        ["", " ", "-1", "0", "1.5", "1e9", "nan", "x", "--", "a.b", "/", "..", "~", "none.yaml", "é\n", "99999999999"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
)
BAD_OPTIONS: dict[str, list[str]] = {
    "train": ["--preset", "--epochs", "--max-time", "--batch-size", "--lr", "--seed", "--set", "--resume",
        "--limit-batches",
              "--on-bad-image"],
    "sample": ["--n", "--prior", "--sampler", "--steps", "--seed", "--batch-size", "--accelerator", "--devices",
        "--run",
               "--checkpoint", "--trajectory", "--num-nodes", "--strategy"],
    "eval": ["--n-test", "--n-fid", "--prior", "--sampler", "--steps", "--extractor", "--inception-weights", "--run"],
    "compare": ["--n-fid", "--out", "--extractor", "--steps"],
    "schedule-plot": ["--preset", "--out", "--set"],
    "study": ["--budget"],
}  # fmt: skip
GOOD = {
    "train": ["train", "--preset", "tiny.yaml", "--dry-run"],
    "sample": ["sample", "--run", "RUN", "--n", "1", "--steps", "1", "--out", "out.png", "-q"],
    "eval": ["eval", "--run", "RUN", "--n-test", "5", "--n-fid", "5", "--steps", "1", "--extractor", "classifier",
        "--loss", "-q"],
    "compare": ["compare", "nowhere"],
    "schedule-plot": ["schedule-plot", "--preset", "tiny.yaml", "--out", "out.csv"],
    "study": ["study", "nothing"],
}  # fmt: skip


@examples(250)
@given(data=st.data())
def test_options(data: st.DataObject, cli: Cli, workplace: Path, hot_run: Path) -> None:
    Path("tiny.yaml").write_text(TINY)
    command = data.draw(st.sampled_from(list(GOOD)))
    words = [str(hot_run) if word == "RUN" else word for word in GOOD[command]]
    for option in data.draw(st.lists(st.sampled_from(BAD_OPTIONS[command]), min_size=1, max_size=2, unique=True)):
        value = data.draw(JUNK)
        # More processes are not a mistake, but starting them for a hundred examples takes long.
        assume(option not in ("--devices", "--num-nodes") or not value.strip().isdigit() or int(value) > 1000)
        words += [option, value]
    if data.draw(st.booleans()):
        words.insert(data.draw(st.integers(0, len(words))), data.draw(JUNK))
    before = sorted(workplace.rglob("*"))
    result = cli(*words)
    if result.code == 0:
        for file in set(workplace.rglob("*")) - set(before):
            file.unlink(missing_ok=True)
        assume(False)
    check_refused(result, workplace, before)
    counts["options"] += 1


def test_enough_of_each_kind_was_bad() -> None:
    if os.environ.get("PYTEST_XDIST_WORKER"):
        pytest.skip("the tests of this file may have run in several processes")
    assert counts["presets"] + counts["options"] >= (300 if SLOW else 30), counts
    print(f"bad input: {counts}")
