"""Averages of the weights: the exponential moving one, and the early one that guides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from diffcli.training.module import DiffusionModule


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


class EarlyAverage(Callback):
    """A copy of the denoiser's weights early in the training, for autoguidance (Karras et al. 2024); in checkpoints it is
    ``guide``, a state dict of the denoiser, from the moment that it was made.

    Args:
        at: the share of the training, in (0, 1), at which it is made.
        average: of the weights, copied in their place.
    """

    def __init__(self, at: float, average: ExponentialAverage | None) -> None:
        self.at = at
        self.average = average
        self.weights: dict[str, Tensor] | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, DiffusionModule)
        if self.weights is None and pl_module.progress() >= self.at:
            with self.average.in_use(pl_module) if self.average else nullcontext():
                state = pl_module.denoiser.state_dict()
                self.weights = {name: weight.detach().to("cpu", copy=True) for name, weight in state.items()}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.weights is not None:
            checkpoint["guide"] = self.weights

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.weights = checkpoint.get("guide")
