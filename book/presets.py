"""A page of all presets, as they are."""

from __future__ import annotations

from diffcli.config.presets import preset_files


def pages() -> dict[str, str]:
    """By file, the page."""
    lines = ["# Presets", "", "What `diffcli presets NAME` prints. Copy one, or change keys with `--set`.", ""]
    for name, file in sorted(preset_files().items()):
        lines += [f"## {name}", "", "```yaml", file.read_text(encoding="utf-8").rstrip(), "```", ""]
    return {"commands/all-presets.md": "\n".join(lines)}
