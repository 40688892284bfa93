"""Fixtures: a tiny trained run that the command tests share, and a place with no runs."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from browsing import address, browser, shown_models, strangers, visit  # noqa: F401
from fading import fading  # noqa: F401
from filelock import FileLock
from hypothesis import settings
from inception import no_network, stand_in_weights  # noqa: F401

# Several test processes share two cores; one thread each is faster than all of them fighting.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

TESTS = Path(__file__).parent
ROOT = TESTS.parent
"""The checkout."""
PLUGIN = TESTS / "plugin_file.py"
SLOW = bool(os.environ.get("DIFFCLI_SLOW"))
"""Whether the tests that can be long are: make test-slow."""
# A machine that does other things, too, is slow at times: no example fails for that.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

TINY = """\
description: a tiny model for the tests
data: {name: digits}
schedule: {name: linear, T: 20, beta_min: 0.001, beta_max: 0.3}
degradation: {name: gaussian-noise}
network: {name: cnn, channels: [4, 4], kernel_size: 3}
prediction: eps
prior: {name: standard-normal}
sampler: {name: ancestral}
training: {epochs: 2, batch_size: 128, lr: 1e-3, sample_epochs: [1], sample_n: 4}
"""


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs ``diffcli`` in this process, errors turned into exit codes as for a user."""
    from diffcli.cli import main

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as error:
            main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return Result(int(error.value.code or 0), streams.out, streams.err)

    return call


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, no settings from outside, no network cache, and none of earlier evaluations."""
    monkeypatch.chdir(tmp_path)
    for name in ("DIFFCLI_RUNS", "DIFFCLI_DATA", "DIFFCLI_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("DIFFCLI_CACHE", str(tmp_path_factory.getbasetemp() / f"cache-{tmp_path.name}"))
    return tmp_path


@pytest.fixture
def tf32() -> Iterator[None]:
    """Products may be rounded, as they may on a GPU; afterwards that is still so."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(before)


@pytest.fixture(autouse=True)
def forbid_training_in_unit_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit test neither trains nor starts a process."""
    if "unit" not in request.path.relative_to(TESTS).parts:
        return

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a unit test neither trains nor starts a process: tests/commands and tests/system do")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(BaseProcess, "start", refuse)
    if "lightning" in sys.modules:
        monkeypatch.setattr("lightning.Trainer.fit", refuse)


OF_EACH_KIND = [
    "blur-const",
    "cifar-fast",
    "colour-64-fast",
    "ddpm-linear",
    "mask-fast",
    "mnist-dit",
    "mnist-fast-unlabelled",
    "quickstart",
    "quickstart-blur",
    "quickstart-pixelate",
]
"""Presets with each network, degradation, prior, sampler, shape of images and kind of labels that any preset has."""

SMALL_NETWORKS = {
    "cnn": "channels: [4, 4], kernel_size: 3",
    "unet": "width: 4",
    "compact-unet": "width: 8, blocks: 1",
    "dit": "width: 8, depth: 1",
}


def _small_network(line: re.Match[str]) -> str:
    attention = ", attention: true" if "attention: true" in line[0] else ""
    return f"network: {{name: {line[1]}, {SMALL_NETWORKS[line[1]]}{attention}}}"


@pytest.fixture
def small_presets(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every preset by its name, with a small network of the same kind: for tests of how presets are used."""
    from diffcli.config import presets

    place, before = tmp_path_factory.mktemp("presets"), presets.preset_files
    files = {name: place / file.name for name, file in before().items()}
    for name, file in before().items():
        text, count = re.subn(r"(?m)^network: {name: ([\w-]+).*", _small_network, file.read_text())
        assert count == 1, name
        files[name].write_text(text)
    monkeypatch.setattr(presets, "preset_files", lambda: before() | files)


@pytest.fixture
def registries() -> Iterator[None]:
    """What a test registers is gone after it."""
    from diffcli.config import plugins, registry

    before = [(kind.registry, dict(kind.registry)) for kind in registry.KINDS.values()]
    yield
    for entries, content in before:
        entries.clear()
        entries.update(content)
    registry._origins.clear()
    plugins._files.clear()


GUIDED = (
    TINY.replace("lr: 1e-3", "lr: 1e-3, ema: 0.9, guide_at: 0.3").replace(
        "{name: ancestral}", "{name: ddim, eta: 1.0, steps: 6, autoguidance: 1.5, guided_t: [0.3, 0.85]}"
    )
    + "labels: {}\n"
)
"""With labels, and an early average that guides in a part of the trajectory."""
LABELLED = TINY.replace(
    "network: {name: cnn, channels: [4, 4], kernel_size: 3}", "network: {name: compact-unet, width: 8}"
)
LABELLED += "labels: {}\n"
"""With labels that the network reads."""
BLURRED = """\
description: a tiny blur model for the tests
data: {name: digits}
schedule: {name: constant, T: 10, beta: 0.35}
degradation: {name: gaussian-blur, kernel_size: 7}
network: {name: compact-unet, width: 8, blocks: 1}
prediction: x0
prior: {name: mixture, components: 20}
sampler: {name: cold, clip: true}
labels: {}
training: {epochs: 1, batch_size: 128, lr: 1e-3}
"""


TRANSFORMER = GUIDED.replace(
    "network: {name: cnn, channels: [4, 4], kernel_size: 3}", "network: {name: dit, width: 16, depth: 2}"
).replace("guide_at: 0.3", "guide_at: 0.3, loss: v")
TRANSFORMER = TRANSFORMER.replace("prediction: eps", "prediction: x0")
"""As ``GUIDED``, of a transformer that predicts x0 with the loss of v."""
CLUSTERED = TINY + "labels: {clusters: 12}\n"
"""With clusters for labels."""


def trained_in(place: Path, preset: str) -> Path:
    """The run folder of a preset's model, trained on the CPU in a folder."""
    from diffcli.cli import main

    (place / "tiny.yaml").write_text(preset)
    run = place / "run"
    words = ["train", "--preset", place / "tiny.yaml", "--out", run, "--accelerator", "cpu", "--quiet"]
    with pytest.raises(SystemExit) as error:
        main([str(word) for word in words])
    assert not error.value.code
    return run


def shared(factory: pytest.TempPathFactory, name: str, preset: str) -> Path:
    """A copy, for this process, of the run folder of a preset's model, which is trained once for all processes of the
    tests."""
    place = factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / f"shared-{name}"
    place.mkdir(exist_ok=True)
    with FileLock(place / "lock"):
        if not (place / "trained").exists():
            trained_in(place, preset)
            (place / "trained").touch()
    return Path(shutil.copytree(place / "run", factory.mktemp(name) / "run"))


@pytest.fixture(scope="session")
def hot_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny model trained for two epochs on digits; tests must not change it."""
    return shared(tmp_path_factory, "trained", TINY)


@pytest.fixture(scope="session")
def guided_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``hot_run``, of ``GUIDED``."""
    return shared(tmp_path_factory, "guided", GUIDED)


@pytest.fixture(scope="session")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``hot_run``, of ``TRANSFORMER``."""
    return shared(tmp_path_factory, "transformer", TRANSFORMER)


@pytest.fixture(scope="session")
def blur_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``hot_run``, of ``BLURRED``."""
    return shared(tmp_path_factory, "blurred", BLURRED)


@pytest.fixture(scope="session")
def cluster_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``hot_run``, of ``CLUSTERED``."""
    return shared(tmp_path_factory, "clustered", CLUSTERED)


@pytest.fixture
def tiny(workplace: Path) -> Path:
    """The tiny preset's file."""
    file = workplace / "tiny.yaml"
    file.write_text(TINY)
    return file


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose MNIST and Fashion-MNIST are 300 and 60 of scikit-learn's digits, enlarged to 28x28; and whose
    CIFAR-10 is 300 and 60 pictures of noise."""
    from sklearn.datasets import load_digits

    place = tmp_path_factory.mktemp("data")
    raw = place / "MNIST" / "raw"
    raw.mkdir(parents=True)
    digits = load_digits()
    images = np.pad(np.kron(digits.images, np.ones((3, 3))), [(0, 0), (2, 2), (2, 2)]) * (255 / 16)
    for part, span in (("train", slice(0, 300)), ("t10k", slice(300, 360))):
        pixels, labels = images[span].astype(np.uint8), digits.target[span].astype(np.uint8)
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (raw / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())
    shutil.copytree(place / "MNIST", place / "FashionMNIST")
    (place / "cifar-10-batches-bin").mkdir()
    for number, name in enumerate([*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch"]):
        records = np.random.default_rng(number).integers(0, 256, (60, 1 + 3 * 32 * 32), np.uint8)
        records[:, 0] %= 10
        (place / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(records.tobytes())
    return place


def save_pictures() -> None:
    """The folder that the colour presets read unless another is named, ``pictures`` in the current one: two classes of
    thirty pictures of noise."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (2, 30, 64, 64, 3), np.uint8)
    for name, arrays in zip(("even", "odd"), noise, strict=True):
        Path("pictures", name).mkdir(parents=True)
        for number, array in enumerate(arrays):
            Image.fromarray(array).save(Path("pictures", name, f"{number}.png"))


def save_own_images() -> None:
    """The files that the pages' commands take for a user's own, in the current folder."""
    from PIL import Image, ImageDraw

    Path("drawings").mkdir()
    photo = Image.radial_gradient("L").resize((90, 60)).convert("RGB")
    for file in ("photo.jpg", "faded.png", "drawings/1.png"):
        photo.save(file)
    for file, size in (("hole.png", (90, 60)), ("lower.png", (8, 8))):
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).rectangle((0, size[1] // 2, *size), fill=255)
        mask.save(file)
