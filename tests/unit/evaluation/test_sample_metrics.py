"""Neighbours, kernel distances, standard errors and the accuracy score, against references written otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from diffcli.data.datasets import digits
from diffcli.evaluation.frechet import Reference
from diffcli.evaluation.kernel import KernelReference
from diffcli.evaluation.manifolds import Manifold, radii, recall
from diffcli.evaluation.resampling import (
    GROUPS,
    mean_and_error,
    median_error,
    standard_error,
    stratified_error,
    with_error,
)
from diffcli.evaluation.scores import nearest_errors


def shares(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision and recall by scikit-learn's search and plain loops, in float64."""

    def coverage(points: np.ndarray, members: np.ndarray) -> float:
        # Each member is its own first neighbour.
        limits = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(members).kneighbors(members)[0][:, k]
        count = 0
        for point in points:
            count += any(math.dist(point, member) <= limit for member, limit in zip(members, limits, strict=True))
        return count / len(points)

    a, b = real.double().numpy(), fake.double().numpy()
    return coverage(b, a), coverage(a, b)


def precision(real: Tensor, fake: Tensor) -> float:
    return Manifold.of(real).share(fake)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.3, 0.0), (2.0, 0.5)])
def test_density_and_coverage_equal_the_reference(scale: float, shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffcli.evaluation.manifolds.ROWS", 32)
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(80, 5, generator=generator).double()
    fake = (torch.randn(70, 5, generator=generator) * scale + shift).double()
    limits = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(real.numpy()).kneighbors(real.numpy())[0][:, 5]
    inside = [[math.dist(y, x) <= limit for x, limit in zip(real, limits, strict=True)] for y in fake]
    balls = Manifold.of(real, k=5)
    assert balls.density(fake) == pytest.approx(sum(map(sum, inside)) / (5 * 70), abs=1e-12)
    assert balls.coverage(fake) == pytest.approx(np.any(inside, axis=0).mean(), abs=1e-12)


def test_density_and_coverage_of_the_same_distribution_and_of_a_wild_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(1000, 4, generator=generator), torch.randn(1000, 4, generator=generator)
    balls = Manifold.of(real, k=5)
    assert balls.density(fake) == pytest.approx(1, abs=0.1)
    # Of N real and M samples of one distribution, 1 - (N - 1)...(N - k) / (M + N - 1)...(M + N - k) (Naeem et al. 2020,
    # Eq. 8).
    assert balls.coverage(fake) == pytest.approx(1 - 1 / 2**5, abs=0.02)
    # One far sample widens its own ball over all real images: recall believes it, coverage does not.
    few = torch.cat([fake[:20], fake[:3] + 50])
    assert recall(real, few) > 0.8
    assert balls.coverage(few) < 0.3


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.3, 0.0), (2.0, 0.5)])
def test_precision_and_recall_equal_the_reference(scale: float, shift: float) -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(80, 5, generator=generator)
    fake = torch.randn(70, 5, generator=generator) * scale + shift
    expected = shares(real, fake)
    assert (precision(real, fake), recall(real, fake)) == pytest.approx(expected, abs=1e-12)


def test_few_kinds_of_good_samples_have_precision_and_no_recall() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 20 * torch.randn(10, 8, generator=generator)
    real = centres.repeat(30, 1) + torch.randn(300, 8, generator=generator)
    fake = centres[:2].repeat(150, 1) + torch.randn(300, 8, generator=generator)
    assert precision(real, fake) > 0.6
    assert recall(real, fake) < 0.2
    far = fake + 1000
    assert (precision(real, far), recall(real, far)) == (0, 0)


def test_distances_between_far_features_keep_their_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.arange(5, dtype=torch.float64)[:, None] + 1e6
    assert radii(points, k=1).tolist() == pytest.approx([1.0] * 5, abs=1e-3)
    assert radii(points[:2]).tolist() == pytest.approx([1.0, 1.0], abs=1e-3)  # of fewer than k others, the farthest
    whole = radii(points)
    monkeypatch.setattr("diffcli.evaluation.manifolds.ROWS", 2)
    assert torch.equal(radii(points), whole)


@pytest.mark.parametrize("count", [200, 6])
def test_frechet_distance_equals_the_textbook_formula(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(150, 8, generator=generator, dtype=torch.float64)
    y = torch.randn(count, 8, generator=generator, dtype=torch.float64) * 1.5 + 0.3
    sx, sy = np.cov(x.numpy().T), np.cov(y.numpy().T)
    root = linalg.sqrtm(sx @ sy + 1e-14 * np.eye(8)).real
    expected = float((x.mean(0) - y.mean(0)).square().sum()) + np.trace(sx + sy - 2 * root)
    assert Reference.of(x).distance(y) == pytest.approx(expected, rel=1e-5)


def test_the_error_is_that_of_a_mean() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    usual = float(values.std()) / math.sqrt(1000)
    assert standard_error(lambda subset: float(subset.mean()), values, seed=0) == pytest.approx(usual, rel=0.4)
    by_ones = torch.tensor([3.0, 1.0, 7.0, 4.0])  # a group for each: the textbook jackknife, exact for a mean
    assert standard_error(lambda subset: float(subset.mean()), by_ones, 0) == pytest.approx(float(by_ones.std()) / 2)
    assert standard_error(lambda subset: float(subset.mean()), values[:2], 0) is None
    assert mean_and_error(values) == pytest.approx((float(values.mean()), usual))
    assert with_error("x", values[:1]) == {"x": float(values[0])}
    assert with_error("x", values[:0]) == {}


def test_the_error_does_not_follow_the_order_of_the_samples() -> None:
    # Labels in turn: groups by position would each hold one label.
    values = torch.arange(10.0).repeat(200)
    usual = float(values.std()) / math.sqrt(2000)
    assert standard_error(lambda subset: float(subset.mean()), values, seed=0) == pytest.approx(usual, rel=0.5)
    sizes = []
    standard_error(lambda subset: float(sizes.append(len(subset)) or 0), values, seed=0)
    assert sizes == [1900] * GROUPS


def test_the_error_of_a_frechet_distance_is_its_spread_over_sets() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = Reference.of(torch.randn(2000, 6, generator=generator))
    distances, errors, repeats = [], [], []
    for _ in range(60):
        fake = 1.2 * torch.randn(200, 6, generator=generator) + 0.2
        distances.append(reference.distance(fake))
        errors.append(standard_error(reference.distance, fake, seed=0))
        repeats.append(reference.distance(fake[torch.randint(200, (200,), generator=generator)]))
    spread = float(np.std(distances, ddof=1))
    assert 0.8 * spread < float(np.mean(errors)) < 1.4 * spread
    # What a bootstrap would add: its sets are further away than the set that they are drawn from.
    assert np.mean(repeats) > np.mean(distances) + 0.3 * spread


def test_the_kernel_distance_equals_the_sum_over_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffcli.evaluation.kernel.ROWS", 7)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 4, generator=generator), 1.3 * torch.randn(25, 4, generator=generator)

    def kernel(a: Tensor, b: Tensor) -> float:
        return (float(a.double() @ b.double()) / 4 + 1) ** 3

    def within(points: Tensor) -> float:
        return float(np.mean([kernel(a, b) for i, a in enumerate(points) for j, b in enumerate(points) if i != j]))

    expected = within(x) + within(y) - 2 * np.mean([kernel(a, b) for a in x for b in y])
    reference = KernelReference.of(x)
    assert reference.distance(y) == pytest.approx(expected, rel=1e-9)
    whole = KernelReference.of(y).error(x, torch.arange(30) % 3)
    monkeypatch.setattr("diffcli.evaluation.kernel.ROWS", 1000)
    assert KernelReference.of(y).error(x, torch.arange(30) % 3) == pytest.approx(whole, rel=1e-9)
    assert reference.error(y[:2]) is None


def test_the_kernel_distance_is_unbiased_and_its_error_its_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = KernelReference.of(torch.randn(3000, 6, generator=generator))
    sets = [torch.randn(200, 6, generator=generator) for _ in range(300)]  # cubes have heavy tails
    distances = [reference.distance(one) for one in sets]
    spread = float(np.std(distances, ddof=1))
    assert abs(np.mean(distances)) < 4 * spread / math.sqrt(300)
    assert np.mean([reference.error(one) for one in sets]) == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize("even", [True, False], ids=["labels in turn", "labels drawn"])
def test_errors_are_the_spread_over_sets_whose_labels_are_fixed_or_drawn(even: bool) -> None:
    """Coverage by simulation: ten classes far apart, as digits are in a classifier's features."""
    generator = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(10, 6, generator=generator)

    def images(labels: Tensor) -> Tensor:
        return centres[labels] + torch.randn(len(labels), 6, generator=generator)

    real = images(torch.arange(4000) % 10)
    frechet, kernel, balls = Reference.of(real), KernelReference.of(real), Manifold.of(real[:300], k=5)
    scores: dict[str, list[float]] = {"fid": [], "kid": [], "density": [], "share": []}
    errors: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(80):
        labels = torch.arange(300) % 10 if even else torch.randint(10, (300,), generator=generator)
        fake, strata = 1.1 * images(labels), labels if even else None
        hits = (torch.rand(300, generator=generator) < labels / 10).double()
        for name, score in (("fid", frechet.distance), ("kid", kernel.distance), ("density", balls.density)):
            scores[name].append(score(fake))
            if name != "kid":
                errors[name].append(standard_error(score, fake, 0, strata))
        errors["kid"].append(kernel.error(fake, strata))
        scores["share"].append(float(hits.mean()))
        errors["share"].append(stratified_error(hits, labels) if even else mean_and_error(hits)[1])
    for name, values in scores.items():
        ratio = float(np.mean(errors[name])) / float(np.std(values, ddof=1))
        assert 0.75 < ratio < 1.3, (name, ratio)
    if even:  # groups that do not keep the labels' shares bring their noise back
        blind = [standard_error(frechet.distance, 1.1 * images(torch.arange(300) % 10), 0) for _ in range(20)]
        assert np.mean(blind) > 1.8 * np.mean(errors["fid"])


def test_the_error_of_a_median_is_its_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(300, 400, generator=generator).exp()
    spread = float(values.median(dim=1).values.std())
    assert np.mean([median_error(row) for row in values]) == pytest.approx(spread, rel=0.15)
    assert median_error(values[0, :2]) is None


def test_the_error_of_a_stratified_mean_pools_labels_with_one_value() -> None:
    values = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    assert stratified_error(values, torch.tensor([0, 0, 1, 1, 2])) == pytest.approx(math.sqrt(2 * 0.5 + 0.25) / 5)
    assert stratified_error(values, torch.arange(5)) == pytest.approx(mean_and_error(values)[1])
    assert stratified_error(values[:1], torch.zeros(1, dtype=torch.int64)) is None


def test_the_nearest_distance_tells_of_copies_only_where_they_are_many() -> None:
    source = digits()
    training, unseen = (part.images.float() / 255 for part in (source.development, source.test))
    distances = nearest_errors(unseen, training)

    def ratio(share: float) -> float:
        copies = round(share * len(unseen))
        return float(
            nearest_errors(torch.cat([training[:copies], unseen[copies:]]), training).median() / distances.median()
        )

    assert nearest_errors(training[:50], training).max() < 1e-3
    assert 0.9 < ratio(0.1) < 1
    assert ratio(0.1) > ratio(0.3) > ratio(0.45) > 0.3
    assert ratio(0.55) < 0.01
