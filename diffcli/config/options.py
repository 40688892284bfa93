"""The options by which several commands name presets and change their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from diffcli.utils.errors import UserError
from diffcli.utils.options import Options, option
from diffcli.utils.unique_labels import unique_labels

if TYPE_CHECKING:
    from diffcli.config.build import ResolvedPreset


def overrides_option(keys: Mapping[str, Any] | None = None) -> Any:
    """New values of preset keys.

    Args:
        keys: by preset key, the option of the command line that stands for it.
    """
    return option(
        default_factory=dict,
        name="set",
        metavar="KEY=VALUE",
        help="Change one preset key, e.g. training.lr=1e-3; repeatable.",
        keys=keys or {},
    )


@dataclass(frozen=True)
class PresetsOptions(Options):
    """The presets that a command looks at.

    Args:
        presets: names, or YAML files.
        overrides: keys and their new values, in each of them.
    """

    presets: Sequence[str] = option(name="preset", help="Preset name or YAML file; repeatable.", complete="presets")
    _: KW_ONLY
    overrides: Mapping[str, Any] = overrides_option()

    @property
    def resolved_presets(self) -> dict[str, ResolvedPreset]:
        """The presets as they are trained, with their degradations, by name; those of the same name are told apart by
        their paths.

        Raises:
            UserError: one is not usable or given twice.
        """
        from diffcli.config.build import resolve
        from diffcli.config.presets import find_preset, load_preset

        files = [find_preset(preset).resolve() for preset in self.presets]
        if len(set(files)) < len(files):
            raise UserError("a preset is named twice; name each once")
        named_presets = [load_preset(preset, self.overrides) for preset in self.presets]
        labels = unique_labels([name for name, _ in named_presets], files)
        return {label: resolve(preset) for label, (_, preset) in zip(labels, named_presets, strict=True)}
