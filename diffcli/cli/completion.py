"""Names that a shell completes; nothing heavy is loaded, and nothing fails."""

from __future__ import annotations

from contextlib import suppress

from diffcli.utils.errors import DiffcliError


def preset_names(incomplete: str) -> list[str]:
    """Names of presets."""
    from diffcli.config.presets import preset_files

    return _with_prefix(incomplete, preset_files())


def run_names(incomplete: str) -> list[str]:
    """The names of a run: ``last``, presets that were trained, names below the runs, run folders."""
    from diffcli.checkpoints.runs import all_runs, short_names

    with suppress(DiffcliError, OSError):
        runs = all_runs()
        folders = [str(run.folder) for run in reversed(runs)]
        names = [name for run in runs for name in short_names(run)]
        return _with_prefix(incomplete, [*(["last"] if runs else []), *names, *folders])
    return []


def model_names(incomplete: str) -> list[str]:
    """The names of a run, see :func:`run_names`, and of the ready models."""
    from diffcli.checkpoints.model_file import ready_models

    return [*run_names(incomplete), *_with_prefix(incomplete, ready_models())]


def study_names(incomplete: str) -> list[str]:
    """Names of the studies that come along."""
    from diffcli.studies.study_files import study_files

    return _with_prefix(incomplete, study_files())


def _with_prefix(incomplete: str, names: object) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]  # type: ignore[call-overload]


COMPLETIONS = {"models": model_names, "presets": preset_names, "runs": run_names, "studies": study_names}
"""The completions by the name that an option gives."""
