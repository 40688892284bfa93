"""Depthwise convolution whose kernel's gradient is cheap on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ONEDNN = torch.backends.mkldnn.is_available()


def depthwise_conv(x: Tensor, kernel: Tensor) -> Tensor:
    """Each channel with a kernel of its own, zero-padded to the same size: (B, C, H, W), (C, 1, k, k) -> (B, C, H, W),
    k odd."""
    if ONEDNN and x.device.type == "cpu" and kernel.requires_grad and torch.is_grad_enabled():
        return _CheapKernelGradient.apply(x, kernel)
    return _plain(x, kernel)


def _plain(x: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=len(kernel))


class _CheapKernelGradient(torch.autograd.Function):
    """The same convolution; only how the gradient of the kernel is computed differs.

    That gradient, the sum over b, h, w of grad[b, c, h, w] x[b, c, h + i, w + j], is again a depthwise convolution: of
    B C images x with B C kernels grad, summed over b. oneDNN has fast code for it; for the gradient itself it has only
    that of dense convolutions on processors with AVX-512, sixteen times the work.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel)
        return _plain(x, kernel)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        x, kernel = ctx.saved_tensors
        batch, channels, height, width = x.shape
        padding = kernel.shape[-1] // 2
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = F.conv_transpose2d(grad, kernel, padding=padding, groups=channels)
        # (1, B C, H, W) with the channels last in memory, as oneDNN's depthwise code wants it.
        images = x.permute(2, 3, 0, 1).reshape(1, height, width, -1).permute(0, 3, 1, 2)
        each = F.conv2d(images, grad.reshape(-1, 1, height, width), padding=padding, groups=batch * channels)
        return grad_x, each.view(batch, *kernel.shape).sum(dim=0, dtype=kernel.dtype)
