"""The mistakes of plug-ins: one line with file and line, before a run folder is made; rules for networks and data
sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PLUGIN, TINY, Cli
from torch import nn

import diffcli
from diffcli.data.datasets import DATASETS
from diffcli.data.testing import DATA_RULES, check_data
from diffcli.networks import NETWORKS
from diffcli.networks.testing import NETWORK_RULES, check_network
from diffcli.training.trial import check_plugins

SMALL = ["--accelerator", "cpu", "-q"]

NETWORK = """\
import torch
import diffcli


@diffcli.register("network", "ours")
class Ours(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, ARGUMENTS):
        BODY
"""
NETWORKS_WITH_MISTAKES = {
    ("xt", "return self.layer(xt)"): "forward() takes 2 positional arguments but 3 were given (mine.py, line 11)",
    ("xt, time", "return self.layer(xt)[..., 1:]"): "forward must return the shape of xt, (2, 1, 8, 8); it returns "
    "(2, 1, 8, 7) (mine.py, line 11)",
    ("xt, time", "return self.layer(xt).mean(dim=(1, 2, 3))"): "it returns (2,) (mine.py, line 11)",
    ("xt, time", "return self.lair(xt)"): "network ours fails: AttributeError: 'Ours' object has no attribute 'lair' "
    "(mine.py, line 12)",
    ("xt, time", "raise ValueError('no')"): "network ours: no (mine.py, line 12)",
    ("xt, time", "return self.layer(xt) / 0"): "forward must return finite numbers; it does not for a new network",
    ("xt, time", "return xt"): "forward must depend on weights",
    ("xt, time", "return None"): "forward must return a tensor, not NoneType (mine.py, line 11)",
}
OTHERS = {
    "prior": """
@diffcli.register("prior", "ours")
class Ours(diffcli.Prior):
    needs_fit = False
    of_signal = False

    def forward(self, generators, shape, device, labels=None):
        return torch.zeros(len(generators), 3)
""",
    "sampler": """
@diffcli.register("sampler", "ours")
def ours(denoiser, degradation, xT, timesteps, draw):
    yield diffcli.Step(timesteps[1], xT[:, :, 1:], xT)
""",
    "schedule": """
@diffcli.register("schedule", "ours")
def ours():
    return torch.full((5,), 0.1)
""",
    "noise": """
@diffcli.register("noise", "ours")
def ours(T):
    return torch.zeros(3)
""",
    "data": """
@diffcli.register("data", "ours")
@diffcli.of_shape(1, 8, 8)
def ours():
    images = diffcli.ImageSet(torch.rand(20, 1, 8, 8), torch.zeros(20).long())
    return diffcli.Source(images, images)
""",
}
MESSAGES = {
    "prior": "prior ours: forward must return finite images (2, 1, 8, 8), got (2, 3) (mine.py, line 9)",
    "sampler": "sampler ours: the xs of its steps must be finite images (2, 1, 8, 8), got (2, 1, 7, 8)",
    "schedule": "schedule ours: it must return betas, finite float64 (T + 1,) with betas[0] = 0",
    "noise": "noise ours: sigmas must be 21 numbers (t = 0..T)",
    "data": "data ours: its development images must be uint8 (N, 1, 8, 8), 0 black and 255 white, not float32 (20, 1, "
    "8, 8) "
    "(mine.py, line 4)",
}


def check_refusal(cli: Cli, preset: str, message: str) -> None:
    Path("mine.yaml").write_text(preset)
    for words in (["--dry-run"], ["--out", "run"]):
        result = cli("train", "--preset", "mine.yaml", *SMALL, *words, "--plugin", "mine.py")
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert message in result.err
        assert not Path("run").exists()


@pytest.mark.parametrize("mistake", NETWORKS_WITH_MISTAKES, ids=range(len(NETWORKS_WITH_MISTAKES)))
def test_a_networks_mistake_costs_one_line_and_no_run_folder(
    cli: Cli, workplace: Path, registries: None, mistake: tuple[str, str]
) -> None:
    arguments, body = mistake
    Path("mine.py").write_text(NETWORK.replace("ARGUMENTS", arguments).replace("BODY", body))
    preset = TINY.replace("{name: cnn, channels: [4, 4], kernel_size: 3}", "{name: ours}")
    check_refusal(cli, preset, NETWORKS_WITH_MISTAKES[mistake])


@pytest.mark.parametrize("kind", OTHERS)
def test_the_mistake_of_another_component_costs_one_line_and_no_run_folder(
    cli: Cli, workplace: Path, registries: None, kind: str
) -> None:
    Path("mine.py").write_text("import torch\nimport diffcli\n" + OTHERS[kind])
    lines = [line for line in TINY.splitlines() if not line.startswith(f"{kind}:")]
    preset = "\n".join([*lines, f"{kind}: {{name: ours}}", ""])
    if kind == "noise":
        preset = preset.replace("{name: gaussian-noise}", "{name: pixelate, T: 20}").replace(
            "prediction: eps", "prediction: x0"
        )
        preset = preset.replace("{name: standard-normal}", "{name: gaussian}").replace(
            "{name: ancestral}", "{name: cold}"
        )
        preset = "\n".join(line for line in preset.splitlines() if not line.startswith("schedule:")) + "\n"
    check_refusal(cli, preset, MESSAGES[kind])


def test_a_mistake_that_shows_later_is_the_plugins_too(cli: Cli, workplace: Path, registries: None) -> None:
    body = "if len(xt) > 2 and not self.training: raise RuntimeError('too many')\n        return self.layer(xt)"
    Path("mine.py").write_text(NETWORK.replace("ARGUMENTS", "xt, time").replace("BODY", body))
    Path("mine.yaml").write_text(TINY.replace("{name: cnn, channels: [4, 4], kernel_size: 3}", "{name: ours}"))
    words = ["--limit-batches", 1, *SMALL, "--plugin", "mine.py"]
    result = cli("train", "--preset", "mine.yaml", "--out", "run", *words)
    assert (result.code, result.err.count("\n")) == (1, 1), result
    assert "plug-in mine fails: RuntimeError: too many (mine.py, line 12)" in result.err


def test_the_trial_changes_nothing(registries: None) -> None:
    import yaml

    from diffcli.config.build import build_denoiser, resolve
    from diffcli.config.schema import validate

    diffcli.plugin(PLUGIN)
    resolved = resolve(
        validate(yaml.safe_load(TINY.replace("lr: 1e-3", "lr: 0.001")) | {"network": {"name": "one-layer"}}, "here")
    )
    torch.manual_seed(0)
    denoiser = build_denoiser(resolved)
    before, state = [weight.clone() for weight in denoiser.parameters()], torch.get_rng_state()
    check_plugins(resolved.preset, denoiser, (1, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(old, new) for old, new in zip(before, denoiser.parameters(), strict=True))
    assert all(weight.grad is None for weight in denoiser.parameters())


SWIRL = """\
import torch
import diffcli


@diffcli.register("degradation", "NAME")
class Ours(diffcli.Degradation):
    T = 5

    def signal(self, x0, t):
        return x0 * (1 - FACTOR * t / self.T).view(-1, 1, 1, 1)
"""


def two_files(*names: str) -> None:
    for folder, name, factor in zip("ab", names, (0.5, 0.9), strict=True):
        Path(folder).mkdir()
        Path(folder, "mine.py").write_text(SWIRL.replace("NAME", name).replace("FACTOR", str(factor)))


def test_two_files_of_one_name_both_work(cli: Cli, workplace: Path, registries: None) -> None:
    two_files("first", "second")
    modules = [diffcli.plugin(f"{folder}/mine.py") for folder in "ab"]
    x0, t = torch.ones(1, 1, 8, 8), torch.tensor([5])
    assert [round(float(module.Ours().signal(x0, t).mean()), 3) for module in modules] == [0.5, 0.1]
    from diffcli.config.registry import KINDS

    registry = KINDS["degradation"].registry
    assert (registry["first"], registry["second"]) == (modules[0].Ours, modules[1].Ours)
    assert diffcli.plugin("a/mine.py").__name__ == modules[0].__name__  # once more: it replaces its own


def test_two_files_that_register_one_name_are_refused(cli: Cli, workplace: Path, registries: None) -> None:
    two_files("same", "same")
    result = cli("train", "--plugin", "a/mine.py", "--preset", "quickstart", "--plugin", "b/mine.py", "--dry-run")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert "plug-in b/mine.py: degradation 'same' is of plug-in " in result.err
    assert "a/mine.py already; give yours another name" in result.err


def test_what_two_plugins_import_is_beside_each(workplace: Path, registries: None) -> None:
    two_files("first", "second")
    for folder in "ab":
        Path(folder, "our_helper.py").write_text(f"WHO = '{folder}'\n")
        with Path(folder, "mine.py").open("a") as file:
            file.write("\nimport our_helper\n")
    assert diffcli.plugin("a/mine.py").our_helper.WHO == "a"
    with pytest.raises(
        diffcli.UserError, match=r"it imports 'our_helper', of which Python has .*a/our_helper\.py already"
    ):
        diffcli.plugin("b/mine.py")


def test_the_option_stands_in_any_place(cli: Cli, workplace: Path, registries: None) -> None:
    two_files("first", "second")
    preset = TINY.replace("gaussian-noise", "first").replace("prediction: eps", "prediction: x0")
    preset = preset.replace("standard-normal", "gaussian").replace("ancestral", "cold")
    preset = "\n".join(line for line in preset.splitlines() if not line.startswith("schedule:")) + "\n"
    for name in ("first", "second"):
        Path(f"{name}.yaml").write_text(preset.replace("first", name))
    for words in (
        ["--plugin", "a/mine.py", "schedule-plot", "--preset", "first.yaml", "--out", "1.png", "--plugin", "b/mine.py"],
        ["schedule-plot", "--plugin", "b/mine.py", "--preset", "second.yaml", "--plugin=a/mine.py", "--out", "2.png"],
    ):
        result = cli(*words)
        assert result.code == 0, result.err
    assert "--plugin" in cli("eval", "--help").out


def test_an_unknown_component_hints_at_plugins(cli: Cli, workplace: Path) -> None:
    Path("mine.yaml").write_text(TINY.replace("name: cnn,", "name: swirl,"))
    result = cli("train", "--preset", "mine.yaml", "--dry-run")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert "unknown network 'swirl'" in result.err
    assert "that of a plug-in needs its file, named by --plugin" in result.err


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"diffusers-unet"}))  # whose library may be missing
def test_every_network_keeps_the_rules(name: str) -> None:
    small: dict[str, dict[str, Any]] = {
        "cnn": {"channels": [4, 4]},
        "compact-unet": {"width": 8, "blocks": 1},
        "dit": {"width": 8, "depth": 1},
        "unet": {"width": 4},
    }
    check_network(NETWORKS[name], **small[name])


class Layer(nn.Module):
    """A network that keeps the rules."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int = 0) -> None:
        super().__init__()
        self.layer = nn.Conv2d(image_shape[0], image_shape[0], 3, padding=1)
        self.labels = nn.Embedding(classes + 1, 1)

    def forward(self, xt: torch.Tensor, time: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        rows = torch.zeros_like(time).long() if labels is None else labels + 1
        return self.layer(xt) + (time + self.labels(rows)[:, 0]).view(-1, 1, 1, 1)


class Hidden(Layer):
    """Weights that are no parameters."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int = 0) -> None:
        super().__init__(image_shape, classes)
        self.scale = torch.randn(1)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(*inputs) * self.scale


def _with(forward: Callable[..., torch.Tensor]) -> type[Layer]:
    return type("Broken", (Layer,), {"forward": forward})


BROKEN_NETWORKS = {
    "two images give two of their shape": _with(lambda self, *inputs: Layer.forward(self, *inputs)[:, :, 1:]),
    "what is handed in stays as it is": _with(lambda self, xt, *others: Layer.forward(self, xt.mul_(0.5), *others)),
    "the same images give the same output": _with(lambda self, *inputs: Layer.forward(self, *inputs) + torch.rand(1)),
    "does not depend on the others": _with(lambda self, xt, *others: Layer.forward(self, xt - xt.mean(), *others)),
    "no labels are labels of -1": _with(
        lambda self, xt, time, labels=None: Layer.forward(
            self, xt, time, time.long() if labels is None and self.labels.num_embeddings > 1 else labels
        )
    ),
    "stored and read again": Hidden,
    "bfloat16": _with(
        lambda self, xt, *others: (
            self.layer(xt).view(torch.int32).view(torch.float32) + Layer.forward(self, xt, *others)
        )
    ),
}


@pytest.mark.parametrize("rule", BROKEN_NETWORKS)
def test_a_broken_network_is_told_which_rule_it_breaks(rule: str) -> None:
    check_network(Layer)
    with pytest.raises(AssertionError, match=f"images .*broken rule: .*{rule}"):
        check_network(BROKEN_NETWORKS[rule])
    assert any(rule in one for one in NETWORK_RULES)


def test_a_network_that_is_built_is_checked_for_its_shape() -> None:
    check_network(Layer((3, 8, 8)), image_shape=(3, 8, 8))
    with pytest.raises(AssertionError, match="broken rule"):
        check_network(Layer((3, 8, 8)), image_shape=(1, 8, 8))


def digits_like(
    count: int = 60, seed: int | None = 0, kind: torch.dtype = torch.uint8, shared: bool = False
) -> diffcli.Source:
    generator = torch.Generator()
    generator.manual_seed(seed) if seed is not None else generator.seed()
    images = torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.int64).to(kind)
    images_of_both = diffcli.ImageSet(images, torch.arange(count) % 3)
    first, last = torch.arange(count - 10), torch.arange(count - 10, count)
    return diffcli.Source(
        images_of_both[first], images_of_both[first[:10] if shared else last], classes=("a", "b", "c")
    )


GOOD = diffcli.of_shape(1, 8, 8, classes=["a", "b", "c"])


def test_data_sets_keep_the_rules(registries: None) -> None:
    check_data(DATASETS["digits"])
    check_data(GOOD(digits_like), count=40)
    with pytest.raises(AssertionError, match="12 of its 12 test images are development images, too"):
        check_data(diffcli.plugin(PLUGIN).stripes, count=60)


BROKEN_DATA = {
    "images must be uint8": (1, ["a", "b", "c"], {"kind": torch.float32}),
    "images must be uint8 (N, 3, 8, 8)": (3, ["a", "b", "c"], {}),
    "has the classes": (1, ["a", "b"], {}),
    "loaded again it is the same": (1, ["a", "b", "c"], {"seed": None}),
    "test images are held out: 10 of its 10 test images are development images, too": (
        1,
        ["a", "b", "c"],
        {"shared": True},
    ),
}


@pytest.mark.parametrize("rule", BROKEN_DATA)
def test_a_broken_data_set_is_told_what_is_wrong(rule: str) -> None:
    channels, classes, parameters = BROKEN_DATA[rule]

    def load(**others: Any) -> diffcli.Source:
        return digits_like(**{**parameters, **others})

    diffcli.of_shape(channels, 8, 8, classes=classes)(load)
    with pytest.raises(AssertionError, match="load: broken rule: ") as error:
        check_data(load)
    assert rule in str(error.value)
    assert len(DATA_RULES) == 2


def test_a_data_sets_shape_may_follow_from_its_parameters(registries: None, workplace: Path, cli: Cli) -> None:
    Path("mine.py").write_text(
        "import torch\nimport diffcli\n\n\n@diffcli.register('data', 'dots')\n"
        "@diffcli.shaped_by(lambda size, **others: (1, size, size), classes=['left', 'right'])\n"
        "def dots(size: int, count: int = 60):\n"
        "    images = torch.zeros(count, 1, size, size, dtype=torch.uint8)\n    labels = torch.arange(count) % 2\n"
        "    images[torch.arange(count), 0, torch.arange(count) % size, labels * (size - 1)] = 255\n"
        "    data = diffcli.ImageSet(images, labels)\n"
        "    return diffcli.Source(data[torch.arange(50)], data[torch.arange(50, count)], classes=('left', 'right'))\n"
    )
    Path("mine.yaml").write_text(TINY.replace("{name: digits}", "{name: dots, size: 12}"))
    result = cli("train", "--preset", "mine.yaml", "--plugin", "mine.py", "--dry-run")
    assert result.code == 0, result.err
    assert "# training images: 40\n" in result.out
