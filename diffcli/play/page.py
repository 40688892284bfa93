"""The page: its tabs, its looks, and how many visitors compute at once."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from diffcli.play import generate_tab, restore_tab, why_tab
from diffcli.play.choices import Models

FOLDER = Path(__file__).parent
CSS = (FOLDER / "page.css").read_text(encoding="utf-8")
AT_ONCE = 2
"""Events that compute at the same time."""
WAITING = 32
"""Events that wait for these; more are told to come back."""


def theme() -> gr.themes.Base:
    """The looks: the system's own fonts, so that none is fetched."""
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
    return gr.themes.Default(primary_hue="orange", font=fonts, font_mono=("ui-monospace", "Consolas", "monospace"))


def page(models: Models) -> gr.Blocks:
    """The page of these models, at least one."""
    with gr.Blocks(title="diffcli", analytics_enabled=False) as blocks:
        gr.Markdown("# diffcli\nSmall diffusion models, hot and cold: draw with them, and see how they do it.")
        with gr.Tab("Generate", id="generate"):
            generate_tab.build(models, AT_ONCE)
        with gr.Tab("Restore", id="restore"):
            restore_tab.build(models, AT_ONCE)
        with gr.Tab("Why", id="why"):
            why_tab.build(models, AT_ONCE)
    blocks.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE)
    return blocks
