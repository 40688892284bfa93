"""The options of a training; nothing heavy is loaded here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcli.config.options import overrides_option
from diffcli.data.options import DataDirOptions
from diffcli.utils.console import quiet_option
from diffcli.utils.devices import PLACES, Devices, devices_option
from diffcli.utils.errors import UserError
from diffcli.utils.options import DATA, DEVICES, MODEL, TRAINING, bounds, option

if TYPE_CHECKING:
    from diffcli.checkpoints.runs import Run

KEYS: dict[str, Any] = {
    "training.epochs": option(None, kind=int, help="Epochs in all.", default_text="the preset's", panel=TRAINING),
    "training.max_time": option(
        None,
        kind=str,
        help="End after this time, 90s, 10m or 2h, the learning rate decayed.",
        default_text="the preset's",
        panel=TRAINING,
    ),
    "training.batch_size": option(None, kind=int, help="Images per step.", default_text="the preset's", panel=TRAINING),
    "training.lr": option(None, kind=float, help="AdamW's learning rate.", default_text="the preset's", panel=TRAINING),
    "training.seed": option(
        None, kind=int, help="Seed of everything drawn.", default_text="the preset's", panel=TRAINING
    ),
    "training.precision": option(
        None,
        kind=str,
        help="32-true, bf16-mixed, 16-mixed, or auto: bf16-mixed where the device is fast at it.",
        default_text="the preset's",
        panel=DEVICES,
    ),
    "data.on_bad_image": option(
        None,
        kind=str,
        help="Of a folder of images: refuse or skip what cannot be used.",
        default_text="the preset's",
        panel=DATA,
    ),
}
"""Preset keys that have a flag of their own, called by their last part; the others have ``set``."""


@dataclass(frozen=True)
class TrainOptions(DataDirOptions):
    """The options of ``train``: the preset, the images, and the folder.

    Args:
        preset: a preset's name, its YAML file, or what such a file holds, as a mapping; its runs are those of
            ``preset``.
        overrides: preset keys and their new values: ``{"training.epochs": 2, "sampler": {"name": "ddim"}}``.
        resume: in place of a preset, a run to go on with: the run, its folder, a preset's name, or ``last``.
        init: a model whose weights a new run begins from, as far as they fit: see :func:`diffcli.load`. Without
            ``preset`` the model's own preset is trained.
        teacher: a model that draws in many steps what the new one learns to draw in few: see
            :mod:`diffcli.training.distillation`. Without ``preset`` the student's is made of the teacher's.
        out: the run folder; None is ``runs/PRESET/TIME``, of ``images`` without a preset ``runs/FOLDER/TIME``.
        images: a folder of pictures to train on, with the preset that fits them where none is named; see
            :mod:`diffcli.training.recipes`.
        size: side of the squares that ``images`` are read as, in pixels; None is 64 or 32 where most are as large, else
            their own.
        limit_batches: batches in an epoch, for a quick look; None is all.
        quiet: prints nothing.
        logger: where the curves go besides ``metrics.csv``, of :data:`diffcli.training.loggers.LOGGERS`; none is what
            the run had that is gone on with, else ``("tensorboard",)``.

    Raises:
        UserError: an option is out of range, or two do not go together.
    """

    preset: Mapping[str, Any] | Path | str | None = option(
        None, kind=str, help="Preset name or YAML file.", panel=MODEL, complete="presets"
    )
    overrides: Mapping[str, Any] = overrides_option(KEYS)
    resume: Run | Path | str | None = option(
        None,
        metavar="RUN",
        help="Go on with a run: its folder, a preset name, or last.",
        panel=MODEL,
        complete="runs",
    )
    out: Path | str | None = option(
        None, help="Run folder.", default_text="runs/PRESET/TIME, of `images` runs/FOLDER/TIME"
    )
    _: KW_ONLY
    images: Path | str | None = option(
        None,
        metavar="FOLDER",
        help="Your own pictures, sub-folders as classes: trains the preset that fits them, or `preset`.",
        panel=MODEL,
    )
    size: int | None = option(
        None,
        check=bounds(4, 1024),
        help="Of `images`: pixels along a side, for example 32 or 64.",
        default_text="64 or 32 where most are as large, else their own",
        panel=MODEL,
    )
    init: Run | Path | str | None = option(
        None,
        metavar="RUN|FILE|FOLDER",
        help="Begin from the weights of a run, a ready model, a model file or a pipeline of diffusers; without "
        "`preset` by its own preset.",
        panel=MODEL,
        complete="models",
    )
    teacher: Run | Path | str | None = option(
        None,
        metavar="RUN|FILE",
        help="Distil a run, a ready model or a model file with noise into one that draws in sampler.steps steps, 4 "
        "unless that is set; without `preset` by its own preset.",
        panel=MODEL,
        complete="models",
    )
    limit_batches: int | None = option(
        None, check=bounds(1), help="Batches per epoch, for a quick look.", default_text="all", panel=TRAINING
    )
    devices: Devices = devices_option(
        Devices(), {**PLACES, "accelerator": "Lightning's: auto, cpu, gpu, mps, ...", "compile": None}
    )
    quiet: bool = quiet_option()
    logger: Sequence[str] = option(
        (),
        help="Where the curves go besides logs/metrics.csv: tensorboard, csv, wandb or mlflow; repeatable.",
        default_text="the run's of `resume`, else tensorboard",
    )

    def __post_init__(self) -> None:
        from diffcli.training.loggers import check_loggers

        super().__post_init__()
        self._check_images()
        if self.resume is not None and self.init is not None:
            raise UserError("`init` is what a new run begins from; leave it out with `resume`, which goes on as it was")
        self._check_teacher()
        sources = [self.preset, self.images, self.init, self.teacher]
        if (sources == [None] * 4) == (self.resume is None):
            raise UserError(
                "give one of `preset` NAME and `resume` RUN, or `images` FOLDER; 'diffcli presets' lists the presets, "
                "'diffcli runs' the runs"
            )
        if not isinstance(self.preset, (Mapping, Path, str, type(None))):
            raise UserError(
                f"`preset` is a name, a YAML file or a mapping of keys to values, got {type(self.preset).__name__}"
            )
        if self.resume is not None and self.out is not None:
            raise UserError("`out` does not go with `resume`: the run stays in its folder")
        if isinstance(self.logger, str):
            raise UserError(f"`logger` is a list of names: ['{self.logger}']")
        check_loggers(self.logger)

    def _check_teacher(self) -> None:
        if self.teacher is None:
            return
        if self.resume is not None:
            raise UserError("`teacher` does not go with `resume`, which goes on as it was; give one of them")
        if self.init is not None:
            raise UserError(
                "`teacher` does not go with `init`, for a student begins from its teacher; give one of them"
            )
        if any(key.strip().startswith("distillation.teacher") for key in self.overrides):
            raise UserError("`teacher` and the key distillation.teacher say the same; give one of them")

    def _check_images(self) -> None:
        if self.images is None:
            if self.size is not None:
                raise UserError("`size` is of `images` FOLDER; of a preset's data it is the key data.size")
            return
        if self.resume is not None:
            raise UserError("`images` begins a new run, and `resume` goes on with one; give one of them")
        for key in (key.strip() for key in self.overrides):
            if key in ("data", "data.name", "data.path"):
                raise UserError(f"`images` {self.images} and the key {key} both say which pictures; give one of them")
            if key == "data.size":
                raise UserError("the size of `images` is `size`; leave the key data.size out")
