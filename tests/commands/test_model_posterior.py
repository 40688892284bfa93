"""A trained model as a prior: ``Model.posterior`` and ``diffcli restore`` with a degradation of another kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LABELLED, TINY, Cli
from PIL import Image
from torch import Tensor

import diffcli
from diffcli.data.pixels import to_model

CPU = diffcli.Devices("cpu", "1")
BLOCKS = {"name": "pixelate", "block": 4, "T": 1}
NOISY = (
    TINY.replace("gaussian-noise", "gaussian-blur")
    .replace("prediction: eps", "prediction: x0")
    .replace("{name: ancestral}", "{name: cold, eta: 1.0}")
    .replace("standard-normal", "mixture")
    + "noise: {name: constant, sigma: 0.1}\n"
)
RESTORE = ["restore", "--accelerator", "cpu"]


@pytest.fixture(scope="module")
def models(hot_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, diffcli.Model]:
    """Models of noise, of blur with noise, and of noise with labels."""
    place = tmp_path_factory.mktemp("models")
    by_name = {"hot": diffcli.load(hot_run, devices=CPU)}
    for name, text in (("noisy", NOISY), ("labelled", LABELLED)):
        (place / f"{name}.yaml").write_text(text)
        run = diffcli.train(
            place / f"{name}.yaml", {"training.epochs": 1}, out=place / name, devices=CPU, quiet=True, limit_batches=1
        )
        by_name[name] = diffcli.load(run, devices=CPU)
    return by_name


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", ["moments", "isotropic"])
@pytest.mark.parametrize("name", ["hot", "noisy", "labelled"])
def test_samples_explain_the_measurement(
    name: str, method: str, models: dict[str, diffcli.Model], images: Tensor
) -> None:
    model = models[name]
    if name == "noisy" and method == "moments":
        method = "isotropic"
    y = to_model(images)
    posterior = model.posterior(y, BLOCKS, sigma=0.02, samples=3, method=method, steps=6)
    assert posterior.samples.shape == (3, 5, 1, 8, 8)
    assert posterior.samples.dtype == torch.float32
    assert torch.equal(posterior.mean, posterior.samples.mean(dim=0))
    assert torch.equal(posterior.standard_deviation, posterior.samples.std(dim=0))
    means = posterior.samples.unflatten(3, (2, 4)).unflatten(5, (2, 4)).mean(dim=(4, 6))
    of_y = y.unflatten(2, (2, 4)).unflatten(4, (2, 4)).mean(dim=(3, 5))
    assert float((means - of_y).abs().max()) < 0.1
    assert float(posterior.standard_deviation.mean()) > 0.01
    if name == "labelled":
        assert posterior.label_probabilities is not None
        assert posterior.labels is not None
        assert posterior.label_probabilities.shape == (5, 10)
        torch.testing.assert_close(posterior.label_probabilities.sum(dim=1), torch.ones(5).double())
        assert torch.equal(posterior.labels[0], posterior.label_probabilities.argmax(dim=1))
    else:
        assert (posterior.labels, posterior.label_probabilities) == (None, None)


@pytest.mark.parametrize("name", ["hot", "noisy", "labelled"])
def test_the_same_seed_gives_the_same_bytes_whatever_the_batch(
    name: str, models: dict[str, diffcli.Model], images: Tensor
) -> None:
    model = models[name]
    posterior = model.posterior(images, BLOCKS, sigma=0.05, samples=4, steps=3, seed=2)
    for size in (1, 3, 7):
        apart = model.posterior(images, BLOCKS, sigma=0.05, samples=4, steps=3, seed=2, batch_size=size)
        assert torch.equal(apart.samples, posterior.samples), size
        assert torch.equal(apart.misfit, posterior.misfit)
    # Neither the images beside it nor the samples after it change one.
    if name != "labelled":
        fewer = model.posterior(images[:2], BLOCKS, sigma=0.05, samples=2, steps=3, seed=2)
        assert torch.equal(fewer.samples, posterior.samples[:2, :2])
    other = model.posterior(images, BLOCKS, sigma=0.05, samples=4, steps=3, seed=3)
    assert not torch.equal(other.samples, posterior.samples)


def test_labels_that_are_said_are_told(models: dict[str, diffcli.Model], images: Tensor) -> None:
    model = models["labelled"]
    for label, numbers in ((3, [3] * 5), ("none", [-1] * 5), ([1, 2], [1, 2, 1, 2, 1])):
        posterior = model.posterior(images, BLOCKS, samples=2, steps=2, label=label)
        assert posterior.labels is not None
        assert posterior.labels.tolist() == [numbers, numbers]
        assert posterior.label_probabilities is None
    automatic = model.posterior(images, BLOCKS, steps=2, label="auto")
    assert torch.equal(automatic.samples, model.posterior(images, BLOCKS, steps=2).samples)


def test_one_step_and_one_sample_are_enough(models: dict[str, diffcli.Model], images: Tensor) -> None:
    for name in ("hot", "noisy"):
        posterior = models[name].posterior(images[:1], BLOCKS, steps=1)
        assert posterior.samples.shape == (1, 1, 1, 8, 8)
        assert bool((posterior.standard_deviation == 0).all())
        near = models[name].posterior(images[:1], "blur-fast", 0, sigma=0.001)  # t = 0: the images, with noise
        assert float((near.samples[0] - to_model(images[:1])).abs().max()) < 0.02


def arrays_of(cli: Cli, *arguments: object) -> tuple[dict[str, np.ndarray], str]:
    result = cli(*RESTORE, "--out", "r.npz", *arguments)
    assert (result.code, result.out) == (0, "r.npz\n"), result
    with np.load("r.npz") as content:
        return dict(content), result.err


def as_array(images: Tensor) -> np.ndarray:
    return images.movedim(-3, -1).numpy()


def save(images: Tensor, *names: str) -> None:
    for name, image in zip(names, images, strict=False):
        Image.fromarray(image[0].numpy()).save(name)


def test_what_is_written_is_what_a_notebook_gets(
    cli: Cli, models: dict[str, diffcli.Model], images: Tensor, workplace: Path
) -> None:
    save(images, "a.png", "b.png")
    model = models["labelled"]
    degraded = ["a.png", "b.png", "--run", model.checkpoint, "--degraded", "--degradation", "blur-fast", "--t", 3]
    options = ["--sigma", 0.05, "--samples", 3, "--steps", 4, "--seed", 5]
    arrays, notes = arrays_of(cli, *degraded, *options)
    expected = model.posterior(images[:2], "blur-fast", 3, sigma=0.05, samples=3, steps=4, seed=5)
    assert arrays.keys() == {"images", "degraded", "standard_deviation", "samples"}
    assert np.array_equal(arrays["images"], as_array(diffcli.to_uint8(expected.mean)))
    assert np.array_equal(arrays["samples"], as_array(diffcli.to_uint8(expected.samples.transpose(0, 1))))
    assert np.array_equal(arrays["standard_deviation"], as_array(expected.standard_deviation))
    assert expected.label_probabilities is not None
    first = expected.label_probabilities[0]
    assert "note: t = 3: a blur of 1.7 pixels\n" in notes
    assert f"note: a.png is taken for label {int(first.argmax())} ({float(first.max()):.2f})" in notes
    assert arrays_of(cli, *degraded, *options, "-q")[1] == ""

    one, _ = arrays_of(cli, *degraded, "--label", 3, "--steps", 4)
    assert one.keys() == {"images", "degraded"}
    alone = model.posterior(images[:2], "blur-fast", 3, label=3, steps=4)
    assert np.array_equal(one["images"], as_array(diffcli.to_uint8(alone.samples[0])))


def test_a_folder_and_a_picture_hold_the_samples(
    cli: Cli, models: dict[str, diffcli.Model], images: Tensor, workplace: Path
) -> None:
    save(images, "a.png", "b.png")
    call = [*RESTORE, "a.png", "b.png", "--run", models["hot"].checkpoint, "--degradation", "mask", "--samples", 10]
    call += ["--steps", 2, "-q"]
    result = cli(*call, "--out", "made")
    assert (result.code, result.err, result.out) == (0, "", "made\n")
    files = {str(path.relative_to("made")) for path in Path("made").rglob("*.png")}
    folders = ["", "deviation/", *(f"sample-{number}/" for number in range(1, 11))]
    assert files == {f"{folder}{name}.png" for folder in folders for name in ("a", "b")}
    samples = np.stack([np.asarray(Image.open(f"made/sample-{k}/a.png")) for k in range(1, 11)]) / 255
    deviation = np.asarray(Image.open("made/deviation/a.png")) / 510
    assert np.abs(samples.std(axis=0, ddof=1) - deviation).max() < 0.1
    assert cli(*call, "--out", "made.png").code == 0
    # original, degraded, mean, standard deviation and eight samples
    assert Image.open("made.png").height == 12 * (64 + 2) + 2


def test_negatives_have_the_same_doubt(
    cli: Cli, models: dict[str, diffcli.Model], images: Tensor, workplace: Path
) -> None:
    save(images, "light.png")
    save(255 - images, "dark.png")
    call = ["--run", models["hot"].checkpoint, "--degradation", BLOCKS, "--samples", 2, "--steps", 2, "-q"]
    light, _ = arrays_of(cli, "light.png", *call)
    dark, _ = arrays_of(cli, "dark.png", *call, "--invert")
    assert np.array_equal(dark["samples"], 255 - light["samples"])
    assert np.array_equal(dark["standard_deviation"], light["standard_deviation"])
    assert np.array_equal(dark["degraded"], -light["degraded"])


def test_a_blur_may_be_said_in_pixels_of_the_picture(
    cli: Cli, models: dict[str, diffcli.Model], images: Tensor, workplace: Path
) -> None:
    large = images[:1].repeat_interleave(5, dim=2).repeat_interleave(5, dim=3)  # 40x40
    save(large, "large.png")
    hot = ["large.png", "--run", models["hot"].checkpoint, "--degraded", "--steps", 2, "--tile", "off"]
    arrays, notes = arrays_of(cli, *hot, "--blur", 7.5)
    assert notes.startswith("note: a blur of 7.5 pixels\n")
    heat = {"name": "heat", "schedule": {"name": "constant", "T": 1, "beta": 2.25}}
    y = torch.from_numpy(arrays["degraded"]).movedim(-1, -3)
    expected = models["hot"].posterior(diffcli.to_uint8(y), heat, steps=2)
    assert np.array_equal(arrays["images"], as_array(diffcli.to_uint8(expected.samples[0])))
    # Of a degradation that is named, the nearest step: sqrt(2) pixels of the model's images.
    _, notes = arrays_of(cli, *hot, "--degradation", "blur-fast", "--blur", 7.5)
    assert notes.startswith("note: t = 2: a blur of 7.1 pixels\n")


def test_t_is_found_by_evidence(
    cli: Cli, models: dict[str, diffcli.Model], images: Tensor, workplace: Path, blur_run: Path
) -> None:
    save(images, "a.png")
    call = ["a.png", "--degraded", "--t", "auto", "--steps", 1]
    for options in (["--run", models["hot"].checkpoint, "--degradation", BLOCKS | {"T": 8}], ["--run", blur_run]):
        arrays, notes = arrays_of(cli, *call, *options)
        assert notes.startswith("note: t = "), notes
        step = int(notes.split()[3])
        assert " ± " in notes.splitlines()[0]
        again, _ = arrays_of(cli, *call[:-4], *options, "--t", step, "--steps", 1)
        assert np.array_equal(arrays["images"], again["images"])


def test_a_blur_with_noise_paints_what_a_mask_marks(models: dict[str, diffcli.Model], images: Tensor) -> None:
    model = models["noisy"]
    masks = torch.zeros(5, 8, 8, dtype=torch.bool)
    masks[:, 4:] = True
    masks[1] = ~masks[1]
    painting = model.inpaint(images, masks, steps=4)
    outside = ~masks.unsqueeze(1)
    assert torch.equal(painting[outside], images[outside])
    assert not torch.equal(painting, images)
    hidden = images.masked_fill(masks.unsqueeze(1), 255)
    assert torch.equal(model.inpaint(hidden, masks, steps=4), painting)
    for size in (1, 2):
        assert torch.equal(model.inpaint(images, masks, steps=4, batch_size=size), painting)
    assert not torch.equal(model.inpaint(images, masks, steps=4, seed=1), painting)
