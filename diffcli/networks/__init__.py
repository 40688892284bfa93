"""Networks: forward(xt (B, C, H, W), t / T (B,), labels int64 (B,) or None) -> (B, C, H, W).

A network that has no parameter ``classes`` takes no labels: it is called with the first two arguments alone. One with a
parameter ``noise_levels`` may be built to be told the level of the measurement noise in x_t, too: (B,) in 0..1, its
fourth argument. A parameter ``T`` is the number of steps, for networks that are told t itself.
A network without convolutions names the weights that Muon trains by a method ``hidden_matrices()``.
"""

from collections.abc import Callable

from torch import nn

from diffcli.networks.cnn import CNN
from diffcli.networks.compact import CompactUNet
from diffcli.networks.diffusers_unet import DiffusersUNet
from diffcli.networks.dit import DiT
from diffcli.networks.unet import UNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "cnn": CNN,
    "compact-unet": CompactUNet,
    "diffusers-unet": DiffusersUNet,
    "dit": DiT,
    "unet": UNet,
}
