"""Ready models are made of runs, without what belongs to the computer of their training."""

from __future__ import annotations

from benchmarks.models import without_folders
from diffcli.checkpoints.model_file import read_metadata, ready_models


def test_a_folder_of_images_is_named_without_those_above_it() -> None:
    preset = {"data": {"name": "folder", "path": "/home/ada/pictures/emoji", "size": 32}, "labels": None}
    assert without_folders(preset) == {"data": {"name": "folder", "path": "emoji", "size": 32}, "labels": None}
    assert without_folders({"data": {"name": "mnist"}}) == {"data": {"name": "mnist"}}


def test_the_models_that_come_along_tell_of_no_folder() -> None:
    for file in ready_models().values():
        assert "/" not in str(read_metadata(file)["preset"]["data"].get("path", ""))
