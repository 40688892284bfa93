"""Restorers that are measured side by side: ours, and those of deepinv and azula around the same network.

Each takes a :class:`Problem` and a seed and returns an image for each measurement, float (B, C, H, W) in [-0.5, 0.5].
Both libraries come with the extra ``bench``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.degradations.separable import SPREAD
from diffcli.diffusion.measurements import Measurement
from diffcli.diffusion.posterior import POSTERIORS
from diffcli.diffusion.randomness import Noise, Stream, image_generators, randn_images
from diffcli.diffusion.samplers import last
from diffcli.inference.model import Model
from diffcli.inference.options import SamplerOptions
from diffcli.inference.restoration import one_step_estimates, restore

NOISE_FREE = 1e-3
"""The noise that deepinv is told of where there is none: it divides by it."""


@dataclass(frozen=True)
class Problem:
    """Images that were measured.

    Args:
        measurement: of (B, C, H, W).
        labels: what models are told of the images, int64 (B,); -1 is nothing.
        prior: the model of noise that all but cold models are around.
        t: where the operator is a cold model's degradation at one t, that t.
    """

    measurement: Measurement
    labels: Tensor
    prior: Model
    t: int | None = None

    @property
    def noise(self) -> GaussianNoise:
        """What the prior undoes."""
        degradation = self.prior.denoiser.degradation
        assert isinstance(degradation, GaussianNoise)
        return degradation

    def estimate(self, xt: Tensor, t: Tensor) -> Tensor:
        """x0_hat of the prior, unguided, differentiable."""
        return self.prior.denoiser(xt, t, self.labels)


@dataclass(frozen=True)
class Restorer:
    """A way to restore images.

    Args:
        name: what it is, with all that was chosen.
        restore: (problem, seed) -> images.
        random: whether another seed gives other images.
        cold: the model that it is, where it serves one degradation alone.
    """

    name: str
    restore: Callable[[Problem, int], Tensor]
    random: bool = True
    cold: Model | None = None


@dataclass
class Passes:
    """How many images passed a network forwards, and backwards for a gradient, while it was counted."""

    forward: int = 0
    backward: int = 0
    _handles: list[Any] = field(default_factory=list)

    def __call__(self, network: nn.Module) -> Passes:
        self._handles.append(network.register_forward_hook(self._count_forward))
        return self

    def __enter__(self) -> Passes:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _count_forward(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.forward += len(output)
        if output.requires_grad:
            output.register_hook(self._count_backward)

    def _count_backward(self, gradient: Tensor) -> None:
        self.backward += len(gradient)


def ours(method: str = "moments", sampler: Mapping[str, Any] | None = None, **options: Any) -> Restorer:
    """diffcli's sampler with the estimate of a posterior.

    Args:
        method: a key of ``POSTERIORS``.
        sampler: see :class:`SamplerOptions`; None is the prior's own, DDIM with eta 1, in 12 steps in place of 16.
        options: of the method.
    """
    sampler_options = SamplerOptions(
        sampler={**(sampler or {"name": "ddim", "eta": 1.0, "steps": 12}), "autoguidance": 1.0, "guidance": 1.0}
    )

    @torch.inference_mode()
    def sample(problem: Problem, seed: int) -> Tensor:
        sampling = problem.prior.sampling(sampler_options)
        more = {"timesteps": sampling.steps} if method == "dps" else {}
        estimate = POSTERIORS[method](
            sampling.estimate(problem.labels), problem.noise, problem.measurement, **more, **options
        )
        generators = image_generators(seed, Stream.RESTORATION, range(len(problem.labels)))
        shape = tuple(problem.measurement.y.shape[1:])
        xT, draw = randn_images(generators, shape), Noise(generators, shape, calls=len(sampling.steps))
        return last(sampling.bound_sampler(estimate, problem.noise, xT, sampling.steps, draw))

    how = ", ".join(f"{key} {value}" for key, value in {**sampler_options.sampler, **options}.items())  # type: ignore[dict-item]
    return Restorer(f"{method}: {how}", sample)


def cold(model: Model, *, one_step: bool) -> Restorer:
    """A cold model that undoes the operator: what it takes y for in one step, or where its own sampler ends.

    One that knows measurement noise is told how much there is, up to what it was trained for.
    """
    random = not one_step and model.denoiser.degradation.stochastic

    def undo(problem: Problem, seed: int) -> Tensor:
        assert problem.t is not None
        sigma = min(problem.measurement.sigma, model.denoiser.measurement_noise)
        sampling = model.sampling_from(problem.t, SamplerOptions(seed=seed)).with_sigma(sigma)
        if one_step:
            return torch.cat(list(one_step_estimates(sampling, problem.measurement.y, problem.labels)))
        return torch.cat(list(restore(sampling, problem.measurement.y, labels=problem.labels)))

    way = "one step" if one_step else "sampler"
    return Restorer(f"`{model.preset_name}`, {way}", undo, random=random, cold=model)


def _table(problem: Problem) -> Tensor:
    return problem.noise.alphas_cumprod.double().cpu()


def azula_denoiser(problem: Problem) -> Any:
    """The prior as azula's denoiser; its times are t / T."""
    from azula.denoise import Denoiser, DiracPosterior

    alphas, T = _table(problem), problem.noise.T

    def index(t: Tensor) -> Tensor:
        return (t * T).round().long()

    def schedule(t: Tensor) -> tuple[Tensor, Tensor]:
        alpha = alphas[index(t)]
        return alpha.sqrt().float(), (1 - alpha).sqrt().float()

    class Adapter(Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.schedule = schedule

        def forward(self, x_t: Tensor, t: Tensor, **_: Any) -> DiracPosterior:
            return DiracPosterior(mean=problem.estimate(x_t, index(t).expand(len(x_t))))

    return Adapter()


def azula_mmps(steps: int = 64, **options: Any) -> Restorer:
    """azula's moment matching (Rozet et al. 2024), by its DDPM sampler; ``steps`` is its default."""

    def draw(problem: Problem, seed: int) -> Tensor:
        from azula.guidance.mmps import MMPSDenoiser
        from azula.linalg.covariance import IsotropicCovariance
        from azula.sample import DDPMSampler

        measurement, shape = problem.measurement, problem.measurement.y.shape
        denoiser = MMPSDenoiser(
            azula_denoiser(problem),
            y=(measurement.y - measurement.constant).flatten(1),
            A=lambda x: measurement.operator(x).flatten(1),
            cov_y=IsotropicCovariance(torch.tensor(measurement.noise)),
            **options,
        )
        torch.manual_seed(seed)
        return DDPMSampler(denoiser, steps=steps, silent=True)(torch.randn(shape))

    return Restorer(f"MMPS: {steps} steps, {options.get('iterations', 1)} iteration of GMRES", draw)


def azula_pgdm(steps: int = 64) -> Restorer:
    """azula's pseudo-inverse guidance (Song et al. 2023), with eta 1 as in the paper; the pseudo-inverse is regularized
    by the noise, without which a blur's is noise alone."""

    def draw(problem: Problem, seed: int) -> Tensor:
        from azula.guidance.pgdm import PGDMSampler

        measurement = problem.measurement

        def inverse(y: Tensor) -> Tensor:
            weights = measurement.operator.solve(y, SPREAD**2, measurement.noise)
            return (SPREAD**2 * measurement.operator.adjoint(weights)).to(y.dtype)

        sampler = PGDMSampler(
            azula_denoiser(problem),
            y=measurement.y - measurement.constant,
            A=measurement.operator,
            A_inv=inverse,
            eta=1.0,
            steps=steps,
            silent=True,
        )
        torch.manual_seed(seed)
        return sampler(torch.randn(measurement.y.shape))

    return Restorer(f"PiGDM: {steps} steps, eta 1", draw)


def deepinv_denoiser(problem: Problem) -> nn.Module:
    """The prior as deepinv's denoiser: (images in [0, 1] with noise of ``sigma``, sigma) -> images in [0, 1]."""
    alphas, T = _table(problem), problem.noise.T
    levels = (1 / alphas[1:] - 1).sqrt().log()

    class Adapter(nn.Module):
        def forward(self, noisy: Tensor, sigma: Tensor | float, **_: Any) -> Tensor:
            level = float(torch.as_tensor(sigma).flatten()[0])
            t = int((levels - torch.tensor(max(level, 1e-9)).log()).abs().argmin()) + 1
            xt = float(alphas[t].sqrt()) * (noisy.float() - 0.5)
            return problem.estimate(xt, torch.full((len(xt),), t)) + 0.5

    assert len(levels) == T
    return Adapter()


def deepinv_physics(problem: Problem) -> tuple[Tensor, Any]:
    """(y, operator) for pixels in [0, 1]."""
    from deepinv.physics import GaussianNoise, LinearPhysics

    measurement = problem.measurement
    physics = LinearPhysics(
        A=lambda x, **_: measurement.operator(x),
        A_adjoint=lambda y, **_: measurement.operator.adjoint(y),
        noise_model=GaussianNoise(max(measurement.sigma, NOISE_FREE)),
    )
    grey = measurement.operator(torch.full_like(measurement.y, 0.5))
    return measurement.y - measurement.constant + grey, physics


def deepinv_diffpir(steps: int = 100, lambda_: float = 7.0, zeta: float = 0.1) -> Restorer:
    """deepinv's DiffPIR (Zhu et al. 2023) with its defaults."""

    def draw(problem: Problem, seed: int) -> Tensor:
        from deepinv.optim.data_fidelity import L2
        from deepinv.sampling import DiffPIR

        y, physics = deepinv_physics(problem)
        model = DiffPIR(deepinv_denoiser(problem), L2(), max_iter=steps, lambda_=lambda_, zeta=zeta)
        torch.manual_seed(seed)
        return model(y, physics) - 0.5

    return Restorer(f"DiffPIR: {steps} steps, lambda {lambda_:g}, zeta {zeta:g}", draw)


def deepinv_dps(steps: int = 100, weight: float = 100.0) -> Restorer:
    """deepinv's DPS (Chung et al. 2023); its defaults are 1000 steps and a weight of 1, with which the measurement
    hardly counts: of 1, 30 and 100 the last gave the best PSNR."""

    def draw(problem: Problem, seed: int) -> Tensor:
        from deepinv.sampling import DPS

        y, physics = deepinv_physics(problem)
        model = DPS(deepinv_denoiser(problem), num_steps=steps + 1, weight=weight)
        # It draws from a generator of its own, which a seed needs.
        model.solver.rng = torch.Generator()
        return model(y, physics, x_init=tuple(y.shape), seed=seed).float() - 0.5

    return Restorer(f"DPS: {steps} steps, weight {weight:g}", draw)


def restore_and_count(restorer: Restorer, problem: Problem, seed: int) -> tuple[Tensor, float, float]:
    """(images, evaluations of a network for each of them, gradients for each)."""
    model = restorer.cold or problem.prior
    with Passes()(model.denoiser.network) as passes:
        images = restorer.restore(problem, seed)
    return images, passes.forward / len(images), passes.backward / len(images)
