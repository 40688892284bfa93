"""A trained model as it is stored: weights, preset, fitted priors; and how it is sampled with given options."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffcli.assembly import build_prior, load_source, path_of, resolve, training_split
from diffcli.computing import prepared
from diffcli.config import Component, Preset, Sampler
from diffcli.data.clusters import clustered
from diffcli.data.datasets import ImageSet
from diffcli.devices import Precision, Processes
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.inpainting import check_inpaints
from diffcli.diffusion.labels import Labels
from diffcli.diffusion.priors import PRIORS, Prior
from diffcli.errors import UserError, unknown
from diffcli.generation import Sampling, fit_prior
from diffcli.runs import Run
from diffcli.sampler_options import SamplerOptions, label_numbers

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False)
class Trained:
    """What a checkpoint holds, and how it is sampled with given options."""

    checkpoint: Path
    preset_name: str
    preset: Preset
    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    denoiser: Denoiser
    epoch: int
    """Epochs done, counted from 1."""
    fitted: dict[str, dict[str, Tensor]]
    """What each fitted prior learnt from the training split, as state dicts by name."""
    guide: Denoiser | None = None
    """With an early average of the weights, for autoguidance."""
    class_shares: tuple[float, ...] = ()
    """How frequent each label was in the training split."""
    clusters: Tensor | None = None
    """Where its labels are clusters, their centres, (K, C * H * W)."""
    run: Run | None = None
    """The run that it belongs to, if any."""
    data_dir: Path | str | None = None
    """Folder of the data sets; None is ``DIFFCLI_DATA``, else ``data``."""
    processes: Processes = field(default_factory=lambda: Processes(torch.device("cpu")))
    precision: Precision = "32-true"

    @property
    def T(self) -> int:
        """Number of steps of the degradation."""
        return self.denoiser.degradation.T

    def on(self, processes: Processes, precision: Precision = "32-true", compiled: bool = False) -> Self:
        """The model on the device of this process, its networks in a precision; do that once."""
        for denoiser in filter(None, (self.denoiser, self.guide)):
            denoiser.to(processes.device)
            denoiser.network = prepared(denoiser.network, precision, compiled)
        return replace(self, processes=processes, precision=precision)

    @property
    def background(self) -> str:
        """The colour that shows where an image is transparent: that of the images that it was trained on, if known."""
        return str(self.preset.data.parameters.get("background", "white"))

    @property
    def classes(self) -> list[str]:
        """The names of its labels, label 0 first; none where it was trained without."""
        return self.preset.labels.names if self.preset.labels else []

    def labelled(self, images: ImageSet) -> ImageSet:
        """Images with the labels that this model knows them by: the data set's, or their clusters."""
        return images if self.clusters is None else clustered(images, self.clusters)

    def training_split(self) -> ImageSet:
        """The images that it was trained on.

        Raises:
            UserError: the data set is not there.
        """
        return training_split(self.preset, load_source(self.preset, self.data_dir).development)

    def prior_component(self, name: str | None) -> Component:
        """A prior by name with its parameters; None is the preset's own.

        Raises:
            UserError: it is unknown, or does not fit the degradation.
        """
        own = self.preset.prior
        if name is not None and name not in PRIORS:
            raise UserError(f"`prior`: {unknown('prior', name, PRIORS)}")
        component = own if name in (None, own.name) else Component(name=str(name))
        return resolve(self.preset.model_copy(update={"prior": component})).prior

    def prior(self, name: str | None) -> Prior:
        """A prior by name as it was fitted when the model was trained; None is the preset's own.

        Raises:
            UserError: see :meth:`prior_component`; or it was not stored and the data to fit it to are missing.
        """
        component = self.prior_component(name)
        prior = build_prior(component)
        if component.name in self.fitted:
            try:
                prior.load_state_dict(self.fitted[component.name])
            except KeyError as error:
                raise UserError(
                    f"checkpoint {self.checkpoint} is damaged: prior {component.name} lacks {error}"
                ) from error
        elif prior.needs_fit:
            seen = self.labelled(self.training_split())
            fit_prior(prior, self.denoiser.degradation, seen.images, seen.labels if self.classes else None)
        return prior

    def sampler(self, options: SamplerOptions) -> tuple[Sampler, list[int]]:
        """The preset's sampler but for what the options change, and its time steps, T to 0.

        Raises:
            UserError: the sampler is unknown or does not serve the degradation, or there are more steps than T.
        """
        sampler = options.changed(self.preset.sampler)
        sampler = resolve(self.preset.model_copy(update={"sampler": sampler})).sampler
        return sampler, path_of(sampler, self.denoiser.degradation, options.steps)

    def check_t(self, t: int, smallest: int = 1) -> None:
        """Checks that ``t`` is in smallest..T.

        Raises:
            UserError: it is not.
        """
        if not smallest <= t <= self.T:
            raise UserError(f"`t` must be in {smallest}..{self.T}, got {t}")

    def check_inpaints(self) -> None:
        """Checks that the model can paint what is missing of an image.

        Raises:
            UserError: it is of another degradation than Gaussian noise.
        """
        try:
            check_inpaints(self.denoiser.degradation)
        except ValueError as error:
            raise UserError(str(error)) from error

    def sampling_from(self, t: int, options: SamplerOptions) -> Sampling:
        """As :meth:`sampling`, from ``t`` in 1..T to 0; without ``steps``, the preset's from T to 0 in proportion.

        Raises:
            UserError: ``t`` is out of range, or an option does not fit.
        """
        self.check_t(t)
        if options.steps is not None and not 1 <= options.steps <= t:
            raise UserError(f"`steps` must be in 1..{t} (from t = {t} to 0), got {options.steps}")
        sampling = self.sampling(options)
        if options.steps is None:
            return self.starting_at(t, sampling)
        return replace(sampling, steps=path_of(sampling.sampler, self.denoiser.degradation, options.steps, t))

    def starting_at(self, t: int, sampling: Sampling) -> Sampling:
        """A sampling whose steps go from ``t`` in 1..T to 0, as many as there were from T in proportion."""
        steps = max(1, round((len(sampling.steps) - 1) * t / self.T))
        return replace(sampling, steps=path_of(sampling.sampler, self.denoiser.degradation, steps, t))

    def sampling(self, options: SamplerOptions, prior: Prior | None = None) -> Sampling:
        """Everything that decides what is drawn with these options, from ``prior`` or from what is handed to the sampler.

        Raises:
            UserError: an option does not fit the model.
        """
        sampler, steps = self.sampler(options)
        given = label_numbers(options.label, self.classes)
        sampling = Sampling(
            denoiser=self.denoiser,
            prior=prior,
            sampler=sampler,
            steps=steps,
            seed=options.seed,
            batch_size=1 if options.batch_size == "auto" else options.batch_size,
            processes=self.processes,
            labels=Labels(given, self.class_shares) if self.classes else None,
            guide=self.guide,
        )
        return sampling.with_largest_batches() if options.batch_size == "auto" else sampling

    def told(self, options: SamplerOptions, count: int) -> Tensor | None:
        """The labels that are given for ``count`` images at hand, int64 (count,); None where none is.

        Raises:
            UserError: a label is unknown, or the model has none.
        """
        given = label_numbers(options.label, self.classes)
        return Labels(given).of(options.seed, range(count)) if given else None
