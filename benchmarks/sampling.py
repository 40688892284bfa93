"""Sampling images/s of DDIM at an equal network and equal steps, as ratios, against two peers."""

from __future__ import annotations

from collections.abc import Callable

import torch

import diffcli
from benchmarks import peers
from benchmarks.rounds import alternate, rate_of, ratios, spread, table
from diffcli.config.schema import Sampler
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.priors import StandardNormal
from diffcli.diffusion.randomness import Noise, Stream, image_generators
from diffcli.diffusion.samplers import timesteps
from diffcli.diffusion.schedules import cosine
from diffcli.inference.sampling import Sampling, generate
from diffcli.networks.compact import CompactUNet
from diffcli.utils.devices import ENGINES, Devices, Processes

SHAPE = (1, 28, 28)


def sampling_of(network: torch.nn.Module, count: int, steps: int) -> Sampling:
    """DDIM of ``count`` images at a time with a network that predicts the noise."""
    degradation = GaussianNoise(cosine(peers.T))
    path = timesteps(peers.T, steps)
    denoiser = Denoiser(network, degradation, "eps").eval()
    return Sampling(denoiser, StandardNormal(), Sampler(name="ddim"), path, 0, count, Processes(torch.device("cpu")))


def against_peers(rounds: int, count: int = 250, steps: int = 25) -> str:
    """The compact UNet, untrained, in each tool's own DDIM."""
    network = CompactUNet(SHAPE, 32, 2).eval().requires_grad_(False)
    sampling = sampling_of(network, count, steps)
    sides = {
        "diffcli": rate_of(lambda: list(generate(sampling, count, SHAPE)), count),
        "denoising-diffusion-pytorch": rate_of(peers.ddp_sampler(network, count, steps), count),
        "diffusers": rate_of(peers.diffusers_sampler(network, count, steps), count),
    }
    rates = alternate(sides, rounds)
    rows = [[name, spread(rates[name]), spread(ratios(rates, "diffcli", name))] for name in sides]
    return table([f"compact UNet, DDIM, {steps} steps, {count} images", "images/s", "diffcli is times that"], rows)


def cost_of_small_batches(rounds: int, steps: int = 25) -> str:
    """The compact UNet's DDIM at several batch sizes, by image; beside it the network alone, without a sampler around
    it."""
    network = CompactUNet(SHAPE, 32, 2).eval().requires_grad_(False)
    sizes = {1: 8, 4: 32, 16: 64, 64: 128, 250: 250}

    def alone(size: int, count: int) -> Callable[[], None]:
        xt, t = torch.randn(size, *SHAPE), torch.rand(size)

        @torch.inference_mode()
        def work() -> None:
            for _ in range(steps * count // size):
                network(xt, t)

        return work

    def job(size: int, count: int) -> Callable[[], object]:
        sampling = sampling_of(network, size, steps)
        return lambda: list(generate(sampling, count, SHAPE))

    sides = {f"sampled {size}": rate_of(job(size, count), count) for size, count in sizes.items()}
    sides |= {f"alone {size}": rate_of(alone(size, count), count) for size, count in sizes.items()}
    rates = alternate(sides, rounds)
    rows = []
    for size in sizes:
        costs = [spread(ratios(rates, f"{kind} 250", f"{kind} {size}")) for kind in ("sampled", "alone")]
        rows.append([size, spread(rates[f"sampled {size}"]), *costs])
    header = ["batch", f"images/s, {steps} steps", "an image costs times that at 250", "the network alone"]
    return table(header, rows)


def noise(rounds: int, steps: int = 50) -> str:
    """Per-image noise for the steps of a sampler, drawn ahead as samplers do, and step by step."""
    rows = []
    for count in (128, 1024):

        def draw(ahead: bool, count: int = count) -> Callable[[], None]:
            generators = image_generators(0, Stream.SAMPLE, range(count))

            def work() -> None:
                together = Noise(generators, SHAPE, calls=steps)
                for _ in range(steps):
                    (together if ahead else Noise(generators, SHAPE))()

            return work

        rates = alternate({"ahead": rate_of(draw(True), steps), "each": rate_of(draw(False), steps)}, rounds)
        milliseconds = [spread([1000 / rate for rate in rates[name]]) for name in ("each", "ahead")]
        rows.append([f"{count:,}", *milliseconds, spread(ratios(rates, "ahead", "each"))])
    return table(["images of 28x28", "ms a step, step by step", "ms a step, ahead", "times as fast"], rows)


def engines(rounds: int) -> str:
    """Ready models by what computes their networks, for a few images and many, and how far apart the images are."""
    rows = []
    for name in ("mnist-fast", "blur-fast"):
        models = {engine: diffcli.load(name, devices=Devices("cpu", "1", engine=engine)) for engine in ENGINES[1:]}
        for count in (1, 4, 16, 64):
            sides = {
                engine: rate_of(lambda model=model, count=count: model.sample(count, quiet=True), count)
                for engine, model in models.items()
            }
            rates = alternate(sides, rounds)
            first, second = (model.sample(count, quiet=True).int() for model in models.values())
            apart = (first - second).abs()
            rows.append(
                [
                    name,
                    count,
                    spread(rates["torch"]),
                    spread(rates["onnxruntime"]),
                    spread(ratios(rates, "onnxruntime", "torch")),
                    f"{int(apart.max())}, of {float((apart > 0).float().mean()):.1%} of the values",
                ]
            )
    header = ["`sample`", "images", "torch, images/s", "onnxruntime", "times as fast", "levels of grey apart at most"]
    return table(header, rows)
