"""Averages of the weights: the exponential moving one, and the early one that guides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from diffcli.training.module import DiffusionModule


class ExponentialAverage(Callback):
    """Keeps an exponential moving average (EMA) of the weights.

    Validation, samples and a checkpoint's ``state_dict`` use the average; the training goes on with the weights
    themselves, which a checkpoint has as ``current_model_state``.

    The decay grows as (1 + n) / (10 + n) until it is ``decay``, so that the average of a short training forgets where
    it began. Lightning's own callback would keep the average on the CPU, and an accelerator would be waited for at each
    step.

    Args:
        decay: of the average at each step n, in (0, 1).

    Attributes:
        count: steps that the average is of.
        averages: the average of each of the module's parameters, in their order.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.averages: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._swapped = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # Lightning has loaded the average by now.
        self.count = int(checkpoint["averaging_state"]["n_averaged"])
        self.averages = [weight.detach().clone() for weight in pl_module.parameters()]
        pl_module.load_state_dict(checkpoint["current_model_state"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._weights = [weight.detach() for weight in pl_module.parameters()]
        start = self.averages or self._weights
        self.averages = [torch.empty_like(w).copy_(a) for a, w in zip(start, self._weights, strict=True)]

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        decay = min(self.decay, (1 + self.count) / (10 + self.count)) if self.count else 0.0
        torch._foreach_lerp_(self.averages, self._weights, 1 - decay)
        self.count += 1

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        weights = [weight.clone() for weight in self._weights]
        torch._foreach_copy_(self._weights, self.averages)
        torch._foreach_copy_(self.averages, weights)
        self._swapped = not self._swapped

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The module holds the averaged weights inside the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # Interrupted in a validation: what is saved next must not take the average for the weights.
        if self._swapped:
            self._swap()

    @torch.no_grad()
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch._foreach_copy_(self._weights, self.averages)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        average_of = dict(zip(map(id, pl_module.parameters()), self.averages, strict=True))
        parameters = pl_module.named_parameters(remove_duplicate=False)
        checkpoint["current_model_state"] = checkpoint["state_dict"]
        checkpoint["state_dict"] = checkpoint["state_dict"] | {
            name: average_of[id(weight)] for name, weight in parameters
        }
        checkpoint["averaging_state"] = {"n_averaged": torch.tensor(self.count)}


class EarlyAverage(Callback):
    """A copy of the denoiser's weights early in the training, for autoguidance (Karras et al. 2024); in checkpoints it
    is ``guide``, a state dict of the denoiser, from the moment that it was made.

    Args:
        share: the share of the training, in (0, 1), at which it is made.
        average: of the weights, copied in their place.
    """

    def __init__(self, share: float, average: ExponentialAverage | None) -> None:
        self.share = share
        self.average = average
        self.weights: dict[str, Tensor] | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, DiffusionModule)
        if self.weights is None and pl_module.progress() >= self.share:
            with self.average.in_use() if self.average else nullcontext():
                state = pl_module.denoiser.state_dict()
                self.weights = {name: weight.detach().to("cpu", copy=True) for name, weight in state.items()}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.weights is not None:
            checkpoint["guide"] = self.weights

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.weights = checkpoint.get("guide")
