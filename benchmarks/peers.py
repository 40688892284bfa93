"""The tools that a user would pick instead, each set up as its own documentation does, for 1x28x28 images.

Needs the extra ``bench``. Both get their batches from memory, without a data loader: what is compared is the training
step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

SIDE = 28
T = 1000


def random_batches(images: Tensor, batch_size: int, seed: int = 0) -> Iterator[Tensor]:
    """Batches of float images in [0, 1], drawn with replacement, without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        batch = images[torch.randint(len(images), (batch_size,), generator=generator)]
        yield batch.float() / 255


def ddp_network() -> nn.Module:
    """The Unet of denoising-diffusion-pytorch at its smallest sensible size."""
    from denoising_diffusion_pytorch import Unet

    return Unet(dim=16, dim_mults=(1, 2, 4), channels=1)


def ddp_step(network: nn.Module, batches: Iterator[Tensor]) -> Callable[[], None]:
    """One training step of denoising-diffusion-pytorch: its diffusion's loss and its trainer's Adam."""
    from denoising_diffusion_pytorch import GaussianDiffusion

    diffusion = GaussianDiffusion(network, image_size=SIDE, timesteps=T)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.9, 0.99))

    def step() -> None:
        diffusion(next(batches)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def diffusers_network(shape: tuple[int, int, int] = (1, SIDE, SIDE)) -> nn.Module:
    """A UNet2DModel of diffusers as in its unconditional example, with fewer and narrower levels, for images of
    ``shape`` (C, H, W)."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=shape[1],
        in_channels=shape[0],
        out_channels=shape[0],
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )


def diffusers_example(shape: tuple[int, int, int]) -> nn.Module:
    """The UNet2DModel of diffusers' unconditional example itself, six levels, 114 million parameters."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=shape[1],
        in_channels=shape[0],
        out_channels=shape[0],
        layers_per_block=2,
        block_out_channels=(128, 128, 256, 256, 512, 512),
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
    )


def diffusers_step(network: nn.Module, batches: Iterator[Tensor]) -> Callable[[], None]:
    """One training step of diffusers' unconditional example: scheduler, mean squared error, AdamW, clipping."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(num_train_timesteps=T)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        x0 = next(batches) * 2 - 1
        noise = torch.randn_like(x0)
        t = torch.randint(0, T, (len(x0),))
        prediction = network(scheduler.add_noise(x0, noise, t), t, return_dict=False)[0]
        torch.nn.functional.mse_loss(prediction, noise).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


class Adapter(nn.Module):
    """One of our networks where a peer expects its own: called with whole steps, ``t`` in 0..T-1."""

    channels = out_dim = 1
    self_condition = False

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, xt: Tensor, t: Tensor, x_self_cond: Tensor | None = None) -> Tensor:
        return self.network(xt, t.float() / T)


def ddp_sampler(network: nn.Module, count: int, steps: int) -> Callable[[], Tensor]:
    """DDIM by denoising-diffusion-pytorch."""
    import denoising_diffusion_pytorch.denoising_diffusion_pytorch as module

    module.tqdm = lambda steps, **_: steps  # its bar would print into the tables
    diffusion = module.GaussianDiffusion(Adapter(network), image_size=SIDE, timesteps=T, sampling_timesteps=steps)
    return lambda: diffusion.sample(count)


def diffusers_sampler(network: nn.Module, count: int, steps: int) -> Callable[[], Tensor]:
    """DDIM by diffusers."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(num_train_timesteps=T)
    adapter = Adapter(network)

    @torch.inference_mode()
    def sample() -> Tensor:
        scheduler.set_timesteps(steps)
        images = torch.randn(count, 1, SIDE, SIDE)
        for t in scheduler.timesteps:
            images = scheduler.step(adapter(images, t.expand(count)), t, images).prev_sample
        return images

    return sample
