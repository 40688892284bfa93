"""The training recipes of a user's choices, ours and those of other tools' documentation, each for a given time."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.peers import T, diffusers_network, random_batches

BATCH = 250
"""Images that are drawn at once."""


@dataclass(frozen=True)
class Drawing:
    """What came of a training of so many seconds."""

    images: Tensor
    """uint8 (n, C, H, W)."""
    images_shown: int
    """Training images, counted as often as they were shown."""
    evaluations: int
    """Of the network for each sample."""
    sampling_seconds: float
    labels: Tensor | None = None
    """The labels that were asked for, int64 (n,); None where none were."""


@dataclass(frozen=True)
class Task:
    """What every recipe is given."""

    train: Tensor
    """uint8 (N, C, H, W)."""
    data_dir: Path
    seconds: float
    n: int
    steps: int | None
    """Of the sampler; None is what the tool's documentation says."""
    clock: Callable[[], float] = time.perf_counter
    """What the seconds are counted by."""

    def batches(self) -> list[int]:
        """The sizes of the batches to draw."""
        return [min(BATCH, self.n - start) for start in range(0, self.n, BATCH)]


def to_uint8(images: Tensor) -> Tensor:
    """Float images in [0, 1] -> uint8."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def ours(preset: str) -> Callable[[Task], Drawing]:
    """``diffcli train --preset NAME --max-time ...``, then its own sampler."""

    def recipe(task: Task) -> Drawing:
        import diffcli
        from diffcli.utils.devices import Devices

        device = Devices("cpu", "1")
        with tempfile.TemporaryDirectory() as folder:
            changes = {"training.max_time": f"{task.seconds:g}s", "training.sample_epochs": []}
            run = diffcli.train(
                preset, changes, out=Path(folder) / "run", data_dir=task.data_dir, devices=device, quiet=True
            )
            rows = run.metrics_file.read_text().splitlines()
            count = int(rows[-1].split(",")[1]) * _batch_size(run.preset_file)
            model = diffcli.load(run, devices=device)
            start = time.perf_counter()
            images = model.sample(task.n, steps=task.steps, batch_size=BATCH, quiet=True)
            from diffcli.inference.options import SamplerOptions
            from diffcli.inference.sampling import evaluations

            sampling = model.sampling(SamplerOptions(steps=task.steps), model.prior(None))
            by_digit = model.classes and model.clusters is None
            labels = sampling.labels_of(range(task.n)) if by_digit else None
            calls = evaluations(sampling)
        return Drawing(images, count, calls, time.perf_counter() - start, labels)

    return recipe


def _batch_size(preset_file: Path) -> int:
    import yaml

    return int(yaml.safe_load(preset_file.read_text())["training"]["batch_size"])


def timed_steps(seconds: float, step: Callable[[float], None], clock: Callable[[], float] = time.perf_counter) -> int:
    """Calls ``step`` with the share of the time that is spent until all is; returns how often."""
    start, count = clock(), 0
    while (share := (clock() - start) / seconds) < 1:
        step(share)
        count += 1
    return count


@dataclass(frozen=True)
class Diffusers:
    """A recipe of diffusers' documentation.

    Args:
        network: makes the network for images of a shape (C, H, W).
        batch_size, lr, betas, weight_decay, warmup: of the training; ``warmup`` 0 keeps the learning rate as it is.
        schedule: beta schedule of the scheduler.
    """

    batch_size: int
    lr: float
    betas: tuple[float, float]
    weight_decay: float
    warmup: int
    schedule: str
    network: Callable[[tuple[int, int, int]], nn.Module] = diffusers_network

    def __call__(self, task: Task) -> Drawing:
        from diffusers import DDIMScheduler, DDPMScheduler

        shape = tuple(task.train.shape[1:])
        network = self.network(shape)
        scheduler = DDPMScheduler(num_train_timesteps=T, beta_schedule=self.schedule)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=self.lr, betas=self.betas, weight_decay=self.weight_decay, eps=1e-8
        )
        batches: Iterator[Tensor] = random_batches(task.train, self.batch_size)
        updates = 0

        def step(share: float) -> None:
            nonlocal updates
            updates += 1
            if self.warmup:  # then half a cosine to 0, here over the time
                factor = min(updates / self.warmup, 0.5 * (1 + math.cos(math.pi * share)))
                optimizer.param_groups[0]["lr"] = self.lr * factor
            x0 = next(batches) * 2 - 1
            noise, t = torch.randn_like(x0), torch.randint(0, T, (len(x0),))
            prediction = network(scheduler.add_noise(x0, noise, t), t, return_dict=False)[0]
            torch.nn.functional.mse_loss(prediction, noise).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        network.train()
        count = timed_steps(task.seconds, step, task.clock)
        sampler = DDIMScheduler.from_config(scheduler.config)
        sampler.set_timesteps(task.steps or 50)  # as many as its DDIMPipeline takes
        network.eval()
        start = time.perf_counter()
        images = torch.cat([self._sample(network, sampler, (size, *shape)) for size in task.batches()])
        seconds = time.perf_counter() - start
        return Drawing(to_uint8(images / 2 + 0.5), count * self.batch_size, len(sampler.timesteps), seconds)

    @staticmethod
    @torch.inference_mode()
    def _sample(network: nn.Module, sampler, shape: tuple[int, ...]) -> Tensor:  # type: ignore[no-untyped-def]
        images = torch.randn(shape)
        for t in sampler.timesteps:
            images = sampler.step(network(images, t, return_dict=False)[0], t, images).prev_sample
        return images


@dataclass(frozen=True)
class Lucidrains:
    """denoising-diffusion-pytorch with its own Trainer, as its README sets it up, but for what digits or a CPU forbid:
    no mirrored images, no float16, fewer levels where the side cannot be halved so often, and 50 steps of DDIM in
    place of 250.

    Args:
        dim: width of the Unet; 64 in the README.
        dim_mults: of its levels; (1, 2, 4, 8) in the README.
    """

    dim: int
    dim_mults: tuple[int, ...] = (1, 2, 4)

    def __call__(self, task: Task) -> Drawing:
        os.environ["TQDM_DISABLE"] = "1"
        from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet

        steps = task.steps or 50
        unet = Unet(dim=self.dim, dim_mults=self.dim_mults, channels=task.train.shape[1])
        diffusion = GaussianDiffusion(unet, image_size=task.train.shape[-1], timesteps=T, sampling_timesteps=steps)
        with tempfile.TemporaryDirectory() as folder:
            images = _png_folder(task.train, Path(folder) / "images")
            trainer = Trainer(
                diffusion,
                str(images),
                train_batch_size=32,
                train_lr=8e-5,
                train_num_steps=10**9,
                gradient_accumulate_every=2,
                ema_decay=0.995,
                augment_horizontal_flip=False,
                calculate_fid=False,
                results_folder=str(Path(folder) / "results"),
            )
            self._until(trainer, task)
            trainer.train()
            count = trainer.step * trainer.batch_size * trainer.gradient_accumulate_every
            model = trainer.ema.ema_model.eval()
        start = time.perf_counter()
        with torch.inference_mode():
            samples = torch.cat([model.sample(batch_size=size) for size in task.batches()])
        return Drawing(to_uint8(samples), count, steps, time.perf_counter() - start)

    @staticmethod
    def _until(trainer, task: Task) -> None:  # type: ignore[no-untyped-def]
        """Lets the trainer's loop end after so many seconds of it."""
        update, starts = trainer.ema.update, []

        def update_and_look() -> None:
            update()
            if task.clock() - starts[0] >= task.seconds:
                trainer.train_num_steps = trainer.step

        trainer.ema.update = update_and_look
        starts.append(task.clock())


def _png_folder(images: Tensor, folder: Path) -> Path:
    from PIL import Image

    folder.mkdir()
    for number, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
            folder / f"{number:05d}.png", compress_level=1
        )
    return folder


RECIPES: dict[str, Callable[[Task], Drawing]] = {
    "diffcli": ours("mnist-fast"),
    "diffcli, told no digits": ours("mnist-fast-unlabelled"),
    # Its examples' train_unconditional.py.
    "diffusers": Diffusers(16, 1e-4, (0.95, 0.999), 1e-6, 500, "linear"),
    # The first unit of its course.
    "diffusers-course": Diffusers(64, 4e-4, (0.9, 0.999), 1e-2, 0, "squaredcos_cap_v2"),
    "lucidrains": Lucidrains(64),
    # Narrow enough for a CPU to take a few thousand steps.
    "lucidrains-narrow": Lucidrains(16),
}
