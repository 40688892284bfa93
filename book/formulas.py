"""Formulas as MathML: no script, and nothing from another server."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', flags=re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', flags=re.DOTALL)


def as_mathml(page: str) -> str:
    """A page's HTML, its formulas as MathML."""
    page = INLINE.sub(lambda match: convert(html.unescape(match[1])), page)
    return BLOCK.sub(lambda match: convert(html.unescape(match[1]).strip(), display="block"), page)
