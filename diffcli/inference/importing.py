"""Models of other programs as model files of ours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diffcli.checkpoints.diffusers_folder import COLOURS, OWN_RANGE
from diffcli.checkpoints.model_file import StoredModel, stored_pipeline, write_model_file
from diffcli.config.registry import component_named
from diffcli.data.array_files import npy_array, npz_array, npz_heads
from diffcli.data.array_format import Array
from diffcli.data.datasets import DATASETS, OF_FILES
from diffcli.data.folders import search
from diffcli.data.npy import SUFFIXES
from diffcli.data.npz import images_name
from diffcli.data.sources import class_names, image_shape
from diffcli.inference.import_options import ImportOptions
from diffcli.inference.loading import model_of
from diffcli.utils.console import note
from diffcli.utils.errors import UserError, unknown_name
from diffcli.utils.files import user_path
from diffcli.utils.options import called_with, options_of


@called_with(ImportOptions)
def import_pipeline(*args: Any, **arguments: Any) -> Path:
    """Makes a model file of another program's folder; returns it. What their sampling does otherwise is said in notes.

    Nothing of the folder is executed, and a file that would have to be is refused.

    Raises:
        UserError: the folder is none of a pipeline that is known, or an option does not fit it; nothing is written.
    """
    return import_with(options_of(ImportOptions, *args, **arguments))


def import_with(options: ImportOptions) -> Path:
    """Imports a pipeline, see :func:`import_pipeline`, by options at hand."""
    stored_model = stored_pipeline(options.folder, options.unlabelled)
    if options.data is not None:
        stored_model = _trained_on(stored_model, options.data)
    model = model_of(stored_model)  # what cannot be read back is not written
    for line in stored_model.notes:
        note(line)
    if model.classes and not model.works_without_label:
        note(
            f"note: it is told one of {len(model.classes):,} labels for each image; if a row of its table stands for "
            "none, name it with `unlabelled`"
        )
    write_model_file(options.out, replace(stored_model, training={"imported_from": "diffusers"}))
    return options.out


def _of_arrays(name: str, place: Path, arrays: Iterable[Array], shape: tuple[int, ...]) -> dict[str, Any]:
    """A data set of arrays of a model's shape: bytes, or numbers in the range that pipelines know.

    Raises:
        UserError: numbers lie outside of that.
    """
    low, high = OWN_RANGE["low"], OWN_RANGE["high"]
    limits: dict[str, float] = {}
    for array in arrays:
        if array.dtype != np.uint8:
            limits = OWN_RANGE
            if array.size and not low <= array.min() <= array.max() <= high:
                raise UserError(
                    f"`data`: {place} holds values from {array.min():g} to {array.max():g}; the arrays of a pipeline "
                    f"are bytes, or numbers from {low:g} to {high:g}"
                )
    return {"name": name, "path": str(place), "size": list(shape[1:]), "channels": shape[0], **limits}


def _trained_on(stored_model: StoredModel, data: str) -> StoredModel:
    """A stored model of which it is known what it was trained on.

    Raises:
        UserError: there is no such data, or its images or classes are others than the model's.
    """
    values, stored_data = dict(stored_model.preset), stored_model.preset["data"]
    shape = (stored_data["channels"], *stored_data["size"])
    place = user_path(data)
    if data in DATASETS and data not in OF_FILES:
        load = component_named("data", data)
        component: dict[str, Any] = {"name": data}
        names = class_names(load, {})
        size = tuple(image_shape(load, {}))
        if size != shape:
            sizes = ["x".join(map(str, one)) for one in (size, shape)]
            raise UserError(f"`data`: images of {data} are {sizes[0]}, and the model's are {sizes[1]}")
    elif place.is_dir():
        arrays = search(place, SUFFIXES)[0]
        files = [] if shape[0] not in COLOURS else search(place)[0]
        if arrays and not files:
            component, files = _of_arrays("npy", place, map(npy_array, arrays), shape), arrays
        elif shape[0] not in COLOURS:
            raise UserError(f"`data`: {place} holds no .npy files, as images of {shape[0]} channels are")
        else:
            component = stored_data | {"path": str(place)}
        parts = [file.relative_to(place).parts for file in files]
        names = sorted({part[0] for part in parts if len(part) > 1})  # as datasets of folders number them elsewhere
    elif place.suffix.lower() == ".npz" and place.is_file():
        images = npz_array(place, images_name(place, npz_heads(place)))
        component = _of_arrays("npz", place, [images], shape)
        names = None
        if values["labels"] is not None:
            names = component_named("data", "npz")(
                **{key: value for key, value in component.items() if key != "name"}
            ).classes
    else:
        raise UserError(f"`data`: {unknown_name('data set or folder', data, set(DATASETS) - set(OF_FILES))}")
    if values["labels"] is not None:
        count = len(values["labels"]["classes"])
        if names is None or len(names) != count:
            raise UserError(f"`data`: {data} has {len(names or [])} classes, and the model has {count} labels")
        values["labels"] = values["labels"] | {"classes": list(names)}
    return replace(stored_model, preset=values | {"data": component})
