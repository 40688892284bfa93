"""The tables of restorations side by side: each number from what the benchmark kept."""

from __future__ import annotations

import re

from conftest import ROOT

from benchmarks import restoring
from diffcli.checkpoints.model_file import READY_MODELS, SUFFIX, fingerprint


def test_the_page_shows_what_was_measured() -> None:
    page = (ROOT / "docs" / "restore.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- restoring -->\n\n(.*?)\n\n<!-- /restoring -->", page, flags=re.DOTALL)
    assert block is not None
    assert block[1] == restoring.page_tables()


def test_what_was_measured_is_of_the_ready_models_and_all_of_the_same_digits() -> None:
    keys = {setting.key for setting in restoring.settings()}
    models = {fingerprint(file) for file in READY_MODELS.glob(f"*{SUFFIX}")}
    cells = restoring.read_cells()
    assert cells
    for key, own in cells.items():
        assert key in keys
        assert {cell["source"]["model"] for cell in own.values()} <= models
        assert len({cell["digits"] for cell in own.values()}) == 1


def test_diffcli_is_nearer_than_moment_matching_by_azula_in_a_quarter_of_its_time() -> None:
    for key, own in restoring.read_cells().items():
        scores = own["azula MMPS"]["scores"]
        behind, error = restoring.mean_and_error(scores["psnr_behind"])
        assert behind > -error, key
        times, _ = restoring.mean_and_error(scores["times_ours"])
        assert times > 4, key


def test_no_other_library_is_nearer_than_the_prior_by_more_than_an_error_of_its_score() -> None:
    for key, own in restoring.read_cells().items():
        ours, _ = restoring.mean_and_error(own[restoring.OURS]["scores"]["psnr_mean"])
        for name in (name for name in own if name.split()[0] in restoring.PEERS):
            theirs, error = restoring.mean_and_error(own[name]["scores"]["psnr_mean"])
            assert theirs - error <= ours, (key, name)
