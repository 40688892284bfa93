"""Metrics against hand computations, the shipped classifiers against real test images, extractors against traps."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg

from diffcli.data.datasets import digits, mnist
from diffcli.evaluation import extractors
from diffcli.evaluation.classifier import CLASSIFIED, JUDGES, load_classifier, probabilities, weights_path
from diffcli.evaluation.judges import JudgedData
from diffcli.evaluation.kernel import KernelReference
from diffcli.evaluation.resampling import mean_and_error
from diffcli.evaluation.scores import fid, psnr, rmse, ssim
from diffcli.utils.devices import Processes
from diffcli.utils.errors import UserError

CPU = torch.device("cpu")
ALONE = Processes(CPU)
DIGITS = JudgedData("digits")


def test_rmse_and_psnr_by_hand() -> None:
    a, b = torch.zeros(2, 1, 8, 8), torch.stack([torch.full((1, 8, 8), 0.5), torch.full((1, 8, 8), 0.1)])
    assert rmse(a, b).tolist() == pytest.approx([0.5, 0.1])
    assert psnr(a, b).tolist() == pytest.approx([-20 * np.log10(0.5), 20.0], rel=1e-5)


def test_psnr_of_an_exact_image_is_that_of_rounding_to_8_bits() -> None:
    images = torch.rand(400, 1, 28, 28)
    exact = psnr(images, images)
    assert exact.tolist() == pytest.approx([10 * np.log10(12 * 255**2)] * len(images), rel=1e-6)
    assert psnr(images, (images * 255).round() / 255).mean() == pytest.approx(float(exact[0]), abs=0.1)
    mean, error = mean_and_error(torch.cat([exact[:1], psnr(images, 1 - images)]))
    assert mean is not None
    assert error is not None
    assert np.isfinite([mean, error]).all()


@pytest.mark.parametrize("side", [8, 16, 28])
def test_ssim_is_1_for_equal_images_and_does_not_depend_on_the_batch(side: int) -> None:
    torch.manual_seed(0)
    a, b = torch.rand(4, 1, side, side), torch.rand(4, 1, side, side)
    assert ssim(a, a).tolist() == pytest.approx([1.0] * 4)
    together, alone = ssim(a, b), torch.cat([ssim(a[i : i + 1], b[i : i + 1]) for i in range(4)])
    assert together.shape == (4,)
    assert torch.allclose(together, alone, atol=1e-5)
    # A data range taken from the batch would let a darker image beside it change the score.
    dark = torch.cat([b[:1], b[1:] * 0.01])
    assert torch.allclose(ssim(a, dark)[0], together[0], atol=1e-5)


def test_fid_of_a_set_with_itself_is_zero_and_grows_with_distance() -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 16)
    assert fid(x, x) == pytest.approx(0, abs=1e-3)
    assert fid(x, x + 1) == pytest.approx(16, rel=1e-3)  # equal covariances: the squared distance of the means


def test_fid_equals_the_textbook_formula() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(200, 8).double(), torch.randn(150, 8).double() * 1.5 + 0.3
    mean = (x.mean(0) - y.mean(0)).square().sum()
    sx, sy = np.cov(x.numpy().T), np.cov(y.numpy().T)
    reference = float(mean) + np.trace(sx + sy - 2 * linalg.sqrtm(sx @ sy).real)
    assert fid(x.float(), y.float()) == pytest.approx(reference, rel=1e-4)


def test_kid_is_unbiased_and_repeats() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(400, 8), torch.randn(400, 8)
    distance = KernelReference.of(x).distance
    assert distance(y) == distance(y)
    assert abs(distance(y)) < 0.05
    assert distance(y + 1) > 0.5


@pytest.mark.parametrize("judge", JUDGES)
def test_digits_classifiers_read_real_test_digits(judge: str) -> None:
    judge_model = load_classifier("digits", judge)
    test = digits().test
    readings = probabilities(judge_model.network, test.images / 255).argmax(dim=1)
    assert float((readings == test.labels).float().mean()) == pytest.approx(judge_model.test_accuracy, abs=1e-6)
    assert judge_model.test_accuracy > 0.98


@pytest.mark.skipif(not os.environ.get("DIFFCLI_TEST_DATA"), reason="the real MNIST is not here: set DIFFCLI_TEST_DATA")
@pytest.mark.parametrize("judge", JUDGES)
def test_mnist_classifiers_read_real_test_digits(judge: str) -> None:
    judge_model = load_classifier("mnist", judge)
    test = mnist(data_dir=Path(os.environ["DIFFCLI_TEST_DATA"]), download=False).test
    readings = probabilities(judge_model.network, test.images / 255).argmax(dim=1)
    assert float((readings == test.labels).float().mean()) == pytest.approx(judge_model.test_accuracy, abs=1e-4)


def test_shipped_weights_are_small_and_as_accurate_as_promised() -> None:
    for judge in JUDGES:
        for name in CLASSIFIED:
            assert weights_path(name, judge).stat().st_size < 1_500_000
        assert load_classifier("mnist", judge).test_accuracy >= 0.993


def test_the_judges_are_independent() -> None:
    """Other architectures, other widths of features, and features that follow from one another no more than labels
    allow."""
    first, second = (load_classifier("digits", judge).network for judge in JUDGES)
    assert type(first) is not type(second)
    images = digits().test.images / 255
    a, b = (network.features(images) for network in (first, second))
    assert a.shape[1] != b.shape[1]
    assert len({judge.seed for judge in JUDGES.values()}) == len({judge.share for judge in JUDGES.values()}) == 2


def test_classifier_refuses_other_data() -> None:
    with pytest.raises(UserError, match="no classifier of fashion-mnist comes along, only of mnist and digits"):
        load_classifier("fashion-mnist")


def test_inception_takes_a_local_file_and_says_that_it_is_not_the_official_one(
    stand_in_weights: Path,
) -> None:
    extractor = extractors.inception(stand_in_weights, CPU)
    grey = torch.rand(2, 1, 8, 8)
    assert extractor.name == "inception"
    assert extractor.features(grey).shape == (2, 2048)
    assert torch.allclose(extractor.features(grey), extractor.features(grey.repeat(1, 3, 1, 1)))
    assert torch.allclose(extractor.features(grey), extractor.features(grey.clone().mul(255).round().div(255)))
    assert extractor.settings["official_weights"] is False
    assert extractor.settings["weights_sha256"] == hashlib.sha256(stand_in_weights.read_bytes()).hexdigest()


def test_inception_file_errors_name_the_option(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`inception_weights` .*does not exist"):
        extractors.inception(tmp_path / "none.pth", CPU)
    (tmp_path / "noise.pth").write_bytes(b"not weights")
    with pytest.raises(UserError, match="does not hold Inception weights"):
        extractors.inception(tmp_path / "noise.pth", CPU)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="does not hold Inception weights"):
        extractors.inception(tmp_path / "other.pth", CPU)


class Trap:
    """A pickle that would leave a file behind if it were executed."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_inception_file_with_code_is_refused_unexecuted(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    with (tmp_path / "trap.pth").open("wb") as stream:
        pickle.dump(Trap(mark), stream)
    torch.save({"a": Trap(mark)}, tmp_path / "zipped.pth")
    for name in ("trap.pth", "zipped.pth"):
        with pytest.raises(UserError, match="does not hold Inception weights"):
            extractors.inception(tmp_path / name, CPU)
    assert not mark.exists()


def test_auto_falls_back_to_the_classifier_without_network(no_network: None) -> None:
    assert [one.name for one in extractors.choose_extractors("auto", DIGITS, None, ALONE)] == ["classifier", "resnet"]


def test_auto_without_classifier_names_file_and_option(no_network: None) -> None:
    for name in ("auto", "inception"):
        with pytest.raises(UserError, match=rf"{extractors.INCEPTION_FILE}.*`inception_weights`"):
            extractors.choose_extractors(name, JudgedData("folder"), None, ALONE)


@pytest.mark.parametrize("name", ["auto", "inception", "classifier"])
def test_data_without_a_judge_are_told_all_ways_and_are_not_sent_in_a_circle(no_network: None, name: str) -> None:
    with pytest.raises(extractors.Unavailable) as error:
        extractors.choose_extractors(name, JudgedData("cifar10"), None, ALONE)
    message = str(error.value)
    assert extractors.INCEPTION_FILE in message
    assert "torch-fidelity's release" in message
    assert f"sha256 begins with {extractors.INCEPTION_HASH}" in message
    assert "`inception_weights` FILE" in message
    assert "`swd` needs no network" in message
    if name == "inception":
        assert "`extractor` classifier" in message
    else:
        assert "no classifier of cifar10 comes along" in message
        assert "`extractor` classifier" not in message
    assert "`extractor` inception" not in message


def test_auto_takes_inception_from_the_cache(stand_in_weights: Path, no_network: None) -> None:
    cache = extractors.inception_cache()
    cache.parent.mkdir(parents=True)
    cache.symlink_to(stand_in_weights)
    names = [one.name for one in extractors.choose_extractors("auto", DIGITS, None, ALONE)]
    assert names == ["inception", "classifier", "resnet"]
    assert [one.name for one in extractors.choose_extractors("inception", DIGITS, None, ALONE)] == ["inception"]


def test_the_settings_at_hand_are_those_of_the_extractor_that_is_taken(
    stand_in_weights: Path, no_network: None
) -> None:
    data = {name: JudgedData(name) for name in ("digits", "mnist", "folder")}
    for arguments in (
        ("auto", data["digits"], None),
        ("classifier", data["mnist"], None),
        ("auto", data["folder"], stand_in_weights),
    ):
        assert extractors.settings_at_hand(*arguments) == [
            one.settings for one in extractors.choose_extractors(*arguments, ALONE)
        ]
    for arguments in (
        ("auto", data["folder"], None),
        ("classifier", data["folder"], None),
        ("inception", data["digits"], None),
    ):
        assert extractors.settings_at_hand(*arguments) == []
        with pytest.raises(extractors.Unavailable):
            extractors.choose_extractors(*arguments, ALONE)
