"""The installation: diffcli itself, and the packages that its metadata name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import diffcli


def installation() -> dict[str, Any]:
    """The version, where the code lies, and the commit where that is known."""
    place = Path(diffcli.__file__).parent
    commit, dirty = _commit(place)
    return {"version": diffcli.__version__, "code": str(place), "commit": commit, "changed": dirty}


def _commit(place: Path) -> tuple[str | None, bool | None]:
    """(commit, whether files differ from it) of a checkout; of an installation the commit that pip was given, if
    any."""
    checkout = place.parent
    if (checkout / ".git").exists() and shutil.which("git"):
        with suppress(OSError, subprocess.SubprocessError):
            commit, status = (
                subprocess.run(
                    ["git", "-C", str(checkout), *words], capture_output=True, text=True, check=True, timeout=10
                ).stdout.strip()
                for words in (["rev-parse", "HEAD"], ["status", "-s", "-uno"])
            )
            return commit, bool(status)
    with suppress(metadata.PackageNotFoundError, ValueError):
        origin = json.loads(metadata.distribution("diffcli").read_text("direct_url.json") or "{}")
        return origin.get("vcs_info", {}).get("commit_id"), None
    return None, None


def packages(extra: str | None = None) -> dict[str, Any]:
    """The installed version of each package that diffcli needs, or that an extra does; None where it is missing."""
    versions: dict[str, Any] = {}
    for line in metadata.requires("diffcli") or ():
        name, condition = re.match(r"[\w.-]+", line), re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if name and name[0] != "diffcli" and (condition[1] if condition else None) == extra:
            versions[name[0]] = None
            with suppress(metadata.PackageNotFoundError):
                versions[name[0]] = metadata.version(name[0])
    return versions


def extras() -> dict[str, Any]:
    """The packages that are missing, by extra."""
    names = metadata.metadata("diffcli").get_all("Provides-Extra") or []
    return {extra: [name for name, version in packages(extra).items() if version is None] for extra in names}
