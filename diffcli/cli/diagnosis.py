"""What a bug report needs to say of a machine and an installation, as plain facts; what fails is a fact as well."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from diffcli import __version__
from diffcli.utils.errors import DiffcliError
from diffcli.utils.paths import user_path

Facts = dict[str, Any]

ENVIRONMENT = re.compile(
    r"DIFFCLI_|OMP_|MKL_|GOMP_|CUDA_|TORCH|PYTORCH_|LIGHTNING|WANDB_MODE|MLFLOW_TRACKING_URI|SLURM_JOB_ID"
)
"""The beginnings of variables that change what is computed, or where files lie."""
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD")


def doctor(data_dir: Path | str | None = None) -> Facts:
    """What is installed, on what machine, what it computes on and why, and which data and models are there.

    Args:
        data_dir: folder of the data sets; None is ``DIFFCLI_DATA``, else ``data``.

    Returns:
        Facts by section, plain types alone. Where something does not work its section has the key ``error``.
    """
    return {
        "diffcli": _told(installation),
        "python": _told(interpreter),
        "packages": _told(packages),
        "extras": _told(extras),
        "devices": _told(hardware),
        "precision": _told(precisions),
        "data": _told(lambda: data(data_dir)),
        "models": _told(models),
        "environment": environment(),
    }


def problems(facts: Facts) -> list[str]:
    """What does not work, a line each."""
    return [f"{section}: {found['error']}" for section, found in facts.items() if "error" in found]


def _told(section: Callable[[], Facts]) -> Facts:
    """The facts of a section, or what kept them from being found: a broken installation is what a doctor is asked about."""
    try:
        return section()
    except (DiffcliError, ImportError, OSError, RuntimeError) as error:
        return {"error": f"{type(error).__name__}: {error}" if not isinstance(error, DiffcliError) else str(error)}


def installation() -> Facts:
    """The version, where the code lies, and the commit where that is known."""
    place = Path(__file__).parents[1]
    commit, changed = _commit(place)
    return {"version": __version__, "code": str(place), "commit": commit, "changed": changed}


def _commit(place: Path) -> tuple[str | None, bool | None]:
    """(commit, whether files differ from it) of a checkout; of an installation the commit that pip was given, if any."""
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


def interpreter() -> Facts:
    """Python and the system."""
    return {
        "version": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "encoding": f"{sys.stdout.encoding} printed, {sys.getfilesystemencoding()} file names",
    }


def _requirements() -> list[tuple[str, str | None]]:
    """(package, extra or None) of everything that diffcli names in its metadata."""
    found = []
    for line in metadata.requires("diffcli") or ():
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if name and name[0] != "diffcli":
            found.append((name[0], extra[1] if extra else None))
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def packages() -> Facts:
    """The installed version of each package that diffcli needs; None where it is missing."""
    return {name: _version(name) for name, extra in _requirements() if extra is None}


def extras() -> Facts:
    """By extra, the packages of it that are missing."""
    by_extra: dict[str, list[str]] = {}
    for name, extra in _requirements():
        if extra is not None:
            missing = by_extra.setdefault(extra, [])
            if _version(name) is None:
                missing.append(name)
    return by_extra


def hardware() -> Facts:
    """Cores, memory, threads and accelerators, as PyTorch sees them."""
    import torch

    from diffcli.utils.devices import processor

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cuda = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "processor": processor(),
        "cores": usable,
        "memory": _memory(),
        "threads": torch.get_num_threads(),
        "cuda": [
            f"{device.name}, {device.total_memory / 2**30:.0f} GiB, sm_{device.major}{device.minor}" for device in cuda
        ],
        "cuda_of_torch": torch.version.cuda,
        "mps": torch.backends.mps.is_available(),
        "compiler": next((name for name in ("g++", "clang++", "c++", "cl") if shutil.which(name)), None),
    }


def _memory() -> str | None:
    with suppress(AttributeError, ValueError, OSError):
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return None


def precisions() -> Facts:
    """The device that is taken where none is named, whether it is fast in bfloat16, and so what ``precision`` auto picks."""
    from diffcli.utils.compile import AMPERE, has_fast_bfloat16, precision_of
    from diffcli.utils.devices import Devices, pick_device

    device = pick_device("auto")
    fast = has_fast_bfloat16(device)
    needed = {
        "cpu": "the instructions AMX or AVX512_BF16",
        "cuda": f"tensor cores of sm_{AMPERE[0]}{AMPERE[1]} or newer",
        "mps": "an accelerator that is known to be fast in bfloat16; mps is not",
    }[device.type]
    return {
        "device": device.type,
        "fast_bfloat16": fast,
        "auto": precision_of(Devices(precision="auto")),
        "why": f"{device.type} {'has' if fast else 'lacks'} {needed}",
    }


def data(data_dir: Path | str | None = None) -> Facts:
    """The data folder, and what each data set that may lie in it holds there; every file is read."""
    import inspect

    from diffcli.data.datasets import DATASETS
    from diffcli.data.sources import default_data_dir

    folder = default_data_dir() if data_dir is None else user_path(data_dir)
    found: Facts = {"folder": str(folder.absolute()), "there": folder.is_dir()}
    if not found["there"]:
        return found
    for name, load in DATASETS.items():
        takes = inspect.signature(load).parameters
        if "data_dir" in takes:
            try:
                source = load(data_dir=folder, **({"download": False} if "download" in takes else {}))
                found[name] = f"{len(source.development):,} and {len(source.test):,} images"
            except DiffcliError as error:
                found[name] = re.split("[:;] ", str(error))[0]  # what is wrong, without what would be right
    return found


def models() -> Facts:
    """The runs here, the ready models, and weights and caches at hand."""
    from diffcli.checkpoints.model_file import ready_models
    from diffcli.checkpoints.runs import all_runs, runs_root
    from diffcli.config.plugins import files
    from diffcli.evaluation.cache import cache_folder
    from diffcli.evaluation.extractors import inception_cache

    return {
        "runs": f"{len(all_runs())} in {runs_root().absolute()}",
        "ready": list(ready_models()),
        "inception_weights": str(weights) if (weights := inception_cache()) and weights.is_file() else None,
        "cache": str(cache) if (cache := cache_folder()) else None,
        "plugins": [str(file) for file in files()],
    }


def environment() -> Facts:
    """The variables that change what is computed or where files lie; no secrets."""
    chosen = {name: value for name, value in os.environ.items() if ENVIRONMENT.match(name) and not SECRET.search(name)}
    return dict(sorted(chosen.items()))
