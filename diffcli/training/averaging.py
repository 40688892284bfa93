"""The exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class ExponentialAverage(WeightAveraging):
    """Validation, samples and a checkpoint's ``state_dict`` use the average; training goes on with the weights themselves.

    The decay grows as (1 + n) / (10 + n) until it is ``decay``, so that the average of a short training forgets where it
    began.

    Args:
        decay: of the average at each step n, in (0, 1).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=self._blend)
        self.decay = decay
        self._swapped = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            # Read at each step: on the CPU, so that an accelerator need not be waited for.
            self._average_model.n_averaged = torch.tensor(0)

    @torch.no_grad()
    def _blend(self, averaged: list[Tensor], current: list[Tensor], n: Tensor | int) -> None:
        assert self._average_model is not None
        count = int(self._average_model.n_averaged)  # n is a copy of it on the accelerator
        decay = min(self.decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped

    @contextmanager
    def in_use(self, pl_module: LightningModule) -> Iterator[None]:
        """The module holds the averaged weights inside the block."""
        self._swap_models(pl_module)
        try:
            yield
        finally:
            self._swap_models(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # Interrupted in a validation: what is saved next must not take the average for the weights.
        if self._swapped:
            self._swap_models(pl_module)
