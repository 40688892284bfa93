"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcli.errors import UserError

DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the data sets (MNIST/raw/... below it).", show_default="DIFFCLI_DATA, else data"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        "--model",
        help="Run folder, preset name (its newest run), last, or a ready model, see 'diffcli models'.",
        show_default="the newest run",
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint file (.ckpt), in place of a run's best one; or a model file (.safetensors).",
        show_default=False,
    ),
]
SamplerOption = Annotated[
    str | None,
    typer.Option(
        help="On noise: ancestral, ddim, dpm-solver++ or heun; on either: cold (the improved one; DDIM on noise) or "
        "cold-naive. With parameters: '{name: ddim, eta: 0.5}'.",
        show_default="the preset's",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(help="Sampler steps, 1..T; fewer are faster.", show_default="the preset's, else T"),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Of the images: a number, a class's name, a range such as 0-9, or none; repeatable.",
        show_default="as frequent as in the training images",
    ),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(help="Weight of classifier-free guidance towards the label; 1 is none.", show_default="the preset's"),
]
AutoguidanceOption = Annotated[
    float | None,
    typer.Option(help="Weight of guidance by an early average of the weights; 1 is none.", show_default="the preset's"),
]
SeedOption = Annotated[int, typer.Option(help="Same seed, same images, whatever the batch size.")]
BatchOption = Annotated[
    str,
    typer.Option(metavar="<int>|auto", help="Images at a time, or auto: as many as the device holds, on a CPU 128."),
]
ExtractorOption = Annotated[str, typer.Option(help="Features of the distances: auto, inception or classifier.")]
InceptionOption = Annotated[Path | None, typer.Option(help="Local copy of the Inception weights.", show_default=False)]
AcceleratorOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
DevicesOption = Annotated[str, typer.Option(help="Lightning's: a number, a list, or auto.")]
NodesOption = Annotated[int, typer.Option(help="Machines.")]
StrategyOption = Annotated[str, typer.Option(help="auto or ddp; train takes others of Lightning's, too.")]
PRECISIONS = "32-true, bf16-mixed, 16-mixed, or auto: bf16-mixed where the device is fast at it."
PrecisionOption = Annotated[str, typer.Option(help=PRECISIONS)]
TrainingPrecisionOption = Annotated[str | None, typer.Option(help=PRECISIONS, show_default="the preset's")]
CompileOption = Annotated[bool, typer.Option("--compile", help="Compile the network with torch.compile.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one preset key, e.g. training.lr=1e-3; repeatable."),
]
NTestOption = Annotated[int | None, typer.Option(help="Test images to reconstruct.", show_default="all")]
NCasOption = Annotated[
    int | None, typer.Option(help="Samples that --cas trains a classifier on.", show_default="50000, or all images")
]
NFidOption = Annotated[int, typer.Option(help="Samples for the distances.")]


def chosen(run: str | None, checkpoint: Path | None) -> str | Path:
    """The model that ``--run`` or ``--checkpoint`` names, the newest run without either.

    Raises:
        UserError: both are given.
    """
    if run is not None and checkpoint is not None:
        raise UserError("--run and --checkpoint name two models; give one of them")
    return checkpoint or run or "last"
