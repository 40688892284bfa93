"""Samples and reconstructions from the trained tiny model: repeatable, whatever the batch size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sampler_names import ON_NOISE

from diffcli.data.datasets import digits
from diffcli.data.pixels import to_model
from diffcli.diffusion import randomness
from diffcli.diffusion.randomness import Stream, image_generators
from diffcli.diffusion.samplers import Step
from diffcli.inference.loading import load
from diffcli.inference.options import SamplerOptions
from diffcli.inference.restoration import reconstruct, reconstruction_rows
from diffcli.inference.sampling import Sampling, draw_xT, generate, step_counter
from diffcli.inference.save_samples import Frames
from diffcli.utils.devices import Devices


def sampling_of(hot_run: Path, **changes: object) -> Sampling:
    model = load(hot_run, devices=Devices("cpu", "1"))
    return model.sampling(SamplerOptions(**changes), model.prior(None))  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", ["ancestral", "cold"])
def test_same_seed_same_images_whatever_the_batch_size(hot_run: Path, sampler: str) -> None:
    images = {
        size: torch.cat(list(generate(sampling_of(hot_run, batch_size=size, sampler=sampler), 7, (1, 8, 8))))
        for size in (1, 3, 7)
    }
    assert torch.allclose(images[1], images[7], atol=1e-5)
    assert torch.allclose(images[3], images[7], atol=1e-5)
    other = torch.cat(list(generate(sampling_of(hot_run, seed=1, sampler=sampler), 7, (1, 8, 8))))
    assert not torch.allclose(images[7], other, atol=1e-2)


def test_a_clipping_sampler_keeps_every_estimate_in_the_range_of_pixels(hot_run: Path) -> None:
    def largest_estimate(clip: str) -> float:
        sampling = sampling_of(hot_run, sampler=f"{{name: ancestral, clip: {clip}}}")
        assert len(sampling.steps) == 21
        peaks: list[float] = []

        def track(steps: Iterator[Step]) -> Iterator[Step]:
            for step in steps:
                peaks.append(float(step.x0_hat.abs().max()))
                yield step

        list(generate(sampling, 2, (1, 8, 8), track))
        return max(peaks[1:])  # the first step is x_T itself

    assert largest_estimate("true") == 0.5 < largest_estimate("false")


@pytest.mark.parametrize("sampler", [*ON_NOISE, "{name: ddim, eta: 0.5}", "{name: cold, eta: 0.5}"])
def test_noise_drawn_ahead_changes_no_byte(hot_run: Path, sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = torch.cat(list(generate(sampling_of(hot_run, sampler=sampler), 3, (1, 8, 8))))
    monkeypatch.setattr(randomness, "AHEAD_BYTES", 0)
    one_by_one = torch.cat(list(generate(sampling_of(hot_run, sampler=sampler), 3, (1, 8, 8))))
    assert torch.equal(ahead, one_by_one)


def test_more_images_begin_with_the_same_ones(hot_run: Path) -> None:
    few = torch.cat(list(generate(sampling_of(hot_run), 2, (1, 8, 8))))
    many = torch.cat(list(generate(sampling_of(hot_run), 5, (1, 8, 8))))
    assert torch.allclose(few, many[:2], atol=1e-5)


def test_reconstructions_do_not_depend_on_the_batch_size(hot_run: Path) -> None:
    images = digits().test.images[:5]
    for which in (0, 1):
        whole = torch.cat([pair[which] for pair in reconstruct(sampling_of(hot_run), images)])
        parts = torch.cat([pair[which] for pair in reconstruct(sampling_of(hot_run, batch_size=2), images)])
        assert torch.allclose(whole, parts, atol=1e-4)


def test_rows_of_reconstructions_are_the_reports(hot_run: Path) -> None:
    images = digits().test.images[:3]
    rows = reconstruction_rows(sampling_of(hot_run), images)
    assert [label for label, _ in rows] == [
        "$x$", "$z_{5}$", "$x_{5}$", "$z_{10}$", "$x_{10}$", "$z_{20}$", "$x_{20}$", r"$\hat{x}$",
    ]  # fmt: skip
    assert torch.equal(rows[0][1], to_model(images))
    samples = torch.cat([pair[0] for pair in reconstruct(sampling_of(hot_run), images)])
    assert torch.allclose(rows[-1][1], samples, atol=1e-5)


def test_steps_are_counted_for_the_progress_bar(hot_run: Path) -> None:
    sampling = sampling_of(hot_run, batch_size=2, steps=4)
    counts: list[int] = []
    list(generate(sampling, 5, (1, 8, 8), step_counter(counts.append)))
    assert sum(counts) == sampling.total_steps(5) == 12


def test_a_trajectory_goes_from_x_T_to_what_is_generated(hot_run: Path) -> None:
    sampling = sampling_of(hot_run, steps=4)
    generators = image_generators(sampling.seed, Stream.SAMPLE, range(3))
    xT = draw_xT(sampling, generators, (1, 8, 8))
    first, *steps = sampling.trajectory(xT, generators)
    assert (first.s, first.xs is xT) == (20, True)
    assert [step.s for step in steps] == [15, 10, 5, 0]
    assert torch.equal(steps[-1].xs, torch.cat(list(generate(sampling, 3, (1, 8, 8)))))


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [(260, 250, [130, 130]), (250, 250, [250]), (7, 3, [3, 2, 2]), (1, 250, [1]), (10, 1, [1] * 10), (0, 5, [])],
)
def test_batches_are_few_and_even(hot_run: Path, n: int, batch_size: int, sizes: list[int]) -> None:
    batches = sampling_of(hot_run, batch_size=batch_size).batches(n)
    assert [len(indices) for indices in batches] == sizes
    assert [index for indices in batches for index in indices] == list(range(n))


def test_an_animation_shows_the_first_64_images_whatever_the_batch_size(hot_run: Path) -> None:
    def frames(batch_size: int, alone: bool = True) -> list[torch.Tensor]:
        sampling = sampling_of(hot_run, batch_size=batch_size, steps=3)
        animation = Frames(sampling.steps, alone)
        list(generate(sampling, 70, (1, 8, 8), animation.of_batch))
        return animation.images

    whole, parts = frames(70), frames(40)
    assert [len(frame) for frame in whole] == [64] * 4
    assert all(torch.allclose(a.int(), b.int(), atol=1) for a, b in zip(whole, parts, strict=True))
    assert [len(frame) for frame in frames(40, alone=False)] == [35] * 4


def test_a_sampler_is_looked_up_once(hot_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffcli.inference.sampling as generation

    bound: list[str] = []
    bind = generation.bind_sampler
    monkeypatch.setattr(
        generation, "bind_sampler", lambda *arguments: bound.append(arguments[0].name) or bind(*arguments)
    )
    list(generate(sampling_of(hot_run, batch_size=2, steps=2), 6, (1, 8, 8)))
    assert bound == ["ancestral"]
