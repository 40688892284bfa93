"""Distribution matching: where a student is asked and compared, and that it learns a distribution, not its mean."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.distillation import Interval, distribution_matching, draw_intervals
from diffcli.diffusion.samplers import ddim, last, timesteps
from diffcli.diffusion.schedules import cosine

SHAPE = (1, 8, 8)


def generator_of(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise() -> GaussianNoise:
    degradation = GaussianNoise(cosine(40))
    degradation.image_shape = SHAPE
    return degradation


def test_intervals_cover_every_step() -> None:
    step, t, s = draw_intervals(timesteps(40, 4), 4000, generator_of())
    for number, start in enumerate((40, 30, 20, 10)):
        assert (t[step == number] == start).all()
        assert int((t == start).sum()) == 1000
        # At t nothing is taken back, and at 0 nothing is left to compare.
        assert set(s[t == start].tolist()) == set(range(1, start))
        assert float(s[t == start].float().mean()) == pytest.approx(start / 2, rel=0.05)
    step, t, s = draw_intervals([2, 1, 0], 3, generator_of())
    assert list(zip(step.tolist(), t.tolist(), s.tolist(), strict=True)) == [(0, 2, 1), (0, 2, 1), (1, 1, 1)]
    again = draw_intervals(timesteps(40, 4), 100, generator_of())
    assert torch.equal(again.s, draw_intervals(timesteps(40, 4), 100, generator_of()).s)


class Line(nn.Module):
    """An output of x_t, pixel by pixel, a line for each t."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T
        self.slope, self.offset = nn.Parameter(torch.zeros(T + 1)), nn.Parameter(torch.zeros(T + 1))

    def forward(self, xt: Tensor, t_fraction: Tensor) -> Tensor:
        t = (t_fraction * self.T).round().long()
        return self.slope[t].view(-1, 1, 1, 1) * xt + self.offset[t].view(-1, 1, 1, 1)


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

    student, auxiliaries = denoiser(), [denoiser() for _ in range(steps)]
    before = float(samples(student).std())
    assert before < 0.1  # the mean of all images, more or less
    generator = generator_of(1)
    weights = [weight for one in (student, *auxiliaries) for weight in one.parameters()]
    optimizer = torch.optim.Adam(weights, lr=5e-3, betas=(0.0, 0.99))
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 600)
        x0 = mean + spread * torch.randn(32, *SHAPE, generator=generator)
        interval = draw_intervals(path, len(x0), generator)
        xt = degradation.degrade(x0, interval.t, torch.randn(x0.shape, generator=generator))
        new = torch.randn(x0.shape, generator=generator)
        loss = distribution_matching(student, auxiliaries, exact, xt, interval, new).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = samples(student)
    assert float(after.mean()) == pytest.approx(mean, abs=0.02)
    # From its third step on the sampler keeps some of the noise in x_t, which the answer to x_t knows.
    assert float(after.std()) == pytest.approx(spread, abs=0.02 if steps < 3 else 0.03)


def test_the_value_is_the_auxiliarys_loss_and_the_gradient_is_of_both() -> None:
    degradation = noise()
    student, *auxiliaries = (Denoiser(Line(degradation.T), degradation, "x0") for _ in range(4))
    xt, new = (torch.randn(4, *SHAPE, generator=generator_of(seed)) for seed in range(2))
    times = [[0, 0, 1, 1], [40, 40, 20, 20], [30, 1, 12, 9]]
    interval = Interval(*map(torch.tensor, times))
    loss = distribution_matching(
        student,
        auxiliaries,
        lambda xs, s, labels: torch.full_like(xs, 0.2),
        xt,
        interval,
        new,
    )
    # Student and auxiliaries answer 0: they are right about the student.
    assert loss.tolist() == [0.0] * 4
    loss.mean().backward()
    slope, offset = student.network.get_parameter("slope").grad, student.network.get_parameter("offset").grad
    assert slope is not None
    assert offset is not None
    for auxiliary in auxiliaries:
        gradient = auxiliary.network.get_parameter("offset").grad
        assert gradient is not None  # also of one that no image of the batch is for
    # The teacher says 0.2 where the student's images are 0: it is told to rise, at the times that it was asked.
    assert bool((offset[[40, 20]] < 0).all())
    assert float(offset.abs().sum()) == pytest.approx(float(offset[[40, 20]].abs().sum()))
