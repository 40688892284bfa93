"""Sampling images/s of DDIM at an equal network and equal steps, as ratios, against two peers."""

from __future__ import annotations

import torch

from benchmarks import peers
from benchmarks.rounds import alternate, rate_of, ratios, spread, table
from diffcli.config import Sampler
from diffcli.devices import Processes
from diffcli.diffusion.degradations import GaussianNoise
from diffcli.diffusion.denoiser import Denoiser
from diffcli.diffusion.priors import StandardNormal
from diffcli.diffusion.samplers import timesteps
from diffcli.diffusion.schedules import cosine
from diffcli.generation import Sampling, generate
from diffcli.networks.compact import CompactUNet

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
