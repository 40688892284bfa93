"""Labels and guidance: the algebra of the wrappers, and that a model without labels is what it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from sampler_names import ON_NOISE
from torch import Tensor, nn

from diffcli.cli.flags import overrides
from diffcli.config.build import build_denoiser, resolve
from diffcli.config.presets import load_preset
from diffcli.config.schema import Sampler
from diffcli.data.sources import NO_LABEL as IN_DATA
from diffcli.diffusion import guidance
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.guidance import classifier_free, with_autoguidance, with_clipping, with_labels
from diffcli.diffusion.labels import NO_LABEL, SampleLabels, hidden_labels, shares_of
from diffcli.diffusion.priors import StandardNormal
from diffcli.diffusion.samplers import timesteps
from diffcli.inference.restoration import reconstruct, reconstruction_rows
from diffcli.inference.sampling import Sampling, evaluations, generate
from diffcli.utils.devices import Processes
from diffcli.utils.errors import UserError

SHAPE = (1, 8, 8)
XT = torch.linspace(-1, 1, 3 * 64).view(3, *SHAPE)
T3 = torch.tensor([1, 5, 10])


class Counter:
    """x0_hat = (label + 2) xt / t, and how many calls and images it was asked for."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.calls, self.images = factor, 0, 0

    def __call__(self, xt: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        self.calls, self.images = self.calls + 1, self.images + len(xt)
        labels = torch.full((len(xt),), NO_LABEL) if labels is None else labels
        return self.factor * (labels + 2).view(-1, 1, 1, 1) * xt / t.view(-1, 1, 1, 1)


def test_both_halves_of_the_house_mean_the_same_by_no_label() -> None:
    assert NO_LABEL == IN_DATA == -1


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.7, 0.3])
@pytest.mark.parametrize("interval", [None, (4.0, 6.0), (0.0, 10.0), (7.0, 8.0)])
@pytest.mark.parametrize("cpu_batch", [2, 16])
def test_guidance_is_extrapolation_within_its_interval(
    weight: float, interval: tuple[float, float] | None, cpu_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guidance, "CPU_BATCH", cpu_batch)  # one call, or two
    labels = torch.tensor([3, 0, NO_LABEL])
    good, bad = Counter(), Counter(0.5)
    labelled, none = good(XT, T3, labels), good(XT, T3)
    low, high = interval or (0, 10)
    inside = ((low <= T3) & (high >= T3)).view(-1, 1, 1, 1)
    free = classifier_free(good, labels, weight, interval)(XT, T3)
    assert torch.allclose(free, torch.where(inside, none + weight * (labelled - none), labelled))
    worse = bad(XT, T3, labels)
    auto = with_autoguidance(with_labels(good, labels), with_labels(bad, labels), weight, interval)(XT, T3)
    assert torch.allclose(auto, torch.where(inside, worse + weight * (labelled - worse), labelled))


@pytest.mark.parametrize(("weight", "of_good", "of_bad"), [(1.0, 3, 0), (0.0, 0, 3), (1.5, 3, 3)])
def test_only_what_is_needed_is_evaluated(weight: float, of_good: int, of_bad: int) -> None:
    labels, (good, bad) = torch.tensor([1, 2, 3]), (Counter(), Counter())
    with_autoguidance(with_labels(good, labels), with_labels(bad, labels), weight)(XT, T3)
    assert (good.images, bad.images) == (of_good, of_bad)
    alone = Counter()
    guided = classifier_free(alone, labels, weight)
    expected = alone(XT, T3, labels) if weight == 1 else alone(XT, T3)
    alone.calls = alone.images = 0
    result = guided(XT, T3)
    assert (alone.calls, alone.images) == (1, of_good + of_bad)
    if weight in (0, 1):
        assert torch.equal(result, expected)
    outside = Counter()
    classifier_free(outside, labels, 1.5, (20, 30))(XT, T3)
    assert outside.images == 3


def test_guidance_composes_with_clipping_and_with_itself() -> None:
    labels, (good, bad) = torch.tensor([3, 0, 1]), (Counter(), Counter(0.5))
    free = classifier_free(good, labels, 2.0)
    both = with_clipping(with_autoguidance(free, with_labels(bad, labels), 1.5))(XT, T3)
    worse = bad(XT, T3, labels)
    expected = worse + 1.5 * (2 * good(XT, T3, labels) - good(XT, T3) - worse)
    assert torch.allclose(both, expected.clamp(-0.5, 0.5))
    assert float(expected.abs().max()) > 0.5


def test_hidden_labels_are_a_share() -> None:
    def draw(count: int) -> Tensor:
        return hidden_labels(count, 0.3, torch.Generator().manual_seed(5))

    assert float(draw(50_000).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert torch.equal(draw(51), draw(51))
    assert torch.equal(hidden_labels(5, 0.0, torch.Generator()), torch.zeros(5, dtype=torch.bool))


@pytest.mark.parametrize("world_size", [2, 3])
def test_a_step_hides_the_same_labels_on_any_number_of_processes(world_size: int, monkeypatch: Any) -> None:
    from types import SimpleNamespace

    from diffcli.data.datamodule import Batch
    from diffcli.training.module import DiffusionModule

    module = DiffusionModule(resolve(load_preset("quickstart", {"labels": {"dropped": 0.3}})[1]), "x")
    whole, step = torch.arange(51) % 10, 7
    monkeypatch.setattr(DiffusionModule, "global_step", property(lambda self: step))

    def part(rank: int, count: int) -> Tensor:
        module._trainer = SimpleNamespace(global_rank=rank, world_size=count)  # type: ignore[assignment]
        monkeypatch.setattr(DiffusionModule, "trainer", property(lambda self: self._trainer))
        labels = whole[rank::count]
        return module.labels(Batch(torch.zeros(len(labels), *SHAPE), labels, labels, 51))

    alone = part(0, 1)
    hidden = alone == NO_LABEL
    assert torch.equal(alone[~hidden], whole[~hidden])
    assert 5 < int(hidden.sum()) < 25
    for rank in range(world_size):
        assert torch.equal(part(rank, world_size), alone[rank::world_size])
    step = 8
    assert not torch.equal(part(0, 1), alone)


def test_labels_are_repeated_or_drawn_from_the_shares() -> None:
    assert SampleLabels(labels=(7, 1)).of(0, range(1, 5)).tolist() == [1, 7, 1, 7]
    shares = shares_of(torch.tensor([0, 2, 2, -1, 2]), 3)
    assert shares == (0.25, 0.0, 0.75)
    numbers = SampleLabels(shares=shares).of(3, range(2000))
    assert torch.equal(numbers[40:50], SampleLabels(shares=shares).of(3, range(40, 50)))
    assert not torch.equal(numbers, SampleLabels(shares=shares).of(4, range(2000)))
    assert int((numbers == 1).sum()) == 0
    for count in (1, 10, 64, 2000):
        assert int((numbers[:count] == 2).sum()) == pytest.approx(0.75 * count, abs=2)
    assert shares_of(torch.tensor([-1]), 2) == (0.5, 0.5)


def fresh_denoiser(seed: int = 0, **options: Any) -> Denoiser:
    resolved = resolve(load_preset("quickstart", overrides([f"{key}={value}" for key, value in options.items()]))[1])
    torch.manual_seed(seed)
    denoiser = build_denoiser(resolved).eval().requires_grad_(False)
    for weight in denoiser.parameters():
        nn.init.normal_(weight, std=0.1)
    return denoiser


def sampling_of(denoiser: Denoiser, sampler: dict[str, Any], batch_size: int = 8, **more: Any) -> Sampling:
    steps = timesteps(denoiser.degradation.T, 4)
    settings = Sampler.model_validate(sampler)
    cpu = Processes(torch.device("cpu"))
    return Sampling(denoiser, StandardNormal(), settings, steps, 0, batch_size, cpu, **more)


@pytest.mark.parametrize("name", ON_NOISE)
def test_guided_images_belong_to_their_seed_whatever_the_batch_size(name: str) -> None:
    denoiser, guide = fresh_denoiser(labels="{}"), fresh_denoiser(1, labels="{}")
    sampler = {"name": name, "guidance": 1.5, "autoguidance": 1.3, "guided_t": [0.2, 0.8], "clip": True}
    shares = (0.1,) * 10

    def draw(**changes: Any) -> Tensor:
        more = {"labels": SampleLabels(shares=shares), "guide": guide} | changes
        return torch.cat(list(generate(sampling_of(denoiser, sampler, **more), 7, SHAPE)))

    whole = draw()
    for size in (1, 3):
        assert torch.allclose(draw(batch_size=size), whole, atol=1e-4)
    plain = torch.cat(
        list(generate(sampling_of(denoiser, {"name": name}, labels=SampleLabels(shares=shares)), 7, SHAPE))
    )
    assert not torch.allclose(plain, whole, atol=1e-3)
    threes = draw(labels=SampleLabels(labels=(3,)))
    of_label = SampleLabels(shares=shares).of(0, range(7)) == 3
    assert torch.allclose(threes[of_label], whole[of_label], atol=1e-4)


@pytest.mark.parametrize(
    ("sampler", "labels", "count"),
    [
        ({}, None, 4),
        ({"guidance": 1.5}, SampleLabels(labels=(1,)), 8),
        ({"guidance": 0.0}, SampleLabels(labels=(1,)), 4),
        ({"autoguidance": 1.5}, None, 8),
        ({"autoguidance": 1.5, "guidance": 1.5}, SampleLabels(labels=(1,)), 12),
        ({"guidance": 1.5, "guided_t": [0.4, 0.8]}, SampleLabels(labels=(1,)), 6),
        ({"name": "heun", "guidance": 1.5}, SampleLabels(labels=(1,)), 14),
    ],
)
def test_evaluations_are_counted(sampler: dict[str, Any], labels: SampleLabels | None, count: int) -> None:
    guide = fresh_denoiser(1, labels="{}")
    assert (
        evaluations(sampling_of(fresh_denoiser(labels="{}"), {"name": "ddim"} | sampler, labels=labels, guide=guide))
        == count
    )


def test_the_guided_interval_is_of_t_over_T_wherever_sampling_starts() -> None:
    denoiser = fresh_denoiser(labels="{}")
    sampling = sampling_of(denoiser, {"name": "ddim", "guidance": 1.5, "guided_t": [0.4, 0.8]})
    assert replace(sampling, steps=[50, 20, 0]).guided_t == (40, 80)


def test_without_a_label_a_labelled_model_is_not_guided_by_any() -> None:
    denoiser = fresh_denoiser(labels="{}")
    none = torch.cat(list(generate(sampling_of(denoiser, {"name": "ddim"}), 3, SHAPE)))
    for labels in (None, SampleLabels(labels=(NO_LABEL,))):
        guided = sampling_of(denoiser, {"name": "ddim", "guidance": 1.5}, labels=labels)
        assert torch.allclose(torch.cat(list(generate(guided, 3, SHAPE))), none, atol=1e-5)


def test_reconstructions_are_told_their_labels() -> None:
    images = torch.randint(0, 256, (4, *SHAPE), dtype=torch.uint8)
    sampling = sampling_of(fresh_denoiser(labels="{}"), {"name": "ddim"}, batch_size=3)
    labels = torch.tensor([1, 2, 3, 4])
    results = [torch.cat(parts) for parts in zip(*reconstruct(sampling, images, labels=labels), strict=True)]
    for which, untold in enumerate(zip(*reconstruct(sampling, images), strict=True)):
        assert not torch.allclose(results[which], torch.cat(untold), atol=1e-3)
    rows = reconstruction_rows(sampling, images, labels=labels)
    assert torch.allclose(rows[-1][1], results[0], atol=1e-5)
    assert torch.allclose(rows[-2][1], results[1], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "sampler", "more", "message"),
    [
        ({"labels": "null"}, {}, {"labels": SampleLabels(labels=(1,))}, "trained without labels"),
        ({"labels": "null"}, {"guidance": 1.5}, {}, "trained without labels"),
        ({"labels": "{}"}, {}, {"labels": SampleLabels(labels=(10,))}, r"label 10 is unknown: this model's are 0\.\.9"),
        ({"labels": "{}"}, {}, {"labels": SampleLabels(labels=(-2,))}, "label -2 is unknown"),
        ({"labels": "{}"}, {"autoguidance": 1.5}, {}, "no early average"),
    ],
)
def test_what_a_model_cannot_do_is_refused(options: Any, sampler: Any, more: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sampling_of(fresh_denoiser(**options), {"name": "ddim"} | sampler, **more)
