"""Attention in bfloat16: as exact as in float32 but for its inputs, and its gradients not through the slow kernel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from diffcli.networks.attention import dot_product_attention
from diffcli.networks.dit import TransformerBlock


@pytest.mark.parametrize("autocast", [False, True])
def test_of_bfloat16_on_a_cpu_it_is_that_of_float32_rounded(autocast: bool) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, 20, 8).bfloat16().requires_grad_() for _ in range(3)]
    exact = [part.detach().float().requires_grad_() for part in inputs]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        values = dot_product_attention(*inputs)
    q, k, v = exact
    reference = F.scaled_dot_product_attention(q, k, v)
    assert values.dtype == torch.bfloat16
    assert torch.equal(values, reference.bfloat16())
    ours, theirs = (torch.autograd.grad(answer.sum(), of) for answer, of in ((values, inputs), (reference, exact)))
    assert all(torch.equal(one, other.bfloat16()) for one, other in zip(ours, theirs, strict=True))


def test_the_transformer_attends_in_float32_under_autocast_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    dtypes: list[torch.dtype] = []
    plain = F.scaled_dot_product_attention

    def record(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dtypes.extend(part.dtype for part in (q, k, v))
        assert not torch.is_autocast_enabled("cpu")
        return plain(q, k, v)

    monkeypatch.setattr(F, "scaled_dot_product_attention", record)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        TransformerBlock(32, 2)(torch.randn(2, 9, 32), torch.randn(2, 32))
    assert dtypes == [torch.float32] * 3
