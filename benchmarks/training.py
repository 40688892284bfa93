"""Training images/s, as ratios, against a notebook-style loop, two peers, and the machine's own matmul."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms
from torchvision.datasets import MNIST

from benchmarks import peers
from benchmarks.rounds import Side, alternate, rate_of, ratios, spread, table
from diffcli.networks.compact import CompactUNet
from diffcli.training import plan as planning
from diffcli.training.options import TrainOptions
from diffcli.training.plan import Plan
from diffcli.training.run import run_plan
from diffcli.utils.compile import compile_in_place
from diffcli.utils.devices import Devices

CNN = "ddpm-const-lowbeta"
FAST = "mnist-fast"
SHAPE = (1, 28, 28)
MATMUL_SIDE = 2048


def plan_of(preset: str, data_dir: Path, batches: int, precision: str = "32-true", **changes: object) -> Plan:
    """A preset's training for one epoch of ``batches`` batches, without pictures and validation."""
    short = {"training.epochs": 1, "training.sample_epochs": [], "training.val_every": 1000, "training.max_time": None}
    devices = Devices("cpu", "1", precision=precision)
    options = TrainOptions(
        preset, short | changes, data_dir=data_dir, limit_batches=batches, devices=devices, quiet=True
    )
    return planning.plan(options, download=False)


def ours(plan: Plan) -> Side:
    """Training as ``diffcli train`` does it, all callbacks and logs included."""

    def side() -> float:
        with tempfile.TemporaryDirectory() as folder:
            run = run_plan(replace(plan, options=replace(plan.options, out=Path(folder) / "run")))
            row = run.metrics_file.read_text().splitlines()[-1].split(",")
        return float(row[4])

    return side


def notebook(plan: Plan, data_dir: Path, batches: int) -> Side:
    """What a notebook does: a DataLoader over torchvision's MNIST with per-image transforms, Adam, Algorithm 1 written
    out."""
    denoiser, batch_size = plan.module.denoiser, plan.preset.training.batch_size
    network, T = denoiser.network, denoiser.degradation.T
    alphas = denoiser.degradation.alphas_cumprod.float()
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (1.0,))])
    loader = DataLoader(Subset(MNIST(data_dir, transform=to_tensor), range(48_000)), batch_size, shuffle=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.preset.training.lr)

    def work() -> None:
        network.train()
        for x, _ in islice(loader, batches):
            t = torch.randint(1, T + 1, (len(x),))
            eps = torch.randn_like(x)
            alpha = alphas[t].view(-1, 1, 1, 1)
            z = alpha.sqrt() * x + (1 - alpha).sqrt() * eps
            loss = torch.nn.functional.mse_loss(network(z, t / T), eps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return rate_of(work, batches * batch_size)


def flops(network: nn.Module) -> float:
    """Floating-point operations of a training step per image of 1x28x28: forward and backward."""
    with FlopCounterMode(display=False) as counter:
        answer = network(torch.zeros(2, *SHAPE), torch.zeros(2))
        (answer if isinstance(answer, Tensor) else answer.sample).sum().backward()
    return counter.get_total_flops() / 2


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def matched_width(target: float) -> int:
    """The least width at which a training step of our compact UNet takes at least ``target`` operations."""
    return next(width for width in range(8, 1000, 8) if flops(CompactUNet(SHAPE, width, 2)) >= target)


def against_notebook(data_dir: Path, rounds: int, batches: int) -> str:
    """The report's CNN: ours as it is and compiled, and the notebook's loop, the same network in each."""
    plans = {name: plan_of(CNN, data_dir, batches) for name in ("diffcli", "compiled", "notebook")}
    compile_in_place(plans["compiled"].module.denoiser.network, torch.device("cpu"))
    sides = {
        "diffcli": ours(plans["diffcli"]),
        "diffcli --compile": ours(plans["compiled"]),
        "diffcli --precision bf16-mixed": ours(plan_of(CNN, data_dir, batches, "bf16-mixed")),
        "notebook-style loop": notebook(plans["notebook"], data_dir, batches),
    }
    rates = alternate(sides, rounds)
    rows = [[name, spread(rates[name]), spread(ratios(rates, name, "notebook-style loop"))] for name in sides]
    return table(["the report's CNN, batch 128", "images/s", "times the notebook"], rows)


def against_peers(data_dir: Path, rounds: int, batches: int) -> str:
    """Each peer beside our compact UNet, as wide as it takes to do as many operations an image."""
    rows = []
    for name, build, make_step in (
        ("denoising-diffusion-pytorch", peers.ddp_network, peers.ddp_step),
        ("diffusers", peers.diffusers_network, peers.diffusers_step),
    ):
        network = build()
        width = matched_width(flops(network))
        plan = plan_of(FAST, data_dir, batches, **{"network.width": width})
        size = plan.preset.training.batch_size
        step = make_step(network, peers.random_batches(plan.data.train.images, size))
        sides = {"diffcli": ours(plan), name: rate_of(_repetition(step, batches), batches * size)}
        rates = alternate(sides, rounds)
        for side, net in (("diffcli", plan.module.denoiser.network), (name, network)):
            label = f"compact UNet, width {width}" if side == "diffcli" else name
            cells = [f"{parameters(net) / 1e3:,.0f} k", f"{flops(net) / 1e6:,.0f}", spread(rates[side])]
            rows.append([label, *cells, spread(ratios(rates, side, name))])
    return table(["batch 64", "parameters", "MFLOP/image", "images/s", "times the peer"], rows)


def _repetition(step: Callable[[], None], count: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(count):
            step()

    return work


def against_matmul(data_dir: Path, rounds: int, batches: int) -> str:
    """The share of the machine's matmul peak that training steps reach, measured in the same rounds."""
    square = torch.randn(MATMUL_SIDE, MATMUL_SIDE)
    operations = {"matmul": 2.0 * MATMUL_SIDE**3}
    sides: dict[str, Side] = {"matmul": rate_of(lambda: square @ square, 1)}
    for preset in (CNN, FAST, "ddpm-cosine-unet"):
        plan = plan_of(preset, data_dir, max(batches // (8 if preset == "ddpm-cosine-unet" else 1), 1))
        sides[preset] = ours(plan)
        operations[preset] = flops(plan.module.denoiser.network)
    rates = alternate(sides, rounds)
    speeds = {name: [operations[name] * rate / 1e9 for rate in rates[name]] for name in sides}
    rows = [[name, spread(speeds[name]), spread(ratios(speeds, name, "matmul"), 2)] for name in sides]
    return table([f"float32; matmul of {MATMUL_SIDE}x{MATMUL_SIDE}", "GFLOP/s", "share of the peak"], rows)


def _bare_step(plan: Plan) -> Callable[[], None]:
    """Loss, gradient and optimiser on one batch, without Lightning."""
    network = plan.module.denoiser
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    x0 = torch.rand(plan.preset.training.batch_size, *SHAPE) - 0.5
    t = torch.randint(1, network.degradation.T + 1, (len(x0),))
    noise = torch.randn_like(x0)

    def step() -> None:
        network.loss(x0, t, noise).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def variants(data_dir: Path, rounds: int, batches: int) -> str:
    """What memory format, precision and compilation do to a training step, without Lightning."""
    tables = []
    for preset in (CNN, FAST):
        plain, last, half, graph = (plan_of(preset, data_dir, 1) for _ in range(4))
        last.module.denoiser.to(memory_format=torch.channels_last)
        compile_in_place(graph.module.denoiser.network, torch.device("cpu"))
        mixed_step = _bare_step(half)

        def in_bfloat16(step: Callable[[], None] = mixed_step) -> None:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                step()

        steps = {
            "float32, as it is": _bare_step(plain),
            "channels last": _bare_step(last),
            "bfloat16 mixed": in_bfloat16,
            "compiled": _bare_step(graph),
        }
        count = batches * plain.preset.training.batch_size
        rates = alternate({name: rate_of(_repetition(step, batches), count) for name, step in steps.items()}, rounds)
        rows = [[name, spread(rates[name]), spread(ratios(rates, name, "float32, as it is"))] for name in steps]
        tables.append(table([preset, "images/s", "times the first"], rows))
    return "\n\n".join(tables)


def profile(data_dir: Path) -> str:
    """Where the time of a training step goes: the operators above two per cent of it, of the CNN and of the compact
    UNet."""
    tables = []
    for preset in (CNN, FAST):
        step = _bare_step(plan_of(preset, data_dir, 1))
        _repetition(step, 3)()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            _repetition(step, 5)()
        events = profiler.key_averages()
        total = sum(event.self_cpu_time_total for event in events)
        largest = sorted(events, key=lambda event: -event.self_cpu_time_total)
        rows = [
            [f"`{event.key}`", event.count // 5, f"{100 * event.self_cpu_time_total / total:.0f} %"]
            for event in largest
            if event.self_cpu_time_total > 0.02 * total
        ]
        tables.append(table([f"operator, {preset}", "calls a step", "share of the time"], rows))
    return "\n\n".join(tables)
