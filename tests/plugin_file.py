"""A plug-in as somebody outside would write it: one component of each kind, as it was in version 0.3.0."""

from itertools import pairwise

import torch
from torch import nn

import diffcli


@diffcli.register("degradation", "dim")
class Dim(diffcli.Degradation):
    """Towards the grey of ``level``; deterministic."""

    T = 6

    def __init__(self, level: float = 0.0):
        super().__init__()
        self.shares = torch.linspace(1, 0.1, self.T + 1)  # a plain tensor
        self.level = level

    def signal(self, x0, t):
        share = self.shares[t].view(-1, 1, 1, 1)
        return share * x0 + (1 - share) * self.level


@diffcli.register("degradation", "fog")
class Fog(diffcli.Degradation):
    """A schedule's betas fade the image, and noise grows at half its rate."""

    def __init__(self, betas, image_shape, strength: float = 0.5):
        super().__init__()
        self.T = len(betas) - 1
        assert len(image_shape) == 3
        self.register_buffer("shares", (1 - betas).cumprod(0))
        self.sigmas = strength * (1 - self.shares).sqrt()

    def signal(self, x0, t):
        return self.shares[t].to(x0.dtype).view(-1, 1, 1, 1) * x0


@diffcli.register("schedule", "steep")
def steep(T: int, top: float = 0.5):
    return torch.linspace(0, top, T + 1, dtype=torch.float64)


@diffcli.register("noise", "late")
def late(T: int, sigma: float):
    table = torch.zeros(T + 1, dtype=torch.float64)
    table[T] = sigma
    return table


@diffcli.register("network", "one-layer")
class OneLayer(nn.Module):
    def __init__(self, image_shape: tuple[int, int, int], kernel_size: int = 3):
        super().__init__()
        self.convolution = nn.Conv2d(image_shape[0] + 1, image_shape[0], kernel_size, padding=kernel_size // 2)

    def forward(self, xt, time):
        plane = time.view(-1, 1, 1, 1).expand(-1, 1, *xt.shape[2:])
        return self.convolution(torch.cat([xt, plane], dim=1))


@diffcli.register("prior", "grey")
class Grey(diffcli.Prior):
    """One grey, learnt; ``spread`` has no default."""

    def __init__(self, spread: float):
        super().__init__()
        self.spread = spread
        self.register_buffer("level", torch.empty(0))

    def fit(self, signal, labels=None):  # type: ignore[override]  # without the noise, as before 0.7
        self.level = signal.mean().view(1)

    def forward(self, generators, shape, device="cpu", labels=None):
        normal = torch.stack([torch.randn(1, generator=generator) for generator in generators])
        return (self.level + self.spread * normal).view(-1, 1, 1, 1).expand(-1, *shape).to(device)


@diffcli.register("sampler", "jump")
def jump(denoiser, degradation: diffcli.Degradation, xT, timesteps, draw, *, share: float = 1.0):
    xs = xT
    for t, s in pairwise(timesteps):
        now = torch.full((len(xs),), t, device=xs.device)
        x0_hat = share * denoiser(xs, now)
        xs = degradation.degrade(x0_hat, torch.full_like(now, s), draw())
        yield diffcli.Step(s, xs, x0_hat)


@diffcli.register("data", "stripes")
@diffcli.of_shape(3, 8, 10)
def stripes(count: int = 60):
    rows = torch.arange(8).view(1, 1, 8, 1) + torch.arange(count).view(-1, 1, 1, 1)
    images = (rows % 3 * 100).to(torch.uint8).expand(count, 3, 8, 10).contiguous()
    labels = torch.arange(count) % 3
    border = count * 4 // 5
    return diffcli.Source(
        diffcli.ImageSet(images[:border], labels[:border]), diffcli.ImageSet(images[border:], labels[border:])
    )
