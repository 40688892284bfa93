"""A training step of the report's UNet beside the plain formulation that it had before, with the same weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.rounds import Side, alternate, rate_of, ratios, spread, table
from diffcli.networks.unet import ChannelNorm, ConvNextBlock, LinearAttention, UNet

SHAPE = (1, 28, 28)
BATCH = 128


class PlainNorm(ChannelNorm):
    def forward(self, hidden: Tensor) -> Tensor:
        last = F.layer_norm(hidden.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias)
        return last.permute(0, 3, 1, 2)


class PlainBlock(ConvNextBlock):
    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.main(self.depthwise(x) + self.time(time)[:, :, None, None]) + self.residual(x)


class PlainAttention(LinearAttention):
    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        q, k, v = self.to_qkv(self.norm(x)).reshape(batch, 3, self.heads, -1, height * width).unbind(dim=1)
        output = (k.softmax(dim=-1) @ v.mT).mT @ (q * self.scale)
        return x + self.out(output.reshape(batch, -1, height, width))


PLAIN: dict[type, type] = {ChannelNorm: PlainNorm, ConvNextBlock: PlainBlock, LinearAttention: PlainAttention}


def plain_unet() -> UNet:
    """The UNet with every operator as it is written in the papers, in whatever memory format it leaves its output."""
    network = UNet(SHAPE)
    for module in network.modules():
        module.__class__ = PLAIN.get(type(module), type(module))

    def as_given(_: nn.Module, arguments: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return arguments[0].clone(memory_format=torch.contiguous_format), arguments[1]

    network.down[0].register_forward_pre_hook(as_given)
    return network


def step_of(network: nn.Module, bfloat16: bool) -> Callable[[], None]:
    """Forward, backward and AdamW on one batch of noise."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    xt, t, target = torch.randn(BATCH, *SHAPE), torch.rand(BATCH), torch.randn(BATCH, *SHAPE)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            output = network(xt, t)
        F.mse_loss(output.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def against_plain(rounds: int) -> str:
    """Both formulations in both precisions, a step a round."""
    torch.manual_seed(0)
    sides: dict[str, Side] = {}
    for name, build in (("plain", plain_unet), ("as it is", lambda: UNet(SHAPE))):
        for precision in ("float32", "bfloat16 mixed"):
            sides[f"{name}, {precision}"] = rate_of(step_of(build(), precision != "float32"), BATCH)
    rates = alternate(sides, rounds)
    rows = []
    for name in sides:
        same = f"plain, {name.partition(', ')[2]}"
        ours = [spread(ratios(rates, name, other)) for other in ("plain, float32", same)]
        rows.append([name, spread(rates[name]), *ours])
    header = [f"the report's UNet, batch {BATCH}", "images/s", "times plain float32", "times plain in that precision"]
    return table(header, rows)
