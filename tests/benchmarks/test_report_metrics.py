"""The script that sets the report's numbers beside ours by each reading of them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

import diffcli
from benchmarks import report_metrics
from benchmarks.report_metrics import ReportedMetrics, mirrored_ssim, reconstruct_batch, rows
from diffcli.evaluation.scores import ssim


def options(**changes: object) -> Namespace:
    defaults = {"n": 6, "seed": 0, "steps": 2, "batch_size": 4, "keep": Path("kept"), "data_dir": None}
    return Namespace(**defaults | {"accelerator": "cpu"} | changes)


def test_one_window_lies_inside_and_the_other_mirrors() -> None:
    torch.manual_seed(0)
    a, b = torch.rand(2, 1, 28, 28), torch.rand(2, 1, 28, 28)
    theirs = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
    assert mirrored_ssim(a, b).tolist() == pytest.approx(theirs.flatten().tolist(), abs=1e-5)
    assert ssim(a, b).tolist() != pytest.approx(theirs.flatten().tolist(), abs=1e-3)


def test_it_goes_on_where_it_was_with_the_numbers_of_eval(
    blur_run: Path, hot_run: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[range] = []

    def record(sampling: object, images: torch.Tensor, indices: range, noise: float) -> dict[str, torch.Tensor]:
        batches.append(indices)
        return reconstruct_batch(sampling, images, indices, noise)  # type: ignore[arg-type]

    monkeypatch.setattr(report_metrics, "reconstruct_batch", record)
    of = {
        "blur": ReportedMetrics(str(blur_run), "here", 0.1, 0.2, 3.0),
        "hot": ReportedMetrics(str(hot_run), "here", 0.1, 0.2, 3.0),
    }
    monkeypatch.setattr(report_metrics, "MODELS", of)
    table = list(rows("blur", options()))
    assert len(table) == 2 * 2 * 2 + 1  # noise, way, pixels; and the report
    assert table[-1] == ["the report, here", "", "", "", "0.1", "", "0.2", "3"]
    assert batches == [range(4), range(4, 6)] * 2
    assert list(rows("blur", options())) == table
    assert len(batches) == 4
    more = list(rows("blur", options(n=10)))
    assert batches[4:] == [range(4, 8), range(8, 10)] * 2
    assert more != table
    assert len(list(rows("hot", options()))) == 2 * 2 + 1
    # What eval measures of the same images, told no label: clamped, windows inside.
    for noise, row in ((0.0, more[0]), (0.002, more[4])):
        scores = diffcli.evaluate(
            blur_run,
            metrics=["rmse", "ssim"],
            n_test=10,
            steps=2,
            label="none",
            zt_noise=noise,
            devices=diffcli.Devices("cpu"),
            quiet=True,
        ).scores
        assert row[1:4] == [f"{noise:g}", "sampled", "clamped"]
        assert [float(row[i].split()[0]) for i in (4, 6)] == pytest.approx([scores["ssim"], scores["rmse"]], rel=1e-3)
