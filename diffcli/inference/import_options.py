"""The options of an import; nothing heavy is loaded here."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from diffcli.utils.files import output_of
from diffcli.utils.options import DATA, Options, bounds, option


@dataclass(frozen=True)
class ImportOptions(Options):
    """The folder of another program that is read, and the model file that is made of it.

    Args:
        folder: a pipeline of diffusers, as ``pipeline.save_pretrained(folder)`` writes it.
        out: the model file, .safetensors.
        data: what it was trained on, which a pipeline does not tell: a data set's name, ``mnist``, or a folder of
            images or of .npy files, whose sub-folders are its classes in the order of the alphabet; or a .npz file.
            Numbers that are no bytes are taken from -1 to 1. None leaves it open: what needs images then needs them
            named.
        unlabelled: the row of the network's table of classes that stands for no label; None is none, or the one that an
            export of diffcli names.

    Raises:
        UserError: an option is out of range, or the file cannot be written.
    """

    folder: Path = option(argument=True, metavar="FOLDER", help="Folder of a pipeline of diffusers.")
    out: Path = option(Path("model.safetensors"), check=output_of(".safetensors"), help=".safetensors, a model file.")
    _: KW_ONLY
    data: str | None = option(
        None,
        metavar="NAME|PATH",
        help="What it was trained on: mnist or another data set, a folder of images or of .npy files, or a .npz file.",
        default_text="not known",
        panel=DATA,
    )
    unlabelled: int | None = option(
        None,
        check=bounds(0),
        help="Row of the table of classes that stands for no label, counted from 0.",
        default_text="none",
    )
