"""``diffcli doctor``: what a bug report needs to say of a machine and an installation, as plain facts; what fails is
one, too."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from diffcli.cli.app import LIST, command
from diffcli.cli.flags import with_flags
from diffcli.data.options import DataDirOptions
from diffcli.utils.console import print_table
from diffcli.utils.devices import hardware
from diffcli.utils.errors import DiffcliError
from diffcli.utils.files import json_text, user_path
from diffcli.utils.installation import extras, installation, packages
from diffcli.utils.options import option

Facts = dict[str, Any]
ENVIRONMENT = re.compile(
    r"DIFFCLI_|OMP_|MKL_|GOMP_|CUDA_|TORCH|PYTORCH_|LIGHTNING|WANDB_MODE|MLFLOW_TRACKING_URI|SLURM_JOB_ID"
)
"""The beginnings of variables that change what is computed, or where files lie."""
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD")


@command(LIST, "diffcli doctor", "diffcli doctor --json")
def doctor(options: DataDirOptions, *, json_: bool = option(False, help="Print JSON instead of a table.")) -> None:
    """Say what a bug report needs: versions, devices, the precision that auto picks and why, data, extras. Exit code 1
    if something does not work."""
    facts = examine(options.data_dir)
    if json_:
        print(json_text(facts))
    else:
        rows = [
            (
                section if number == 0 else "",
                key if section == "environment" else key.replace("_", " "),
                with_flags(_text_of(section, value)),
            )
            for section, section_facts in facts.items()
            for number, (key, value) in enumerate(section_facts.items())
        ]
        print_table(("", "", ""), rows, framed=False)
        print(
            "A bug report needs: these lines, the command, and all that it printed; if it is about a run, its "
            "run.json and preset.yaml as well."
        )
    if any("error" in section_facts for section_facts in facts.values()):
        raise typer.Exit(1)


def _text_of(section: str, value: Any) -> str:
    if section == "extras":
        return f"missing: {', '.join(value)}" if value else "installed"
    if value is None:
        return "missing" if section == "packages" else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def examine(data_dir: Path | str | None = None) -> Facts:
    """The state of an installation: versions, the machine, the devices and why they are taken, data and models.

    Facts by section, plain types alone. Where something does not work its section has the key ``error``.
    """
    return {
        "diffcli": _facts_or_error(installation),
        "python": _facts_or_error(interpreter),
        "packages": _facts_or_error(packages),
        "extras": _facts_or_error(extras),
        "devices": _facts_or_error(hardware),
        "precision": _facts_or_error(precision),
        "engine": _facts_or_error(engine),
        "data": _facts_or_error(lambda: data(data_dir)),
        "models": _facts_or_error(models),
        "environment": environment(),
    }


def _facts_or_error(section: Callable[[], Facts]) -> Facts:
    """The facts of a section, or what kept them from being found: a broken installation is what a doctor is asked
    about."""
    try:
        return section()
    except (DiffcliError, ImportError, OSError, RuntimeError) as error:
        return {"error": f"{type(error).__name__}: {error}" if not isinstance(error, DiffcliError) else str(error)}


def interpreter() -> Facts:
    """Python and the system."""
    return {
        "version": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "encoding": f"{sys.stdout.encoding} printed, {sys.getfilesystemencoding()} file names",
    }


def precision() -> Facts:
    """The precision that ``auto`` picks here, and why."""
    from diffcli.utils.compile import automatic_precision

    return automatic_precision()


def engine() -> Facts:
    """The engine that computes networks on CPUs, and the packages that are missing for the faster one."""
    from diffcli.utils.engine import missing_packages

    packages = missing_packages()
    return {"auto": "torch" if packages else "onnxruntime", "missing": packages}


def data(data_dir: Path | str | None = None) -> Facts:
    """The data folder, and what each data set that may lie in it holds there; every file is read."""
    from diffcli.data.datasets import contents
    from diffcli.data.sources import default_data_dir

    folder = default_data_dir() if data_dir is None else user_path(data_dir)
    exists = folder.is_dir()
    return {"folder": str(folder.absolute()), "there": exists, **(contents(folder) if exists else {})}


def models() -> Facts:
    """The runs here, the ready models, and weights and caches at hand."""
    from diffcli.checkpoints.model_file import ready_models
    from diffcli.checkpoints.runs import all_runs, runs_root
    from diffcli.config.plugins import files
    from diffcli.evaluation.extractors import inception_cache
    from diffcli.utils.cache import cache_folder

    return {
        "runs": f"{len(all_runs())} in {runs_root().absolute()}",
        "ready": list(ready_models()),
        "inception_weights": str(weights) if (weights := inception_cache()) and weights.is_file() else None,
        "cache": str(cache) if (cache := cache_folder()) else None,
        "plugins": [str(file) for file in files()],
    }


def environment() -> Facts:
    """The variables that change what is computed or where files lie; no secrets."""
    variables = sorted(os.environ.items())
    return {name: value for name, value in variables if ENVIRONMENT.match(name) and not SECRET.search(name)}
