"""``diffcli restore``: a user's own images, of any kind and size, and whatever is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Cli
from PIL import Image
from torch import Tensor, nn

import diffcli
from diffcli.config.schema import Sampler
from diffcli.data.datasets import folder
from diffcli.data.user_images import open_pictures
from diffcli.diffusion.degradations import Degradation, GaussianBlur

CPU = diffcli.Devices("cpu", "1")
BLUR = {
    "schedule: {name: linear, T: 20, beta_min: 0.001, beta_max: 0.3}": "schedule: {name: constant, T: 20, beta: 0.5}",
    "gaussian-noise": "gaussian-blur",
    "prediction: eps": "prediction: x0",
    "standard-normal": "mixture",
    "ancestral": "cold",
}
RESTORE = ["restore", "--tile", "off", "--accelerator", "cpu", "-q"]


def gradient(height: int, width: int) -> np.ndarray:  # type: ignore[type-arg]
    """Colours that change along and across, uint8 (height, width, 3)."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([255 * rows // height, 255 * columns // width, 0 * rows + 90], axis=2).astype(np.uint8)


def save_all_kinds(place: Path) -> None:
    """Ten images, grey and colour, of odd sizes, as cameras, scanners and drawing programs write them."""
    place.mkdir()
    photo = Image.fromarray(gradient(37, 61))
    exif = Image.Exif()
    exif[274] = 6
    photo.save(place / "turned.jpg", exif=exif)
    photo.convert("P", palette=Image.Palette.ADAPTIVE).save(place / "palette.png")
    photo.convert("L").save(place / "grey.bmp")
    photo.convert("CMYK").save(place / "print.jpg")
    drawing = Image.new("RGBA", (30, 41), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (5, 5, 12, 36))
    drawing.save(place / "drawing.png")
    drawing.convert("LA").save(place / "pencil.webp", lossless=True)
    Image.fromarray((gradient(23, 19)[..., 0].astype(np.uint16)) * 257).save(place / "deep.png")
    photo.save(place / "animation.gif", save_all=True, append_images=[drawing.convert("RGB").resize(photo.size)])
    Image.fromarray(gradient(4, 300)).save(place / "long.tif")
    Image.fromarray(gradient(1, 1)).save(place / "point.png")


@pytest.fixture(scope="module")
def model(hot_run: Path) -> diffcli.Model:
    return diffcli.load(hot_run, devices=CPU)


def trained_as(place: Path, changes: dict[str, str]) -> Path:
    text = TINY
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (place / "changed.yaml").write_text(text)
    overrides = {"training.epochs": 1}
    return diffcli.train(place / "changed.yaml", overrides, out=place / "run", devices=CPU, quiet=True).folder


@pytest.fixture(scope="module")
def blur_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny blur model."""
    return trained_as(tmp_path_factory.mktemp("blurred"), BLUR)


@pytest.fixture(scope="module")
def colour_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny model of colour images that are not square, with labels, trained over a black
    background."""
    place = tmp_path_factory.mktemp("coloured")
    (place / "photos").mkdir()
    for name in ("a", "b"):
        save_all_kinds(place / "photos" / name)
    data = f"data: {{name: folder, path: {place / 'photos'}, size: [8, 12], background: black}}\nlabels: {{}}"
    return trained_as(place, {"data: {name: digits}": data})


@pytest.fixture
def own(workplace: Path) -> Path:
    """A folder of ten images in the workplace."""
    save_all_kinds(workplace / "own")
    return workplace / "own"


def arrays(cli: Cli, *arguments: object) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    result = cli(*RESTORE, "--out", "r.npz", *arguments)
    assert (result.code, result.err, result.out) == (0, "", "r.npz\n"), result
    with np.load("r.npz") as content:
        return dict(content)


def as_array(images: Tensor) -> np.ndarray:  # type: ignore[type-arg]
    return images.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("which", ["hot_run", "blur_run", "colour_run"])
def test_what_is_written_is_what_a_notebook_gets(
    which: str, cli: Cli, own: Path, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(which)
    options = ["--sampler", "cold", "--steps", 4, "--seed", 3, "--batch-size", 4]
    options += ["--label", "b"] if which == "colour_run" else []
    output = arrays(cli, own, "--run", run, "--t", 12, *options)
    model = diffcli.load(run, devices=CPU)
    label = "b" if which == "colour_run" else None
    images = model.read([own])
    xt = model.degrade(images, 12, seed=3)
    answers = model.restore(xt, 12, sampler="cold", steps=4, seed=3, batch_size=4, label=label)
    expected = {"original": images, "degraded": xt, "one_step": model.estimate(xt, 12, label), "images": answers}
    assert output.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(output[name], as_array(value)), name
        assert output[name].dtype == (np.float32 if name == "degraded" else np.uint8)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, [8, 12])])
def test_images_are_read_as_those_of_a_training(channels: int, size: int | list[int], own: Path) -> None:
    source = folder(str(own), size=size, channels=channels, background="red")  # type: ignore[arg-type]
    height, width = [size, size] if isinstance(size, int) else size
    pictures = open_pictures([own], "red").in_shape((channels, height, width))
    assert [file.name for file in pictures.files] == sorted(file.name for file in own.iterdir())
    assert pictures.sizes[-1] == (37, 61)  # turned upright
    trained_on = torch.cat([source.development.images, source.test.images])
    assert sorted(image.numpy().tobytes() for image in trained_on) == sorted(
        i.numpy().tobytes() for i in pictures.images
    )


def test_what_is_transparent_shows_the_background_of_the_training(own: Path, colour_run: Path, hot_run: Path) -> None:
    drawing = [own / "drawing.png"]
    assert int(diffcli.load(colour_run, devices=CPU).read(drawing).max()) == 0
    model = diffcli.load(hot_run, devices=CPU)
    assert int(model.read(drawing).max()) == 255
    assert int(model.read(drawing, background="black").max()) == 0


class Perfect(nn.Module):
    """A denoiser that knows the image."""

    def __init__(self, degradation: Degradation, x0: Tensor) -> None:
        super().__init__()
        self.degradation, self.x0, self.classes = degradation, x0, 0
        self.measurement_noise = self.sigma = 0.0

    def forward(self, xt: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.x0.expand_as(xt)


@pytest.mark.parametrize("kind", ["noise", "blur"])
@pytest.mark.parametrize("sampler", ["cold", "cold-naive"])
@pytest.mark.parametrize(("t", "steps"), [(20, None), (11, 3), (1, 1)])
def test_a_perfect_denoiser_restores_exactly(
    kind: str, sampler: str, t: int, steps: int | None, model: diffcli.Model
) -> None:
    image = torch.randint(0, 256, (1, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    blur = GaussianBlur(torch.cat([torch.zeros(1), torch.full((20,), 0.5)]).double(), (1, 8, 8))
    degradation = model.denoiser.degradation if kind == "noise" else blur
    resolved = replace(model.resolved, preset=model.preset.model_copy(update={"sampler": Sampler(name=sampler)}))
    perfect = replace(model, resolved=resolved, denoiser=Perfect(degradation, image / 255 - 0.5))  # type: ignore[arg-type]
    images = image.expand(3, -1, -1, -1)
    xt = perfect.degrade(images, t)
    assert torch.equal(perfect.restore(xt, t, sampler=sampler, steps=steps), images)
    assert torch.equal(perfect.estimate(xt, t), images)


def test_the_same_seed_restores_the_same_whatever_the_batch_size(cli: Cli, own: Path, hot_run: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5] = 255
    Image.fromarray(mask).save("mask.png")
    for options in (["--t", 9], ["--mask", "mask.png", "--resampling", 2, "--steps", 5]):
        whole = arrays(cli, own, "--run", hot_run, *options)
        apart = arrays(cli, own, "--run", hot_run, *options, "--batch-size", 1)
        other = arrays(cli, own, "--run", hot_run, *options, "--seed", 1)
        for name, value in whole.items():
            assert np.abs(apart[name].astype(float) - value.astype(float)).max() <= 1, name
        assert not np.array_equal(other["images"], whole["images"])


def test_without_t_it_is_half_of_T_and_a_picture_has_four_rows(cli: Cli, own: Path, hot_run: Path) -> None:
    result = cli(*RESTORE, own, "--run", hot_run)
    assert (result.code, result.out) == (0, "restored.png\n"), result
    picture = Image.open("restored.png")
    tile = 64 + 2
    assert (picture.mode, picture.height) == ("L", 4 * tile + 2)
    assert arrays(cli, own, "--run", hot_run).keys() == {"original", "degraded", "one_step", "images"}
    assert np.array_equal(
        arrays(cli, own, "--run", hot_run)["images"], arrays(cli, own, "--run", hot_run, "--t", 10)["images"]
    )
    original = arrays(cli, own, "--run", hot_run)["original"]
    margin = picture.width - 10 * tile - 2
    first = np.asarray(picture)[2 : 2 + 64, margin + 2 : margin + 2 + 64]
    assert np.array_equal(first[::8, ::8], original[0, :, :, 0])


def test_more_images_than_a_row_holds_go_on_below(cli: Cli, workplace: Path, colour_run: Path) -> None:
    Image.fromarray(gradient(20, 20)).save("one.png")
    assert cli(*RESTORE, *["one.png"] * 17, "--run", colour_run, "--steps", 1).code == 0
    picture = Image.open("restored.png")
    assert (picture.mode, picture.height) == ("RGB", 2 * (4 * (48 + 2) + 2))
    result = cli(*RESTORE, *["one.png"] * 65, "--run", colour_run, "--out", "no.png")
    assert (result.code, "a picture shows at most 64 images, and 65 are given" in result.err) == (2, True)


def test_a_folder_gets_an_image_for_each_file_by_name(cli: Cli, own: Path, hot_run: Path) -> None:
    (own / "deeper").mkdir()
    (own / "notes.txt").write_text("no image")
    Image.new("L", (9, 9), 7).save(own / "deeper" / "grey.png")
    result = cli(*RESTORE, own, own / "grey.bmp", "--run", hot_run, "--out", "restored")
    assert result.out == "restored\n"
    names = {path.name for path in Path("restored").iterdir()}
    expected = {f"{path.stem}.png" for path in own.iterdir() if path.suffix not in ("", ".txt")}
    assert names == expected | {"grey-2.png", "grey-3.png"}
    sizes = {Image.open(path).size for path in Path("restored").iterdir()}
    assert sizes == {(8, 8)}


def test_degraded_images_are_taken_as_they_are(cli: Cli, workplace: Path, blur_run: Path) -> None:
    model = diffcli.load(blur_run, devices=CPU)
    levels = model.sample(2)
    for number, image in enumerate(levels):
        Image.fromarray(image[0].numpy()).save(f"{number}.png")
    output = arrays(cli, "0.png", "1.png", "--run", blur_run, "--degraded", "--t", 7)
    assert output.keys() == {"degraded", "one_step", "images"}
    assert np.array_equal(output["degraded"], as_array(levels / 255 - 0.5))
    assert np.array_equal(output["images"], as_array(model.restore(levels / 255 - 0.5, 7)))


def test_dark_on_light_is_shown_to_the_model_as_light_on_dark(cli: Cli, workplace: Path, blur_run: Path) -> None:
    light = gradient(8, 8)[..., 1]
    Image.fromarray(light).save("light.png")
    Image.fromarray(255 - light).save("dark.png")
    output = arrays(cli, "light.png", "--run", blur_run, "--t", 9)
    negatives = arrays(cli, "dark.png", "--run", blur_run, "--t", 9, "--invert")
    for name in ("original", "one_step", "images"):
        assert np.array_equal(negatives[name], 255 - output[name]), name
    assert np.array_equal(negatives["degraded"], -output["degraded"])


def test_a_mask_is_cropped_as_its_image_is(cli: Cli, workplace: Path, hot_run: Path) -> None:
    Image.fromarray(gradient(40, 80)[..., 1]).save("wide.png")
    mask = np.zeros((40, 80), np.uint8)
    mask[:, :10] = 255  # cropped away
    mask[10:15, 40:45] = 255
    mask[36, 59] = 200  # touches the last column but one, in the last row
    Image.fromarray(mask).save("mask.png")
    output = arrays(cli, "wide.png", "--run", hot_run, "--mask", "mask.png", "--steps", 2, "--resampling", 1)
    hole = np.zeros((8, 8), bool)
    hole[2, 4] = hole[7, 7] = True
    assert np.array_equal(output["known"][0, ..., 0] == 128, hole)
    assert np.array_equal(output["images"][0, ..., 0][~hole], output["original"][0, ..., 0][~hole])
