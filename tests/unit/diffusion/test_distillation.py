"""Moment matching: where a student is asked, what its images are degraded to, and that it learns a distribution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffcli.diffusion.degradations import Degradation, GaussianNoise, Heat
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.distillation import Interval, draw_intervals, moment_matching, powers_of, step_back
from diffcli.diffusion.samplers import cold, ddim, last, timesteps
from diffcli.diffusion.schedules import cosine, log_widths

SHAPE = (1, 8, 8)


def generator_of(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise() -> GaussianNoise:
    degradation = GaussianNoise(cosine(40))
    degradation.image_shape = SHAPE
    return degradation


def heat_with_noise() -> Heat:
    degradation = Heat(log_widths(40, 0.3, 3.0, image_shape=SHAPE), image_shape=SHAPE)
    degradation.sigmas = torch.cat([torch.zeros(1), torch.linspace(0.05, 1, 40)]).double()
    return degradation


def test_intervals_cover_every_step() -> None:
    t, s = draw_intervals(timesteps(40, 4), 4000, generator_of())
    assert set(t.tolist()) == {40, 30, 20, 10}
    assert float((t == 10).float().mean()) == pytest.approx(1 / 4, abs=0.03)
    for start in (40, 30, 20, 10):  # at t nothing is taken back, and at 0 nothing is left to compare
        assert set(s[t == start].tolist()) == set(range(1, start))
        assert float(s[t == start].float().mean()) == pytest.approx(start / 2, rel=0.1)
    t, s = draw_intervals([2, 1, 0], 100, generator_of())
    assert set(zip(t.tolist(), s.tolist(), strict=True)) == {(2, 1), (1, 1)}
    again = draw_intervals([2, 1, 0], 100, generator_of())
    assert torch.equal(again.s, s)


@pytest.mark.parametrize(
    ("degradation", "sampler"),
    [(noise(), ddim), (noise(), cold), (heat_with_noise(), cold)],
    ids=["ddim", "cold", "heat"],
)
def test_a_step_back_is_that_of_the_sampler(degradation: Degradation, sampler: object) -> None:
    x0, xt, new = (torch.randn(3, *SHAPE, generator=generator_of(seed)) for seed in range(3))
    for t, s in ((40, 20), (30, 29), (2, 1)):
        path = [t, s, 0]
        expected = next(sampler(lambda xt, t: x0, degradation, xt, path, lambda: new, eta=1.0)).xs  # type: ignore[operator]
        interval = Interval(torch.full((3,), t), torch.full((3,), s))
        xs = step_back(degradation, xt, interval, x0, new, powers_of(degradation))
        torch.testing.assert_close(xs, expected, atol=2e-5, rtol=1e-4)
    # At t itself nothing is drawn anew.
    here = Interval(torch.full((3,), 20), torch.full((3,), 20))
    torch.testing.assert_close(step_back(degradation, xt, here, x0, new, powers_of(degradation)), xt, atol=1e-5, rtol=0)


class Line(nn.Module):
    """An output of x_t, pixel by pixel, a line for each t, which may depend on how much the pixels of an image vary."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T
        self.slope, self.offset = nn.Parameter(torch.zeros(T + 1)), nn.Parameter(torch.zeros(T + 1))
        self.slope_by_spread, self.offset_by_spread = (nn.Parameter(torch.zeros(T + 1)) for _ in range(2))

    def forward(self, xt: Tensor, t_fraction: Tensor) -> Tensor:
        t = (t_fraction * self.T).round().long()
        spread = xt.flatten(1).std(dim=1)
        slope = self.slope[t] + self.slope_by_spread[t] * spread
        offset = self.offset[t] + self.offset_by_spread[t] * spread
        return slope.view(-1, 1, 1, 1) * xt + offset.view(-1, 1, 1, 1)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_student_learns_the_distribution_and_not_its_mean(steps: int) -> None:
    """White pixels of mean 0.3 and standard deviation 0.2: the exact denoiser is a line, and so is the best student."""
    mean, spread, degradation = 0.3, 0.2, noise()

    def exact(xt: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        alpha = degradation.alphas_cumprod[t].view(-1, 1, 1, 1).float()
        gain = alpha.sqrt() * spread**2 / (alpha * spread**2 + 1 - alpha)
        return mean + gain * (xt - alpha.sqrt() * mean)

    def denoiser() -> Denoiser:
        line = Line(degradation.T)
        times = torch.arange(1, degradation.T + 1)
        with torch.no_grad():
            at = [exact(torch.full((len(times), 1, 1, 1), x), times, times).flatten() for x in (0.0, 1.0)]
            line.offset[1:], line.slope[1:] = at[0], at[1] - at[0]
        return Denoiser(line, degradation, "x0")

    path = timesteps(degradation.T, steps)

    def samples(student: Denoiser) -> Tensor:
        generator = generator_of(7)
        xT = torch.randn(500, *SHAPE, generator=generator)
        draws = ddim(student, degradation, xT, path, lambda: torch.randn(xT.shape, generator=generator), eta=1.0)
        return last(draws).detach()

    student, auxiliary = denoiser(), denoiser()
    before = float(samples(student).std())
    assert before < 0.1  # the mean of all images, more or less
    powers, generator = powers_of(degradation), generator_of(1)
    optimizer = torch.optim.Adam([*student.parameters(), *auxiliary.parameters()], lr=5e-3, betas=(0.0, 0.99))
    for step in range(2400):
        optimizer.param_groups[0]["lr"] = 2e-2 * (1 - step / 2400)
        x0 = mean + spread * torch.randn(32, *SHAPE, generator=generator)
        interval = draw_intervals(path, len(x0), generator)
        xt = degradation.degrade(x0, interval.t, torch.randn(x0.shape, generator=generator))
        new = torch.randn(x0.shape, generator=generator)
        loss = moment_matching(student, auxiliary, exact, xt, interval, new, powers=powers).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = samples(student)
    assert float(after.mean()) == pytest.approx(mean, abs=0.02)
    # With one step exactly; with several, one answer to each x_t cannot be right at every s.
    assert float(after.std()) == pytest.approx(spread, abs=0.02 if steps == 1 else 0.05)
    assert spread - float(after.std()) < (spread - before) / 3


def test_the_value_is_the_auxiliarys_loss_and_the_gradient_is_of_both() -> None:
    degradation = noise()
    student, auxiliary = (Denoiser(Line(degradation.T), degradation, "x0") for _ in range(2))
    xt, new = (torch.randn(4, *SHAPE, generator=generator_of(seed)) for seed in range(2))
    interval = Interval(torch.tensor([40, 40, 20, 10]), torch.tensor([30, 1, 12, 9]))
    loss = moment_matching(
        student,
        auxiliary,
        lambda xs, s, labels: torch.full_like(xs, 0.2),
        xt,
        interval,
        new,
        powers=powers_of(degradation),
    )
    # Student and auxiliary answer 0: the auxiliary is right about the student.
    assert loss.tolist() == [0.0] * 4
    loss.mean().backward()
    slope, offset = student.network.get_parameter("slope").grad, student.network.get_parameter("offset").grad
    assert slope is not None
    assert offset is not None
    assert auxiliary.network.get_parameter("offset").grad is not None
    # The teacher says 0.2 where the student's images are 0: it is told to rise, at the times that it was asked.
    assert bool((offset[[40, 20, 10]] < 0).all())
    assert float(offset.abs().sum()) == pytest.approx(float(offset[[40, 20, 10]].abs().sum()))
