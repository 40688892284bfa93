"""The place of a training's images: a run, its images or both may be moved after it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from diffcli.checkpoints.runs import Run
from diffcli.config.schema import Preset
from diffcli.data.datasets import OF_FILES
from diffcli.data.folders import printable
from diffcli.utils.errors import UserError
from diffcli.utils.files import user_path


def data_place(run: Run, path: str, images: str) -> dict[str, str]:
    """The place of a training's images, for its ``run.json``: the run, the images or both may be moved afterwards.

    Args:
        path: ``data.path`` as the preset has it.
        images: where that leads.
    """
    absolute = os.path.abspath(user_path(images))
    place = {"preset": path, "absolute": absolute}
    with suppress(ValueError):  # on another drive of Windows
        parent, name = os.path.split(absolute)
        place["from_run"] = os.path.relpath(os.path.join(os.path.realpath(parent), name), os.path.realpath(run.folder))
    return place


def images_of_run(run: Run | None, path: str) -> list[Path]:
    """The places where the images of a run may be by now, the likeliest first: where they were, where they were as seen
    from the run, and where its preset's ``data.path`` leads from here.

    Args:
        run: None where only a preset is left.
        path: ``data.path`` of its preset.
    """
    place = run.info().get("data_path") if run is not None else None
    places = []
    if run is not None and isinstance(place, dict):
        places += [Path(str(place["absolute"]))] if "absolute" in place else []
        if "from_run" in place:
            places += [Path(os.path.normpath(os.path.join(os.path.realpath(run.folder), str(place["from_run"]))))]
    return list(dict.fromkeys([*places, user_path(path, "data.path:")]))


def with_images(preset: Preset, run: Run | None, images: Path | str | None = None, argument: str = "data") -> Preset:
    """The preset of a trained model with its ``data.path`` where the images are by now; as it is where it has no such
    key.

    Args:
        run: the run that it belongs to, if any, which knows where they were.
        images: in place of those, others.
        argument: what the caller names them with.

    Raises:
        UserError: they are not there, or the model's data set is none of a folder.
    """
    path = preset.data.parameters.get("path")
    if not isinstance(path, str):
        if images is not None:
            raise UserError(
                f"`{argument}` is for models of a folder of images; data {preset.data.name} is looked for in `data_dir`"
            )
        return preset
    places = images_of_run(run, path) if images is None else [user_path(images)]
    place = next((place for place in places if os.path.exists(place)), None)
    if place is None and images is None and preset.data.name not in OF_FILES:
        return preset  # a plug-in's path may be another thing than a file's
    if place is None:
        listing = ", ".join(map(printable, places))
        raise UserError(
            f"the images of the training are not there any more (looked for: {listing}); name their folder with "
            f"`{argument}`"
            if images is None
            else f"`{argument}` {listing} does not exist; name a folder of images"
        )
    return preset.model_copy(update={"data": preset.data.model_copy(update={"path": str(place)})})
