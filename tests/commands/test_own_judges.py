"""Judges that are trained on the images themselves: what they say of models, and how ``diffcli eval`` shows it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Cli, trained_in
from PIL import Image
from torch import Tensor

from diffcli.data.datasets import ImageSet, Source
from diffcli.evaluation import fitting, judges
from diffcli.evaluation.classifier import JUDGES, TrainedClassifier, Unavailable
from diffcli.evaluation.distances import Distances
from diffcli.evaluation.extractors import of_judge
from diffcli.evaluation.judges import JudgedData, judges_of
from diffcli.utils.cache import Cache
from diffcli.utils.devices import Processes

ALONE = Processes(torch.device("cpu"))
KINDS = ("bars", "disc", "waves")
PRESET = (
    TINY.replace("{name: digits}", "{name: folder, path: shapes, size: 12}")
    .replace("lr: 1e-3", "lr: 1e-3, val_share: 0.1")
    .replace("network: {name: cnn, channels: [4, 4], kernel_size: 3}", "network: {name: compact-unet, width: 8}")
)
LABELLED = PRESET + "labels: {}\n"


def shape(kind: str, generator: np.random.Generator, side: int = 12) -> np.ndarray:
    """A picture of a kind at a random place, in random colours, uint8 (side, side, 3)."""
    y, x = np.mgrid[:side, :side] - generator.uniform(side / 3, 2 * side / 3, 2)[:, None, None]
    mask = {
        "bars": (np.abs(y) < side / 8) | (np.abs(x) < side / 8),
        "disc": x**2 + y**2 < (side / 3.5) ** 2,
        "waves": np.sin(2 * x + generator.uniform(0, 3)) > 0,
    }[kind]
    colour, ground = generator.integers(120, 256, 3), generator.integers(0, 70, 3)
    return np.where(mask[..., None], colour, ground).astype(np.uint8)


def shapes(count: int, seed: int) -> ImageSet:
    """So many of each kind."""
    generator = np.random.default_rng(seed)
    images = [shape(kind, generator) for kind in KINDS for _ in range(count)]
    return ImageSet(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        torch.arange(len(KINDS)).repeat_interleave(count),
    )


def make_shapes(place: Path, count: int, classes: bool = True) -> None:
    generator = np.random.default_rng(0)
    for kind in KINDS:
        folder = place / kind if classes else place
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(shape(kind, generator)).save(folder / f"{kind}{number}.png")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judges of these simple shapes need a few steps."""
    monkeypatch.setattr(judges, "STEPS", 60)
    monkeypatch.setattr(fitting, "SHORTEST", 20)
    monkeypatch.setattr(judges, "_judges", {})


def models() -> dict[str, Tensor]:
    """Samples of three deliberately different models, the best first: new pictures, noise in place of every other one,
    noise alone."""
    real = shapes(40, 2).images
    noise = torch.randint(0, 256, real.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    every_other = torch.arange(len(real))[:, None, None, None] % 2 == 0
    return {"real": real, "half": torch.where(every_other, noise, real), "noise": noise}


def test_a_judge_trained_twice_orders_three_models_alike(short: None) -> None:
    source = Source(shapes(60, 0), shapes(40, 1), classes=KINDS)
    labels = shapes(40, 2).labels
    data = JudgedData.of("folder", source)
    for name in JUDGES:
        for seed in (0, 1):
            tensors = judges.train_judge(name, source.development, source.test, True, device=ALONE.device, seed=seed)
            judge = judges._judge(data, name, tensors)
            assert judge.test_accuracy > 0.9, (name, seed)
            scores = {model: judge_scores(source, judge, name, samples, labels) for model, samples in models().items()}
            for key, better in ((f"fid_{name}", 1), (f"kid_{name}", 1), (f"coverage_{name}", -1), ("swd", 1)):
                values = [better * one[key] for one in scores.values()]
                assert values == sorted(values), (key, seed, values)
                assert {f"{key}_floor", f"{key}_error"} <= set(scores["real"])
            assert {"swd_floor", "swd_error"} <= set(scores["real"])
            assert scores["real"]["label_kept"] > 0.9
            assert scores["noise"]["label_kept"] < 0.6
            # Real pictures that no judge was trained on score about what the floor is.
            assert scores["real"][f"fid_{name}"] < 3 * scores["real"][f"fid_{name}_floor"]
            assert scores["noise"][f"fid_{name}"] > 10 * scores["real"][f"fid_{name}_floor"]


def judge_scores(
    source: Source, judge: TrainedClassifier, name: str, samples: Tensor, labels: Tensor
) -> dict[str, float]:
    return Distances(
        train=source.development,
        test=source.test,
        metrics=frozenset({"fid", "kid", "coverage", "label_kept", "swd"}),
        extractors=[of_judge(name, judge, ALONE.device)],
        classifier=judge,
        n=len(samples),
        seed=0,
        processes=ALONE,
        quiet=True,
        cache=Cache(None),
    ).of(samples, labels)


def test_judges_are_trained_once_for_the_same_images(short: None, workplace: Path) -> None:
    source = Source(shapes(30, 0), shapes(10, 1), classes=KINDS)
    data = JudgedData.of("folder", source)
    assert judges.judges_at_hand(data) == {}
    first = judges_of(data, ALONE, quiet=True)
    assert list(first) == list(JUDGES)
    settings = {name: judge.settings for name, judge in first.items()}
    assert len({one["weights_sha256"] for one in settings.values()}) == 2
    judges._judges.clear()  # as another process
    assert judges.judges_at_hand(data) == settings
    again = judges_of(data, ALONE, quiet=True)
    images = source.test.images / 255
    for name, judge in again.items():
        assert torch.equal(judge.network(images), first[name].network(images))
    # One picture more is another data set, and judges of it are others.
    more = Source(shapes(31, 0), source.test, classes=KINDS)
    assert judges.judges_at_hand(JudgedData.of("folder", more)) == {}


def test_judges_take_clusters_where_there_are_no_classes_and_say_where_there_are_too_few_images(short: None) -> None:
    def unlabelled(count: int) -> Source:
        train, test = shapes(count, 0), shapes(9, 1)
        train.labels.fill_(-1)
        test.labels.fill_(-1)
        return Source(train, test)

    (judge,) = judges_of(JudgedData.of("folder", unlabelled(20)), ALONE, True, ["resnet"]).values()
    assert judge.settings["weights"] == "trained on these images' 10 clusters"
    assert not judge.by_class
    assert judge.test_accuracy > 0.3
    assert judges.reader_at_hand(JudgedData.of("folder", unlabelled(20))) is None
    with pytest.raises(Unavailable, match="have no classes"):
        judges.reader_of(JudgedData.of("folder", unlabelled(20)), ALONE, True)
    with pytest.raises(Unavailable, match="20 images of different kinds: there are 18 beside the test images"):
        judges_of(JudgedData.of("folder", unlabelled(6)), ALONE, True)


def test_larger_images_have_networks_that_see_as_much_of_them() -> None:
    for judge in JUDGES.values():
        for side, stride in ((8, 1), (32, 1), (33, 2), (64, 2), (128, 4)):
            network = judge.network(3, 5, side)
            features = network.features(torch.rand(2, 3, side, side + 4))
            assert features.shape == (2, judge.network.num_features)
            convolution = next(part for part in network.modules() if isinstance(part, torch.nn.Conv2d))
            assert convolution.stride[0] in (stride, 2 * stride)


QUICK = ["--n-fid", 30, "--n-test", 6, "--steps", 2, "--accelerator", "cpu", "-q"]


def test_eval_judges_a_folder_by_its_classes_offline(cli: Cli, workplace: Path, short: None, no_network: None) -> None:
    make_shapes(Path("shapes"), 25)
    run = trained_in(workplace, LABELLED)
    result = cli("eval", "--run", run, *QUICK, "--json")
    assert result.code == 0, result.err
    content = json.loads(result.out)
    metrics = ("fid", "kid", "sample_precision", "sample_recall", "density", "coverage")
    keys = [f"{metric}_{judge}" for metric in metrics for judge in JUDGES]
    for key in (*keys, "swd", "swd_12"):
        assert {key, f"{key}_floor", f"{key}_error"} <= set(content["scores"]), key
    assert {"label_kept", "label_kept_test", "label_kept_error", "class_kept"} <= set(content["scores"])
    assert "cas" not in content["scores"]
    assert content["settings"]["n_swd"] == 30
    table = cli("eval", "--run", run, "--fid", "--swd", *QUICK).out
    assert "features: classifier (64-d, trained on these images' 3 classes, reads " in table
    assert table.count(" times that)") == 4  # fid by two judges, and swd at its one scale and on average
    # A model without labels of the same folder is judged by the same classifiers, whatever its validation images.
    other = workplace / "other"
    other.mkdir()
    unlabelled = trained_in(other, PRESET.replace("path: shapes", f"path: {Path('shapes').absolute()}"))
    result = cli("eval", "--run", unlabelled, "--fid", "--class-kept", *QUICK, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["settings"]["extractors"] == content["settings"]["extractors"]
    assert "class_kept" in json.loads(result.out)["scores"]
    # Which `compare` finds again, without another evaluation of what was measured.
    options = ["--fid", "--n-fid", 30, "--steps", 2, "--accelerator", "cpu"]
    assert "fid_resnet" in cli("compare", run, unlabelled, *options).out


def test_eval_of_a_folder_without_a_judge_says_so_and_measures_patches(
    cli: Cli, workplace: Path, short: None, no_network: None
) -> None:
    make_shapes(Path("shapes"), 6, classes=False)
    run = trained_in(workplace, PRESET)
    result = cli("eval", "--run", run, *QUICK, "--json")
    assert result.code == 0, result.err
    content = json.loads(result.out)
    assert {"swd", "swd_floor", "swd_error"} <= set(content["scores"])
    assert not any(key.startswith("fid") for key in content["scores"])
    assert any("left out fid" in note and "20 images" in note for note in content["notes"])
    for options in (["--fid"], ["--fid", "--extractor", "classifier"], ["--fid", "--extractor", "inception"]):
        result = cli("eval", "--run", run, *options, *QUICK)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert "--inception-weights FILE" in result.err
        assert "weights-inception-2015-12-05-6726825d.pth" in result.err
        assert "--swd needs no network" in result.err
        assert "to train one takes 20 images" in result.err or "--extractor classifier" in result.err
    result = cli("eval", "--run", run, "--class-kept", *QUICK)
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert "the images of folder have no classes" in result.err
