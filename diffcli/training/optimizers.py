"""Optimizers by name: AdamW, and Muon for the hidden matrices with AdamW for all else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

MUON_LR = 0.02
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic of Jordan et al. 2024, steep at 0."""
ITERATIONS = 5


def hidden_matrices(network: nn.Module) -> list[Tensor]:
    """The weights of a network that are matrices from features to features: those that it names itself, by
    ``hidden_matrices()``; else the kernels of its convolutions, but for the first and the last defined, which touch the
    image, and for depthwise ones, whose kernels are no matrices."""
    if callable(named_matrices := getattr(network, "hidden_matrices", None)):
        return list(named_matrices())
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    convolutions = [module for module in network.modules() if isinstance(module, kinds)]
    return [convolution.weight for convolution in convolutions[1:-1] if convolution.groups == 1]


def orthogonalise(matrix: Tensor) -> Tensor:
    """Approximates U V^T of a matrix U S V^T, its singular values brought to 0.7..1.2, by five Newton-Schulz steps
    (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks")."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if len(matrix) > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for hidden matrices, of a kernel (out, in k k); AdamW for the other weights
    (Jordan et al. 2024). PyTorch's own takes matrices alone, and in a precision that is slow on CPUs.

    Args:
        hidden: the matrices and kernels.
        others: what AdamW trains.
        lr: AdamW's; that of the others is ``MUON_LR``.
        weight_decay: of both.
        fused: AdamW's.
    """

    def __init__(
        self, hidden: Sequence[Tensor], others: Sequence[Tensor], lr: float, weight_decay: float, fused: bool
    ) -> None:
        self.adamw = torch.optim.AdamW(others, lr=lr, weight_decay=weight_decay, fused=fused)
        super().__init__(
            [*self.adamw.param_groups, {"params": hidden, "lr": MUON_LR, "weight_decay": weight_decay}], {}
        )
        self._share()

    def _share(self) -> None:
        # AdamW works on the first group of this optimizer, and keeps its state here.
        self.adamw.param_groups, self.adamw.state = self.param_groups[:1], self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = self.adamw.step(closure)
        group = self.param_groups[1]
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            momentum = state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
            update = orthogonalise(weight.grad.lerp(momentum, MOMENTUM).flatten(1))
            rows, columns = update.shape
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.sub_(update.view_as(weight), alpha=group["lr"] * max(1.0, rows / columns) ** 0.5)
        return loss


def adamw(network: nn.Module, lr: float, weight_decay: float, fused: bool) -> torch.optim.Optimizer:
    """AdamW for all weights (Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=weight_decay, fused=fused)


def muon(network: nn.Module, lr: float, weight_decay: float, fused: bool) -> torch.optim.Optimizer:
    """:class:`Muon` for a network's hidden matrices, AdamW for its other weights."""
    hidden = hidden_matrices(network)
    hidden_ids = {id(weight) for weight in hidden}
    others = [weight for weight in network.parameters() if id(weight) not in hidden_ids]
    return Muon(hidden, others, lr, weight_decay, fused)


OPTIMIZERS: dict[str, Callable[[nn.Module, float, float, bool], torch.optim.Optimizer]] = {"adamw": adamw, "muon": muon}
"""(network, lr, weight decay, fused) -> the optimizer; its first group has the learning rate ``lr``."""
