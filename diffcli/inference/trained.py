"""A trained model as it is stored: weights, preset, fitted priors; and how it is sampled with given options."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffcli.checkpoints.images import with_images
from diffcli.checkpoints.runs import Run
from diffcli.config.build import build_prior, load_source, path_of, resolve, training_split
from diffcli.config.schema import Component, Preset, Sampler
from diffcli.data.clusters import clustered
from diffcli.data.datasets import ImageSet, Source
from diffcli.data.label_names import check_trained, label_notes, label_numbers
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.inpainting import check_inpaints
from diffcli.diffusion.labels import NO_LABEL, Labels
from diffcli.diffusion.priors import PRIORS, Prior
from diffcli.inference.options import SamplerOptions
from diffcli.inference.sampling import Sampling, fit_prior
from diffcli.utils.compile import prepared
from diffcli.utils.devices import Precision, Processes
from diffcli.utils.distributed import is_first
from diffcli.utils.errors import UserError, unknown
from diffcli.utils.progress import note

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False, repr=False)
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
    """How frequent each label was in the training split, among the images that had one."""
    unlabelled_share: float = 0.0
    """The share of the training images that had no label."""
    clusters: Tensor | None = None
    """Where its labels are clusters, their centres, (K, C * H * W)."""
    run: Run | None = None
    """The run that it belongs to, if any."""
    data_dir: Path | str | None = None
    """Folder of the data sets; None is ``DIFFCLI_DATA``, else ``data``."""
    data: Path | str | None = None
    """A folder of images in place of the one that it was trained on."""
    processes: Processes = field(default_factory=lambda: Processes(torch.device("cpu")))
    precision: Precision = "32-true"

    def __repr__(self) -> str:
        size = "x".join(map(str, self.image_shape))
        weights = sum(weight.numel() for weight in self.denoiser.network.parameters())
        classes = f", {len(self.classes):,} classes" if self.classes else ""
        return (
            f"<{type(self).__name__} {self.preset_name}, epoch {self.epoch}: images {size}{classes}, "
            f"{self.preset.degradation.name} T {self.T}, {self.preset.network.name} of {weights:,} weights; {self.checkpoint}>"
        )

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

    @property
    def works_without_label(self) -> bool:
        """Whether its network has an estimate for images of which no label is told.

        That is trained by images whose label is hidden (``labels.dropped``) and by those that have none. A model that is told no
        labels at all has no other.
        """
        labels = self.preset.labels
        return labels is None or labels.works_without(self.unlabelled_share)

    @property
    def untrained_classes(self) -> list[str]:
        """The names of the labels that no training image had."""
        return [name for name, share in zip(self.classes, self.class_shares, strict=False) if not share]

    @property
    def trained_classes(self) -> list[str]:
        """The names of the labels that training images had, which are those that can be asked for."""
        untrained = set(self.untrained_classes)
        return [name for name in self.classes if name not in untrained]

    def labelled(self, images: ImageSet) -> ImageSet:
        """Images with the labels that this model knows them by: the data set's, or their clusters; none where it saw no image
        of a class in training.

        Raises:
            UserError: an image has no label that the model knows, and it does not work without.
        """
        if self.clusters is not None:
            return clustered(images, self.clusters)
        if not self.classes:
            return images
        untrained = torch.tensor([self.classes.index(name) for name in self.untrained_classes], dtype=torch.int64)
        labels = images.labels.masked_fill(torch.isin(images.labels, untrained), NO_LABEL)
        if not self.works_without_label and (without := int((labels == NO_LABEL).sum())):
            raise UserError(
                f"{without:,} of {len(images):,} images have no label that this model was trained with, and it does not work "
                f"without (labels.dropped: 0): say which with `label`"
            )
        return ImageSet(images.images, labels)

    def check_data(self, needed: bool = True) -> None:
        """Checks that ``data``, where it is given, takes the place of the images that the model was trained on.

        Args:
            needed: whether images are read at all.

        Raises:
            UserError: it does not exist, the model was trained on no folder, or no image is read.
        """
        if self.data is not None:
            with_images(self.preset, self.run, self.data)
            if not needed:
                raise UserError("`data` names images, and none are read for this; leave it out")

    def source(self, download: bool = True) -> Source:
        """The data set that it was trained on, or the images that ``data`` names.

        Raises:
            UserError: they are not there, or have a class that the model does not know.
        """
        return load_source(with_images(self.preset, self.run, self.data), self.data_dir, download)

    def training_split(self) -> ImageSet:
        """The images that it was trained on.

        Raises:
            UserError: the data set is not there.
        """
        return training_split(self.preset, self.source())

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

    def needs_images(self, prior: Component) -> bool:
        """Whether a prior has yet to be fitted to the images of the training."""
        return prior.name not in self.fitted and build_prior(prior).needs_fit

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
            UserError: the sampler is unknown or does not serve the degradation, there are more steps than T, or it is guided by an
            estimate without label that the model does not have.
        """
        sampler = options.changed(self.preset.sampler)
        if sampler.guidance != 1 and not self.works_without_label:
            raise UserError(
                "`guidance` needs an estimate without label, and this model was trained with labels.dropped: 0: leave it at 1, "
                "or train one with labels.dropped: 0.1"
            )
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
        given = self.label_numbers(options)
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

    def labels_of_reconstructions(self, options: SamplerOptions, images: ImageSet) -> dict[str, Tensor | None]:
        """The labels that reconstructions of images at hand are told, int64 (N,), None for none, by what is added to the name of
        their scores.

        Told are the labels that the options name, else none, and once more, as ``_told``, the images' own: a model that obeys
        draws the class which it is told, whatever is left of the image. One that never did without labels has the latter alone.

        Raises:
            UserError: see :meth:`told`.
        """
        given = self.told(options, len(images))
        if given is not None or not self.classes:
            return {"": given}
        labels: dict[str, Tensor | None] = {"": None} if self.works_without_label else {}
        return labels | {"_told": self.labelled(images).labels}

    def label_numbers(self, options: SamplerOptions) -> tuple[int, ...]:
        """The labels asked for, each in 0..classes - 1 or -1 for none; empty where ``label`` is None.

        Raises:
            UserError: a label is unknown or was not trained, there are none, or they are guided towards and are none.
        """
        numbers = label_numbers(options.label, self.classes)
        check_trained(numbers, self.classes, set(self.untrained_classes), works_without=self.works_without_label)
        if numbers and max(numbers) == NO_LABEL:
            self.check_unguided(options)
        return numbers

    def note_labels(self, options: SamplerOptions) -> None:
        """Says of each label that could be taken in two ways how it is taken, unless that is to be quiet."""
        if not options.quiet and is_first():
            for line in label_notes(options.label, self.classes):
                note(line)

    def told(self, options: SamplerOptions, count: int) -> Tensor | None:
        """The labels that are given for ``count`` images at hand, int64 (count,); None where none is.

        Raises:
            UserError: see :meth:`label_numbers`.
        """
        given = self.label_numbers(options)
        return Labels(given).of(options.seed, range(count)) if given else None

    def check_told(self, options: SamplerOptions) -> None:
        """Checks what images at hand are told where ``label`` None is no label.

        Raises:
            UserError: see :meth:`label_numbers`; or no label is given, and the model does not work without, or is guided
                towards it.
        """
        if self.label_numbers(options):
            return
        if not self.works_without_label:
            raise UserError(
                f"this model was trained with the label of every image (labels.dropped: 0) and does not work without: "
                f"say with `label` what the images show; there are {', '.join(self.trained_classes):.200}"
            )
        self.check_unguided(options)

    def check_unguided(self, options: SamplerOptions) -> None:
        """Checks that images which are told no label are not to be guided towards one.

        Raises:
            UserError: they are.
        """
        if options.guidance not in (None, 1):
            raise UserError(
                f"`guidance` {options.guidance:g} is towards a label, and none is given: say which with `label`"
            )
