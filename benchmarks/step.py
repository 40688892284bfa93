"""What Lightning and diffcli add to a bare loop around the same network: ``diffcli train`` beside that loop, in one
run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.rounds import Side, alternate, rate_of, ratios, spread, table
from benchmarks.training import FAST, ours, plan_of
from diffcli.data.pixels import to_model
from diffcli.diffusion.labels import NO_LABEL, hidden_labels
from diffcli.diffusion.times import draw_times
from diffcli.training.optimizers import OPTIMIZERS
from diffcli.training.plan import Plan


def bare_step(plan: Plan, batches: int) -> Side:
    """The preset's recipe as a loop: batches, t, noise, hidden labels, loss, clipping, optimizer and average, and no
    more."""
    training, train, denoiser = plan.preset.training, plan.data.train, plan.module.denoiser
    weights = list(denoiser.network.parameters())
    generator = torch.Generator().manual_seed(0)

    def work() -> None:
        denoiser.train()
        optimizer = OPTIMIZERS[training.optimizer](denoiser.network, training.lr, training.weight_decay, True)
        averages, current = [weight.detach().clone() for weight in weights], [weight.detach() for weight in weights]
        order = torch.randperm(len(train), generator=generator)[: batches * training.batch_size]
        for index in order.split(training.batch_size):
            x0, T = to_model(train.images[index]), denoiser.degradation.T
            t = draw_times(len(index), T, training.t_distribution, training.stratified_t, generator)
            noise = torch.randn(x0.shape, generator=generator)
            labels = None
            if plan.preset.labels is not None:
                hidden = hidden_labels(len(index), plan.preset.labels.dropped, generator)
                labels = train.labels[index].masked_fill(hidden, NO_LABEL)
            loss = denoiser.loss(x0, t, noise, labels).mean()
            optimizer.zero_grad()
            loss.backward()
            if training.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(weights, training.clip_norm)
            optimizer.step()
            if training.ema is not None:
                torch._foreach_lerp_(averages, current, 1 - training.ema)

    return rate_of(work, batches * training.batch_size)


def against_bare(data_dir: Path, rounds: int, batches: int) -> str:
    """Both, and the bare loop once more, which says how much of a difference is the machine's noise."""
    plan = plan_of(FAST, data_dir, batches)
    sides: dict[str, Callable[[], float]] = {
        "bare loop": bare_step(plan_of(FAST, data_dir, batches), batches),
        "diffcli train": ours(plan),
        "bare loop, again": bare_step(plan_of(FAST, data_dir, batches), batches),
    }
    rates = alternate(sides, rounds)
    rows = [[name, spread(rates[name]), spread(ratios(rates, name, "bare loop"))] for name in sides]
    return table([f"{FAST}, batch {plan.preset.training.batch_size}", "images/s", "times the bare loop"], rows)
