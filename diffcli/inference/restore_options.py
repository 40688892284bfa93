"""Options of ``diffcli restore``; nothing heavy is loaded here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diffcli.inference.measurement_options import MeasurementOptions
from diffcli.inference.options import ALL_PARTS, SamplerOptions, Zoom, run_option, zoom_option
from diffcli.utils.devices import ONE_DEVICE, Devices, devices_option
from diffcli.utils.errors import UserError
from diffcli.utils.files import output_of
from diffcli.utils.options import AUTO, IMAGES, SAMPLING, bounds, number_or_auto, option

if TYPE_CHECKING:
    from diffcli.checkpoints.runs import Run
    from diffcli.data.label_names import Label

TILE = (AUTO, "on", "off")
SHOWN_SAMPLES = 8
"""A picture of rows shows at most so many samples of an image."""


def _check_t(name: str, t: int | str) -> int | str:
    if t != AUTO and not isinstance(t, Integral):
        raise UserError(f"`{name}` must be a whole number or auto, got {t!r}")
    return t


def _check_tile(name: str, tile: str) -> str:
    if tile not in TILE:
        raise UserError(f"`{name}` must be one of {', '.join(TILE)}, got {tile}")
    return tile


@dataclass(frozen=True)
class RestoreOptions(SamplerOptions, MeasurementOptions):
    """The options of ``restore``: the images, how they are degraded, and the files to write.

    Args:
        files: images, and folders of images.
        run: see :func:`diffcli.load`.
        out: .png (rows: original, degraded, one step, restored), .npz (an array of each, the restored ones as
            ``images``), or a folder (the restored images); with ``degradation``, the mean of several samples, their
            standard deviation and the samples.
        t: the step that the images are degraded to, 1..T; None is half of T, ``auto`` the one that explains degraded
            images best.
        degraded: the images are x_t already.
        mask: an image that is white where the images are to be drawn anew, in place of ``t``.
        degradation: what is done to the images, where it is not what the model undoes, see :meth:`Model.posterior`;
            ``t`` is of it then, and the model is the prior.
        blur: standard deviation of a Gaussian blur in pixels of the pictures, in place of ``t``.
        invert_noise: the images are taken back to the noise that DDIM draws them from, and drawn from it again.
        resampling: with a mask, how often each step is taken; None is 5.
        background: shows where an image is transparent; None is the preset's, else white.
        tile: ``on``: pictures keep their size, and are estimated in overlapping tiles of the model's (Bar-Tal et al.
            2023); ``off``: their centres are cropped and shrunk to it; ``auto``: on where a picture is at least twice
            as high and as wide and the model knows no labels, which are those of whole images.
        invert: the images are negatives of what the model knows: dark on light, where those of the training are light
            on dark.
        zoom: each pixel of a picture of rows is a square of so many, 1..16; ``auto`` makes tiles of 64 pixels at least
            while a row is at most 2,048 wide, else of 32.

    Raises:
        UserError: an option is out of range, two do not go together, or a file cannot be written.
    """

    files: Sequence[Path | str] = option(
        argument=True,
        metavar="FILE_OR_FOLDER...",
        help="Images of any size; of a folder all, sub-folders too.",
    )
    run: Run | Path | str = run_option()
    out: Path = option(
        Path("restored.png"),
        check=output_of(".png", ".npz", ""),
        help=".png (rows: original, degraded, one step, restored), .npz (an array of each), or a folder. With several "
        f"`samples`, rows of their mean, their standard deviation and the first {SHOWN_SAMPLES} of them; in a folder, "
        "the means, and below it deviation/, sample-1/ and on.",
    )
    t: int | Literal["auto"] | None = option(
        None,
        check=_check_t,
        kind=str,
        parse=number_or_auto("t"),
        metavar="<int>|auto",
        help="Degrade the images to this step, 1..T; auto: the step that explains `degraded` images best.",
        default_text="half of T",
        panel=IMAGES,
    )
    degraded: bool = option(False, help="Take the images as degraded to `t` already.", panel=IMAGES)
    mask: Path | str | None = option(
        None, help="Image, white where they are to be drawn anew; needs a model with noise.", panel=IMAGES
    )
    _: KW_ONLY
    degradation: str | Mapping[str, Any] | None = option(
        None,
        help="What is done to the images, if not what the model undoes: a preset, run or ready model, or "
        "'{name: pixelate, block: 4, T: 1}'. Needs a model with noise, which is the prior.",
        default_text="the model's own",
        panel=IMAGES,
    )
    blur: float | None = option(
        None,
        check=bounds(0.01, 1000),
        help="In place of `t`: the width of a Gaussian blur, in pixels of the pictures.",
        panel=IMAGES,
    )
    invert_noise: bool = option(
        False,
        help="Find the noise that DDIM draws the images from, by its steps backwards, and draw them from it again. "
        "Needs a model of noise; a .npz keeps it.",
        panel=IMAGES,
    )
    resampling: int | None = option(
        None,
        help="With `mask`: times that each step is taken; more fit better, and take longer.",
        default_text="5",
        panel=SAMPLING,
    )
    background: str | None = option(
        None, help="Colour where an image is transparent.", default_text="the preset's, else white", panel=IMAGES
    )
    invert: bool = option(
        False, help="Show the model negatives: of ink on paper, if it knows light on dark.", panel=IMAGES
    )
    tile: str = option(
        "auto",
        check=_check_tile,
        metavar="auto|on|off",
        help="on: pictures keep their size, in overlapping tiles; off: they are cropped and shrunk to the model's.",
        default_text="on if twice the model's size, and it knows no labels",
        panel=IMAGES,
    )
    steps: int | None = option(
        None,
        help="Sampler steps, 1..t (with `degradation` or `mask`, 1..T of the model); fewer are faster.",
        default_text="the preset's, in proportion to t",
        panel=SAMPLING,
    )
    label: Label | Sequence[Label] | None = option(
        None,
        help="Of the images, in turn: a class's name, a number, a range such as 0-9, or none; repeatable. With "
        "`degradation` also auto: by how well the labels explain the image.",
        default_text="none",
        panel=SAMPLING,
    )
    zoom: Zoom = zoom_option("Of a picture of rows")
    devices: Devices = devices_option(ONE_DEVICE, ALL_PARTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_inversion()
        self._check_mask()
        self._check_measurement()
        if self.blur is not None and self.t is not None:
            raise UserError("`blur` says how far the images are blurred, and so does `t`; give one of them")
        if self.zoom != AUTO and self.out.suffix.lower() != ".png":
            raise UserError("`zoom` is of a picture, .png; single files and arrays keep the images' own size")
        if self.t == AUTO and not self.degraded:
            raise UserError("`t` auto is of images that are degraded; add `degraded`, or give a number")
        if self.degraded and self.t is None and self.blur is None and self.degradation is None:
            raise UserError("`degraded` needs `t`: the step that the images are degraded to")

    def _check_inversion(self) -> None:
        if not self.invert_noise:
            return
        for name in ("t", "degraded", "mask", "degradation", "blur", "sigma", "method", "samples"):
            if getattr(self, name) not in (None, False):
                raise UserError(f"`invert_noise` takes the images as they are, and `{name}` degrades them; give one")

    def _check_mask(self) -> None:
        if self.mask is None:
            if self.resampling is not None:
                raise UserError("`resampling` is of in-painting; add `mask`, or leave it out")
            return
        if self.degraded:
            raise UserError("`mask` takes the images as they are, `degraded` as degraded; give one of them")
        if self.t is not None:
            raise UserError("`t` degrades the whole images, and `mask` says which part is unknown; give one of them")
        for name in ("degradation", "blur"):
            if getattr(self, name) is not None:
                raise UserError(f"`{name}` is of the whole images, and `mask` says which part is unknown; give one")

    def _check_measurement(self) -> None:
        if self.degradation is not None or self.blur is not None:
            return
        # Of degraded images a model may know noise that is measured: what is restored says whether it does.
        for name in ("method", "samples") if self.degraded else ("sigma", "method", "samples"):
            if getattr(self, name) is not None:
                raise UserError(f"`{name}` is of measurements; add `degradation`, or leave it out")
