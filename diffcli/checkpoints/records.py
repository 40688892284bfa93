"""The sessions of a training, in its ``run.json``: its start and each resume, with what they ran on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import torch

from diffcli import __version__
from diffcli.checkpoints.runs import command_line
from diffcli.utils.devices import device_name

Session = dict[str, Any]


def new_session(step: int, device: torch.device, precision: str) -> Session:
    """A session that begins now.

    Args:
        step: of the training, 0 at its start.
        device: that it runs on.
        precision: Lightning's name.
    """
    return {
        "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "step": step,
        "command": command_line(),
        "diffcli": __version__,
        "torch": torch.__version__,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": precision,
    }


def sessions(info: Mapping[str, Any]) -> list[Session]:
    """The sessions that a ``run.json`` holds, the first one first.

    Args:
        info: the file's content; empty for a run that has none yet.
    """
    return list(info.get("sessions", []))


def story(info: Mapping[str, Any]) -> list[str]:
    """The story of a run in short parts: when and on what it was trained, and with which versions."""
    every_session = sessions(info)
    parts = [f"begun {str(info.get('started', 'unknown'))[:10]}{_resumes(every_session)}"]
    for name in ("diffcli", "torch"):
        versions = list(dict.fromkeys(str(one[name]).split("+")[0] for one in every_session if name in one))
        parts += [f"{name} {', '.join(versions)}"] if versions else []
    machines = (f"{one['device']}, {_count(one['threads'], 'thread')}" for one in every_session if "device" in one)
    return [*parts, *dict.fromkeys(machines), *dict.fromkeys(one.get("precision", "32-true") for one in every_session)]


def _resumes(history: Sequence[Session]) -> str:
    if not history:
        return ""
    # Where the first is a resume itself, those before it were not counted.
    is_partial = history[0]["step"] != 0
    resumes = history if is_partial else history[1:]
    if not resumes:
        return ""
    least = "at least " if is_partial else ""
    return (
        f", resumed {least}{_count(len(resumes), 'time')}, last on "
        f"{str(resumes[-1].get('began', 'an unknown day'))[:10]}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
