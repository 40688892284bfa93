"""The callbacks of a training: history, progress, sample pictures."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from diffcli.config.build import path_of
from diffcli.data.datasets import ImageSet
from diffcli.data.pixels import to_uint8
from diffcli.diffusion.labels import SampleLabels
from diffcli.inference.figures import reconstruction_figure
from diffcli.inference.pictures import RESTORATION, save_grid
from diffcli.inference.restoration import reconstruction_rows
from diffcli.inference.sampling import Sampling, generate, images_to_fit
from diffcli.training.averaging import ExponentialAverage
from diffcli.training.cautions import loss_rise
from diffcli.training.module import DiffusionModule
from diffcli.training.pace import TimeBudget
from diffcli.utils.bars import bar
from diffcli.utils.console import note, progress, progress_in_lines
from diffcli.utils.devices import Processes
from diffcli.utils.files import written_whole

CONDITIONAL_IMAGES = 8


class History(Callback):
    """``metrics.csv``: one row per epoch; a resumed run goes on below the epochs that its checkpoint has done.

    The part of an epoch that is done travels in checkpoints, so that the row of an interrupted epoch is that of the
    whole.

    Args:
        file: ``metrics.csv``.
        show: called with each new row.
    """

    FIELDS = ("epoch", "step", "train_loss", "val_loss", "images_per_second", "seconds")

    def __init__(self, file: Path, show: Callable[[Trainer, dict[str, Any]], None]) -> None:
        self.file = file
        self.show = show
        self.rows: list[dict[str, Any]] = []
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.images, self.seconds, self.validated = 0, 0.0, False
        self.loss_sum = torch.zeros(())  # of this process's images

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.loss_sum = self.loss_sum.to(pl_module.device)
        self._clock = time.perf_counter()
        if trainer.is_global_zero and self.file.is_file():
            with self.file.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
            self.rows = [row for row in rows if int(row["epoch"]) <= trainer.current_epoch]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_epoch()
        self.loss_sum = self.loss_sum.to(pl_module.device)
        self._clock = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += batch.size
        self.loss_sum += outputs["loss"].detach() * (batch.size / trainer.world_size)
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        train_loss = float(self._total_loss(trainer)) / self.images
        pl_module.log("train_loss", train_loss)
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "train_loss": train_loss,
            "val_loss": float(trainer.callback_metrics["val_loss"]) if self.validated else None,
            "images_per_second": round(self.images / self.seconds, 1),
            "seconds": round(self.seconds, 2),
        }
        self.rows.append(row)
        self.show(trainer, row)
        if trainer.is_global_zero:
            losses = [float(one["train_loss"]) for one in self.rows]
            if (caution := loss_rise(losses, trainer.current_epoch + 1)) is not None:
                note(caution)
            with written_whole(self.file) as part, part.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, self.FIELDS)
                writer.writeheader()
                writer.writerows(self.rows)

    def _total_loss(self, trainer: Trainer) -> Tensor:
        """The sum of the losses of the epoch's images so far, over all processes."""
        total = trainer.strategy.reduce(self.loss_sum.clone(), reduce_op="sum")
        assert isinstance(total, Tensor)
        return total

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        loss_sum = self._total_loss(trainer).cpu()
        checkpoint["epoch_so_far"] = {"images": self.images, "seconds": self.seconds, "loss_sum": loss_sum}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if (state := checkpoint.get("epoch_so_far")) is not None:
            self.images, self.seconds = state["images"], state["seconds"]
            if trainer.is_global_zero:  # the others' parts are in the sum
                self.loss_sum = state["loss_sum"]


class TrainingProgress(Callback):
    """One bar over the whole training with images/s and time left; a line per epoch where none can move and lines are
    wanted."""

    def __init__(self, quiet: bool, budget: TimeBudget | None = None) -> None:
        self.quiet = quiet
        self.budget = budget
        self.display = bar("images", quiet)
        self.fit_bar = ExitStack()
        """The bar of the priors' fit, while there is one."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, DiffusionModule)
        to_fit = sum(prior.needs_fit for prior in pl_module.missing_priors().values())
        if not to_fit or not trainer.is_global_zero:
            return
        images = images_to_fit(trainer.datamodule.train.images)  # type: ignore[attr-defined]
        if self._is_seen():
            note(f"fitting the priors to {images:,} degraded training images")
        pl_module.fit_progress = self.fit_bar.enter_context(
            progress("fitting the priors", to_fit * images, "images", self.quiet)
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.fit_bar.close()
        images = trainer.datamodule.images_per_epoch  # type: ignore[attr-defined]
        total = images * (trainer.max_epochs or 1)
        if not trainer.is_global_zero:
            self.display.disable = True
        self.display.start()
        self.task = self.display.add_task("training", total=total, note="")
        # Progress made before a resume must not count as speed.
        sizes = trainer.datamodule.epoch_batch_sizes  # type: ignore[attr-defined]
        epochs, batches = divmod(trainer.global_step, len(sizes))
        self.total = total - images * epochs - sum(sizes[:batches])
        self.display.reset(self.task, total=self.total)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.display.update(self.task, description=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.display.advance(self.task, batch.size)
        if self.budget is not None:
            steps = self.display.tasks[self.task].completed
            self.display.update(self.task, total=min(self.total, steps * self.budget.stretch))

    def show(self, trainer: Trainer, row: dict[str, Any]) -> None:
        """Shows a new row of the history."""
        losses = f"train loss {row['train_loss']:.4f}" + (
            f", val loss {row['val_loss']:.4f}" if row["val_loss"] is not None else ""
        )
        self.display.update(self.task, note=losses)
        if trainer.is_global_zero and self.display.disable and self._is_seen() and row["val_loss"] is not None:
            speed = f"{row['images_per_second']:,.0f} images/s"
            note(f"epoch {row['epoch']}/{trainer.max_epochs}: {losses}, {speed}")

    def _is_seen(self) -> bool:
        """Whether somebody watches a bar, or wants lines in its place."""
        return not self.quiet and (not self.display.disable or progress_in_lines())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.display.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.fit_bar.close()
        self.display.stop()


class EpochSamples(Callback):
    """Grid of samples and figure of reconstructions at the preset's epochs (report Figures 2 and 3); without
    autoguidance, whose guide may not be there yet.

    Args:
        folder: where ``epoch-005-unconditional.png`` and ``epoch-005-conditional.png`` go.
        average: of the weights, drawn from in their place.
    """

    def __init__(self, folder: Path, average: ExponentialAverage | None = None) -> None:
        self.folder = folder
        self.average = average

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, DiffusionModule)
        preset, epoch = pl_module.preset, trainer.current_epoch + 1
        if epoch not in preset.training.sample_epochs or not trainer.is_global_zero:
            return
        prior = pl_module.priors[preset.prior.name]
        sampling = Sampling(
            denoiser=pl_module.denoiser,
            prior=prior,
            sampler=preset.sampler.model_copy(update={"autoguidance": 1.0}),
            steps=path_of(preset.sampler, pl_module.denoiser.degradation),
            seed=preset.training.seed,
            batch_size=preset.training.sample_n,
            processes=Processes(pl_module.device),
            labels=SampleLabels(shares=pl_module.class_shares) if preset.classes else None,
        )
        pl_module.eval()
        with self.average.in_use() if self.average else nullcontext():
            val = trainer.datamodule.val  # type: ignore[attr-defined]
            # As scores are: told the label only where the network knows no other estimate.
            if preset.labels is None or preset.labels.works_without(pl_module.unlabelled_share):
                images, labels = val[torch.arange(min(CONDITIONAL_IMAGES, len(val)))], None
            else:
                images = val[_trained_labels(val.labels, pl_module.class_shares)[:CONDITIONAL_IMAGES]]
                labels = images.labels
            stem = self.folder / f"epoch-{epoch:03d}"
            self._draw(sampling, images, labels, stem, RESTORATION if prior.restores else None)
        pl_module.train()

    def _draw(self, sampling: Sampling, images: ImageSet, labels: Tensor | None, stem: Path, label: str | None) -> None:
        (samples,) = generate(sampling.from_prior(), sampling.batch_size, images.image_shape)
        with written_whole(stem.with_name(f"{stem.name}-unconditional.png")) as part:
            save_grid(to_uint8(samples), part, label)
        if not len(images):
            return
        rows = reconstruction_rows(sampling, images.images, labels=labels)
        with written_whole(stem.with_name(f"{stem.name}-conditional.png")) as part:
            reconstruction_figure(rows).savefig(part)


def _trained_labels(labels: Tensor, class_shares: Sequence[float]) -> Tensor:
    """The images with a label that training images have, int64 (M,): positions in labels, int64 (N,), that may be -1
    for none."""
    numbers = [number for number, share in enumerate(class_shares) if share]
    return torch.isin(labels, torch.tensor(numbers)).nonzero().flatten()
