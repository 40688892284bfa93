"""The options of sampling, restoring and exporting a trained model.

Nothing heavy is loaded here: the command line is made of these classes before it knows which command is meant.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import wraps
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from diffcli.data.options import DataOptions, data_option
from diffcli.utils.console import quiet_option
from diffcli.utils.devices import ONE_DEVICE, PLACES, Devices, devices_option
from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.files import check_beside, check_output
from diffcli.utils.former_names import todays_arguments
from diffcli.utils.options import (
    AUTO,
    DEVICES,
    MODEL,
    SAMPLING,
    Options,
    bounds,
    check_arguments,
    number_or_auto,
    option,
    shared_options,
    whole_or_auto,
)

if TYPE_CHECKING:
    from diffcli.checkpoints.runs import Run
    from diffcli.data.label_names import Label

P = ParamSpec("P")
Result = TypeVar("Result")
BatchSize = int | Literal["auto"]
Zoom = int | Literal["auto"]
MAX_SAMPLES = 10_000_000
FOLDERS = "diffusers"
"""The library that a folder is written for."""
N_SAMPLES, N_PER_LABEL, N_RECONSTRUCTIONS = 64, 8, 8
"""How many images there are unless something else is asked for: samples, of each of several labels, reconstructions."""
STEPS_BETWEEN = 8
"""The steps from the image of one seed to that of another, unless something else is asked for."""
ALL_PARTS: dict[str, str | None] = {**PLACES, "precision": None, "compile": None, "engine": None}
"""The fields of devices that a network computes with."""


def default_t(T: int) -> int:
    """The step that images are degraded to unless something else is asked for: half of T."""
    return max(T // 2, 1)


def run_option(**flag: Any) -> Any:
    """A trained model; beside it on the command line, a checkpoint in its place."""
    checkpoint = option(
        None,
        kind=Path,
        help="Checkpoint file (.ckpt), in place of a run's best one; or a model file (.safetensors).",
        panel=MODEL,
    )
    ours: dict[str, Any] = {
        "help": "Run folder, preset or name below runs/ (its newest run), last, or a ready model, see 'diffcli "
        "models'.",
        "also": "model",
        "panel": MODEL,
        "default_text": "the newest run",
        "complete": "models",
        "further_flags": {"checkpoint": checkpoint},
        "parse": _one_model,
    }
    return option("last", **{**ours, **flag})


def _one_model(run: str | None, checkpoint: Path | None) -> str | Path:
    if run is not None and checkpoint is not None:
        raise UserError("`run` and `checkpoint` name two models; give one of them")
    return checkpoint or run or "last"


def steps_option() -> Any:
    """The number of steps that a sampler takes."""
    return option(
        None, help="Sampler steps, 1..T; fewer are faster.", default_text="the preset's, else T", panel=SAMPLING
    )


def batch_size_option(default: int) -> Any:
    """The number of images that are worked on at a time."""
    return option(
        default,
        check=whole_or_auto(1),
        metavar="<int>|auto",
        kind=str,
        parse=number_or_auto("batch_size"),
        help="Images at a time, or auto: as many as the device holds, on a CPU 128.",
        panel=DEVICES,
    )


MOST_ZOOM = 16
check_zoom = whole_or_auto(1, MOST_ZOOM)


def zoom_option(subject: str) -> Any:
    """The size at which the pixels of a grid are drawn.

    Args:
        subject: what is drawn with it, in words.
    """
    return option(
        AUTO,
        check=check_zoom,
        metavar="<int>|auto",
        kind=str,
        parse=number_or_auto("zoom"),
        help=f"{subject}: each pixel as a square of so many; auto: tiles of 64 pixels where that fits a screen.",
    )


@dataclass(frozen=True, kw_only=True)
class StepOptions(Options):
    """The way of a sampler from x_T to an image; None is what the model's preset says.

    Args:
        sampler: a name, or a name with parameters: ``{"name": "ddim", "eta": 0.5}``.
        steps: of the sampler, 1..T.
        guidance: weight of classifier-free guidance towards the label; 1 is none (Ho & Salimans 2022).
        autoguidance: weight of guidance by an early average of the weights; 1 is none (Karras et al. 2024).
    """

    sampler: str | Mapping[str, Any] | None = option(
        None,
        help="On noise: ancestral, ddim, dpm-solver++ or heun; on any degradation: cold (improved; DDIM on noise) or "
        "cold-naive. With parameters: '{name: ddim, eta: 0.5}'.",
        default_text="the preset's",
        panel=SAMPLING,
    )
    steps: int | None = steps_option()
    guidance: float | None = option(
        None,
        check=bounds(0, 100),
        help="Weight of classifier-free guidance towards the label; 1 is none.",
        default_text="the preset's",
        panel=SAMPLING,
    )
    autoguidance: float | None = option(
        None,
        check=bounds(0, 100),
        help="Weight of guidance by an early average of the weights; 1 is none.",
        default_text="the preset's",
        panel=SAMPLING,
    )


@dataclass(frozen=True, kw_only=True)
class SamplerOptions(StepOptions):
    """The options of sampling a trained model; None is what its preset says.

    Args:
        label: of the images: a class's name, a number, a range ``"0-9"``, ``none``, or several of these, repeated over
            the images in turn; an integer stands for its digits, see :mod:`diffcli.data.label_names`. None draws labels
            as they are frequent in the training images; of images at hand it is no label.
        seed: same seed, same images; on a CPU to the byte, whatever the batch size.
        batch_size: images at a time; ``auto`` is as many as the device holds, up to 4,096, on a CPU 128.
        quiet: no progress bar.

    Raises:
        UserError: a number is out of range.
    """

    label: Label | Sequence[Label] | None = option(
        None,
        help="Of the images: a class's name, a number, a range such as 0-9, or none; repeatable.",
        default_text="as frequent as in the training images",
        panel=SAMPLING,
    )
    seed: int = option(0, check=bounds(0), help="Same seed, same images; on a CPU whatever the batch size.")
    batch_size: BatchSize = batch_size_option(128)
    quiet: bool = quiet_option()


def _check_between(name: str, seeds: Sequence[int]) -> tuple[int, int]:
    if isinstance(seeds, str) or len(seeds) != 2 or not all(isinstance(seed, Integral) for seed in seeds):
        raise UserError(f"`{name}` must be two seeds, whole numbers, got {seeds!r}")
    first, second = map(int, seeds)
    if min(first, second) < 0 or first == second:
        raise UserError(f"`{name}` must be two different seeds, each at least 0, got {first} and {second}")
    return first, second


@dataclass(frozen=True, kw_only=True)
class DrawOptions(SamplerOptions):
    """The options of drawing new images; None is what the model's preset says.

    Args:
        between: two seeds. Each image is then a row of images: the first and the last are those that the two seeds
            draw, and what lies between them is made of noise on the way from the one's to the other's.
        steps_between: of that way; a row has one image more. None is 8.

    Raises:
        UserError: an option is out of range.
    """

    # That the two go with each other and with the seed is checked where rows are drawn.
    between: tuple[int, int] | None = option(
        None,
        check=_check_between,
        kind=tuple[int, int],
        metavar="<int> <int>",
        help="Two seeds: rows of images from those of the one to those of the other, by spherical interpolation of "
        "their noise.",
        panel=SAMPLING,
    )
    steps_between: int | None = option(
        None,
        check=bounds(1, 1000),
        help="With `between`: steps from the one to the other; a row has one image more.",
        default_text=f"{STEPS_BETWEEN}",
        panel=SAMPLING,
    )


@dataclass(frozen=True)
class SampleOptions(DrawOptions, DataOptions):
    """The options of ``sample``: what is drawn, and into which files.

    Args:
        run: see :func:`diffcli.load`.
        n: how many images; None is 64, 8 for each of several labels, or 8 where ``conditional``. With ``between``, how
            many rows; None is one, or one for each of several labels.
        out: .png (a grid), .npz (``images``, uint8 NHWC or as the arrays of the training were, and ``labels``), or a
            folder (one PNG an image); with ``between`` also .gif, an animation there and back.
        conditional: reconstruct test images instead, in the layout of the report's Figures 2 and 9.
        trajectory: a .gif of the first 64 images on their way from x_T to x_0.
        prior: where sampling starts; None is the preset's.
        data: a folder of images in place of the one that the model was trained on, for ``conditional``, or for a prior
            that has yet to be fitted.
        zoom: each pixel of a grid, and of ``trajectory``, is a square of so many, 1..16; ``auto`` makes tiles of 64
            pixels at least while the grid is at most 2,048 wide, else of 32.
        row_labels: the labels stand beside their rows of a grid.

    Raises:
        UserError: an option is out of range, two do not go together, or a file cannot be written.
    """

    run: Run | Path | str = run_option()
    n: int | None = option(
        None,
        check=bounds(1, MAX_SAMPLES),
        help="Images.",
        default_text=f"{N_SAMPLES}; {N_PER_LABEL} for each of several labels; {N_RECONSTRUCTIONS} with `conditional`; "
        "with `between` a row, or one for each label",
    )
    out: Path = option(
        Path("samples.png"),
        help=".png (a grid), .npz ('images', uint8 NHWC or as the arrays of the training), or a folder (a PNG each); "
        "with `between` also .gif.",
    )
    conditional: bool = option(False, help="Reconstruct test images (report Figures 2 and 9).", panel=SAMPLING)
    trajectory: Path | None = option(None, help="Also write the trajectory from x_T as a .gif.")
    prior: str | None = option(
        None,
        help="Where samples start: standard-normal, uniform, gaussian, mixture, blurred-data.",
        default_text="the preset's",
        panel=SAMPLING,
    )
    _: KW_ONLY
    zoom: Zoom = zoom_option("Of a grid, and of `trajectory`")
    row_labels: bool = option(False, help="Names of the labels to the left of their rows of a grid.")
    devices: Devices = devices_option(ONE_DEVICE, ALL_PARTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conditional and self.between is not None:
            raise UserError("`between` is of new images; leave out `conditional`")
        kinds = (".png", ".npz", "", *([".gif"] if self.between is not None else []))
        check_output(self.out, (".png",) if self.conditional else kinds, "out")
        grid = self.out.suffix.lower() == ".png"
        if self.zoom != AUTO and self.conditional:
            raise UserError("`zoom` is of grids, and `conditional` makes a figure; leave one of them out")
        if self.zoom != AUTO and self.out.suffix.lower() not in (".png", ".gif") and self.trajectory is None:
            raise UserError(
                "`zoom` is of a grid, .png, and of `trajectory`; single files and arrays keep the images' own size"
            )
        if self.row_labels and (self.conditional or not grid):
            raise UserError(
                "`conditional` names its rows already; leave `row_labels` out"
                if self.conditional
                else "`row_labels` is of a grid, .png; leave it out"
            )
        if self.conditional and self.prior is not None:
            raise UserError("`prior` is where unconditional samples start; leave it out with `conditional`")
        if self.trajectory is not None:
            if self.conditional:
                raise UserError("`trajectory` shows unconditional samples; leave out `conditional`")
            check_output(self.trajectory, (".gif",), "trajectory")


@dataclass(frozen=True)
class ExportOptions(StepOptions):
    """The options of ``export``: the model, and the format that it is written in.

    Args:
        run: see :func:`diffcli.load`.
        out: .safetensors, a model file, which diffcli reads wherever it is; or graphs for other programs, .onnx or .pt2
            (of ``torch.export``): the network's estimate in ``out`` itself, and beside it the sampler's step and the
            start, ``NAME-step`` and ``NAME-start``.
        format: of a folder, ``diffusers``: a pipeline that ``DiffusionPipeline.from_pretrained`` opens.
        half: of a model file, weights in float16, which takes half the space.
        prior: of graphs, where sampling starts; None is the preset's. So are the sampler, its steps and guidance.
        data: of graphs with a prior that has yet to be fitted, a folder of images in place of the one of the training.
        quiet: no progress bar.

    Raises:
        UserError: ``out`` is of an unknown kind, cannot be written or needs what is not installed; or an option does
            not go with it.
    """

    run: Run | Path | str = run_option(
        argument=True,
        metavar="[RUN|MODEL]",
        help="Run folder, preset name (its newest run), last, or a ready model.",
        also=None,
        panel=None,
        default_text="",
    )
    out: Path | str = option(
        Path("model.safetensors"),
        help=".safetensors for diffcli elsewhere; .onnx or .pt2, graphs for other programs; a folder with `format`.",
    )
    _: KW_ONLY
    format: str | None = option(
        None, help="Of a folder: diffusers, a pipeline of that library.", default_text="by `out`"
    )
    half: bool = option(False, help="Of a .safetensors: weights in float16, half the size.")
    prior: str | None = option(
        None, help="Where samples of the graphs start.", default_text="the preset's", panel=SAMPLING
    )
    data: Path | str | None = data_option()
    quiet: bool = quiet_option()

    def __post_init__(self) -> None:
        from diffcli.checkpoints.model_file import SUFFIX
        from diffcli.inference.graphs import WRITERS, check_packages

        super().__post_init__()
        if self.format not in (None, FOLDERS):
            raise UserError(f"`format`: {unknown_name('format', str(self.format), [FOLDERS])}")
        if self.format is None and not self.suffix:
            raise UserError(
                f"`out` {self.out}: a folder is a pipeline of another library; name it with `format` {FOLDERS}"
            )
        for file in self.files:
            check_output(file, ("",) if self.format else (SUFFIX, *WRITERS), "out")
        check_beside(self.files[0], self.files[1:], "out")
        sampling = {**shared_options(self, StepOptions), "prior": self.prior, "data": self.data}
        names = [name for name, value in sampling.items() if value is not None]
        if not self.graphs and not self.format and names:
            raise UserError(f"`{names[0]}` is for graphs, .onnx or .pt2; a model file keeps what its preset says")
        if (self.graphs or self.format) and self.half:
            raise UserError("`half` is for a model file, .safetensors; graphs and pipelines compute in float32")
        check_packages(self.suffix)

    @property
    def suffix(self) -> str:
        """The suffix of ``out``."""
        return Path(self.out).suffix.lower()

    @property
    def graphs(self) -> bool:
        """Whether graphs are written."""
        from diffcli.inference.graphs import WRITERS

        return self.suffix in WRITERS and not self.format

    @property
    def files(self) -> list[Path]:
        """The files to be written."""
        from diffcli.inference.graphs import PARTS

        out = Path(self.out)
        return [out.with_stem(out.stem + part) for part in PARTS] if self.graphs else [out]

    @property
    def sampling(self) -> SamplerOptions:
        """The options by which the graphs sample."""
        return SamplerOptions(**shared_options(self, StepOptions))


def takes(kind: type[Options]) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """A method whose ``**options`` are the fields of an options class, which its signature then shows.

    Raises:
        UserError: (when called) an argument is unknown or missing.
    """

    def decorate(method: Callable[P, Result]) -> Callable[P, Result]:
        method_signature = inspect.signature(method)
        *parameters, _ = method_signature.parameters.values()
        signature = method_signature.replace(parameters=[*parameters, *inspect.signature(kind).parameters.values()])

        @wraps(method)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            arguments = todays_arguments(kind, kwargs)
            check_arguments(signature, *args, **arguments)
            return method(*args, **arguments)

        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    return decorate


takes_sampler_options = takes(SamplerOptions)
