"""Networks: forward(xt (B, C, H, W), t / T (B,)) -> (B, C, H, W)."""

from collections.abc import Callable

from torch import nn

from diffcli.networks.cnn import CNN
from diffcli.networks.compact import CompactUNet
from diffcli.networks.unet import UNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {"cnn": CNN, "compact-unet": CompactUNet, "unet": UNet}
