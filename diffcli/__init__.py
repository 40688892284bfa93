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
    from diffcli.checkpoints.evaluations import Evaluation as Evaluation
    from diffcli.checkpoints.runs import Run as Run
    from diffcli.config.plugins import plugin as plugin
    from diffcli.config.registry import register as register
    from diffcli.data.pixels import to_uint8 as to_uint8
    from diffcli.data.sources import ImageSet as ImageSet
    from diffcli.data.sources import Source as Source
    from diffcli.data.sources import of_shape as of_shape
    from diffcli.data.sources import shaped_by as shaped_by
    from diffcli.data.testing import check_data as check_data
    from diffcli.diffusion.degradations import Degradation as Degradation
    from diffcli.diffusion.degradations import GaussianBlur as GaussianBlur
    from diffcli.diffusion.degradations import GaussianNoise as GaussianNoise
    from diffcli.diffusion.priors import Prior as Prior
    from diffcli.diffusion.samplers import Step as Step
    from diffcli.diffusion.testing import check_degradation as check_degradation
    from diffcli.evaluation.evaluate import evaluate as evaluate
    from diffcli.inference.export import export as export
    from diffcli.inference.importing import import_pipeline as import_pipeline
    from diffcli.inference.loading import load as load
    from diffcli.inference.model import Model as Model
    from diffcli.inference.pictures import grid as grid
    from diffcli.inference.posterior import Posterior as Posterior
    from diffcli.networks.testing import check_network as check_network
    from diffcli.studies.compare_runs import compare as compare
    from diffcli.studies.comparison import Comparison as Comparison
    from diffcli.studies.study import study as study
    from diffcli.training.run import train as train
    from diffcli.utils.devices import Devices as Devices
    from diffcli.utils.errors import DiffcliError as DiffcliError
    from diffcli.utils.errors import RunError as RunError
    from diffcli.utils.errors import UserError as UserError

__version__ = "1.2.0"
"""The one place of it: the package's metadata are made of this."""

_HOMES = {
    "check_data": "data.testing",
    "check_degradation": "diffusion.testing",
    "check_network": "networks.testing",
    "compare": "studies.compare_runs",
    "evaluate": "evaluation.evaluate",
    "export": "inference.export",
    "study": "studies.study",
    "train": "training.run",
    "to_uint8": "data.pixels",
    "ImageSet": "data.sources",
    "Source": "data.sources",
    "of_shape": "data.sources",
    "shaped_by": "data.sources",
    "Devices": "utils.devices",
    "Degradation": "diffusion.degradations",
    "GaussianBlur": "diffusion.degradations",
    "GaussianNoise": "diffusion.degradations",
    "Prior": "diffusion.priors",
    "Step": "diffusion.samplers",
    "DiffcliError": "utils.errors",
    "RunError": "utils.errors",
    "UserError": "utils.errors",
    "Comparison": "studies.comparison",
    "Evaluation": "checkpoints.evaluations",
    "import_pipeline": "inference.importing",
    "load": "inference.loading",
    "Model": "inference.model",
    "plugin": "config.plugins",
    "register": "config.registry",
    "grid": "inference.pictures",
    "Posterior": "inference.posterior",
    "Run": "checkpoints.runs",
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
