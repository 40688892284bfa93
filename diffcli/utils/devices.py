"""Devices and processor cores, and the processes of a sampling or evaluation: each does its share of the batches, and
all get the whole."""

from __future__ import annotations

import logging
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from diffcli.utils import distributed as peers
from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.options import DEVICES, option

if TYPE_CHECKING:
    import torch
    from lightning.fabric import Fabric

Item = TypeVar("Item")
Result = TypeVar("Result")
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]

STRATEGIES = ("auto", "ddp")
"""The strategies that sample: others split a model over the processes, or start them in ways of their own."""
ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")
ENGINES = ("auto", "onnxruntime", "torch")
SPINS_OF_THE_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
SPINS = "1000"
"""Of libgomp, the OpenMP of PyTorch's wheels for Linux. Its own 300,000 outlast the scheduler's time slices, so that
two jobs on the same cores spend nearly all their time waiting for threads that do not run; 1,000 take microseconds,
which spares a lone job nearly all of its sleeps. docs/benchmarks.md has the measurements."""


@dataclass(frozen=True)
class Devices:
    """The devices that a command works on, in Lightning's words.

    Args:
        accelerator: one of ``ACCELERATORS``; a training takes others of Lightning's, too.
        devices: a number, a list such as ``0,1``, or ``auto`` for all.
        num_nodes: machines.
        strategy: ``auto`` or ``ddp``; a training takes others of Lightning's, too.
        precision: one of :data:`diffcli.utils.compile.PRECISIONS`, or ``auto``; None is the preset's for a training,
            else 32-true.
        compile: compiles the network with torch.compile.
        engine: what computes networks on CPUs where no gradient is asked for: one of ``ENGINES``.
    """

    accelerator: str = option("auto", help="auto, cpu, cuda or mps.", panel=DEVICES)
    devices: str = option("auto", help="Lightning's: a number, a list, or auto.", panel=DEVICES)
    num_nodes: int = option(1, help="Machines.", panel=DEVICES)
    strategy: str = option("auto", help="auto or ddp; train takes others of Lightning's, too.", panel=DEVICES)
    precision: str | None = option(
        None,
        help="32-true, bf16-mixed, 16-mixed, or auto: bf16-mixed where the device is fast at it.",
        default_text="the preset's",
        panel=DEVICES,
    )
    compile: bool = option(False, help="Compile the network with torch.compile.", panel=DEVICES)
    engine: str = option(
        "auto", help="onnxruntime, torch, or auto: onnxruntime on CPUs where it is installed.", panel=DEVICES
    )


ONE_DEVICE = Devices(devices="1", precision="32-true")
"""The devices of sampling and evaluations unless they are told otherwise."""
PLACES: dict[str, str | None] = dict.fromkeys(("accelerator", "devices", "num_nodes", "strategy"))
"""The fields of devices that say where the work is done; each has a flag."""


def devices_option(default: Devices, parts: Mapping[str, str | None]) -> Any:
    """The devices of a command, a flag for each of these parts."""
    return option(default, check=lambda _, value: devices_of(value), parts=parts)


def devices_of(value: Devices | int | str) -> Devices:
    """The devices that an argument ``devices`` says: as it is, or of a number, a list as text, or ``auto``, the devices
    so named.

    Raises:
        UserError: it is something else.
    """
    if isinstance(value, Devices):
        return value if isinstance(value.devices, str) else replace(value, devices=str(value.devices))
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return Devices(devices=str(value))
    raise UserError(f"`devices` {value!r:.80}: give a number, or diffcli.Devices(accelerator, devices, ...)")


@dataclass(frozen=True)
class Processes:
    """The processes of a command: which of ``count`` this one is, and the device that it works on."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks to the user."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """The share of ``items`` that this process works on."""
        return items[self.rank :: self.count]

    def map_in_order(self, items: Sequence[Item], work: Callable[[Item], Result]) -> Iterator[Result]:
        """Splits the items over the processes and yields all results of ``work``, in the order of the items, on each
        process."""
        for turn in range(0, len(items), self.count):
            outputs = [work(item) for item in self.share(items[turn : turn + self.count])]
            for results in self._gathered(outputs):
                yield from results

    def _gathered(self, value: Result) -> list[Result]:
        if self.count == 1:
            return [value]
        from torch import distributed

        values: list[Result] = [value] * self.count
        distributed.all_gather_object(values, value)
        return values


def pick_device(accelerator: str) -> torch.device:
    """The device that ``accelerator`` means.

    Raises:
        UserError: it is unknown, or this machine has none.
    """
    if accelerator not in ACCELERATORS:
        raise UserError(f"`accelerator`: {unknown_name('accelerator', accelerator, ACCELERATORS)}")
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = "cuda" if accelerator == "gpu" else accelerator
    if kind == "auto":
        kind = next(name for name, is_present in available.items() if is_present)
    if not available[kind]:
        raise UserError(f"`accelerator` {accelerator}: PyTorch sees no such device here; use auto or cpu")
    return torch.device(kind)


def yield_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets the spins of waiting threads, for this process and those that it starts.

    What the user has set stays; so does everything once PyTorch is loaded, which reads it then.
    """
    if "torch" not in sys.modules and not any(name in environment for name in SPINS_OF_THE_USER):
        environment["GOMP_SPINCOUNT"] = SPINS


def processor() -> str:
    """The name of this machine's processor."""
    with suppress(OSError):
        names = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(errors="replace"))
        if names:
            return names[1]
    return platform.processor() or platform.machine()


def hardware() -> dict[str, Any]:
    """Cores, memory, threads and accelerators, as PyTorch sees them."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cuda = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "processor": processor(),
        "cores": cores,
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


def device_name(device: torch.device) -> str:
    """A GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def device_setting(devices: str) -> int | str:
    """``devices`` as Lightning takes it: a number as a number, a list or ``auto`` as text."""
    return int(devices) if devices.lstrip("-").isdigit() else devices


def hush_lightning() -> None:
    """Keeps Lightning's banners and its hints about settings that are not the user's from the terminal."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")


@contextmanager
def _lightnings_errors() -> Iterator[None]:
    """Turns what Lightning raises on options that are not usable into one line."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError) as error:
        message = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"`devices`, `num_nodes` or `strategy`: {message}") from error


def fabric_of(devices: Devices) -> Fabric:
    """Lightning's Fabric over the devices that were asked for; nothing is started yet.

    Raises:
        UserError: an option is not usable on this machine, or the program cannot be started again for each process.
    """
    if devices.strategy not in STRATEGIES:
        raise UserError(
            f"`strategy` {devices.strategy}: sampling needs the whole model in each process; use "
            f"{' or '.join(STRATEGIES)}"
        )
    from lightning.fabric import Fabric

    hush_lightning()
    device = pick_device(devices.accelerator)
    with _lightnings_errors():
        fabric = Fabric(
            accelerator=device.type,
            devices=device_setting(devices.devices),
            num_nodes=devices.num_nodes,
            strategy=devices.strategy,
        )
    peers.check_program(fabric.strategy.launcher)
    return fabric


def launch(devices: Devices) -> Processes:
    """Starts the processes that were asked for, or joins those that are started already.

    Raises:
        UserError: an option is not usable on this machine.
    """
    device = pick_device(devices.accelerator)
    is_started = int(os.environ.get("WORLD_SIZE") or 1) > 1  # by torchrun, or by a training before
    if devices.devices == "1" and devices.num_nodes == 1 and devices.strategy == "auto" and not is_started:
        return Processes(device)
    fabric = fabric_of(devices)
    peers.watch_processes()
    with _lightnings_errors():
        fabric.launch()
    peers.check_count(fabric.world_size)
    if not fabric.is_global_zero:
        silence()
    return Processes(fabric.device, fabric.global_rank, fabric.world_size)


def silence() -> None:
    """Silences a process: of several, the first one alone prints results."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as the process lives)
