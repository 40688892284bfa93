"""No step of a training or of a sampler waits for the device.

Tensors on PyTorch's meta device have no data: whatever reads one, as ``.item()``, ``bool`` or an index by a mask do,
raises.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from sampler_names import ON_BLUR, ON_NOISE
from torch import Tensor

import diffcli.training.module as training_module
import diffcli.training.trainer as training_trainer
from diffcli.config.schema import Sampler
from diffcli.diffusion import samplers
from diffcli.diffusion.degradations import Degradation, GaussianBlur, GaussianNoise, Heat
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.labels import SampleLabels
from diffcli.diffusion.randomness import Stream, generator_for, image_generators
from diffcli.diffusion.samplers import timesteps
from diffcli.diffusion.schedules import constant, cosine
from diffcli.inference.sampling import Sampling
from diffcli.networks.compact import CompactUNet
from diffcli.training.callbacks import History
from diffcli.training.checkpoint_callbacks import LastCheckpoint
from diffcli.training.run import train
from diffcli.utils.devices import Devices, Processes

META = torch.device("meta")
SHAPE = (1, 8, 8)
READS: list[Callable[[Tensor], object]] = [
    lambda x: x.flatten()[0].item(),
    lambda x: x.tolist(),
    lambda x: bool((x > 0).any()),
    lambda x: int(x.sum()),
    lambda x: x.cpu(),
    lambda x: x[x > 0],
    lambda x: x.nonzero(),
]


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """What PyTorch refuses the meta device: autocast, generators, and fused optimizers."""
    autocast = torch.autocast
    monkeypatch.setattr(
        torch, "autocast", lambda kind, **options: nullcontext() if kind == "meta" else autocast(kind, **options)
    )

    class OfMeta(torch.Generator):
        device = META

    def of_meta(*key: Any, device: torch.device | str = "cpu") -> torch.Generator:
        return OfMeta() if torch.device(device) == META else generator_for(*key)

    monkeypatch.setattr(training_module, "generator_for", of_meta)
    monkeypatch.setattr(sys.modules["torch.optim.adam"], "_device_dtype_check_for_fused", lambda *_, **__: None)


def noise() -> Degradation:
    return GaussianNoise(cosine(12))


def heat_and_noise() -> Degradation:
    heat = Heat(constant(12, 0.4), SHAPE)
    heat.sigmas = torch.linspace(0, 1, 13, dtype=torch.float64)
    return heat


def blur() -> Degradation:
    return GaussianBlur(constant(12, 0.4), SHAPE, kernel_size=7)


def sampling_of(
    degradation: Degradation, sampler: dict[str, Any], guidance: dict[str, Any], device: torch.device = META
) -> Sampling:
    good, bad = (Denoiser(CompactUNet(SHAPE, 16, 1, classes=3), degradation, "x0", 3).to(device) for _ in range(2))
    return Sampling(
        denoiser=good,
        prior=None,
        sampler=Sampler(**sampler, **guidance),
        steps=timesteps(12, 4),
        seed=0,
        batch_size=5,
        processes=Processes(device),
        labels=SampleLabels((1, -1)),
        guide=bad,
    )


def steps_of(sampling: Sampling) -> list[int]:
    """The steps of a trajectory of five images."""
    generators = image_generators(0, Stream.SAMPLE, range(5))
    trajectory = sampling.trajectory(torch.zeros(5, *SHAPE, device=META), generators, sampling.labels_of(range(5)))
    return [step.s for step in trajectory if step.xs.device == META]


GUIDED = {"guidance": 1.5, "autoguidance": 1.4, "guided_t": [0.3, 0.7]}
OPTIONS: dict[str, dict[str, Any]] = {"ddim": {"eta": 0.5, "clip": True}, "cold": {"eta": 0.5}}
SAMPLINGS: list[tuple[Callable[[], Degradation], dict[str, Any]]] = [
    *((noise, {"name": name, **OPTIONS.get(name, {})}) for name in ON_NOISE),
    *((heat_and_noise, {"name": name, **OPTIONS.get(name, {})}) for name in ON_BLUR),
    *((blur, {"name": name}) for name in ON_BLUR),
]


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("guidance", [{}, GUIDED])
@pytest.mark.parametrize(("degradation", "sampler"), SAMPLINGS)
def test_no_sampler_reads_from_the_device_in_a_step(
    degradation: Callable[[], Degradation],
    sampler: dict[str, Any],
    guidance: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What the cold sampler asks for before its first step.
    taus = samplers._new_noise(degradation(), timesteps(12, 4), sampler.get("eta", 0.0))
    monkeypatch.setattr(samplers, "_new_noise", lambda *_: taus)
    assert steps_of(sampling_of(degradation(), sampler, guidance)) == [12, 9, 6, 3, 0]


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("read", READS)
def test_a_read_in_a_samplers_step_would_be_found(
    read: Callable[[Tensor], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise_from = Degradation.noise_from
    monkeypatch.setattr(Degradation, "noise_from", lambda self, xt, t, x0: (read(xt), noise_from(self, xt, t, x0))[1])
    with pytest.raises((RuntimeError, NotImplementedError)):
        steps_of(sampling_of(noise(), {"name": "ddim"}, {}))


class EpochEnd(Exception):
    """The steps of an epoch are done."""


def epoch_on_meta(preset: Path | str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> int:
    """Trains for an epoch of three steps with all that ``diffcli train`` does beside them; returns the steps done."""
    trainers: list[Trainer] = []

    class OnMeta(SingleDeviceStrategy):
        def teardown(self) -> None:
            pass  # which would bring the weights back

    class MetaAccelerator(CPUAccelerator):
        def setup_device(self, device: torch.device) -> None:
            assert device == META

    def trainer_on_meta(**options: Any) -> Trainer:
        trainers.append(Trainer(**options | {"accelerator": MetaAccelerator(), "strategy": OnMeta(META)}))
        return trainers[-1]

    def stop(*_: Any) -> None:
        raise EpochEnd

    monkeypatch.setattr(LastCheckpoint, "_save", lambda *_: None)  # due where the machine is slow
    # What is done once, before the first step.
    monkeypatch.setattr("lightning.pytorch.loops.fit_loop.has_len_all_ranks", lambda *_, **__: True)
    monkeypatch.setattr(training_module, "fit_prior", lambda prior, *_: prior)
    monkeypatch.setattr(training_trainer, "Trainer", trainer_on_meta)
    monkeypatch.setattr(History, "on_train_epoch_end", stop)
    with pytest.raises(EpochEnd):
        train(
            str(preset),
            {"training.val_every": 1000, "training.sample_epochs": []} | changes,
            out=folder,
            limit_batches=3,
            devices=Devices("cpu", "1"),
            quiet=True,
        )
    return int(trainers[-1].global_step)  # one before it may only have been asked for its devices


RECIPES: list[tuple[str, dict[str, Any]]] = [
    ("quickstart", {}),
    ("quickstart", {"training.clip_norm": 1.0, "training.min_snr": 5, "training.max_time": "1h"}),
    (
        "quickstart",
        {"training.stratified_t": True, "training.t_distribution": "logit-normal", "training.guide_at": 0.5},
    ),
    ("quickstart", {"training.optimizer": "muon"}),
    ("quickstart-blur", {"prior": {"name": "uniform"}}),
    ("quickstart-pixelate", {"prior": {"name": "uniform"}}),
]


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize(("preset", "changes"), RECIPES)
def test_no_training_step_reads_from_the_device(
    preset: str, changes: dict[str, Any], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert epoch_on_meta(preset, workplace / "run", monkeypatch, **changes) == 3


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("read", [READS[0], READS[2]])
def test_a_read_in_a_training_step_would_be_found(
    read: Callable[[Tensor], object], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(History, "on_train_batch_end", lambda self, t, m, outputs, *rest: read(outputs["loss"]))
    with pytest.raises(RuntimeError, match="meta"):
        epoch_on_meta("quickstart", workplace / "run", monkeypatch)


@pytest.fixture
def syncing_fails() -> Iterator[Callable[[bool], None]]:
    """A switch: while it is on, whatever waits for the GPU raises."""
    yield lambda on: torch.cuda.set_sync_debug_mode("error" if on else "default")
    torch.cuda.set_sync_debug_mode("default")


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@on_a_gpu
@pytest.mark.parametrize(("preset", "changes"), RECIPES)
def test_no_training_step_waits_for_a_gpu(
    preset: str,
    changes: dict[str, Any],
    workplace: Path,
    syncing_fails: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin, end = History.on_train_epoch_start, History.on_train_epoch_end

    def guard(self: History, trainer: Trainer, *rest: Any) -> None:
        begin(self, trainer, *rest)
        syncing_fails(trainer.current_epoch > 0)  # in the first epoch tables are moved to the device

    def unguard(self: History, *rest: Any) -> None:
        syncing_fails(False)
        end(self, *rest)

    monkeypatch.setattr(History, "on_train_epoch_start", guard)
    monkeypatch.setattr(History, "on_train_epoch_end", unguard)
    quick = {"training.epochs": 3, "training.val_every": 1000, "training.sample_epochs": []}
    options: Any = {"limit_batches": 5, "devices": Devices("cuda", "1"), "quiet": True}
    run = train(preset, quick | changes, out=workplace / "run", **options)
    assert len(run.metrics_file.read_text().splitlines()) == 4


@on_a_gpu
@pytest.mark.parametrize(("degradation", "sampler"), SAMPLINGS)
def test_no_samplers_step_waits_for_a_gpu(
    degradation: Callable[[], Degradation], sampler: dict[str, Any], syncing_fails: Callable[[bool], None]
) -> None:
    sampling = sampling_of(degradation(), sampler, GUIDED, torch.device("cuda"))
    generators = image_generators(0, Stream.SAMPLE, range(5))
    xT, labels = torch.zeros(5, *SHAPE, device="cuda"), sampling.labels_of(range(5))
    for _ in range(2):  # the first time, tables are moved to the device
        steps = sampling.trajectory(xT, generators, labels)
        next(steps), next(steps)
        syncing_fails(True)
        assert [step.s for step in steps] == [6, 3, 0]
        syncing_fails(False)
