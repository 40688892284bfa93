"""The pages' Python: every snippet runs, a page's snippets one after another as in a notebook; files are what they
say."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, save_own_images
from pages import FENCE, PAGES, QUICK, snippets
from PIL import Image

from diffcli.config.registry import KINDS
from diffcli.networks import NETWORKS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_snippets_run(page: Path, workplace: Path, registries: None, small_presets: None) -> None:
    names: dict[str, object] = {}
    for language, file, text in snippets(page):
        if file:
            Path(file).write_text(text)
        elif language == "python":
            exec(compile(text, str(page), "exec"), names)


def test_the_degradation_of_ones_own_is_trained_sampled_and_plotted(
    cli, workplace: Path, registries: None, small_presets: None
) -> None:
    page = ROOT / "docs" / "your-own-degradation.md"
    for _, file, text in snippets(page):
        if file:
            Path(file).write_text(text)
    assert len(Path("swirl.py").read_text().splitlines()) <= 20
    ran = set()
    for command in re.findall(r"^diffcli (.*)$", page.read_text(), flags=re.MULTILINE):
        option, file, name, *words = shlex.split(command)
        result = cli(option, file, name, *words, *shlex.split(QUICK.get(name, "")))
        assert result.code == 0, (command, result.err)
        ran.add(name)
    assert ran == {"train", "sample", "eval", "schedule-plot"}
    assert Path("swirl.png").is_file()
    assert Path("swirl.gif").is_file()
    assert Path("swirl-schedule.png").is_file()


def test_the_commands_that_restore_run(cli, workplace: Path, small_presets: None) -> None:
    # mnist-fast and blur-fast with their T, but of small digits.
    steps = ["--set", "training.sample_epochs=[]", "--epochs", 1, "--limit-batches", 2, "--accelerator", "cpu"]
    for name, preset, T, more in (
        ("mnist-fast", "quickstart", 1000, ()),
        ("quickstart", "quickstart", 100, ()),
        ("photos", "quickstart", 100, ("--set", "labels=null")),
        ("blur-fast", "quickstart-blur", 100, ()),
        ("quickstart-blur", "quickstart-blur", 20, ()),
    ):
        words = ["--preset", preset, "--set", f"schedule.T={T}", *more, "--out", f"runs/{name}/a", *steps]
        training = cli("train", *words)
        assert training.code == 0, training.err
    save_own_images()
    shutil.copytree("drawings", "digits")
    Image.new("L", (24, 20), 99).save("blurred.png")
    outputs = []
    for page in (ROOT / "README.md", ROOT / "docs" / "restore.md"):
        for command in re.findall(r"^diffcli restore (.*)$", page.read_text(), flags=re.MULTILINE):
            words = shlex.split(command)
            out = words[words.index("--out") + 1]
            shutil.rmtree(out, ignore_errors=True)
            result = cli("restore", *words, "--steps", 2, "--accelerator", "cpu")
            assert (result.code, result.out) == (0, f"{out}\n"), (command, result.err)
            outputs.append(out)
    assert outputs == [
        "restored.png",
        "painted.png",
        "restored.png",
        "restored-cold.png",
        "rows.png",
        "restored",
        "painted.png",
        "restored",
        "degraded.npz",
        "again.npz",
        "restored",
        "restored",
        "restored",
        "doubt.png",
        "restored",
        "restored",
        "painted.png",
        "inverted.png",
    ]
    assert all(Path(out).exists() for out in outputs)


def test_models_of_a_loop_without_the_command_line_draw_digits(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "without-the-command-line.md"
    files = [(file, text) for _, file, text in snippets(page) if file]
    assert [file for file, _ in files] == ["digits.py", "digits_cold.py"]
    assert 35 <= len(files[0][1].splitlines()) <= 45
    assert "lightning" not in files[0][1]
    for file, text in files:
        Path(file).write_text(text)
    monkeypatch.syspath_prepend(str(workplace))
    hot = importlib.import_module("digits")
    cold = importlib.import_module("digits_cold")
    for name in ("digits", "digits_cold"):
        monkeypatch.delitem(sys.modules, name)
    digits = hot.x0.flatten(1)

    def distance(images: torch.Tensor) -> float:
        """The median root mean square, per pixel, to the nearest training image."""
        return float(torch.cdist(images.flatten(1), digits).min(dim=1).values.median()) / images[0].numel() ** 0.5

    # Measured: samples 0.13 to 0.17, test images 0.13, independent pixels of the digits 0.27, normal noise 0.98. The
    # mean digit is near, too, at 0.19, but has no variety; samples vary by 0.20 to 0.22, digits by 0.23.
    pixels = torch.stack([column[torch.randperm(len(digits))[:64]] for column in digits.T], dim=1)
    for images in (hot.images, cold.cold_images):
        assert images.shape == (64, 1, 8, 8)
        assert distance(images) < 0.2 < 0.25 < distance(pixels) < distance(torch.randn(64, 64))
        assert images.std(dim=0).mean() > 0.15
    assert Path("hot.png").is_file()
    assert Path("cold.png").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_waits_for_what_belongs_there(page: Path) -> None:
    # A word in capitals on a line of its own stands for a table or a text to come.
    waiting = re.findall(r"^[A-Z]{3,}$", FENCE.sub("", page.read_text()), flags=re.MULTILINE)
    assert waiting == []


def test_the_table_of_networks_names_every_key_and_its_default() -> None:
    page = (ROOT / "docs" / "presets.md").read_text()
    section = page.partition("## Networks")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| .* \| (.*) \|$", section, flags=re.MULTILINE))
    assert rows.keys() == NETWORKS.keys()
    of_ours = rows.keys() - {"diffusers-unet"}
    for name in of_ours:
        defaults = {
            key: parameter.default
            for key, parameter in inspect.signature(NETWORKS[name]).parameters.items()
            if key not in KINDS["network"].context
        }
        for key, default in defaults.items():
            text = str(default).lower() if isinstance(default, bool) else str(default)
            assert f"`{key}` {'' if default is None else text}" in rows[name], (name, key)
