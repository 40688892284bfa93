"""What one does with a trained model: samples, degradations, restorations, in-painting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from diffcli.data.given import read_given
from diffcli.data.label_names import Label
from diffcli.data.pixels import to_model, to_uint8
from diffcli.diffusion.inpainting import MOST_ROUNDS, ROUNDS
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.diffusion.samplers import Step
from diffcli.inference.options import BatchSize, SamplerOptions
from diffcli.inference.restoration import degraded, estimated, inpaint, reconstruct, restore
from diffcli.inference.sampling import counting, draw_xT, generate
from diffcli.inference.trained import Trained
from diffcli.utils.errors import UserError
from diffcli.utils.options import takes_as_method
from diffcli.utils.progress import progress

MAX_SAMPLES = 10_000_000
AT_ONCE = 1000
"""Images that are degraded together."""


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


@dataclass(frozen=True)
class _Paintings(SamplerOptions):
    """``images``, uint8 (N, C, H, W), whose pixels are drawn anew where ``mask`` is True.

    Args:
        mask: bool, (H, W) for all images or (N, H, W).
        resampling: how often each step is taken, see :mod:`diffcli.diffusion.inpainting`; 1 is the fastest.
    """

    images: Tensor
    mask: Tensor
    resampling: int = ROUNDS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.resampling <= MOST_ROUNDS:
            raise UserError(f"`resampling` must be in 1..{MOST_ROUNDS}, got {self.resampling}")


@dataclass(frozen=True, eq=False, repr=False)
class Model(Trained):
    """A trained model as a checkpoint holds it; :func:`diffcli.load` makes one.

    Images that go in and come out are uint8 (N, C, H, W); degraded images, which may exceed the range of pixels, are float
    with pixels in about [-0.5, 0.5].
    """

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

    def read(self, files: Sequence[Path | str], background: str | None = None) -> Tensor:
        """The images of files and folders, uint8 (N, C, H, W): upright, their centres in the model's shape, grey where that is.

        Args:
            background: a colour's name or '#rrggbb', which shows where an image is transparent; None is the preset's, else
                white.

        Raises:
            UserError: there is none, or one cannot be read.
        """
        return read_given(files, self.image_shape, background or self.background).images

    @torch.inference_mode()
    def degrade(self, images: Tensor, t: int, seed: int = 0) -> Tensor:
        """x_t of uint8 images (N, C, H, W), float (N, C, H, W) on the CPU; ``t`` in 0..T.

        Raises:
            UserError: the images are of another shape or type, or ``t`` is out of range.
        """
        self._check_images(images)
        self.check_t(t, smallest=0)
        parts = []
        for indices in torch.arange(len(images)).split(AT_ONCE):
            generators = image_generators(seed, Stream.RECONSTRUCTION, indices.tolist())
            x0 = to_model(images[indices].to(self.processes.device))
            parts.append(degraded(self.denoiser.degradation, x0, t, generators)[0].cpu())
        return torch.cat(parts)

    @takes_as_method(_Restorations)
    def restore(self, options: _Restorations) -> Tensor:
        """Images, uint8 (N, C, H, W), that the sampler makes of degraded images ``xt`` (N, C, H, W) at step ``t`` in 1..T.

        ``steps`` counts from ``t`` to 0; without it, the preset's steps from T to 0 in proportion.

        Raises:
            UserError: an option is out of range or does not fit the model.
        """
        self._check_degraded(options.xt, options.t)
        sampling = self.sampling_from(options.t, options)
        self.check_told(options)
        count = len(options.xt)
        with progress(f"restoring {count} images", sampling.total_steps(count), "steps", options.quiet) as done:
            labels = self.told(options, count)
            return to_uint8(torch.cat(list(restore(sampling, options.xt, counting(done), labels))))

    def estimate(
        self, xt: Tensor, t: int, label: Label | Sequence[Label] | None = None, batch_size: BatchSize = 128
    ) -> Tensor:
        """x0_hat: what the network takes degraded images ``xt`` (N, C, H, W) at step ``t`` in 1..T for, in one step.

        Args:
            label: of the images, see :class:`SamplerOptions`; None is no label.

        Returns:
            uint8 (N, C, H, W).

        Raises:
            UserError: the images are of another shape or type, ``t`` is out of range, or the label is unknown.
        """
        options = SamplerOptions(label=label, batch_size=batch_size)
        self._check_degraded(xt, t)
        sampling = replace(self.sampling(options), steps=[t, 0])
        self.check_told(options)
        return to_uint8(torch.cat(list(estimated(sampling, xt, self.told(options, len(xt))))))

    @takes_as_method(_Reconstructions)
    def reconstruct(self, options: _Reconstructions) -> Tensor:
        """What the sampler makes of x_T of uint8 ``images`` (N, C, H, W): uint8 (N, C, H, W).

        Raises:
            UserError: the images are of another shape or type, or an option does not fit the model.
        """
        self._check_images(options.images)
        sampling = self.sampling(options)
        self.check_told(options)
        count = len(options.images)
        with progress(f"reconstructing {count} images", sampling.total_steps(count), "steps", options.quiet) as done:
            labels = self.told(options, count)
            made = [sampled for sampled, _ in reconstruct(sampling, options.images, counting(done), labels)]
        return to_uint8(torch.cat(made))

    @takes_as_method(_Paintings)
    def inpaint(self, options: _Paintings) -> Tensor:
        """``images``, uint8 (N, C, H, W), with what ``mask`` marks drawn anew to fit the rest, which stays exactly as it is.

        ``mask`` is bool, (H, W) for all images or (N, H, W); True is drawn. ``resampling`` says how often each step is
        taken (Lugmayr et al. 2022): more fit better and take longer. Only models of Gaussian noise do this.

        Raises:
            UserError: the images or the mask are of another shape or type, the mask marks nothing or everything of an image,
                the model is of another degradation, or an option does not fit it.
        """
        images, mask = options.images, options.mask
        self._check_images(images)
        painted = self._painted(mask, len(images))
        self.check_inpaints()
        sampling = self.sampling(options, self.prior(None))
        self.check_told(options)
        rounds = options.resampling
        total = rounds * sampling.total_steps(len(images))
        with progress(f"in-painting {len(images)} images", total, "steps", options.quiet) as done:
            told = self.told(options, len(images))
            made = to_uint8(torch.cat(list(inpaint(sampling, images, painted, rounds, counting(done), told))))
        return torch.where(painted, made, images)

    def _painted(self, mask: Tensor, count: int) -> Tensor:
        _, height, width = self.image_shape
        if mask.dtype != torch.bool or tuple(mask.shape) not in ((height, width), (count, height, width)):
            raise UserError(
                f"`mask` must be bool, ({height}, {width}) or ({count}, {height}, {width}), "
                f"got {str(mask.dtype).removeprefix('torch.')} {tuple(mask.shape)}"
            )
        painted = mask.cpu().expand(count, height, width)
        shares = painted.flatten(1).float().mean(dim=1)
        if bool((shares == 0).any()):
            raise UserError("`mask` marks nothing to be painted")
        if bool((shares == 1).any()):
            raise UserError("`mask` marks all of an image, of which nothing is known then; draw new ones with sample")
        return painted.unsqueeze(1)

    def _check_degraded(self, xt: Tensor, t: int) -> None:
        self._check_shape(xt)
        if not xt.is_floating_point() or not bool(torch.isfinite(xt).all()):
            raise UserError("degraded images must be finite float numbers, with pixels in about [-0.5, 0.5]")
        self.check_t(t)

    def _check_shape(self, images: Tensor) -> None:
        if images.ndim != 4 or not len(images) or tuple(images.shape[1:]) != self.image_shape:
            expected = ", ".join(map(str, self.image_shape))
            raise UserError(f"images must be of shape (N, {expected}), got {tuple(images.shape)}")

    def _check_images(self, images: Tensor) -> None:
        self._check_shape(images)
        if images.dtype != torch.uint8:
            raise UserError(f"images must be uint8 in 0..255, got {str(images.dtype).removeprefix('torch.')}")
