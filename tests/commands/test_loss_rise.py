"""``diffcli train`` where the loss rises."""

from __future__ import annotations

from pathlib import Path

from conftest import TINY, Cli


def test_a_training_says_that_its_loss_rose(cli: Cli, workplace: Path) -> None:
    Path("tiny.yaml").write_text(TINY)
    words = ["--accelerator", "cpu", "-q", "--limit-batches", 2]
    result = cli("train", "--preset", "tiny.yaml", "--out", "run", "--epochs", 7, *words)
    assert result.code == 0, result.err
    assert "rose" not in result.err
    result = cli("train", "--resume", "run", "--epochs", 9, "--set", "training.lr=1", *words)
    assert result.code == 0, result.err
    assert result.err.count("warning: the training loss rose from ") == 1
    assert "in epoch 8" in result.err
