"""Prepares networks to compute on a device: in which precision, compiled or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diffcli.utils.devices import ACCELERATORS, Devices, Precision, pick_device
from diffcli.utils.errors import UserError, unknown_name

PRECISIONS: dict[str, Precision] = {
    "32": "32-true",
    "32-true": "32-true",
    "16": "16-mixed",
    "16-mixed": "16-mixed",
    "bf16": "bf16-mixed",
    "bf16-mixed": "bf16-mixed",
}
"""The values of ``precision`` besides ``auto``; the weights stay float32 in each, so that a checkpoint is the same
whatever trained it."""
AMPERE = (8, 0)
"""The first CUDA capability with tensor cores for bfloat16."""


def precision_of(devices: Devices, otherwise: str = "32-true") -> Precision:
    """Lightning's full name of a precision; ``auto`` is bf16-mixed where the device computes fast in bfloat16.

    Args:
        otherwise: where the devices name none.

    Raises:
        UserError: it is unknown.
    """
    name = otherwise if devices.precision is None else devices.precision
    if name == "auto":
        # Lightning knows more accelerators than those; what they compute fast in is not known here.
        is_known = devices.accelerator in ACCELERATORS
        return "bf16-mixed" if is_known and has_fast_bfloat16(pick_device(devices.accelerator)) else "32-true"
    if name not in PRECISIONS:
        known_names = ["auto", *PRECISIONS]
        raise UserError(
            f"`precision`: {unknown_name('precision', name, known_names)}; weights and averages stay float32"
        )
    return PRECISIONS[name]


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products in bfloat16: CPUs AMX or AVX512_BF16, CUDA from sm_80 on."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= AMPERE
    # Older releases of PyTorch cannot say.
    features: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return any(features.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def automatic_precision() -> dict[str, Any]:
    """The device that is taken where none is named, whether it is fast in bfloat16, and so what ``precision`` auto
    picks."""
    device = pick_device("auto")
    fast = has_fast_bfloat16(device)
    requirement = {
        "cpu": "the instructions AMX or AVX512_BF16",
        "cuda": f"tensor cores of sm_{AMPERE[0]}{AMPERE[1]} or newer",
        "mps": "an accelerator that is known to be fast in bfloat16; mps is not",
    }[device.type]
    return {
        "device": device.type,
        "fast_bfloat16": fast,
        "auto": precision_of(Devices(precision="auto")),
        "why": f"{device.type} {'has' if fast else 'lacks'} {requirement}",
    }


class Autocast(nn.Module):
    """A network whose products are computed in a lower precision; all around it stays float32.

    Args:
        dtype: torch.bfloat16 or torch.float16.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, xt: Tensor, *others: Any) -> Any:
        with torch.autocast(xt.device.type, dtype=self.dtype):
            return self.network(xt, *others)


class Copied(nn.Module):
    """A network whose output is copied: that of a CUDA graph is overwritten by the next call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, xt: Tensor, *others: Any) -> Any:
        return self.network(xt, *others).clone()


FIXED_BATCH = 16
"""Images that a CPU computes at once. oneDNN and MKL choose how they add up by the number of rows, and with 8 by the
number of threads, too; in batches of 16 an image is the same at every place, beside any other, on one thread and on
two."""


Mapper = Callable[[Callable[[slice], Tensor], Sequence[slice]], Iterable[Tensor]]


class FixedBatches(nn.Module):
    """A network that always computes as many images at once, so that an image does not depend on the batch that it is
    in.

    Of a larger batch the last images are computed together with ones before them, of a smaller one with copies of its
    own.

    Args:
        size: how many.
        mapper: applies a function to each of several batches, in their order.
    """

    def __init__(self, network: nn.Module, size: int = FIXED_BATCH, mapper: Mapper = map) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.mapper = mapper

    def forward(self, xt: Tensor, *others: Tensor | None) -> Tensor:
        count, size, inputs = len(xt), self.size, (xt, *others)
        if count <= size:
            rows = torch.arange(size) % max(count, 1)
            return self._rows_output(inputs, rows)[:count] if count % size else self.network(*inputs)
        parts = [slice(start, start + size) for start in range(0, count - size + 1, size)]
        if rest := count % size:
            parts.append(slice(count - size, count))
        outputs = list(self.mapper(partial(self._rows_output, inputs), parts))
        return torch.cat([*outputs[:-1], outputs[-1][-rest:]] if rest else outputs)

    def _rows_output(self, inputs: Sequence[Tensor | None], rows: Tensor | slice) -> Tensor:
        output: Tensor = self.network(*(None if values is None else values[rows] for values in inputs))
        return output


def prepare_network(network: nn.Module, precision: Precision, compiled: bool) -> nn.Module:
    """A network on its device for sampling and evaluations: in a precision, compiled or not."""
    device = next(network.parameters()).device
    use_fast_products(device)
    if compiled:
        compile_in_place(network, device, graphs=True)
        network = Copied(network) if device.type == "cuda" else network
    dtypes = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    network = Autocast(network, dtypes[precision]) if precision in dtypes else network
    # A GPU is fast because it computes many images at once.
    return FixedBatches(network) if device.type == "cpu" else network


def use_fast_products(device: torch.device) -> None:
    """Lets networks on an NVIDIA GPU multiply float32 matrices in TF32, as PyTorch lets their convolutions by itself.

    What must not be rounded is computed in :func:`full_precision`.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Inside the block, products of float32 are computed as such: without autocast, and on NVIDIA's GPUs without TF32,
    which keeps ten bits of each factor."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with torch.autocast(device.type, enabled=False):
        try:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False
            yield
        finally:
            torch.set_float32_matmul_precision(products)
            torch.backends.cudnn.allow_tf32 = convolutions


def check_compiler(device: torch.device) -> None:
    """Compiles a function of one addition, so that a missing compiler shows before anything is written.

    Raises:
        UserError: torch.compile does not work here.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:
        reason = next(line for line in f"{error}\n{type(error).__name__}".splitlines() if line.strip())
        raise UserError(
            f"`compile`: PyTorch cannot compile for {device.type} here ({reason.strip()}); install a C++ compiler "
            "such as g++, "
            "or leave `compile` out"
        ) from error


def compile_in_place(network: nn.Module, device: torch.device, graphs: bool = False) -> None:
    """torch.compile, which leaves the names of the weights as they are.

    On CPUs Inductor would turn every convolution to channels last, which is slower for the few channels of small
    networks.

    Args:
        graphs: on CUDA, replays a recorded graph for each shape of its input, so that a small batch does not wait for
            Python. For inference: the output is overwritten by the next call.
    """
    if graphs and device.type == "cuda":
        network.compile(mode="reduce-overhead", dynamic=False)
    else:
        network.compile(options={"layout_optimization": device.type != "cpu"})
