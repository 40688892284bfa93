"""The commit that ``diffcli doctor`` names where diffcli is installed and no checkout is at hand."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffcli.utils.installation import _commit


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (json.dumps({"url": "x", "vcs_info": {"vcs": "git", "commit_id": "abc"}}), "abc"),
        (json.dumps({"url": "x", "dir_info": {}}), None),
        (None, None),
    ],
)
def test_it_is_the_one_that_pip_was_given(
    origin: str | None, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution = SimpleNamespace(read_text={"direct_url.json": origin}.get)
    monkeypatch.setattr(metadata, "distribution", lambda name: distribution)
    assert _commit(tmp_path / "diffcli") == (expected, None)
