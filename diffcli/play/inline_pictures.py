"""Pictures as a page shows them: PNGs inside its HTML, so that no file is written or served."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from diffcli.data.pixels import to_uint8
from diffcli.inference.pictures import grid, to_image


class Picture(NamedTuple):
    """A picture and what it shows, for whoever does not see it."""

    url: str
    alt: str


def png_url(picture: Image.Image) -> str:
    """A picture as the data URL of a PNG."""
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def of_grid(images: Tensor, alt: str) -> Picture:
    """uint8 (N, C, H, W), in a near square."""
    return Picture(png_url(grid(images)), alt)


def of_image(image: Tensor, alt: str) -> Picture:
    """One image (C, H, W), uint8 or float in about [-0.5, 0.5]."""
    return Picture(png_url(to_image(to_uint8(image) if image.is_floating_point() else image)), alt)


def figure(pictures: Sequence[Picture], caption: str) -> str:
    """HTML of pictures one above the other, and a caption."""
    images = "".join(f'<img src="{picture.url}" alt="{escape(picture.alt)}">' for picture in pictures)
    return f"<figure>{images}<figcaption>{escape(caption)}</figcaption></figure>"


def row(figures: Iterable[str], kind: str = "small") -> str:
    """HTML of figures in a row, which goes on below where a screen is narrow.

    Args:
        kind: how large they are, a class of ``page.css``.
    """
    return f'<div class="figures {kind}">{"".join(figures)}</div>'


def message(text: str, is_error: bool = False) -> str:
    """HTML of a line of text, which screen readers say when it changes; arguments lose the backticks that errors name
    them in."""
    if not text:
        return ""
    role, kind = ("alert", "wrong") if is_error else ("status", "said")
    return f'<p role="{role}" class="{kind}">{escape(text.replace("`", ""))}</p>'
