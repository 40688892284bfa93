"""The one LightningModule: any denoiser, any degradation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from diffcli.config.build import ResolvedPreset, build_denoiser, candidate_priors
from diffcli.data.clusters import cluster_centres, label_by_cluster
from diffcli.data.datamodule import Batch
from diffcli.data.pixels import to_model
from diffcli.diffusion.labels import NO_LABEL, hidden_labels, shares_of
from diffcli.diffusion.losses import Draws, KeptDraws, fixed_draws, fixed_loss
from diffcli.diffusion.measurement_noise import sigma_of
from diffcli.diffusion.priors import Prior
from diffcli.diffusion.randomness import Stream, generator_for
from diffcli.diffusion.times import draw_times
from diffcli.inference.sampling import fit_prior
from diffcli.training.optimizers import MUON_LR, OPTIMIZERS
from diffcli.training.pace import TimeBudget, lr_factor
from diffcli.training.position import loops_at, resume_at


class DiffusionModule(LightningModule):
    """Trains a preset's denoiser (report Algorithm 1).

    The priors of its degradation are fitted to the training split before the first step and travel in every checkpoint.

    Args:
        preset_name: for sampling from the checkpoint alone.
        plugins: those that it needs, see :func:`~diffcli.config.registry.needed_by`.
    """

    def __init__(
        self, resolved_preset: ResolvedPreset, preset_name: str, plugins: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        self.preset = resolved_preset.preset
        # The entry hyper_parameters of a checkpoint: plain types, so that it can be read without executing anything.
        hyper_parameters = {"preset": self.preset.model_dump(), "preset_name": preset_name, "plugins": plugins}
        # Up to version 0.4 a checkpoint without the shape is refused.
        self.save_hyperparameters(hyper_parameters | {"image_shape": list(resolved_preset.image_shape)})
        self.denoiser = build_denoiser(resolved_preset)
        # A plain dictionary: priors are not weights, and stay out of the state dict.
        self.priors: dict[str, Prior] = {}
        self.fit_progress: Callable[[int], None] | None = None
        """Called with the number of images that a prior has been fitted to, for a bar."""
        self.clusters: Tensor | None = None
        self._val_draws = KeptDraws()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        batches = self.trainer.datamodule.batches_per_epoch  # type: ignore[attr-defined]
        checkpoint["loops"]["fit_loop"] |= loops_at(checkpoint["global_step"], batches)
        self.clusters = checkpoint.get("clusters")
        candidates = candidate_priors(self.preset)
        for name, state in checkpoint.get("priors", {}).items():
            if name in candidates:
                candidates[name].load_state_dict(state)
                self.priors[name] = candidates[name]

    def on_fit_start(self) -> None:
        self._label_by_cluster()
        train = self.trainer.datamodule.train  # type: ignore[attr-defined]
        labels = train.labels if self.preset.classes else None
        advance = self.fit_progress or (lambda images: None)
        for name, prior in self.missing_priors().items():
            if self.trainer.is_global_zero or prior.restores:
                fit_prior(prior, self.denoiser.degradation, train.images, labels, advance)
            if self.trainer.world_size > 1:
                prior.load_state_dict(self.trainer.strategy.broadcast(prior.state_dict()))
            self.priors[name] = prior

    def missing_priors(self) -> dict[str, Prior]:
        """The priors that belong to the degradation and are not there yet, by name.

        What a checkpoint brought is kept; copies of training images are only held where the preset wants them.
        """
        return {
            name: prior
            for name, prior in candidate_priors(self.preset).items()
            if name not in self.priors and (not prior.restores or name == self.preset.prior.name)
        }

    def _label_by_cluster(self) -> None:
        """Gives the images their clusters for labels, where the preset wants that; what a checkpoint brought is
        kept."""
        if self.preset.labels is None or not self.preset.labels.clusters:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.clusters is None:
            if self.trainer.is_global_zero:
                self.clusters = cluster_centres(data.train.images, self.preset.labels.clusters)
            if self.trainer.world_size > 1:
                self.clusters = self.trainer.strategy.broadcast(self.clusters)
        assert self.clusters is not None
        data.train, data.val = label_by_cluster(data.train, self.clusters), label_by_cluster(data.val, self.clusters)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        fitted_priors = {name: prior for name, prior in self.priors.items() if prior.needs_fit and not prior.restores}
        checkpoint["priors"] = {name: prior.state_dict() for name, prior in fitted_priors.items()}
        if self.preset.classes:
            checkpoint["class_shares"] = self.class_shares
            checkpoint["unlabelled_share"] = self.unlabelled_share
        if self.clusters is not None:
            checkpoint["clusters"] = self.clusters

    @property
    def class_shares(self) -> tuple[float, ...]:
        """The share of each label in the training split, from which samples' labels are drawn."""
        return shares_of(self._labels, self.preset.classes)

    @property
    def unlabelled_share(self) -> float:
        """The share of the training images that have no label."""
        return float((self._labels == NO_LABEL).double().mean())

    @property
    def _labels(self) -> Tensor:
        """The labels of the training split, int64 (N,)."""
        labels: Tensor = self.trainer.datamodule.train.labels  # type: ignore[attr-defined]
        return labels

    def draw(self, size: int, image_shape: torch.Size) -> Draws:
        """The times and the noise of a batch of ``size`` images: a function of (seed, global step)."""
        training, largest = self.preset.training, self.denoiser.measurement_noise
        generator = generator_for(training.seed, Stream.TRAIN, 0, self.global_step, device=self.device)
        T = self.denoiser.degradation.T
        t = draw_times(size, T, training.t_distribution, training.stratified_t, generator)
        if not self.denoiser.degradation.stochastic and not largest:
            return Draws(t, None)
        noise = torch.randn((size, *image_shape), generator=generator, device=self.device)
        if not largest:
            return Draws(t, noise)
        levels = torch.rand(size, generator=generator, device=self.device)
        return Draws(t, noise, sigma_of(levels, largest))

    def labels(self, batch: Batch) -> Tensor:
        """The labels of this process's images, int64 (B,), those that this step hides left out: which ones those are is
        a function of (seed, global step), too."""
        assert self.preset.labels is not None
        generator = generator_for(self.preset.training.seed, Stream.TRAIN, 1, self.global_step, device=self.device)
        hidden_mask = hidden_labels(batch.size, self.preset.labels.dropped, generator)
        rank, world_size = self.process
        rank_mask = hidden_mask[rank::world_size]
        return batch.labels.masked_fill(rank_mask, NO_LABEL)

    def losses(self, images: Tensor, labels: Tensor | None, batch_size: int) -> Tensor:
        """The loss of each of this process's images, (B,), at times and with noise of (seed, global step).

        Every process draws for the whole batch and takes its own rows: as many give the same training as one.

        Args:
            images: uint8 (B, C, H, W).
            labels: int64 (B,), -1 for none; None of a model without.
            batch_size: images of all processes.
        """
        x0, training = to_model(images), self.preset.training
        t, noise, sigma = self.draw(batch_size, x0.shape[1:]).of_process(*self.process)
        losses = self.denoiser.loss(x0, t, noise, labels, sigma)
        if training.min_snr is not None:
            losses = losses * self.denoiser.min_snr_weight(t, training.min_snr)
        if training.loss is not None:
            losses = losses * self.denoiser.loss_weight(t, training.loss)
        return losses

    @property
    def process(self) -> tuple[int, int]:
        """(The number of this process, how many there are.)"""
        trainer = self._trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    @property
    def networks(self) -> nn.Module:
        """All that is trained."""
        return self.denoiser.network

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        losses = self.losses(batch.images, self.labels(batch) if self.preset.classes else None, batch.size)
        # Lightning averages the gradients of the processes, whose parts of a batch may differ by one image.
        return losses.sum() * (self.process[1] / batch.size)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x0 = to_model(batch.images)

        def draw() -> Draws:
            indices, seed, denoiser = batch.indices.tolist(), self.preset.training.seed, self.denoiser
            draws = fixed_draws(
                denoiser.degradation,
                indices,
                x0.shape[1:],
                seed,
                Stream.VALIDATION,
                measurement_noise=denoiser.measurement_noise,
            )
            return draws.to(x0.device)

        # The batches are the same ones in every validation.
        losses = fixed_loss(self.denoiser, x0, self._val_draws.of(batch_idx, draw), batch.labels)
        self.log("val_loss", losses.mean(), on_epoch=True, sync_dist=True, batch_size=len(x0))

    def progress(self) -> float:
        """The share of the training that is done, of its steps or of its time, whichever is further."""
        steps = self.global_step / int(self.trainer.estimated_stepping_batches)
        return max([steps, *(c.share for c in self.trainer.callbacks if isinstance(c, TimeBudget))])  # type: ignore[attr-defined]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        training = self.preset.training
        # The fused step is one pass over all the weights instead of dozens of small ones; but Lightning does not clip
        # the gradients of an optimizer that would unscale them itself.
        return self.optimizer(fused=training.clip_norm is None or self.trainer.precision == "32-true")

    def optimizer(self, *, fused: bool) -> torch.optim.Optimizer:
        """The optimizer of all that is trained."""
        training = self.preset.training
        return OPTIMIZERS[training.optimizer](self.networks, training.lr, training.weight_decay, fused)

    def on_train_start(self) -> None:
        resume_at(self.trainer, self.global_step)
        # The optimizer of a checkpoint brings its own settings: those of the preset count.
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["weight_decay"] = self.preset.training.weight_decay

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        training = self.preset.training
        factor = lr_factor(self.global_step, self.progress(), training.warmup, training.lr_decay)
        groups = self.optimizers(use_pl_optimizer=False).param_groups  # type: ignore[union-attr]
        for group, lr in zip(groups, (training.lr, MUON_LR), strict=False):
            group["lr"] = lr * factor
