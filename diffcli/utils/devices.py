"""Devices, and the processes of a sampling or evaluation: each does its share of the batches, and all get the whole."""

from __future__ import annotations

import logging
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import distributed

from diffcli.utils import distributed as peers
from diffcli.utils.errors import UserError, unknown

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Item = TypeVar("Item")
Result = TypeVar("Result")
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]

STRATEGIES = ("auto", "ddp")
"""What samples: others split a model over the processes, or start them in ways of their own."""
ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")


@dataclass(frozen=True)
class Devices:
    """The devices that a command works on, in Lightning's words.

    Args:
        accelerator: one of ``ACCELERATORS``; a training takes others of Lightning's, too.
        devices: a number, a list such as ``0,1``, or ``auto`` for all.
        num_nodes: machines.
        strategy: ``auto`` or ``ddp``; a training takes others of Lightning's, too.
        precision: one of :data:`diffcli.utils.compile.PRECISIONS`, or ``auto``; None is the preset's for a training, else
            32-true.
        compile: compiles the network with torch.compile.
    """

    accelerator: str = "auto"
    devices: str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str | None = None
    compile: bool = False


ONE_DEVICE = Devices(devices="1")
"""What sampling and evaluations use unless they are told otherwise."""


def devices_of(value: Devices | int | str) -> Devices:
    """The devices that an argument ``devices`` says: as it is, or of a number, a list as text, or ``auto``, the devices so named.

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
    """Which of ``count`` processes this is, and the device that it works on."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks to the user."""
        return self.rank == 0

    def mine(self, items: Sequence[Item]) -> Sequence[Item]:
        """The share of ``items`` that this process works on."""
        return items[self.rank :: self.count]

    def shared(self, items: Sequence[Item], work: Callable[[Item], Result]) -> Iterator[Result]:
        """``work`` of every item, in the order of ``items``, on every process; each item is worked on by one of them."""
        for turn in range(0, len(items), self.count):
            done = [work(item) for item in self.mine(items[turn : turn + self.count])]
            for results in self._gathered(done):
                yield from results

    def _gathered(self, value: Result) -> list[Result]:
        if self.count == 1:
            return [value]
        everyone: list[Result] = [value] * self.count
        distributed.all_gather_object(everyone, value)
        return everyone


def pick_device(accelerator: str) -> torch.device:
    """The device that ``accelerator`` means.

    Raises:
        UserError: it is unknown, or this machine has none.
    """
    if accelerator not in ACCELERATORS:
        raise UserError(f"`accelerator`: {unknown('accelerator', accelerator, ACCELERATORS)}")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    wanted = "cuda" if accelerator == "gpu" else accelerator
    if wanted == "auto":
        wanted = next(name for name, there in available.items() if there)
    if not available[wanted]:
        raise UserError(f"`accelerator` {accelerator}: PyTorch sees no such device here; use auto or cpu")
    return torch.device(wanted)


def processor() -> str:
    """The name of this machine's processor."""
    with suppress(OSError):
        names = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(errors="replace"))
        if names:
            return names[1]
    return platform.processor() or platform.machine()


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
            f"`strategy` {devices.strategy}: sampling needs the whole model in each process; use {' or '.join(STRATEGIES)}"
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
    started = int(os.environ.get("WORLD_SIZE") or 1) > 1  # by torchrun, or by a training before
    if devices.devices == "1" and devices.num_nodes == 1 and devices.strategy == "auto" and not started:
        return Processes(device)
    fabric = fabric_of(devices)
    peers.watched()
    with _lightnings_errors():
        fabric.launch()
    peers.check_count(fabric.world_size)
    if not fabric.is_global_zero:
        silence()
    return Processes(fabric.device, fabric.global_rank, fabric.world_size)


def silence() -> None:
    """Of several processes the first one alone prints results."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as the process lives)
