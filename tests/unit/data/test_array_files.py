"""The data sets ``npz`` and ``npy``: which arrays of a file are what, their layouts and ranges, and what is refused."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffcli.config.build import load_source, resolve
from diffcli.config.presets import load_preset
from diffcli.data.array_format import BYTES, ArrayFormat, geometry_of
from diffcli.data.sources import Source
from diffcli.data.user_arrays import open_images
from diffcli.utils.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 8, 9), np.uint8)
"""(N, H, W)."""
FLOATS = RNG.uniform(-1, 1, (20, 8, 9, 2)).astype(np.float32)
LABELS = np.arange(20) % 4
TEN = np.arange(10)


def load(**data: Any) -> tuple[dict[str, Any], Source]:
    """The parameters of the resolved preset, and the images."""
    _, values = load_preset("quickstart", {"data": {"path": "a.npz", "name": "npz", **data}, "labels": None})
    preset = resolve(values, network=False)
    return preset.preset.data.parameters, load_source(preset.preset, None)


def all_images(source: Source) -> np.ndarray:
    return np.concatenate([source.development.images.numpy(), source.test.images.numpy()])


def test_a_file_of_medmnist_is_read_as_it_is() -> None:
    parts = {"train": GREY, "val": GREY[:6], "test": GREY[:10]}
    arrays: dict[str, Any] = {f"{name}_images": images for name, images in parts.items()}
    arrays |= {f"{name}_labels": LABELS[: len(images), None] for name, images in parts.items()}
    np.savez_compressed("a.npz", **arrays)
    parameters, source = load()
    assert (parameters["images"], parameters["layout"]) == ("train_images", "HW")
    assert (parameters["size"], parameters["channels"]) == ([8, 9], 1)
    assert np.array_equal(source.development.images[:, 0].numpy(), np.concatenate([GREY, GREY[:6]]))
    assert np.array_equal(source.development.labels.numpy(), [*LABELS, *LABELS[:6]])
    assert np.array_equal(source.test.images[:, 0].numpy(), GREY[:10])
    assert source.classes == ("0", "1", "2", "3")
    assert source.notes == (
        "a.npz: 20 images in train_images, 6 more in val_images, which are development images, too, 10 test images in "
        "test_images, labels in train_labels; 8x9, 1 channel (axes: rows, columns)",
    )


def test_a_file_of_keras_has_its_own_test_images() -> None:
    np.savez("a.npz", x_train=GREY, y_train=LABELS.astype(np.uint8), x_test=GREY[:5], y_test=LABELS[:5])
    _, source = load()
    assert (len(source.development), len(source.test)) == (20, 5)
    assert np.array_equal(source.test.labels.numpy(), LABELS[:5])


def test_labels_keep_their_numbers_as_names_and_minus_one_is_none() -> None:
    np.savez("a.npz", images=GREY, labels=np.where(LABELS == 3, -1, 10 * (LABELS + 1)))
    _, source = load()
    assert source.classes == ("10", "20", "30")
    assert sorted(set(torch.cat([source.development.labels, source.test.labels]).tolist())) == [-1, 0, 1, 2]
    # No test images in the file: a fifth is held out, by class.
    assert (len(source.development), len(source.test)) == (16, 4)
    assert sorted(source.test.labels.tolist()) == [-1, 0, 1, 2]


@pytest.mark.parametrize("names", [("arr_0", "arr_1"), ("pictures", "kinds"), ("X_train", "y_train"), ("x", "y")])
def test_the_only_images_of_a_file_are_taken(names: tuple[str, str]) -> None:
    arrays: dict[str, Any] = {names[0]: GREY, names[1]: LABELS}
    np.savez("a.npz", **arrays)
    parameters, source = load()
    assert parameters["images"] == names[0]
    assert bool(source.classes) == (names != ("pictures", "kinds"))


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_channels_are_first_or_last(channels: int, layout: str) -> None:
    images = RNG.integers(0, 256, (12, channels, 9, 10), np.uint8)
    np.savez("a.npz", images=images if layout == "CHW" else images.transpose(0, 2, 3, 1))
    parameters, source = load()
    assert (parameters["layout"], parameters["channels"], parameters["size"]) == (layout, channels, [9, 10])
    assert sorted(map(bytes, all_images(source))) == sorted(map(bytes, images))


def test_a_shape_that_can_be_read_in_two_ways_needs_a_layout() -> None:
    images = RNG.integers(0, 256, (12, 8, 8, 8), np.uint8)
    np.savez("a.npz", images=images)
    with pytest.raises(UserError, match=r"first or last: say which, data\.layout=CHW or HWC"):
        load()
    _, source = load(layout="HWC")
    assert sorted(map(bytes, all_images(source))) == sorted(map(bytes, images.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i2", ">u2", "?"])
def test_values_are_scaled_by_their_range_and_come_back_in_it(dtype: str) -> None:
    floats = np.dtype(dtype).kind == "f"
    values = RNG.uniform(-3, 5, (20, 8, 8, 2))
    values = (values if floats else np.rint(abs(values))).astype(dtype)
    np.savez("a.npz", images=values, labels=np.arange(20))
    low, high = (0, 1) if dtype == "?" else (-3, 5.5)
    parameters, source = load(low=low, high=high)
    form = ArrayFormat(parameters["layout"], parameters["low"], parameters["high"])
    back = form.of(torch.from_numpy(all_images(source)))
    assert (back.dtype, back.shape) == (np.float32, (20, 8, 8, 2))
    own = values[torch.cat([source.development.labels, source.test.labels]).numpy()]
    assert np.abs(back.astype(float) - own.astype(float)).max() <= (high - low) / 255 / 2 + 1e-6


def test_a_limit_that_is_rounded_in_the_file_is_no_value_out_of_range() -> None:
    # 0.1 in float32 is more than 0.1: what was written in a range can be read in it.
    np.savez("a.npz", images=np.full((12, 8, 8), 0.1, np.float32))
    _, source = load(low=0, high=0.1)
    assert bool((source.test.images == 255).all())


def test_values_outside_are_refused_by_number_or_clipped_aloud() -> None:
    np.savez("a.npz", images=FLOATS)
    outside = int((abs(FLOATS) > 0.5).sum())
    with pytest.raises(UserError, match=rf"{outside:,} of 2,880 values \(0\.\d+ of them\) lie outside"):
        load(low=-0.5, high=0.5)
    _, source = load(low=-0.5, high=0.5, out_of_range="clip")
    assert f"note: {outside:,} of 2,880 values of images are clipped to -0.5 to 0.5" in source.notes
    assert np.mean((all_images(source) % 255) == 0) > outside / 2880 - 0.01


def test_values_that_need_few_of_the_levels_are_said_to_lose() -> None:
    np.savez("a.npz", images=FLOATS / 100)
    _, source = load(low=-1, high=1)
    assert "kept in 256 levels, 0.00784 apart; their standard deviation is 0.8" in source.notes[-1]


def folder_of(arrays: dict[str, np.ndarray], root: str = "arrays") -> str:
    for name, array in arrays.items():
        file = Path(root, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, array)
    return root


def test_a_folder_of_arrays_has_its_sub_folders_as_classes() -> None:
    folder_of({f"{('cats', 'dogs')[i % 2]}/{i:02}.npy": image for i, image in enumerate(FLOATS)})
    Path("arrays/notes.txt").write_text("no array")
    parameters, source = load(name="npy", path="arrays", low=-1, high=1)
    assert (parameters["layout"], parameters["channels"], parameters["size"]) == ("HWC", 2, [8, 9])
    assert source.classes == ("cats", "dogs")
    assert str(source.inventory) == "arrays: 20 images of 21 files; passed over: 1 .txt"
    expected, _ = ArrayFormat("HWC", -1, 1).pixels(FLOATS)
    assert sorted(map(bytes, all_images(source))) == sorted(map(bytes, expected.numpy()))


class Exploit:
    """What would be executed, were a pickle read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


def save_pickled() -> None:
    content = io.BytesIO()
    array = np.empty(12, object)
    array[:] = [Exploit() for _ in range(12)]
    np.lib.format.write_array(content, array, allow_pickle=True)
    assert b"touch" in pickle.dumps(Exploit()) or b"Path" in content.getvalue()
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("images.npy", content.getvalue())


def save_cut() -> None:
    np.savez_compressed("b.npz", images=GREY)
    Path("a.npz").write_bytes(Path("b.npz").read_bytes()[:-100])


def save_short() -> None:
    """A header that claims more than is there."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 8, 8)})
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("images.npy", content.getvalue())


def save_alone() -> None:
    with Path("a.npz").open("wb") as stream:
        np.save(stream, GREY)


def saving(**arrays: Any) -> Any:
    return lambda: np.savez("a.npz", **arrays)


BAD: dict[str, tuple[Callable[[], object], dict[str, Any], str]] = {
    "objects": (save_pickled, {}, "images of a.npz holds Python objects, which are a pickle and not read"),
    "cut": (save_cut, {}, "a.npz is damaged, or no .npz file"),
    "short": (save_short, {}, "a.npz is damaged, or no .npz file"),
    "text": (lambda: Path("a.npz").write_text("no archive"), {}, "a.npz is damaged, or no .npz file"),
    "one array": (save_alone, {}, "holds a single array without a name: save it with"),
    "missing": (lambda: None, {}, "a.npz does not exist; name a .npz file"),
    "folder": (lambda: Path("a.npz").mkdir(), {}, "is a folder; name a .npz file; a folder of .npy files is data"),
    "empty": (saving(), {}, "which array of a.npz are the images? It holds no array"),
    "two": (
        saving(a=GREY, b=GREY[:, :, :, None]),
        {},
        "are the images? It holds 'a' (20, 8, 9) uint8, 'b' (20, 8, 9, 1) uint8; name one with `data.images`",
    ),
    "two conventions": (saving(images=GREY, x_train=GREY), {}, "which array of a.npz are the images?"),
    "wrong name": (saving(images=GREY), {"images": "image"}, "has no array 'image'; it holds 'images' (20, 8, 9)"),
    "wrong labels": (saving(images=GREY), {"labels": "labels"}, "data.labels: a.npz has no array 'labels'"),
    "labels of nothing": (
        saving(images=GREY, more=LABELS),
        {"test_labels": "more"},
        "data.test_labels are of images: name these, too, with `data.test_images`",
    ),
    "tested on what is learnt": (
        saving(images=GREY),
        {"test_images": "images"},
        "images of training and of tests must be different arrays",
    ),
    "range": (saving(images=FLOATS), {}, "images of a.npz is of float32, with values from -0.99"),
    "range to write": (saving(images=FLOATS), {}, "for example data.low=-1 and data.high=1"),
    "half a range": (saving(images=FLOATS), {"low": 0}, "data.high is missing beside data.low"),
    "range upside down": (saving(images=FLOATS), {"low": 1, "high": 1}, "data.low 1 is black and data.high 1 is white"),
    "infinite range": (saving(images=FLOATS), {"low": 0, "high": float("inf")}, "data.high: input should be a finite"),
    "not a number": (
        saving(images=np.where(FLOATS > 0.9, np.nan, FLOATS)),
        {"low": -1, "high": 1},
        "values are not finite (NaN or infinite)",
    ),
    "infinite": (saving(images=np.where(FLOATS > 0.9, np.inf, FLOATS)), {"low": -1, "high": 1}, "are not finite"),
    "complex": (saving(images=FLOATS.astype(complex)), {"low": -1, "high": 1}, "holds complex128, not real numbers"),
    "text array": (saving(images=np.full((20, 8, 8), "a")), {}, "holds <U1, not real numbers"),
    "nine channels": (saving(images=np.zeros((12, 9, 12, 12), np.uint8)), {}, "images of shape 9x12x12 are not (H, W)"),
    "small": (saving(images=np.zeros((12, 3, 3), np.uint8)), {}, "sides of 4 to 1,024 pixels"),
    "rows": (saving(images=np.zeros((12, 64), np.uint8)), {"images": "images"}, "images of shape 64 are not (H, W)"),
    "no image": (saving(images=GREY[:0]), {}, "a.npz holds 0 images in images; at least 10 are needed"),
    "few": (saving(images=GREY[:9]), {}, "a.npz holds 9 images in images; at least 10 are needed"),
    "no test image": (saving(images=GREY, test_images=GREY[:0]), {}, "test_images of a.npz holds no images"),
    "two shapes": (saving(images=GREY, test_images=GREY[:, 1:]), {}, "are of several shapes: images (20, 8, 9)"),
    "other size": (saving(images=GREY), {"size": 16}, "8x9, 1 channel (axes: rows, columns), and `data.size`"),
    "other channels": (saving(images=GREY), {"channels": 3}, "`data.channels` says 3: arrays are taken as they are"),
    "channels": (saving(images=GREY), {"channels": 9}, "data.channels: input should be less than or equal to 8"),
    "labels of floats": (
        saving(images=GREY, labels=LABELS / 2),
        {"labels": "labels"},
        "data.labels: labels of a.npz is no whole number for each image but (20,) float64",
    ),
    "labels in rows": (
        saving(images=GREY, labels=np.eye(20, dtype=int)),
        {"labels": "labels"},
        "is no label for each image, (N,) or (N, 1), but (20, 20) int64",
    ),
    "few labels": (saving(images=GREY, labels=LABELS[:7]), {}, "holds 7 labels, for the 20 images of images"),
    "negative": (saving(images=GREY, labels=LABELS - 2), {}, "holds -2: labels are 0 to 2,147,483,647, -1 for none"),
    "too large": (
        saving(images=GREY, labels=np.full(20, 2**64 - 1, np.uint64)),
        {},
        "holds 18446744073709551615: labels are 0 to",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_costs_a_line_and_nothing_is_executed(case: str) -> None:
    save, data, line = BAD[case]
    save()
    with pytest.raises(UserError) as error:
        load(**data)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("executed").exists()


def test_labels_that_are_no_classes_and_were_not_asked_for_are_left_out_aloud() -> None:
    np.savez("a.npz", images=GREY, labels=np.eye(20, dtype=int))
    _, source = load()
    assert source.classes == ()
    assert (
        "note: labels is no label for each image, (N,) or (N, 1), but (20, 20) int64: it is left out" in source.notes[1]
    )


BAD_FOLDERS = {
    "few": (
        {f"{i}.npy": image for i, image in enumerate(GREY[:9])},
        "arrays holds 9 .npy files; at least 10 are needed",
    ),
    "range": ({f"{i}.npy": image for i, image in enumerate(FLOATS)}, "0.npy is of float32, with values from -"),
    "shapes": (
        {f"{i:02}.npy": image[:, i // 19 :] for i, image in enumerate(GREY)},
        "19.npy is 8x8, 1 channel (axes: rows, columns), and arrays/00.npy 8x9",
    ),
    "objects": ({f"{i}.npy": np.array([{}], object) for i in range(10)}, "0.npy holds Python objects"),
    "damaged": ({f"{i}.npy": image for i, image in enumerate(GREY)}, "3.npy is damaged, or no .npy file"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_folder_that_cannot_be_read_costs_a_line(case: str) -> None:
    arrays, line = BAD_FOLDERS[case]
    folder_of(arrays)
    if case == "damaged":
        Path("arrays/3.npy").write_bytes(Path("arrays/3.npy").read_bytes()[:-5])
    with pytest.raises(UserError) as error:
        load(name="npy", path="arrays")
    assert line in str(error.value)


def test_a_resolved_preset_needs_no_file() -> None:
    np.savez("a.npz", images=FLOATS)
    data = {"name": "npz", "path": "a.npz", "low": -1, "high": 1}
    _, preset = load_preset("quickstart", {"data": data, "labels": None})
    resolved = resolve(preset, network=False)
    Path("a.npz").unlink()
    assert resolve(resolved.preset, network=False).image_shape == resolved.image_shape == (2, 8, 9)
    with pytest.raises(UserError, match=r"a\.npz does not exist"):
        resolve(preset)


@pytest.mark.parametrize("layout", ["HW", "HWC", "CHW"])
def test_arrays_are_what_a_sample_is_in_the_range_of_the_data(layout: str) -> None:
    channels = 1 if layout == "HW" else 3
    images = torch.linspace(-0.6, 0.6, 2 * channels * 20).view(2, channels, 4, 5)
    form = ArrayFormat(layout, -2, 6)  # type: ignore[arg-type]
    arrays = form.of(images)
    expected = -2 + 8 * (images.double().clamp(-0.5, 0.5) + 0.5).numpy()
    assert np.abs(form.channels_first(arrays) - expected).max() < 1e-6  # not rounded to 256 levels
    assert arrays.shape == {"HW": (2, 4, 5), "HWC": (2, 4, 5, 3), "CHW": (2, 3, 4, 5)}[layout]
    assert np.abs(form.channels_first(form.floats(images)) - (-2 + 8 * (images.double() + 0.5).numpy())).max() < 1e-6
    assert BYTES.of(images).dtype == np.uint8


def test_a_shape_has_one_geometry_or_a_line() -> None:
    assert geometry_of((5, 6), None) == ("HW", 1, 5, 6)
    assert geometry_of((5, 6, 3), None) == ("HWC", 3, 5, 6)
    assert geometry_of((2, 6, 7), None) == ("CHW", 2, 6, 7)
    assert geometry_of((5, 6, 7), "CHW") == ("CHW", 5, 6, 7)


def test_arrays_of_ones_own_are_taken_in_the_shape_of_a_model() -> None:
    form, shape = ArrayFormat("HWC", -1, 1), (2, 8, 9)
    np.save("one.npy", FLOATS[0])
    np.save("first.npy", FLOATS[:3].transpose(0, 3, 1, 2))
    np.savez("many.npz", images=FLOATS)
    expected, _ = form.pixels(FLOATS)
    pictures = open_images(["one.npy", "first.npy", "many.npz"], "white", form, shape).in_shape(shape)
    assert torch.equal(pictures.images, torch.cat([expected[:1], expected[:3], expected]))
    assert [file.name for file in pictures.files] == ["one.npy"] + ["first.npy"] * 3 + ["many.npz"] * 20
    assert pictures.sizes == [(9, 8)] * 24


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (
            ["a.png"],
            "a.png: a picture is grey or has three colours, and this model's images have 2 channels; name arrays",
        ),
        (["one.npy", "a.png"], "a.png is no array, and others are; restore each kind by itself"),
        (["grey.npy"], "grey.npy is of shape (8, 9); images of this model are (8, 9, 2), (2, 8, 9), alone or many"),
        (["far.npy"], "values (1 of them) lie outside of -1 to 1: they are from"),
        (["nowhere.npy"], "nowhere.npy cannot be read: No such file"),
    ],
)
def test_arrays_that_do_not_fit_a_model_cost_a_line(names: list[str], line: str) -> None:
    np.save("one.npy", FLOATS[0])
    np.save("grey.npy", GREY[0])
    np.save("far.npy", FLOATS[0] + 3)
    Path("a.png").touch()
    with pytest.raises(UserError) as error:
        open_images(names, "white", ArrayFormat("HWC", -1, 1), (2, 8, 9))
    assert line in str(error.value)


def test_numbers_that_are_no_bytes_are_not_taken_for_them() -> None:
    np.save("one.npy", FLOATS[0, ..., :1].repeat(3, -1))
    with pytest.raises(UserError, match=r"one\.npy is float32, and bytes are needed"):
        open_images(["one.npy"], "white", BYTES, (3, 8, 9))
