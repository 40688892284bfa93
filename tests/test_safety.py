"""A failing training keeps its last good checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffcli.runs import Run
from diffcli.training.safety import AtomicCheckpointIO


def test_a_failed_save_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def half(content: object, stream) -> None:
        stream.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_diverged_training_ends_in_one_line_and_keeps_the_last_good_checkpoint(cli, tiny: Path) -> None:
    train = ["train", "--accelerator", "cpu", "-q"]
    assert cli(*train, "--preset", tiny, "--out", "run").code == 0
    good = Run(Path("run")).last.read_bytes()
    content = torch.load(Run(Path("run")).last, weights_only=True)
    key = next(key for key in content["state_dict"] if key.endswith("weight"))
    content["state_dict"][key].fill_(float("inf"))
    torch.save(content, Run(Path("run")).last)
    spoilt = Run(Path("run")).last.read_bytes()
    assert spoilt != good
    result = cli(*train, "--resume", "run", "--epochs", 4)
    assert result.code == 1
    assert "finite" in result.err
    assert "last.ckpt" in result.err
    assert result.err.count("\n") == 1
    assert Run(Path("run")).last.read_bytes() == spoilt  # nothing was saved over it
