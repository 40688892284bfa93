"""How a trained model is sampled: the arguments that its methods and the experiments share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

from diffcli.config.presets import sampler_named
from diffcli.config.schema import Sampler
from diffcli.data.label_names import Label
from diffcli.utils.errors import UserError, unknown

P = ParamSpec("P")
Result = TypeVar("Result")
BatchSize = int | Literal["auto"]
KEPT = ("steps", "spacing", "clip", "guidance", "autoguidance", "guided_t")
"""What a preset says of its sampler and another sampler keeps."""


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """How a trained model is sampled; None is what its preset says.

    Args:
        seed: same seed, same images; on a CPU to the byte, whatever the batch size.
        sampler: a name, or a name with parameters: ``{"name": "ddim", "eta": 0.5}``.
        steps: of the sampler, 1..T.
        label: of the images: a class's name, a number, a range ``"0-9"``, ``none``, or several of these, repeated over the
            images in turn; an integer stands for its digits, see :mod:`diffcli.data.label_names`. None draws labels as they are
            frequent in the training images; of images at hand it is no label.
        guidance: weight of classifier-free guidance towards the label; 1 is none (Ho & Salimans 2022).
        autoguidance: weight of guidance by an early average of the weights; 1 is none (Karras et al. 2024).
        batch_size: images at a time; ``auto`` is as many as the device holds, up to 4,096, on a CPU 128.
        quiet: no progress bar.

    Raises:
        UserError: a number is out of range.
    """

    seed: int = 0
    sampler: str | Mapping[str, Any] | None = None
    steps: int | None = None
    label: Label | Sequence[Label] | None = None
    guidance: float | None = None
    autoguidance: float | None = None
    batch_size: BatchSize = 128
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.batch_size != "auto" and (isinstance(self.batch_size, str) or self.batch_size < 1):
            raise UserError(f"`batch_size` must be at least 1, or auto, got {self.batch_size}")
        if self.seed < 0:
            raise UserError(f"`seed` must be at least 0, got {self.seed}")
        for name in ("guidance", "autoguidance"):
            weight = getattr(self, name)
            if weight is not None and not 0 <= weight <= 100:
                raise UserError(f"`{name}` must be in 0..100, got {weight}")

    def changed(self, sampler: Sampler) -> Sampler:
        """A preset's sampler with what the options change of it.

        Raises:
            UserError: the sampler's name or its parameters cannot be read.
        """
        if self.sampler is not None and self.sampler != sampler.name:
            chosen = sampler_named(self.sampler)
            kept = {key: getattr(sampler, key) for key in KEPT if key not in chosen.model_fields_set}
            sampler = chosen.model_copy(update=kept)
        weights = {"guidance": self.guidance, "autoguidance": self.autoguidance}
        return sampler.model_copy(update={name: float(w) for name, w in weights.items() if w is not None})


def takes_sampler_options(method: Callable[P, Result]) -> Callable[P, Result]:
    """A method whose ``**options`` are the fields of :class:`SamplerOptions`, which its signature then shows.

    Raises:
        UserError: (when called) an argument is unknown or missing.
    """
    own = inspect.signature(method)
    *parameters, _ = own.parameters.values()
    signature = own.replace(parameters=[*parameters, *inspect.signature(SamplerOptions).parameters.values()])

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        for name in kwargs:
            if name not in signature.parameters:
                raise UserError(unknown("argument", name, [name for name in signature.parameters if name != "self"]))
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UserError(str(error)) from None
        return method(*args, **kwargs)

    call.__signature__ = signature  # type: ignore[attr-defined]
    return call
