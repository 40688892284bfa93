"""Estimates the time and memory of a training from a few real steps, and whether it is long enough to learn
anything."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from diffcli.config.schema import Preset, seconds
from diffcli.data.datamodule import ImageDataModule, resident
from diffcli.data.datasets import NO_LABEL
from diffcli.diffusion.priors import PRIORS
from diffcli.training.module import DiffusionModule
from diffcli.utils.compile import precision_of, use_fast_products
from diffcli.utils.devices import Devices, device_name, pick_device

MOST_STEPS = 10
MOST_SECONDS = 2.0
"""So many steps are timed, or as many as begin in that time, and one at least, after one that is not."""
LONG_SECONDS = 20.0
"""A first step of this time is the one that is timed."""
LEAST_STEPS = {"x0": 30, "v": 150, "eps": 500}
"""So many steps a model needs at least before it draws anything, by its prediction: small errors of the noise are large
ones of x0 where there is much of it. Measured on 8x8 digits, see docs/how-to/own-images.md; larger images need more."""
LEAST_STEPS_OF_CNN = 1500
"""The ``LEAST_STEPS`` of the report's CNN, whatever it predicts."""


@dataclass(frozen=True)
class Outlook:
    """The time and memory that a training on one device will take, from steps that were measured."""

    step_seconds: float
    measured_steps: int
    """Steps that it is the median of."""
    validation_seconds: float
    """The seconds of one validation."""
    steps: int
    """The steps of the whole training, were there no limit of time."""
    epochs: int
    validations: int
    limit: float | None
    """Seconds of the preset's max_time."""
    device: str
    precision: str
    memory: dict[str, int]
    """Bytes, by whose: the most that this process had, and the most of a GPU's."""
    to_fit: bool
    """Whether priors are fitted before the first step."""

    @property
    def total_seconds(self) -> float:
        """The seconds of all epochs, without fitting priors and drawing samples."""
        return self.steps * self.step_seconds + self.validations * self.validation_seconds

    @property
    def steps_done(self) -> int:
        """Steps until a limit is reached."""
        if self.limit is None or self.total_seconds <= self.limit:
            return self.steps
        return max(1, int(self.steps * self.limit / self.total_seconds))

    def describe(self) -> str:
        """The outlook in a few lines that are comments of YAML."""
        lines = [f"estimated from {self._measured_text} on {self.device}, {self.precision}:"]
        speed = f"{self.step_seconds * 1000:,.3g} ms a step"
        lines.append(
            f"  time: {clock(self.total_seconds)} for {self.epochs:,} epochs, {speed}, {self.validations:,} "
            f"validations; {self._on_top}"
        )
        if self.limit is not None:
            if self.steps_done < self.steps:
                lines.append(f"  ends by max_time {clock(self.limit)}, in about epoch {self._epochs_done}")
            else:
                lines.append(
                    f"  ends after epoch {self.epochs:,}, before max_time {clock(self.limit)}: more epochs would use "
                    "the rest"
                )
        if self.memory:
            lines.append(f"  memory: {self._memory}")
        return "".join(f"# {line}\n" for line in lines)

    def in_a_line(self) -> str:
        """The time until the training ends, and its memory."""
        if self.limit is not None and self.steps_done < self.steps:
            ends = f"{clock(self.limit)}, until max_time in about epoch {self._epochs_done}"
        else:
            ends = f"about {clock(self.total_seconds)} for {self.epochs:,} epochs, {self._on_top}"
        memory = f"; memory: {self._memory}" if self.memory else ""
        return f"time: {ends}{memory} (estimated from {self._measured_text} on {self.device})"

    @property
    def _measured_text(self) -> str:
        return "1 step" if self.measured_steps == 1 else f"{self.measured_steps} steps"

    @property
    def _on_top(self) -> str:
        return "fitting the prior and drawing samples come on top" if self.to_fit else "drawing samples comes on top"

    @property
    def _epochs_done(self) -> str:
        return f"{math.ceil(self.epochs * self.steps_done / self.steps):,} of {self.epochs:,}"

    @property
    def _memory(self) -> str:
        return f"at least {', '.join(f'{size / 2**30:.2f} GiB of {owner}' for owner, size in self.memory.items())}"


def clock(duration: float) -> str:
    """Seconds as text: 41 s, 1 min 19 s, 2 h 5 min.

    >>> clock(79.4), clock(7500), clock(0.2)
    ('1 min 19 s', '2 h 5 min', '1 s')
    """
    whole = max(1, round(duration))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def outlook(preset: Preset, module: DiffusionModule, data: ImageDataModule, devices: Devices) -> Outlook:
    """Times a few training steps and a validation batch on the training's device, to estimate time and memory; changes
    the module's weights.

    Raises:
        UserError: the device is not there, or the precision is unknown.
    """
    device, training = pick_device(devices.accelerator), preset.training
    precision = precision_of(devices, training.precision)
    use_fast_products(device)
    module.to(device)
    size = data.epoch_batch_sizes[0]
    images = resident(data.train, device)
    batch = images[torch.arange(size)]
    step, validate = _steps(preset, module, (batch.images, batch.labels), precision)
    with _autocast(device, precision):
        durations = _call_seconds(step, device)
        share = min(len(data.val), size) / size
        validating = _call_seconds(validate, device, most=1)[0]
    batches = min(math.ceil(len(data.val) / size), data.limit_batches or sys.maxsize)
    return Outlook(
        step_seconds=median(durations),
        measured_steps=len(durations),
        validation_seconds=validating * (batches if batches > 1 else share),
        steps=training.epochs * data.batches_per_epoch,
        epochs=training.epochs,
        validations=training.epochs // training.val_every if preset.validates else 0,
        limit=seconds(training.max_time) if training.max_time is not None else None,
        device=_name(device),
        precision=precision,
        memory=_memory(device),
        to_fit=PRIORS[preset.prior.name].needs_fit,
    )


def _steps(
    preset: Preset, module: DiffusionModule, batch: tuple[Tensor, Tensor], precision: str
) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step of the training, and a batch of the validation, as functions."""
    training, network = preset.training, module.networks
    fused = training.clip_norm is None or precision == "32-true"
    optimizer = module.optimizer(fused=fused)
    weights = [weight.detach() for weight in network.parameters()]
    average = [weight.clone() for weight in weights] if training.ema is not None else None
    images, labels = batch
    # Labels that the data set does not have, clusters, are found when the training begins.
    labels = labels.clamp(NO_LABEL, preset.classes - 1)

    def loss() -> Tensor:
        step_labels = labels.to(module.device) if preset.classes else None
        return module.losses(images.to(module.device), step_labels, len(images)).mean()

    def step() -> None:
        loss().backward()
        if training.clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), training.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        if average is not None and training.ema is not None:
            torch._foreach_lerp_(average, weights, 1 - training.ema)

    @torch.no_grad()
    def validate() -> None:
        loss()

    return step, validate


def _name(device: torch.device) -> str:
    if device.type == "cpu":
        count = torch.get_num_threads()
        return f"{count} thread{'s' if count > 1 else ''} of a CPU"
    return device_name(device) if device.type == "cuda" else device.type


def _autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    dtypes = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    return torch.autocast(device.type, dtypes[precision]) if precision in dtypes else nullcontext()


def _call_seconds(work: Callable[[], None], device: torch.device, most: int = MOST_STEPS) -> list[float]:
    """Seconds of each call: of the first one alone where it is long, else of those after it."""
    durations: list[float] = []
    while len(durations) <= most and sum(durations) < (LONG_SECONDS if len(durations) == 1 else MOST_SECONDS):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        durations.append(time.perf_counter() - start)
    return durations[1:] or durations


def _memory(device: torch.device) -> dict[str, int]:
    memory = {}
    if device.type == "cuda":
        memory["the GPU's memory"] = torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows does not say
        return memory
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return memory | {"the machine's": most if sys.platform == "darwin" else most * 1024}


def least_steps(preset: Preset) -> int:
    """The number of steps, those of the warm-up not counted, that a preset's model needs at least."""
    least = LEAST_STEPS_OF_CNN if preset.network.name == "cnn" else LEAST_STEPS[preset.prediction]
    return least + preset.training.warmup
