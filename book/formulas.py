"""Formulas as drawings inside the page: no script, no font, and nothing from another server."""

from __future__ import annotations

import html
import re
from functools import cache

from matplotlib import rc_context
from matplotlib.path import Path
from matplotlib.textpath import TextPath

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', flags=re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', flags=re.DOTALL)
COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}
UNITS = 100
"""Of the drawing, in the height of a line of text."""


def render(page: str) -> str:
    """A page's HTML, its formulas drawn in the colour of the text."""
    page = INLINE.sub(lambda match: _svg(html.unescape(match[1])), page)
    return BLOCK.sub(lambda match: f'<p class="formula">{_svg(html.unescape(match[1]))}</p>', page)


@cache
def _svg(tex: str) -> str:
    """A formula, by Matplotlib's own reading of TeX, standing on the line of the text around it.

    Raises:
        ValueError: it is none that Matplotlib reads.
    """
    tex = " ".join(tex.split())
    with rc_context({"mathtext.fontset": "cm"}):
        path = TextPath((0, 0), f"${tex}$", size=1.12 * UNITS)
    box = path.get_extents()
    parts = []
    for points, code in path.iter_segments(simplify=False):
        numbers = " ".join(f"{x:.0f} {-y:.0f}" for x, y in points.reshape(-1, 2))
        parts.append("Z" if code == Path.CLOSEPOLY else f"{COMMANDS[code]}{numbers}")
    edges = f"{box.x0 - 2:.0f} {-box.y1 - 2:.0f} {box.width + 4:.0f} {box.height + 4:.0f}"
    size = f"width:{(box.width + 4) / UNITS:.2f}em;height:{(box.height + 4) / UNITS:.2f}em"
    style = f"{size};vertical-align:{(box.y0 - 2) / UNITS:.2f}em;fill:currentColor"
    label = html.escape(tex, quote=True)
    return (
        f'<svg class="formula" viewBox="{edges}" style="{style}" role="img" aria-label="{label}">'
        f'<title>{label}</title><path d="{"".join(parts)}"/></svg>'
    )
