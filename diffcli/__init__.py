"""diffcli: train, sample, evaluate and compare small diffusion models, hot and cold.

    >>> import diffcli
    >>> run = diffcli.train("quickstart")               # doctest: +SKIP
    >>> images = diffcli.load(run).sample(64, seed=0)   # doctest: +SKIP

Everything below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcli.data.pixels import to_uint8 as to_uint8
    from diffcli.data.sources import ImageSet as ImageSet
    from diffcli.data.sources import Source as Source
    from diffcli.data.sources import of_shape as of_shape
    from diffcli.data.sources import shaped_by as shaped_by
    from diffcli.devices import Devices as Devices
    from diffcli.diffusion.degradations import Degradation as Degradation
    from diffcli.diffusion.degradations import GaussianBlur as GaussianBlur
    from diffcli.diffusion.degradations import GaussianNoise as GaussianNoise
    from diffcli.diffusion.priors import Prior as Prior
    from diffcli.diffusion.samplers import Step as Step
    from diffcli.errors import DiffcliError as DiffcliError
    from diffcli.errors import RunError as RunError
    from diffcli.errors import UserError as UserError
    from diffcli.experiments.compare import compare as compare
    from diffcli.experiments.comparison import Comparison as Comparison
    from diffcli.experiments.evaluate import Evaluation as Evaluation
    from diffcli.experiments.evaluate import evaluate as evaluate
    from diffcli.experiments.export import export as export
    from diffcli.experiments.study import study as study
    from diffcli.experiments.train import train as train
    from diffcli.loading import load as load
    from diffcli.model import Model as Model
    from diffcli.plugins import plugin as plugin
    from diffcli.registry import register as register
    from diffcli.reporting.pictures import grid as grid
    from diffcli.runs import Run as Run

__version__ = "0.4.0"
"""The one place of it: the package's metadata are made of this."""

_HOMES = {
    "compare": "experiments.compare",
    "evaluate": "experiments.evaluate",
    "export": "experiments.export",
    "study": "experiments.study",
    "train": "experiments.train",
    "to_uint8": "data.pixels",
    "ImageSet": "data.sources",
    "Source": "data.sources",
    "of_shape": "data.sources",
    "shaped_by": "data.sources",
    "Devices": "devices",
    "Degradation": "diffusion.degradations",
    "GaussianBlur": "diffusion.degradations",
    "GaussianNoise": "diffusion.degradations",
    "Prior": "diffusion.priors",
    "Step": "diffusion.samplers",
    "DiffcliError": "errors",
    "RunError": "errors",
    "UserError": "errors",
    "Comparison": "experiments.comparison",
    "Evaluation": "experiments.evaluate",
    "load": "loading",
    "Model": "model",
    "plugin": "plugins",
    "register": "registry",
    "grid": "reporting.pictures",
    "Run": "runs",
}
"""The module below diffcli that each public name comes from."""

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diffcli' has no attribute '{name}'")
    value = getattr(import_module(f"diffcli.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
