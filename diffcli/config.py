"""The preset's schema, and how presets are found, read and changed from the command line.

A preset names one component of each kind (``schedule: {name: constant, T: 2000, beta: 0.001}``). The parameters that a
component takes are those of the function or class that is registered under the name, so the schema of a new one is its
signature; :mod:`diffcli.components` checks them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from diffcli.errors import UserError, unknown

PACKAGED_PRESETS = Path(__file__).parent / "preset_files"
CHECKOUT_PRESETS = Path(__file__).parents[1] / "presets"
MAX_PRESET_BYTES = 100_000

Positive = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """No coercion, no unknown keys, no mutation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Component(BaseModel):
    """A name in a registry and the parameters of what is registered there."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class Sampler(Component):
    """A sampler and what all samplers share.

    Args:
        steps: how many from T to 0; null is all T.
        clip: every estimate of the clean image is clipped to the range of pixels (Ho et al. 2020's code does; Saharia et
            al. 2022, section 2.3, "static thresholding").
    """

    steps: Positive | None = None
    clip: bool = False


def seconds(duration: str) -> float:
    """``90s``, ``10m`` or ``1.5h`` in seconds.

    Raises:
        ValueError: it is something else, or no time at all.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", duration)
    if not match or float(match[1]) == 0:
        raise PydanticCustomError("duration", "a time is a number and s, m or h, for example 10m")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def _checked_duration(duration: str) -> str:
    seconds(duration)
    return duration


Duration = Annotated[str, AfterValidator(_checked_duration)]


class Training(Strict):
    """How a model is trained (report 2.3.2; the defaults are the report's).

    Args:
        epochs: passes over the training split, counted from 1.
        max_time: ends the training earlier, and ``lr_decay`` with it; fitting the prior and time spent before a resume
            count.
        lr: AdamW's learning rate.
        warmup: steps over which the learning rate grows from 0 to ``lr``.
        lr_decay: half a cosine from ``lr`` to 0 over the training (Loshchilov & Hutter 2017, Eq. 5).
        weight_decay: AdamW's (Loshchilov & Hutter 2019); with 0 it is Adam.
        clip_norm: the gradient's norm is clipped to this.
        ema: decay a step of the exponential moving average of the weights, which validation and sampling then use.
        t_distribution: of t / T in training, see :mod:`diffcli.diffusion.times`.
        stratified_t: spreads the t of each batch evenly.
        min_snr: gamma of the min-SNR weighting (Hang et al. 2023); noise only.
        val_share: of the development images, held out for validation.
        val_every: epochs from one validation to the next.
        sample_epochs: epochs after which ``sample_n`` samples are drawn.
    """

    epochs: Positive = 50
    max_time: Duration | None = None
    batch_size: Positive = 128
    lr: Annotated[float, Field(gt=0, le=1)] = 2e-4
    warmup: Annotated[int, Field(ge=0)] = 0
    lr_decay: bool = False
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    t_distribution: str = "uniform"
    stratified_t: bool = False
    min_snr: Annotated[float, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    val_every: Positive = 1
    sample_epochs: list[Positive] = []
    sample_n: Positive = 16


class Preset(Strict):
    """A whole model and its training, as the YAML files in ``presets/`` hold it.

    Args:
        schedule: of the degradation's betas; null where it takes none.
        noise: what is added to a degradation that draws none of its own, see :mod:`diffcli.diffusion.noise_levels`.
    """

    description: str
    data: Component
    schedule: Component | None = None
    degradation: Component
    noise: Component | None = None
    network: Component
    prediction: str
    prior: Component
    sampler: Sampler
    training: Training


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 2e-4 as a number, which YAML 1.1 takes for a string, and refuses a key given twice.

    Aliases are refused: a few lines of them can stand for gigabytes.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases are not read; write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", node.start_mark)
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    # A tag that does not fit its value, such as !!timestamp y, makes PyYAML stumble in its own ways.
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, TypeError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()
        raise UserError(f"{where} is not valid YAML{place}: {problem[0] if problem else 'unreadable'}") from error


def explain(error: ValidationError, prefix: str = "", known: dict[str, list[str]] | None = None) -> str:
    """The first of a validation's errors as one line: the dotted key, what is wrong, what would be right.

    Args:
        prefix: dotted path of what was validated.
        known: keys allowed below each dotted path, to name the nearest to an unknown one.
    """
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    path = ".".join([*([prefix] if prefix else []), *parts])
    if first["type"] == "extra_forbidden":
        parent = ".".join(parts[:-1])
        return unknown(
            "key", path, [".".join(filter(None, [prefix, parent, k])) for k in (known or {}).get(parent, [])]
        )
    if first["type"] == "missing":
        return f"{path} is missing"
    return f"{path}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {first['input']!r:.80}"


def validate(values: Any, where: str) -> Preset:
    """A mapping -> a checked preset.

    Raises:
        UserError: a key is unknown, missing, or of the wrong type; the line names it and the nearest known one.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}: a preset is a mapping of keys to values; see 'diffcli presets quickstart'")
    known = {"": list(Preset.model_fields), "training": list(Training.model_fields)}
    try:
        return Preset.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, known=known)}") from error


def preset_files() -> dict[str, Path]:
    """Every preset by name: those of the package (or the checkout), then those in ./presets."""
    found: dict[str, Path] = {}
    for folder in (PACKAGED_PRESETS, CHECKOUT_PRESETS, Path("presets")):
        for file in sorted(folder.glob("*.yaml")):
            found.setdefault(file.stem, file)
    return found


def find_preset(name_or_path: str) -> Path:
    """The file of a preset given by name or by path.

    Raises:
        UserError: there is none; the line names the nearest known preset.
    """
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        path = Path(os.path.expanduser(name_or_path))
        if not os.path.isfile(path):
            raise UserError(f"preset file {name_or_path} does not exist; 'diffcli presets' lists the built-in ones")
        return path
    files = preset_files()
    if name_or_path not in files:
        raise UserError(unknown("preset", name_or_path, files))
    return files[name_or_path]


def read_values(path: Path) -> Any:
    """The raw values of a preset file.

    Raises:
        UserError: the file cannot be read, is too large, or is not YAML.
    """
    try:
        if path.stat().st_size > MAX_PRESET_BYTES:
            raise UserError(f"{path} is larger than {MAX_PRESET_BYTES} bytes: this is not a preset")
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a preset: {error}") from error


def with_overrides(values: Any, assignments: list[str]) -> Any:
    """``values`` with each ``a.b=value`` of ``--set`` applied; a value is YAML, so ``{name: cosine, T: 500}`` works.

    Raises:
        UserError: an assignment has no ``=``, an empty key, or leads through something that is not a mapping.
    """
    if not assignments or not isinstance(values, dict):
        return values
    changed = _copied(values)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        *parents, last = key.strip().split(".")
        if not equals or not all([*parents, last]):
            raise UserError(f"--set {assignment}: write it as key.key=value, for example training.epochs=5")
        target = changed
        for parent in parents:
            if parent not in target:
                raise UserError(f"--set {assignment}: {unknown('key', parent, target)}")
            target = target[parent]
            if not isinstance(target, dict):
                raise UserError(f"--set {assignment}: '{parent}' holds one value, so nothing can be set below it")
        target[last] = _parse(text, f"--set {key}")
    return changed


def _copied(values: Any) -> Any:
    return {key: _copied(value) for key, value in values.items()} if isinstance(values, dict) else values


def sampler_named(text: str) -> Sampler:
    """The value of ``--sampler``: a name, or a name with parameters as in a preset, ``{name: ddim, eta: 0.5}``.

    Raises:
        UserError: it is neither.
    """
    value = _parse(text, "--sampler")
    try:
        return Sampler.model_validate(value if isinstance(value, dict) else {"name": text})
    except ValidationError as error:
        raise UserError(f"--sampler: {explain(error)}") from error


def load_preset(name_or_path: str, assignments: list[str] | None = None) -> tuple[str, Preset]:
    """A preset's name (the file's stem) and its checked values, ``--set`` assignments applied.

    Raises:
        UserError: it is not found, not readable, or not valid.
    """
    path = find_preset(name_or_path)
    name = path.stem.lstrip(".") or "preset"  # it becomes a folder's name, and must not lead out of the runs
    values = with_overrides(read_values(path), assignments or [])
    return name, validate(values, f"preset {name}")


def to_yaml(preset: Preset) -> str:
    """The preset as YAML that :func:`load_preset` reads back to an equal one."""
    return yaml.safe_dump(preset.model_dump(), sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
