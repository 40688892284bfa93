"""A trained model, and all that one does with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from diffcli.assembly import build_prior, load_source, resolve, steps_of, training_split
from diffcli.computing import prepared
from diffcli.config import Component, Preset, Sampler
from diffcli.data.clusters import clustered
from diffcli.data.datasets import ImageSet
from diffcli.data.pixels import to_model, to_uint8
from diffcli.devices import Precision, Processes
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.labels import Labels
from diffcli.diffusion.priors import PRIORS, Prior
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.diffusion.samplers import Step
from diffcli.errors import UserError, unknown
from diffcli.generation import Sampling, counting, degraded, draw_xT, fit_prior, generate, reconstruct, restore
from diffcli.options import takes_as_method
from diffcli.progress import progress
from diffcli.runs import Run
from diffcli.sampler_options import SamplerOptions, label_numbers

MAX_SAMPLES = 10_000_000


@dataclass(frozen=True)
class _Draws(SamplerOptions):
    """``n`` images that start from ``prior``, None the preset's own."""

    n: int = 64
    prior: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.n <= MAX_SAMPLES:
            raise UserError(f"`n` must be in 1..{MAX_SAMPLES:,}, got {self.n}")


@dataclass(frozen=True)
class _Restorations(SamplerOptions):
    """Degraded images ``xt`` (N, C, H, W) at step ``t``."""

    xt: Tensor
    t: int


@dataclass(frozen=True)
class _Reconstructions(SamplerOptions):
    """``images``, uint8 (N, C, H, W), to be degraded and restored."""

    images: Tensor


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model as a checkpoint holds it; :func:`diffcli.load` makes one.

    Images that go in and come out are uint8 (N, C, H, W); degraded images, which may exceed the range of pixels, are float
    with pixels in about [-0.5, 0.5].
    """

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

    def on(self, processes: Processes, precision: Precision = "32-true", compiled: bool = False) -> Model:
        """The model on the device of this process, its networks in a precision; do that once."""
        for denoiser in filter(None, (self.denoiser, self.guide)):
            denoiser.to(processes.device)
            denoiser.network = prepared(denoiser.network, precision, compiled)
        return replace(self, processes=processes, precision=precision)

    @property
    def classes(self) -> list[str]:
        """The names of its labels, label 0 first; none where it was trained without."""
        return self.preset.labels.names if self.preset.labels else []

    def labelled(self, images: ImageSet) -> ImageSet:
        """Images with the labels that this model knows them by: the data set's, or their clusters."""
        return images if self.clusters is None else clustered(images, self.clusters)

    @takes_as_method(_Draws)
    def sample(self, options: _Draws) -> Tensor:
        """New images, uint8 (n, C, H, W), the same as those of ``diffcli sample`` with the same seed.

        ``n`` images (64) are drawn from ``prior``; for the other arguments see :class:`SamplerOptions`.

        Raises:
            UserError: an option is out of range or does not fit the model.
        """
        sampling = self.sampling(options, self.prior(options.prior))
        with progress(f"sampling {options.n} images", sampling.total_steps(options.n), "steps", options.quiet) as done:
            batches = list(generate(sampling, options.n, self.image_shape, counting(done)))
        return to_uint8(torch.cat(batches))

    @takes_as_method(_Draws)
    def trajectory(self, options: _Draws) -> Iterator[Step]:
        """The sampling of ``n`` images (64) step by step, as they are drawn: :class:`Step` with x_T, then with each x_s.

        The last step's ``xs``, at s = 0, are the images of :meth:`sample`, as floats. All are drawn at once, on the model's
        device, whatever ``batch_size``.

        Raises:
            UserError: an option is out of range or does not fit the model.
        """
        sampling = self.sampling(options, self.prior(options.prior))

        @torch.inference_mode()
        def steps() -> Iterator[Step]:
            indices = range(options.n)
            generators, labels = image_generators(sampling.seed, Stream.SAMPLE, indices), sampling.labels_of(indices)
            xT = draw_xT(sampling, generators, self.image_shape, labels)
            yield from sampling.trajectory(xT, generators, labels)

        return steps()

    @torch.inference_mode()
    def degrade(self, images: Tensor, t: int, seed: int = 0) -> Tensor:
        """x_t of uint8 images (N, C, H, W), float (N, C, H, W) on the CPU; ``t`` in 0..T.

        Raises:
            UserError: the images are of another shape or type, or ``t`` is out of range.
        """
        self._check_images(images)
        self._check_t(t, smallest=0)
        generators = image_generators(seed, Stream.RECONSTRUCTION, range(len(images)))
        x0 = to_model(images.to(self.processes.device))
        return degraded(self.denoiser.degradation, x0, t, generators)[0].cpu()

    @takes_as_method(_Restorations)
    def restore(self, options: _Restorations) -> Tensor:
        """Images, uint8 (N, C, H, W), that the sampler makes of degraded images ``xt`` (N, C, H, W) at step ``t`` in 1..T.

        ``steps`` counts from ``t`` to 0; without it, the preset's steps from T to 0 in proportion.

        Raises:
            UserError: an option is out of range or does not fit the model.
        """
        self._check_shape(options.xt)
        self._check_t(options.t)
        sampling = self.sampling(options)
        steps = options.steps or max(1, round((len(sampling.steps) - 1) * options.t / self.T))
        sampling = replace(sampling, steps=steps_of(steps, options.t))
        count = len(options.xt)
        with progress(f"restoring {count} images", sampling.total_steps(count), "steps", options.quiet) as done:
            labels = self.told(options, count)
            return to_uint8(torch.cat(list(restore(sampling, options.xt, counting(done), labels))))

    @torch.inference_mode()
    def estimate(self, xt: Tensor, t: int) -> Tensor:
        """x0_hat: what the network takes degraded images ``xt`` (N, C, H, W) at step ``t`` in 1..T for, in one step.

        Returns:
            uint8 (N, C, H, W).

        Raises:
            UserError: the images are of another shape, or ``t`` is out of range.
        """
        self._check_shape(xt)
        self._check_t(t)
        at_t = torch.full((len(xt),), t, device=self.processes.device)
        return to_uint8(self.denoiser(xt.to(self.processes.device), at_t)).cpu()

    @takes_as_method(_Reconstructions)
    def reconstruct(self, options: _Reconstructions) -> Tensor:
        """What the sampler makes of x_T of uint8 ``images`` (N, C, H, W): uint8 (N, C, H, W).

        Raises:
            UserError: the images are of another shape or type, or an option does not fit the model.
        """
        self._check_images(options.images)
        sampling = self.sampling(options)
        count = len(options.images)
        with progress(f"reconstructing {count} images", sampling.total_steps(count), "steps", options.quiet) as done:
            labels = self.told(options, count)
            made = [sampled for sampled, _ in reconstruct(sampling, options.images, counting(done), labels)]
        return to_uint8(torch.cat(made))

    def _check_shape(self, images: Tensor) -> None:
        if images.ndim != 4 or not len(images) or tuple(images.shape[1:]) != self.image_shape:
            expected = ", ".join(map(str, self.image_shape))
            raise UserError(f"images must be of shape (N, {expected}), got {tuple(images.shape)}")

    def _check_images(self, images: Tensor) -> None:
        self._check_shape(images)
        if images.dtype != torch.uint8:
            raise UserError(f"images must be uint8 in 0..255, got {str(images.dtype).removeprefix('torch.')}")

    def _check_t(self, t: int, smallest: int = 1) -> None:
        if not smallest <= t <= self.T:
            raise UserError(f"`t` must be in {smallest}..{self.T}, got {t}")

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
        return sampler, steps_of(sampler.steps if options.steps is None else options.steps, self.T)

    def sampling(self, options: SamplerOptions, prior: Prior | None = None) -> Sampling:
        """Everything that decides what is drawn with these options, from ``prior`` or from what is handed to the sampler.

        Raises:
            UserError: an option does not fit the model.
        """
        sampler, steps = self.sampler(options)
        given = label_numbers(options.label, self.classes)
        return Sampling(
            denoiser=self.denoiser,
            prior=prior,
            sampler=sampler,
            steps=steps,
            seed=options.seed,
            batch_size=options.batch_size,
            processes=self.processes,
            labels=Labels(given, self.class_shares) if self.classes else None,
            guide=self.guide,
        )

    def told(self, options: SamplerOptions, count: int) -> Tensor | None:
        """The labels that are given for ``count`` images at hand, int64 (count,); None where none is.

        Raises:
            UserError: a label is unknown, or the model has none.
        """
        given = label_numbers(options.label, self.classes)
        return Labels(given).of(options.seed, range(count)) if given else None
