"""Trained models: what one does with them, and what is stored of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffcli.checkpoints.images import with_images
from diffcli.checkpoints.runs import Run
from diffcli.config.build import ResolvedPreset, load_source, path_of, resolve_prior, resolve_sampler, training_split
from diffcli.config.presets import sampler_named
from diffcli.config.registry import build, component_named
from diffcli.config.schema import Component, Preset, Sampler
from diffcli.data.array_format import Array, ArrayFormat
from diffcli.data.datasets import ImageSet, Source
from diffcli.data.label_names import Label
from diffcli.data.pixels import to_uint8
from diffcli.data.sources import array_format
from diffcli.data.user_arrays import open_images
from diffcli.diffusion.degradations import Degradation
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.priors import PRIORS, Prior
from diffcli.diffusion.samplers import Step
from diffcli.inference import checks
from diffcli.inference.answers import answer
from diffcli.inference.inverting import deterministic_options
from diffcli.inference.measurement_options import PosteriorOptions, without_guidance
from diffcli.inference.measuring import degradation_named, measurement_of
from diffcli.inference.model_labels import ModelLabels
from diffcli.inference.new_images import images_drawn
from diffcli.inference.options import BatchSize, DrawOptions, SamplerOptions, takes, takes_sampler_options
from diffcli.inference.painting import inpaint_images
from diffcli.inference.posterior import Posterior, method_for
from diffcli.inference.restoration import degraded_images, invert, one_step_estimates, reconstruct, restore
from diffcli.inference.sampling import Sampling, fit_prior, generate, step_counter
from diffcli.utils.console import progress
from diffcli.utils.devices import Precision, Processes
from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.options import bounds, check_number

COMMON_KEYS = ("steps", "spacing", "clip", "guidance", "autoguidance", "guided_t")
"""The keys of a preset's sampler that another sampler keeps."""


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained model as a checkpoint holds it; :func:`diffcli.load` makes one.

    Images that go in and come out are uint8 (N, C, H, W); degraded images, which may exceed the range of pixels, are
    float with pixels in about [-0.5, 0.5]. ``options`` of its methods are those of :class:`SamplerOptions`.
    """

    checkpoint: Path
    preset_name: str
    resolved: ResolvedPreset
    """The preset that it was trained with, and the degradation."""
    denoiser: Denoiser
    epoch: int
    """Epochs done, counted from 1."""
    prior_states: dict[str, dict[str, Tensor]]
    """The states that fitted priors learnt from the training split, by name."""
    guide: Denoiser | None = None
    """With an early average of the weights, for autoguidance."""
    class_shares: tuple[float, ...] = ()
    """The share of each label in the training split, among the images that had one."""
    unlabelled_share: float = 0.0
    """The share of the training images that had no label."""
    clusters: Tensor | None = None
    """The centres of the clusters that are its labels, if they are, (K, C * H * W)."""
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
        kinds = f"{self.preset.degradation.name} T {self.T}, {self.preset.network.name} of {weights:,} weights"
        title = f"{type(self).__name__} {self.preset_name}, epoch {self.epoch}"
        return f"<{title}: images {size}{classes}, {kinds}; {self.checkpoint}>"

    @property
    def preset(self) -> Preset:
        """The preset that it was trained with, every default written out."""
        return self.resolved.preset

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.resolved.image_shape

    @property
    def array_format(self) -> ArrayFormat:
        """The format as arrays of the images that it was trained on."""
        return array_format(component_named("data", self.preset.data.name), self.preset.data.parameters)

    @property
    def T(self) -> int:
        """Number of steps of the degradation."""
        return self.denoiser.degradation.T

    @property
    def background(self) -> str:
        """The colour that shows where an image is transparent: that of the images that it was trained on, if known."""
        return str(self.preset.data.parameters.get("background", "white"))

    @cached_property
    def labels(self) -> ModelLabels:
        """The labels that it was trained with."""
        labels = self.preset.labels
        works_without = labels is None or labels.works_without(self.unlabelled_share)
        return ModelLabels(labels.names if labels else [], self.class_shares, works_without, self.clusters)

    @property
    def classes(self) -> list[str]:
        """The names of its labels, label 0 first; none where it was trained without."""
        return list(self.labels.classes)

    @property
    def works_without_label(self) -> bool:
        """Whether its network has an estimate for images of which no label is told, see :class:`ModelLabels`."""
        return self.labels.works_without

    @property
    def untrained_classes(self) -> list[str]:
        """The names of the labels that no training image had."""
        return self.labels.untrained_classes

    @property
    def trained_classes(self) -> list[str]:
        """The names of the labels that training images had, which are those that can be asked for."""
        return self.labels.trained_classes

    @takes(DrawOptions)
    def sample(self, n: int | None = None, *, prior: str | None = None, **options: Any) -> Tensor:
        """New images, uint8 (n, C, H, W), those of ``diffcli sample`` with the same seed; of ``between``, row by row.

        Args:
            n: how many; None is 64. With ``between``, how many rows; None is one, or one for each of several labels.
            prior: where sampling starts; None is the preset's own.
            options: see :class:`DrawOptions`.

        Raises:
            UserError: an option is out of range or does not fit the model.
        """
        settings = DrawOptions(**options)
        sampling = self.sampling(settings, self.prior(prior))
        sampling, n = images_drawn(sampling, settings, n, self.classes, priors=self.stored_priors)
        with progress(f"sampling {n} images", sampling.total_steps(n), "steps", settings.quiet) as tick:
            return to_uint8(torch.cat(list(generate(sampling, n, self.image_shape, step_counter(tick)))))

    @takes(DrawOptions)
    def trajectory(self, n: int | None = None, *, prior: str | None = None, **options: Any) -> Iterator[Step]:
        """The sampling of new images step by step, as they are drawn: :class:`Step` with x_T, then with each x_s.

        The last step's ``xs``, at s = 0, are the images of :meth:`sample`, as floats. All are drawn at once, on the
        model's device, whatever ``batch_size``; for the arguments see :meth:`sample`.

        Raises:
            UserError: an option is out of range or does not fit the model.
        """
        settings = DrawOptions(**options)
        sampling = self.sampling(settings, self.prior(prior))
        sampling, n = images_drawn(sampling, settings, n, self.classes, priors=self.stored_priors)

        @torch.inference_mode()
        def steps() -> Iterator[Step]:
            yield from sampling.trajectory(*sampling.start(range(n), self.image_shape))

        return steps()

    def read(self, files: Sequence[Path | str], background: str | None = None) -> Tensor:
        """The images of files and folders, uint8 (N, C, H, W): pictures upright, their centres in the model's shape,
        grey where that is; and arrays of that shape, .npy and .npz.

        Args:
            background: a colour's name or '#rrggbb', which shows where an image is transparent; None is the preset's,
                else white.

        Raises:
            UserError: there is none, or one cannot be read.
        """
        images = open_images(files, background or self.background, self.array_format, self.image_shape)
        return images.in_shape(self.image_shape).images

    def arrays(self, images: Tensor) -> Array:
        """Images, uint8 or float in about [-0.5, 0.5], (N, C, H, W), as arrays like those of the training: float32 in
        their own range; of pictures uint8 (N, H, W, C)."""
        return self.array_format.of(images)

    def degrade(self, images: Tensor, t: int, seed: int = 0) -> Tensor:
        """x_t of uint8 images (N, C, H, W), float (N, C, H, W) on the CPU; ``t`` in 0..T.

        Raises:
            UserError: the images are of another shape or type, or ``t`` is out of range.
        """
        checks.check_images(images, self.image_shape)
        self.check_t(t, smallest=0)
        return degraded_images(self.denoiser.degradation, images, t, seed)

    @takes_sampler_options
    def restore(self, xt: Tensor, t: int, *, sigma: float = 0.0, **options: Any) -> Tensor:
        """Images, uint8 (N, C, H, W), that the sampler makes of degraded images ``xt`` (N, C, H, W) at step ``t`` in
        1..T.

        ``steps`` counts from ``t`` to 0; without it, the preset's steps from T to 0 in proportion. ``sigma`` is the
        standard deviation of the measurement noise in ``xt``, for a model that was trained for it: of 8 bits 0.0011.

        Raises:
            UserError: an option is out of range or does not fit the model.
        """
        settings = SamplerOptions(**options)
        checks.check_degraded(xt, self.image_shape)
        self.check_t(t)
        sampling = self.sampling_from(t, settings).with_sigma(sigma)
        labels = self.labels.of_images(settings, len(xt))
        with progress(f"restoring {len(xt)} images", sampling.total_steps(len(xt)), "steps", settings.quiet) as tick:
            return to_uint8(torch.cat(list(restore(sampling, xt, step_counter(tick), labels))))

    @takes(PosteriorOptions)
    def posterior(
        self,
        y: Tensor,
        degradation: str | Path | Mapping[str, Any] | Degradation,
        t: int | None = None,
        **options: Any,
    ) -> Posterior:
        """Images given measurements y = A_t x_0 + sigma eps of them, the model being the prior.

        The sampler starts where :meth:`sample` does, with the preset's number of steps, and without guidance unless the
        options say so: it would draw what is more typical than the measurement allows.

        Args:
            y: (N, C, H, W), uint8, or float with pixels in about [-0.5, 0.5].
            degradation: a preset, a run or a ready model, whose degradation is taken; a kind of degradation with its
                parameters, ``{"name": "heat", "schedule": {...}}``; or one that is built.
            t: of the degradation, 0..T; it may be left out where T is 1.
            options: see :class:`PosteriorOptions`; ``label`` None is ``auto`` for a model with labels.

        Raises:
            UserError: the measurements are of another shape or type, the degradation is not found or cannot be
                inverted, or an option is out of range or does not fit the model.
        """
        settings = PosteriorOptions(**options)
        method = method_for(self.denoiser.degradation, settings.method)
        checks.check_measured(y, self.image_shape)
        instrument = degradation_named(degradation, self.image_shape)
        measurement = measurement_of(y, instrument, t, settings.sigma, self.processes.device)
        sampling = self.sampling(self.labels.without_auto(without_guidance(settings)), self.prior(None))
        return answer(sampling, self.labels, measurement, replace(settings, method=method))

    def estimate(
        self,
        xt: Tensor,
        t: int,
        label: Label | Sequence[Label] | None = None,
        batch_size: BatchSize = 128,
        *,
        sigma: float = 0.0,
    ) -> Tensor:
        """x0_hat: what the network takes degraded images ``xt`` (N, C, H, W) at step ``t`` in 1..T for, in one step.

        Args:
            label: of the images, see :class:`SamplerOptions`; None is no label.
            sigma: see :meth:`restore`.

        Returns:
            uint8 (N, C, H, W).

        Raises:
            UserError: the images are of another shape or type, ``t`` is out of range, or the label is unknown.
        """
        options = SamplerOptions(label=label, batch_size=batch_size)
        checks.check_degraded(xt, self.image_shape)
        self.check_t(t)
        sampling = replace(self.sampling(options), steps=[t, 0]).with_sigma(sigma)
        labels = self.labels.of_images(options, len(xt))
        return to_uint8(torch.cat(list(one_step_estimates(sampling, xt, labels))))

    @takes_sampler_options
    def reconstruct(self, images: Tensor, **options: Any) -> Tensor:
        """Reconstructions of uint8 ``images`` (N, C, H, W) by the sampler from their x_T: uint8 (N, C, H, W).

        Raises:
            UserError: the images are of another shape or type, or an option does not fit the model.
        """
        settings, count = SamplerOptions(**options), len(images)
        checks.check_images(images, self.image_shape)
        sampling = self.sampling(settings)
        labels = self.labels.of_images(settings, count)
        with progress(f"reconstructing {count} images", sampling.total_steps(count), "steps", settings.quiet) as tick:
            batches = [x0 for x0, _ in reconstruct(sampling, images, step_counter(tick), labels)]
        return to_uint8(torch.cat(batches))

    @takes_sampler_options
    def invert(self, images: Tensor, **options: Any) -> Tensor:
        """The noise x_T that DDIM takes to uint8 ``images`` (N, C, H, W): float (N, C, H, W), see
        :func:`diffcli.diffusion.inversion.inversion_steps`.

        ``restore(noise, model.T, sampler={"name": "ddim", "eta": 0}, guidance=1, autoguidance=1)`` draws the images
        from it again, with the same ``steps`` and ``label``.

        Raises:
            UserError: the images are of another shape or type, the model is of another degradation than Gaussian noise,
                or an option does not fit: guidance, or another sampler.
        """
        settings = deterministic_options(SamplerOptions(**options), self.denoiser.degradation)
        checks.check_images(images, self.image_shape)
        sampling, labels = self.sampling(settings), self.labels.of_images(settings, len(images))
        with progress("inverting", sampling.total_steps(len(images)), "steps", settings.quiet) as tick:
            return torch.cat(list(invert(sampling, images, step_counter(tick), labels)))

    @takes_sampler_options
    def inpaint(self, images: Tensor, mask: Tensor, resampling: int | None = None, **options: Any) -> Tensor:
        """``images``, uint8 (N, C, H, W), with what ``mask`` marks drawn anew to fit the rest, which stays exactly as
        it is.

        Models of Gaussian noise do this, and others with noise at every t, which take what is known as a measurement.

        Args:
            mask: bool, (H, W) for all images or (N, H, W); True is drawn.
            resampling: of a model of Gaussian noise, how often each step is taken (Lugmayr et al. 2022): more fit
                better and take longer; None is 5.
            options: see :class:`SamplerOptions`.

        Raises:
            UserError: the images or the mask are of another shape or type, the mask marks nothing or everything of an
                image, the model is of another degradation, or an option does not fit it.
        """
        settings = SamplerOptions(**options)
        checks.check_images(images, self.image_shape)
        masks = checks.image_masks(mask, len(images), self.image_shape)
        checks.check_inpaints(self.denoiser.degradation, resampling)
        sampling = self.sampling(settings, self.prior(None))
        labels = self.labels.of_images(settings, len(images))
        drawing = inpaint_images(sampling, images, masks, labels, resampling, settings.quiet)
        return torch.where(masks, drawing, images)

    def labelled(self, images: ImageSet) -> ImageSet:
        """Images with the labels that this model knows them by, see :meth:`ModelLabels.with_model_labels`."""
        return self.labels.with_model_labels(images)

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
        preset_prior = self.preset.prior
        if name is not None and name not in PRIORS:
            raise UserError(f"`prior`: {unknown_name('prior', name, PRIORS)}")
        component = preset_prior if name in (None, preset_prior.name) else Component(name=str(name))
        return resolve_prior(component, self.resolved.degradation)

    def needs_images(self, prior: Component) -> bool:
        """Whether a prior has yet to be fitted to the images of the training."""
        return prior.name not in self.prior_states and bool(build("prior", prior).needs_fit)

    def prior(self, name: str | None) -> Prior:
        """A prior by name as it was fitted when the model was trained; None is the preset's own.

        Raises:
            UserError: see :meth:`prior_component`; or it was not stored and the data to fit it to are missing.
        """
        component = self.prior_component(name)
        prior: Prior = build("prior", component)
        if component.name in self.prior_states:
            try:
                prior.load_state_dict(self.prior_states[component.name])
            except KeyError as key:
                raise UserError(f"checkpoint {self.checkpoint} is damaged: prior {component.name} lacks {key}") from key
        elif prior.needs_fit:
            split = self.labels.with_model_labels(self.training_split())
            fit_prior(prior, self.denoiser.degradation, split.images, split.labels if self.classes else None)
        return prior

    def stored_priors(self) -> Iterator[tuple[str, Prior]]:
        """The priors that sampling can start from without images, each with its name, the preset's own first."""
        for name in dict.fromkeys([self.preset.prior.name, *PRIORS]):
            with suppress(UserError):  # it does not fit the degradation, or a plug-in's needs parameters
                if not self.needs_images(self.prior_component(name)):
                    yield name, self.prior(name)

    def sampler(self, options: SamplerOptions) -> tuple[Sampler, list[int]]:
        """The preset's sampler but for what the options change, and its time steps, T to 0.

        Raises:
            UserError: the sampler cannot be read, is unknown or does not serve the degradation, there are more steps
                than T, or it is guided by an estimate without label that the model does not have.
        """
        sampler = self.preset.sampler
        if options.sampler is not None and options.sampler != sampler.name:
            other = sampler_named(options.sampler)
            common = {key: getattr(sampler, key) for key in COMMON_KEYS if key not in other.model_fields_set}
            sampler = other.model_copy(update=common)
        weights = {"guidance": options.guidance, "autoguidance": options.autoguidance}
        sampler = sampler.model_copy(update={name: float(w) for name, w in weights.items() if w is not None})
        if sampler.guidance != 1 and not self.labels.works_without:
            raise UserError(
                "`guidance` needs an estimate without label, and this model was trained with labels.dropped: 0: leave "
                "it at 1, or train one with labels.dropped: 0.1"
            )
        sampler = resolve_sampler(sampler, self.preset, self.denoiser.degradation)
        return sampler, path_of(sampler, self.denoiser.degradation, options.steps)

    def check_t(self, t: int, smallest: int = 1) -> None:
        """Checks that ``t`` is in smallest..T.

        Raises:
            UserError: it is not.
        """
        check_number("t", t, "int")
        bounds(smallest, self.T)("t", t)

    def sampling_from(self, t: int, options: SamplerOptions) -> Sampling:
        """The sampling from ``t`` in 1..T to 0, see :meth:`sampling`; without ``steps``, the preset's in proportion.

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
        path = path_of(sampling.sampler, self.denoiser.degradation, steps, t)
        checks.note_on_steps(self.preset_name, self.preset, path, self.T)
        return replace(sampling, steps=path)

    def sampling(self, options: SamplerOptions, prior: Prior | None = None) -> Sampling:
        """Everything that decides what is drawn with these options, from ``prior`` or what the sampler is handed.

        Raises:
            UserError: an option does not fit the model.
        """
        sampler, steps = self.sampler(options)
        if self.preset.distillation is not None:
            checks.note_on_steps(self.preset_name, self.preset, steps, self.T)
        sampling = Sampling(
            denoiser=self.denoiser,
            prior=prior,
            sampler=sampler,
            steps=steps,
            seed=options.seed,
            batch_size=1 if options.batch_size == "auto" else options.batch_size,
            processes=self.processes,
            labels=self.labels.of_samples(options),
            guide=self.guide,
        )
        sampling = sampling.from_prior() if self.denoiser.measurement_noise else sampling
        return sampling.with_largest_batches() if options.batch_size == "auto" else sampling
