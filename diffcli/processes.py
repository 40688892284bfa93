"""The processes of one sampling or evaluation: each does its share of the batches, and all get the whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed

from diffcli.errors import UserError, unknown

Item = TypeVar("Item")
Result = TypeVar("Result")

ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")


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
    """The device that ``--accelerator`` means.

    Raises:
        UserError: it is unknown, or this machine has none.
    """
    if accelerator not in ACCELERATORS:
        raise UserError(f"--accelerator: {unknown('accelerator', accelerator, ACCELERATORS)}")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    wanted = "cuda" if accelerator == "gpu" else accelerator
    if wanted == "auto":
        wanted = next(name for name, there in available.items() if there)
    if not available[wanted]:
        raise UserError(f"--accelerator {accelerator}: PyTorch sees no such device here; use auto or cpu")
    return torch.device(wanted)


def device_setting(devices: str) -> int | str:
    """``--devices`` as Lightning takes it: a number as a number, a list or ``auto`` as text."""
    return int(devices) if devices.lstrip("-").isdigit() else devices


def launch(accelerator: str, devices: str, num_nodes: int, strategy: str) -> Processes:
    """Starts the processes that were asked for (Lightning Fabric's options), or joins those that are started already.

    Raises:
        UserError: an option is not usable on this machine.
    """
    device = pick_device(accelerator)
    started = int(os.environ.get("WORLD_SIZE") or 1) > 1  # by torchrun
    if devices == "1" and num_nodes == 1 and strategy == "auto" and not started:
        return Processes(device)
    from lightning.fabric import Fabric

    try:
        fabric = Fabric(
            accelerator=device.type, devices=device_setting(devices), num_nodes=num_nodes, strategy=strategy
        )
        fabric.launch()
    except (ValueError, TypeError, RuntimeError) as error:
        message = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"--devices, --num-nodes or --strategy: {message}") from error
    if not fabric.is_global_zero:
        silence()
    return Processes(fabric.device, fabric.global_rank, fabric.world_size)


def silence() -> None:
    """Of several processes the first one alone prints results."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as the process lives)
