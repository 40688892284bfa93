"""The UNet of the library diffusers, whose weights other people's pipelines hold; its code is in the extra
``diffusers``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diffcli.utils.errors import UserError

PACKAGE = "diffusers"


class DiffusersUNet(nn.Module):
    """diffusers' ``UNet2DModel`` (https://huggingface.co/docs/diffusers/api/models/unet2d), told t - 1 of t in 1..T.

    With ``input: full-range`` it is given and answers what it does in a pipeline. The parameters are the library's own,
    under its names; what it derives from the images and their labels is set here. Row 0 of its table of classes is that
    of no label, and the library has no such row.

    Args:
        image_shape: (C, H, W); H and W divisible by 2 to the power of the number of levels less one.
        block_out_channels: feature maps of each level, divisible by ``norm_num_groups``.
        down_block_types: of each level; those with attention are called AttnDownBlock2D.
        up_block_types: of each level, the lowest first.
        time_embedding_type: ``positional``, or ``learned``, a row for each t.
        classes: number of labels; 0 for a network without.
        T: number of steps.

    Raises:
        UserError: the library is not installed.
        ValueError: a size or a block that the library does not build.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        block_out_channels: list[int] = [32, 64],  # noqa: B006 (the schema's default)
        down_block_types: list[str] = ["DownBlock2D", "AttnDownBlock2D"],  # noqa: B006
        up_block_types: list[str] = ["AttnUpBlock2D", "UpBlock2D"],  # noqa: B006
        mid_block_type: str | None = "UNetMidBlock2D",
        layers_per_block: int = 2,
        mid_block_scale_factor: float = 1.0,
        downsample_padding: int = 1,
        downsample_type: Literal["conv", "resnet"] = "conv",
        upsample_type: Literal["conv", "resnet"] = "conv",
        dropout: float = 0.0,
        act_fn: str = "silu",
        attention_head_dim: int | None = 8,
        norm_num_groups: int = 32,
        attn_norm_num_groups: int | None = None,
        norm_eps: float = 1e-5,
        resnet_time_scale_shift: Literal["default", "scale_shift"] = "default",
        add_attention: bool = True,
        center_input_sample: bool = False,
        time_embedding_type: Literal["positional", "learned"] = "positional",
        time_embedding_dim: int | None = None,
        freq_shift: int = 0,
        flip_sin_to_cos: bool = True,
        classes: int = 0,
        T: int = 1000,
    ) -> None:
        # Every parameter but those that follow from the images: the library takes the others as they are.
        settings = {key: value for key, value in locals().items() if key not in ("self", "__class__", *CONTEXT)}
        super().__init__()
        channels, height, width = image_shape
        step = 2 ** max(len(block_out_channels) - 1, 0)
        if height % step or width % step:
            raise ValueError(f"the image's sides must be divisible by {step}, got {height}x{width}")
        self.T = T
        try:
            self.unet = _library().UNet2DModel(
                sample_size=(height, width),
                in_channels=channels,
                out_channels=channels,
                num_class_embeds=classes + 1 if classes else None,
                num_train_timesteps=T,
                **{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()},
            )
        except (ValueError, TypeError, ZeroDivisionError, AttributeError, KeyError, IndexError) as error:
            raise ValueError(f"{PACKAGE} does not build it: {' '.join(str(error).split())}") from error
        self.labelled = bool(classes)

    def forward(self, xt: Tensor, t_fraction: Tensor, labels: Tensor | None = None) -> Tensor:
        """(xt (B, C, H, W), t / T (B,), labels int64 (B,), -1 for none) -> (B, C, H, W)."""
        index = (t_fraction * self.T).round().to(torch.int64) - 1
        rows = None
        if self.labelled:
            rows = torch.zeros_like(index) if labels is None else labels + 1
        output: Tensor = self.unet(xt, index, rows, return_dict=False)[0]
        return output


CONTEXT = ("image_shape", "classes", "T")


def _library() -> Any:
    """The package diffusers.

    Raises:
        UserError: it is not installed.
    """
    if find_spec(PACKAGE) is None:
        raise UserError(
            f"network diffusers-unet needs the library {PACKAGE}; install it with: pip install 'diffcli[diffusers]'"
        )
    import diffusers

    return diffusers
