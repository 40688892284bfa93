"""Options that several commands share, and the groups that the help shows options in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from diffcli.cli.completion import model_names
from diffcli.utils.errors import UserError
from diffcli.utils.paths import user_path

MODEL = "Model"
TRAINING = "Training"
SAMPLING = "Sampling"
METRICS = "Metrics"
EFFORT = "How much is measured"
DATA = "Data"
IMAGES = "The images"
DEVICES = "Devices"
"""Groups of options; what is not in one of them stands below Options: what is written and printed."""


def path_option(**settings: Any) -> Any:
    """A path as users write it, see :func:`~diffcli.utils.paths.user_path`; every option that holds one is made here.

    Args:
        settings: those of ``typer.Option``.
    """
    return typer.Option(parser=user_path, metavar="<path>", **settings)


DataDir = Annotated[
    Path | None,
    path_option(
        help="Folder of the data sets (MNIST/raw/... below it).",
        show_default="DIFFCLI_DATA, else data",
        rich_help_panel=DATA,
    ),
]
DataOption = Annotated[
    Path | None,
    path_option(
        help="Folder of images in place of the one that the model was trained on.",
        show_default="where the training read them",
        rich_help_panel=DATA,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
Progress = Annotated[
    bool, typer.Option("--progress", help="Lines of progress on stderr where no bar can move: in a pipe, in a log.")
]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        "--model",
        help="Run folder, preset or name below runs/ (its newest run), last, or a ready model, see 'diffcli models'.",
        show_default="the newest run",
        rich_help_panel=MODEL,
        autocompletion=model_names,
    ),
]
CheckpointOption = Annotated[
    Path | None,
    path_option(
        help="Checkpoint file (.ckpt), in place of a run's best one; or a model file (.safetensors).",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
SamplerOption = Annotated[
    str | None,
    typer.Option(
        help="On noise: ancestral, ddim, dpm-solver++ or heun; on either: cold (the improved one; DDIM on noise) or "
        "cold-naive. With parameters: '{name: ddim, eta: 0.5}'.",
        show_default="the preset's",
        rich_help_panel=SAMPLING,
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        help="Sampler steps, 1..T; fewer are faster.", show_default="the preset's, else T", rich_help_panel=SAMPLING
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Of the images: a class's name, a number, a range such as 0-9, or none; repeatable.",
        show_default="as frequent as in the training images",
        rich_help_panel=SAMPLING,
    ),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        help="Weight of classifier-free guidance towards the label; 1 is none.",
        show_default="the preset's",
        rich_help_panel=SAMPLING,
    ),
]
AutoguidanceOption = Annotated[
    float | None,
    typer.Option(
        help="Weight of guidance by an early average of the weights; 1 is none.",
        show_default="the preset's",
        rich_help_panel=SAMPLING,
    ),
]
SeedOption = Annotated[int, typer.Option(help="Same seed, same images; on a CPU whatever the batch size.")]
BatchOption = Annotated[
    str,
    typer.Option(
        metavar="<int>|auto",
        help="Images at a time, or auto: as many as the device holds, on a CPU 128.",
        rich_help_panel=DEVICES,
    ),
]
ExtractorOption = Annotated[
    str,
    typer.Option(help="Features of the distances: auto, inception or classifier.", rich_help_panel=EFFORT),
]
InceptionOption = Annotated[
    Path | None,
    path_option(help="Local copy of the Inception weights.", show_default=False, rich_help_panel=EFFORT),
]
AcceleratorOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=DEVICES)]
DevicesOption = Annotated[str, typer.Option(help="Lightning's: a number, a list, or auto.", rich_help_panel=DEVICES)]
NodesOption = Annotated[int, typer.Option(help="Machines.", rich_help_panel=DEVICES)]
StrategyOption = Annotated[
    str, typer.Option(help="auto or ddp; train takes others of Lightning's, too.", rich_help_panel=DEVICES)
]
PRECISIONS = "32-true, bf16-mixed, 16-mixed, or auto: bf16-mixed where the device is fast at it."
PrecisionOption = Annotated[str, typer.Option(help=PRECISIONS, rich_help_panel=DEVICES)]
TrainingPrecisionOption = Annotated[
    str | None, typer.Option(help=PRECISIONS, show_default="the preset's", rich_help_panel=DEVICES)
]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="Compile the network with torch.compile.", rich_help_panel=DEVICES)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one preset key, e.g. training.lr=1e-3; repeatable."),
]
NTestOption = Annotated[
    int | None,
    typer.Option(
        help="Test images to reconstruct, drawn at random by the seed.", show_default="all", rich_help_panel=EFFORT
    ),
]
ReconstructionT = Annotated[
    int | None,
    typer.Option(
        "--t",
        help="Step, 1..T, whose z_t reconstructions start from; the sampler's steps are fewer in proportion.",
        show_default="T",
        rich_help_panel=EFFORT,
    ),
]
ZtBitsOption = Annotated[
    int | None,
    typer.Option(
        help="Bits of each pixel of that z_t, 1..16: it is rounded and clamped as in a picture file.",
        show_default="float32",
        rich_help_panel=EFFORT,
    ),
]
ZtNoiseOption = Annotated[
    float,
    typer.Option(
        help="Standard deviation of normal noise that is added to that z_t, where pixels have the range 1.",
        rich_help_panel=EFFORT,
    ),
]
NCasOption = Annotated[
    int | None,
    typer.Option(
        help="Samples that --cas trains a classifier on.",
        show_default="50000, or all images",
        rich_help_panel=EFFORT,
    ),
]
NFidOption = Annotated[int, typer.Option(help="Samples for the distances.", rich_help_panel=EFFORT)]


def chosen(run: str | None, checkpoint: Path | None) -> str | Path:
    """The model that ``--run`` or ``--checkpoint`` names, the newest run without either.

    Raises:
        UserError: both are given.
    """
    if run is not None and checkpoint is not None:
        raise UserError("--run and --checkpoint name two models; give one of them")
    return checkpoint or run or "last"


def silent(quiet: bool, progress: bool) -> bool:
    """Whether ``--quiet`` was given; ``--progress`` has what follows print lines.

    Raises:
        UserError: both are given.
    """
    from diffcli.utils.console import show_lines

    if quiet and progress:
        raise UserError("--quiet and --progress contradict each other; give one of them")
    show_lines(progress)
    return quiet
