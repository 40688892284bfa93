"""The training of a model of few steps by a teacher of many."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from diffcli.config.build import ResolvedPreset, build_degradation, path_of
from diffcli.config.notation import as_argument
from diffcli.config.schema import Component, LabelSettings, Preset
from diffcli.data.pixels import to_model
from diffcli.diffusion.degradations import Degradation, GaussianNoise
from diffcli.diffusion.distillation import Interval, draw_intervals, moment_matching, powers_of
from diffcli.diffusion.guidance import with_clipping
from diffcli.diffusion.randomness import Stream, generator_for
from diffcli.inference.model import Model
from diffcli.inference.options import SamplerOptions
from diffcli.training.module import DiffusionModule
from diffcli.utils.errors import UserError

SAME = ("labels", "schedule", "degradation", "noise", "measurement_noise", "network", "input", "prediction")
"""Keys of a preset that a student has of its teacher, whose weights it begins from."""
UNUSED = ("optimizer", "t_distribution", "stratified_t", "loss", "min_snr")
"""Keys of ``training`` that say how a denoiser is trained, which a student is not."""
RECIPE: dict[str, Any] = {
    "epochs": 10_000,
    "max_time": "10m",
    "lr": 1e-3,
    "warmup": 100,
    "lr_decay": True,
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "ema": 0.995,
}
"""The training of a student where its preset has no other, as in the preset mnist-one-step; how good it is says
docs/samplers.md. The rest of ``training`` is as by default."""
TAKEN_OVER = ("batch_size", "precision", "seed", "val_share")
"""Keys of ``training`` that a student has of its teacher where it names none: it is trained on the same images."""
BETAS = 0.0, 0.99
"""AdamW's, without momentum: student and auxiliary follow each other, and with it they overshoot."""
STEPS = 4
"""The steps of a student's sampler, unless another number is set."""
STUDENT = "-student"
"""The end of the name of a student's runs, which are not to be taken for its teacher's."""


class DistillationModule(DiffusionModule):
    """Trains a preset's denoiser to draw in few steps what its teacher draws in many; see
    :mod:`diffcli.diffusion.distillation`.

    Student and auxiliary denoiser begin as the teacher, whose priors and clusters they share. The loss that a training
    shows is the auxiliary's. There is no validation, as no loss on real images says how good the student's are.

    Args:
        teacher: a model of the same preset, as far as :data:`SAME` says.

    Raises:
        UserError: it is another one, or the preset cannot be trained so.
    """

    def __init__(
        self,
        resolved_preset: ResolvedPreset,
        preset_name: str,
        plugins: dict[str, str] | None = None,
        *,
        teacher: Model,
    ) -> None:
        super().__init__(resolved_preset, preset_name, plugins)
        check_preset(self.preset, self.denoiser.degradation)
        check_teacher(self.preset, resolved_preset.image_shape, teacher)
        self.denoiser.load_state_dict(teacher.denoiser.state_dict())
        self.auxiliary = deepcopy(self.denoiser)
        self.path = path_of(self.preset.sampler, self.denoiser.degradation)
        self.priors = {name: prior for name, prior in teacher.stored_priors() if prior.needs_fit}
        self.clusters = teacher.clusters
        # No module of this one: the teacher is no part of what is trained and saved.
        self._teaching = teacher.sampling(SamplerOptions(quiet=True))
        self._powers: Tensor | None = None

    @property
    def networks(self) -> nn.Module:
        return nn.ModuleList([self.denoiser.network, self.auxiliary.network])

    def optimizer(self, *, fused: bool) -> torch.optim.Optimizer:
        training = self.preset.training
        return torch.optim.AdamW(
            self.networks.parameters(), training.lr, betas=BETAS, weight_decay=training.weight_decay, fused=fused
        )

    @property
    def powers(self) -> Tensor:
        """See :func:`~diffcli.diffusion.distillation.powers_of`, on the device of the training."""
        if self._powers is None or self._powers.device != self.device:
            self._powers = powers_of(self.denoiser.degradation)
        return self._powers

    def losses(self, images: Tensor, labels: Tensor | None, batch_size: int) -> Tensor:
        x0, (rank, world_size) = to_model(images), self.process
        generator = generator_for(self.preset.training.seed, Stream.TRAIN, 0, self.global_step, device=self.device)
        t, s = draw_intervals(self.path, batch_size, generator)
        noise = torch.randn((2, batch_size, *x0.shape[1:]), generator=generator, device=self.device)
        t, s, noise = t[rank::world_size], s[rank::world_size], noise[:, rank::world_size]
        return moment_matching(
            self.denoiser,
            self.auxiliary,
            self.teacher_estimate,
            self.denoiser.degradation.degrade(x0, t, noise[0]),
            Interval(t, s),
            noise[1],
            powers=self.powers,
            labels=labels,
        )

    def teacher_estimate(self, xt: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """The teacher's x0_hat, (B, C, H, W), guided and clipped as its preset says, in float32 whatever the training's
        precision: what is learnt are small differences from it."""
        teaching = self._teaching
        for denoiser in filter(None, (teaching.denoiser, teaching.guide)):
            if denoiser.degradation.device != xt.device:
                denoiser.to(xt.device)
        estimate = teaching.estimate(labels if teaching.denoiser.classes else None)
        with torch.autocast(xt.device.type, enabled=False):
            return (with_clipping(estimate) if teaching.sampler.clip else estimate)(xt, t)


def student_values(teacher: Preset, name: str) -> dict[str, Any]:
    """The values of a preset for a student of a model: that model's own, but for how it is trained and sampled.

    Args:
        name: that the teacher is loaded by.

    Raises:
        UserError: its degradation has no noise at some t.
    """
    _check_noise(build_degradation(teacher))
    values = teacher.model_dump()
    # DDIM where there is one: the cold sampler's step on Gaussian noise, by its better known name.
    sampler = "ddim" if teacher.degradation.name == "gaussian-noise" else "cold"
    return values | {
        "description": f"{teacher.description}; distilled for few steps",
        "sampler": {"name": sampler, "eta": 1.0, "steps": STEPS, "clip": teacher.sampler.clip},
        "distillation": {"teacher": name},
        "training": RECIPE | {key: values["training"][key] for key in TAKEN_OVER},
    }


def _check_noise(degradation: Degradation) -> None:
    if not bool((degradation.sigmas[1:] > 0).all()):
        raise UserError(
            f"distillation needs noise at every t, which {degradation.name} has not: a model of it with noise can be a "
            "teacher"
        )


def check_preset(preset: Preset, degradation: Degradation) -> None:
    """Checks that a preset's model can be trained as a student.

    Raises:
        UserError: its degradation has no noise at some t, a key does not go with it, or its sampler is none that a
            student is trained for.
    """
    training, sampler = preset.training, preset.sampler
    _check_noise(degradation)
    defaults = type(training)()
    for key in UNUSED:
        if getattr(training, key) != getattr(defaults, key):
            raise UserError(f"training.{key} does not go with distillation, whose loss is another one; leave it out")
    if sampler.name not in ("ddim", "cold") or sampler.parameters.get("eta") != 1:
        choice = "ddim" if isinstance(degradation, GaussianNoise) else "cold"
        raise UserError(f"sampler: distillation is for {{name: {choice}, eta: 1.0}}, got {sampler.name}")


def check_teacher(preset: Preset, image_shape: tuple[int, int, int], teacher: Model) -> None:
    """Checks that a preset's model is one that a teacher can teach.

    Raises:
        UserError: it is not; the line names the first key in which the two differ.
    """
    if teacher.preset.distillation is not None:
        raise UserError(
            f"`teacher` {teacher.preset_name} is a student itself, and no denoiser any more; take its own, "
            f"{teacher.preset.distillation.teacher}"
        )
    if teacher.image_shape != image_shape:
        sizes = ["x".join(map(str, shape)) for shape in (teacher.image_shape, image_shape)]
        raise UserError(f"`teacher` {teacher.preset_name} draws images {sizes[0]}, and the data are {sizes[1]}")
    for key in SAME:
        here, there = (_plain(getattr(one, key)) for one in (preset, teacher.preset))
        if here != there:
            raise UserError(
                f"{key} is {here} here, and {there} of `teacher` {teacher.preset_name}: a student is what its teacher "
                "is; leave the key as it is there"
            )


def _plain(value: Any) -> str:
    """A part of a preset as text for a line; of labels, their names."""
    if isinstance(value, LabelSettings):
        return as_argument(value.names)
    return as_argument(value.model_dump() if isinstance(value, Component) else value)
