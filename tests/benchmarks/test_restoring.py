"""The benchmark of restorations: its operators, its scores with their errors, and what it keeps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import restoring
from benchmarks.measurements import MOTION, SHAPE, BlockMeans, Motion, Row
from benchmarks.measurements import problem as measured_problem
from benchmarks.restorers import (
    Passes,
    Problem,
    azula_denoiser,
    cold,
    deepinv_denoiser,
    deepinv_physics,
    ours,
    restore_and_count,
)
from diffcli.data.pixels import to_uint8
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.measurements import Dense, Operator, Pixelwise, check_adjoint, operator_of
from diffcli.diffusion.schedules import cosine


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def test_means_of_blocks_have_their_adjoint_and_their_inverse() -> None:
    means, b = BlockMeans(4), images(2).double()
    check_adjoint(means, SHAPE)
    assert float(means(b)[0, 0, 0, 4]) == pytest.approx(float(b[0, 0, :4, 4:8].mean()))
    assert float(means(b)[0, 0, 1, 4]) == 0
    torch.testing.assert_close(means.solve(b, 0.09, 0.01), Operator.solve(means, b, 0.09, 0.01))


def test_motion_smears_along_a_diagonal() -> None:
    operator = operator_of(Motion(), 1)
    assert isinstance(operator, Dense)
    point = torch.zeros(1, *SHAPE)
    point[0, 0, 14, 14] = 1
    line = operator(point)[0, 0]
    torch.testing.assert_close(line.diagonal()[11:18], torch.full((MOTION,), 1 / MOTION))
    assert float(line.sum()) == pytest.approx(1)


def test_the_truth_explains_a_measurement_up_to_its_noise_where_something_was_measured() -> None:
    mask = torch.zeros(1, *SHAPE).double()
    mask[..., :14] = 1
    row, x0 = Row("half", Pixelwise(mask), mask=mask), 0.2 * images(50)
    measurement = row.measure(x0, 0.05, range(50))
    assert measurement.y.dtype == torch.float32
    assert bool((measurement.y[..., 14:] == 0).all())
    assert float(row.misfit(measurement, x0).mean()) == pytest.approx(1, abs=0.02)
    again = row.measure(x0[7:9], 0.05, [7, 8])
    torch.testing.assert_close(again.y, measurement.y[7:9])
    exact = row.measure(x0, 0.0, range(50))
    torch.testing.assert_close(row.misfit(exact, x0 + 2 / 255), torch.full((50,), 2.0).double(), rtol=1e-3, atol=0)


def test_the_interval_over_normal_samples_covers_nine_tenths() -> None:
    samples = images(9 * 400).view(400, 9, *SHAPE)
    shares = restoring.coverage(samples[:, :8], samples[:, 8])
    mean, error = restoring.mean_and_error(restoring.moments(shares))
    assert abs(mean - 0.9) < 3 * error
    assert error < 0.005
    narrow = restoring.coverage(0.5 * samples[:, :8], samples[:, 8])
    assert float(narrow.mean()) < 0.75


def test_sums_that_are_added_have_the_mean_and_the_error_of_all_values() -> None:
    values = torch.rand(50, generator=torch.Generator().manual_seed(0)).double()
    total = restoring.sum_of(restoring.moments(values[:20]), restoring.moments(values[20:]))
    mean, error = restoring.mean_and_error(total)
    assert mean == pytest.approx(float(values.mean()), rel=1e-6)
    assert error == pytest.approx(float(values.std()) / math.sqrt(50), rel=1e-4)
    assert restoring.score_text(total) == f"{mean:.3f} ± {error:.3f}"
    assert restoring.score_text([4, 80.0, 1610.0]) == "20.00 ± 0.91"
    assert restoring.score_text([8, 8.0, 8.0]) == "1"


def test_the_store_is_json_a_line_for_each_cell(tmp_path: Path) -> None:
    cells: dict[str, dict[str, Any]] = {"b; 0; told": {"ours": {"digits": 8}}, "a; 0; told": {"x": {}, "ours": {}}}
    text = restoring.text_of(cells)
    assert json.loads(text) == cells
    assert text.splitlines()[1] == '"a; 0; told": {'
    (tmp_path / "cells.json").write_text(text, encoding="utf-8")
    assert restoring.read_cells(tmp_path / "cells.json") == cells


def problem() -> Problem:
    """Of a model that takes every image for the one that its noise was added to: x_t / sqrt(alpha_t)."""
    noise = GaussianNoise(cosine(1000))
    noise.image_shape = SHAPE

    def denoiser(xt: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return xt / noise.alphas_cumprod[t].sqrt().view(-1, 1, 1, 1).float()

    denoiser.degradation = noise  # type: ignore[attr-defined]
    row = Row("motion", operator_of(Motion(), 1))
    prior: Any = SimpleNamespace(denoiser=denoiser)
    return Problem(row.measure(0.2 * images(3), 0.05, range(3)), torch.full((3,), -1), prior)


def test_peers_see_the_same_network_and_the_same_measurement() -> None:
    pytest.importorskip("azula")
    pytest.importorskip("deepinv")
    case, x0 = problem(), 0.2 * images(3)
    denoiser = azula_denoiser(case)
    alpha, sigma = denoiser.schedule(torch.tensor(0.5))
    assert float(alpha**2 + sigma**2) == pytest.approx(1)
    torch.testing.assert_close(denoiser(alpha * x0, torch.tensor(0.5)).mean, x0)

    torch.testing.assert_close(deepinv_denoiser(case)(x0 + 0.5, torch.tensor(0.3)), x0 + 0.5)
    y, physics = deepinv_physics(case)
    residual = case.measurement.residual(x0)
    torch.testing.assert_close((y - physics.A(x0 + 0.5)).double(), residual, rtol=0, atol=1e-5)
    assert float(physics.noise_model.sigma) == pytest.approx(0.05)


def test_each_way_of_ours_restores_as_many_images_and_tells_what_it_took() -> None:
    row = restoring.all_rows()["blur, t = 20"]
    x0 = 0.2 * images(2)
    case = measured_problem(row, x0, torch.tensor([3, -1]), restoring.model("mnist-fast"), sigma=0.01, indices=[4, 9])
    ways = {
        "two steps": ours(sampler={"name": "ddim", "eta": 1.0, "steps": 2}),
        "cold: one step": cold(restoring.model("blur-fast"), one_step=True),
    }
    assert row.undone_by(restoring.model("blur-fast"))
    assert not row.undone_by(restoring.model("pixelate-fast"))
    results = {name: restore_and_count(way, case, 0) for name, way in ways.items()}
    assert all(images_.shape == x0.shape for images_, _, _ in results.values())
    # A gradient for a conjugate direction, and where x_t says enough, at t = 500, another one, and one for the trace.
    assert results["two steps"][1:] == (2, 4)
    assert results["cold: one step"][1:] == (1, 0)


def test_a_cold_model_is_told_of_the_noise_that_it_was_trained_for() -> None:
    row, model = restoring.all_rows()["blur, t = 20"], restoring.model("blur-fast")
    assert model.denoiser.measurement_noise == 0.01
    x0 = 0.2 * images(2)
    for sigma, level in ((0.0, 0.0), (1 / 255, 1 / 255), (0.05, 0.01)):
        case = measured_problem(
            row, x0, torch.full((2,), -1), restoring.model("mnist-fast"), sigma=sigma, indices=[0, 1]
        )
        one = cold(model, one_step=True).restore(case, 0)
        torch.testing.assert_close(to_uint8(one), model.estimate(case.measurement.y, 20, sigma=level), rtol=0, atol=0)
    columns = restoring.restorers(row, ["blur-fast", "pixelate-fast"])
    assert [name for name in columns if name.startswith("cold")] == [
        "cold, trained with noise: one step",
        "cold, trained with noise: sampler",
    ]


def test_passes_are_counted_forwards_and_backwards() -> None:
    network = torch.nn.Conv2d(1, 1, 3)
    with Passes()(network) as passes:
        network(images(5))
        source = images(3).requires_grad_()
        network(source).sum().backward()
        with torch.no_grad():
            network(images(2))
    network(images(9))
    assert passes.forward == 10
    assert passes.backward >= 3
