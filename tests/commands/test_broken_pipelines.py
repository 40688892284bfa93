"""Folders of diffusers that are broken: one line each, nothing written, nothing executed; the library is not needed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli
from safetensors.torch import save_file
from torch import Tensor

import diffcli
from diffcli.checkpoints.diffusers_folder import read_pipeline
from diffcli.utils.errors import UserError

INDEX, UNET, SCHEDULER = "model_index.json", "unet/config.json", "scheduler/scheduler_config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
BIN = "unet/diffusion_pytorch_model.bin"


class Marker:
    """A pickle of it makes a file where it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("executed",)


def weights(**changes: Tensor | None) -> dict[str, Tensor]:
    """The weights that the reader looks at, of grey 8x8 images and three labels."""
    torch.manual_seed(0)
    state: dict[str, Tensor | None] = {
        "conv_in.weight": torch.randn(8, 1, 3, 3),
        "conv_out.weight": torch.randn(1, 8, 3, 3),
        "class_embedding.weight": torch.randn(3, 32),
        "down_blocks.0.attentions.0.query.weight": torch.randn(8, 8),
        "down_blocks.0.attentions.0.proj_attn.bias": torch.randn(8),
    }
    return {key: value for key, value in (state | changes).items() if value is not None}


def write_pipeline(folder: Path) -> Path:
    """A folder as the library writes it, with a program beside it that would tell if it was run."""
    for part in ("unet", "scheduler"):
        (folder / part).mkdir(parents=True)
        (folder / part / "pipeline.py").write_text("import os\nos.mkdir('executed')\n")
    (folder / "pipeline.py").write_text("import os\nos.mkdir('executed')\n")
    index = {"_class_name": "DDPMPipeline", "_diffusers_version": "0.42.1"}
    parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    (folder / INDEX).write_text(json.dumps(index | parts))
    unet = {
        "_class_name": "UNet2DModel",
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": [8, 16],
        "down_block_types": ["AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "num_class_embeds": 3,
    }
    (folder / UNET).write_text(json.dumps(unet))
    (folder / SCHEDULER).write_text(json.dumps({"_class_name": "DDPMScheduler", "timestep_spacing": "trailing"}))
    save_file(weights(), folder / WEIGHTS)
    return folder


def change_of(name: str, **values: Any) -> Callable[[Path], None]:
    """Changes the values of a file; None takes them away."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | values
        (folder / name).write_text(json.dumps(content))

    return change


def overwriting(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return write


def removal(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink() if (folder / name).is_file() else shutil.rmtree(folder / name)

    return remove


def other_weights(**values: Tensor | None) -> Callable[[Path], None]:
    return lambda folder: save_file(weights(**values), folder / WEIGHTS)


def pickle_of(name: str, *others: str) -> Callable[[Path], None]:
    """Weights as a pickle in place of the safetensors file."""

    def replacement(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / name).write_bytes(pickle.dumps(Marker()))

    return replacement


def sharding(folder: Path) -> None:
    for part in ("00001-of-00002", "00002-of-00002"):
        shutil.copy(folder / WEIGHTS, folder / f"unet/diffusion_pytorch_model-{part}.safetensors")
    (folder / WEIGHTS).unlink()


def truncation(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


SOLVER = {"_class_name": "DPMSolverMultistepScheduler"}
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no index": (removal(INDEX), "model_index.json is missing"),
    "no configuration": (removal(UNET), "unet/config.json is missing"),
    "no scheduler": (removal(SCHEDULER), "scheduler_config.json is missing"),
    "no weights": (removal(WEIGHTS), "diffusion_pytorch_model.safetensors is missing"),
    "no network": (removal("unet"), "ddpm/config.json is missing"),
    "index is no JSON": (overwriting(INDEX, b"{"), "model_index.json cannot be read as JSON"),
    "index is no text": (overwriting(INDEX, b"\xff\xfe\x00"), "model_index.json cannot be read as JSON"),
    "index is a list": (overwriting(INDEX, b"[]"), "must hold a mapping, and holds a list"),
    "nested": (overwriting(INDEX, b"[" * 100_000), "model_index.json cannot be read as JSON"),
    "large": (overwriting(UNET, b" " * 10_000_001), "larger than 10,000,000 bytes"),
    "another pipeline": (
        change_of(INDEX, _class_name="StableDiffusionPipeline"),
        "pipeline StableDiffusionPipeline is not",
    ),
    "no class": (change_of(INDEX, _class_name=None), "pipeline None is not read"),
    "code of its own": (
        change_of(INDEX, _class_name=["pipeline", "Mine"]),
        "code of its own (['pipeline', 'Mine']), which",
    ),
    "a VAE": (change_of(INDEX, vae=["diffusers", "AutoencoderKL"]), "the pipeline has vae: it draws what is decoded"),
    "a text": (change_of(INDEX, text_encoder=["transformers", "CLIPTextModel"]), "has text_encoder: it is not read"),
    "another network": (
        change_of(INDEX, unet=["diffusers", "UNet2DConditionModel"]),
        "UNet2DConditionModel is not read",
    ),
    "network's code": (change_of(INDEX, unet=["pipeline", "Mine"]), "unet ['pipeline', 'Mine'] is code of its own"),
    "no network named": (change_of(INDEX, unet=None), "model_index.json: unet is missing"),
    "class of the network": (change_of(UNET, _class_name="VQModel"), "unet/config.json: network VQModel is not read"),
    "unknown parameter": (change_of(UNET, gates=3), "gates is no parameter of UNet2DModel that is known here"),
    "unknown block": (
        change_of(UNET, down_block_types=["DownBlock2D", "MyBlock"]),
        "block MyBlock is not read; known: Down",
    ),
    "block of text": (
        change_of(UNET, up_block_types=["CrossAttnUpBlock2D"] * 2),
        "block CrossAttnUpBlock2D is not read",
    ),
    "levels": (change_of(UNET, block_out_channels=[8, 16, 32]), "must be equally many"),
    "variances": (change_of(UNET, out_channels=2), "it predicts variances, too"),
    "channels": (change_of(UNET, in_channels=9, out_channels=9), "images have 1 to 8 channels, got in_channels 9"),
    "no channels": (change_of(UNET, in_channels=0, out_channels=0), "images have 1 to 8 channels, got in_channels 0"),
    "size": (change_of(UNET, sample_size=None), "sample_size must be one side or [height, width]"),
    "fourier": (change_of(UNET, time_embedding_type="fourier"), "fourier is of variance-exploding noise"),
    "labels without a table": (change_of(UNET, class_embed_type="identity"), "class_embed_type identity is not read"),
    "a type": (change_of(UNET, norm_num_groups="eight"), "network.norm_num_groups"),
    "pickle": (
        pickle_of(BIN),
        "diffusion_pytorch_model.bin is a pickle, which can run code where it is read, and is refused",
    ),
    "checkpoint": (pickle_of("unet/model.ckpt"), "model.ckpt is a pickle"),
    "shards": (sharding, "diffusion_pytorch_model-00001-of-00002.safetensors is there: write the weights as one file"),
    "truncated": (truncation, "diffusion_pytorch_model.safetensors is damaged"),
    "empty": (overwriting(WEIGHTS, b""), "diffusion_pytorch_model.safetensors is damaged"),
    "renamed pickle": (overwriting(WEIGHTS, pickle.dumps(Marker())), "diffusion_pytorch_model.safetensors is damaged"),
    "wrong shape": (
        other_weights(**{"conv_in.weight": torch.zeros(8, 3, 3, 3)}),
        "conv_in.weight is (8, 3, 3, 3) and must be (8, 1, 3, 3)",
    ),
    "no last layer": (other_weights(**{"conv_out.weight": None}), "conv_out.weight is none and must be (1, 8, 3, 3)"),
    "labels": (change_of(UNET, num_class_embeds=4), "class_embedding.weight is (3, 32) and must be (4, 32)"),
    "labels not named": (change_of(UNET, num_class_embeds=None), "names none (num_class_embeds)"),
    "not finite": (
        other_weights(**{"conv_in.weight": torch.full((8, 1, 3, 3), torch.nan)}),
        "something else than finite numbers",
    ),
    "integers": (
        other_weights(**{"conv_in.weight": torch.ones(8, 1, 3, 3, dtype=torch.int64)}),
        "something else than finite",
    ),
    "another scheduler": (
        change_of(SCHEDULER, _class_name="EulerDiscreteScheduler"),
        "scheduler EulerDiscreteScheduler is not read; save the pipeline with one of DDPMScheduler, DDIMScheduler",
    ),
    "prediction": (
        change_of(SCHEDULER, prediction_type="flow_prediction"),
        "prediction_type flow_prediction is not read",
    ),
    "schedule": (change_of(SCHEDULER, beta_schedule="laplace"), "beta_schedule laplace is not read"),
    "betas": (change_of(SCHEDULER, trained_betas=[0.1, 0.2]), "trained_betas are 2, and num_train_timesteps is 1,000"),
    "no betas": (change_of(SCHEDULER, trained_betas="linear"), "trained_betas must be a list of numbers"),
    "beta": (change_of(SCHEDULER, beta_end=1.5), "beta must lie in (0, 1), got"),
    "steps": (change_of(SCHEDULER, num_train_timesteps=0), "num_train_timesteps must be a whole number"),
    "text for a number": (change_of(SCHEDULER, beta_start="0.1"), "beta_start must be a number, got '0.1'"),
    "no truth": (change_of(SCHEDULER, clip_sample="yes"), "clip_sample must be true or false, got 'yes'"),
    "variance": (change_of(SCHEDULER, variance_type="learned_range"), "variance_type learned_range is not read"),
    "zero SNR and noise": (change_of(SCHEDULER, rescale_betas_zero_snr=True), "eps needs something of the image at T"),
    "odd solver": (change_of(SCHEDULER, **SOLVER, solver_order="two"), "solver_order must be a number, got 'two'"),
}


def content(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(place.rglob("*"))}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_costs_a_line(cli: Cli, workplace: Path, name: str) -> None:
    break_it, message = BROKEN[name]
    folder = write_pipeline(workplace / "ddpm")
    break_it(folder)
    before = content(workplace)
    result = cli("import", "ddpm", "--out", "new/model.safetensors")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result
    assert message in result.err
    assert result.err.startswith("error: ")
    assert content(workplace) == before
    sample = cli("sample", "--checkpoint", "ddpm", "--out", "x.png")
    assert sample.code == 2
    assert message in sample.err
    assert content(workplace) == before


def test_they_are_at_least_thirty() -> None:
    assert len(BROKEN) >= 30


def test_a_sound_folder_is_read_without_the_library(workplace: Path) -> None:
    pipeline = read_pipeline(write_pipeline(workplace / "ddpm"))
    assert (pipeline.name, pipeline.classes, pipeline.notes) == ("ddpm", 3, ())
    table, state = pipeline.weights["network.unet.class_embedding.weight"], weights()
    assert torch.equal(table[1:], state["class_embedding.weight"])
    assert not table[0].any()
    # What attention was called before version 0.15 of the library.
    assert "network.unet.down_blocks.0.attentions.0.to_q.weight" in pipeline.weights
    assert "network.unet.down_blocks.0.attentions.0.to_out.0.bias" in pipeline.weights
    assert pipeline.preset["sampler"] == {"name": "ancestral", "variance": "posterior", "clip": True, "steps": None}
    assert pipeline.preset["prediction"] == "eps"
    assert len(pipeline.preset["schedule"]["values"]) == 1000
    rows = read_pipeline(workplace / "ddpm", unlabelled=1).weights["network.unet.class_embedding.weight"]
    assert torch.equal(rows, state["class_embedding.weight"][[1, 0, 2]])
    with pytest.raises(UserError, match=r"`unlabelled` 3: .*unet/config.json has rows 0 to 2"):
        read_pipeline(workplace / "ddpm", unlabelled=3)
    assert not Path("executed").exists()


def test_the_old_layout_lies_in_one_folder(workplace: Path) -> None:
    folder = write_pipeline(workplace / "ddpm")
    for name in (UNET, SCHEDULER, WEIGHTS):
        (folder / name).rename(folder / Path(name).name)
    for part in ("unet", "scheduler"):
        shutil.rmtree(folder / part)
    assert read_pipeline(folder).classes == 3


def test_what_their_sampling_does_otherwise_is_said(workplace: Path) -> None:
    folder = write_pipeline(workplace / "ddpm")
    for values, notes in (
        ({"timestep_spacing": "leading"}, ["spaced 'leading'"]),
        ({"variance_type": "fixed_large"}, ["fixed_large adds noise in the last step, too"]),
        ({"clip_sample_range": 3.0}, ["clip estimates to 3 times the range"]),
        ({"thresholding": True, "sample_max_value": 1.5}, ["thresholds are dynamic"]),
        ({"thresholding": True}, []),
        ({"set_alpha_to_one": False}, ["set_alpha_to_one is no setting of DDPMScheduler"]),
        (
            {"_class_name": "DDIMScheduler", "set_alpha_to_one": False},
            ["DDIM keeps the noise of what was not clipped", "they end at the noise of their first step"],
        ),
        ({**SOLVER, "use_karras_sigmas": True, "solver_order": 3}, ["solver_order 3, use_karras_sigmas True has no"]),
        ({**SOLVER, "num_train_timesteps": 999}, ["20 steps do not divide T = 999"]),
    ):
        before = (folder / SCHEDULER).read_text()
        change_of(SCHEDULER, **values)(folder)
        lines = read_pipeline(folder).notes
        assert len(lines) == len(notes), lines
        assert all(part in line and line.startswith("note: ") for part, line in zip(notes, lines, strict=True)), lines
        (folder / SCHEDULER).write_text(before)


@pytest.mark.parametrize("name", ["edm-cifar10.pkl", "model.pth", "model.bin"])
def test_pickles_are_refused_with_the_way_to_convert_them(cli: Cli, workplace: Path, name: str) -> None:
    Path(name).write_bytes(pickle.dumps(Marker()))
    for words in (["import", name], ["sample", "--checkpoint", name], ["export", name], ["compare", name, name]):
        result = cli(*words)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result
        assert "may be a pickle, as those of EDM and k-diffusion are, which runs code where it is read" in result.err
        assert "convert it where you trust it" in result.err
    assert [path.name for path in workplace.iterdir()] == [name]


def test_without_the_library_a_line_names_the_extra(cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffcli.networks.diffusers_unet.PACKAGE", "diffusers_that_is_missing")
    write_pipeline(workplace / "ddpm")
    before = content(workplace)
    for words in (["import", "ddpm"], ["sample", "--run", "ddpm"], ["eval", "--run", "ddpm"], ["play", "ddpm"]):
        result = cli(*words)
        assert (result.code, result.out) == (2, ""), result
        line = result.err.splitlines()[-1]
        assert line.startswith("error: network diffusers-unet needs the library")
        assert line.endswith("install it with: pip install 'diffcli[diffusers]'")
    refusal = cli("train", "--preset", "quickstart", "--set", "network={name: diffusers-unet}")
    assert (refusal.code, refusal.err.count("\n")) == (2, 1)
    assert "pip install 'diffcli[diffusers]'" in refusal.err
    assert content(workplace) == before


def test_images_that_a_pipeline_was_trained_on_fit_it(cli: Cli, workplace: Path) -> None:
    write_pipeline(workplace / "ddpm")
    for data, message in (
        ("mnist", "images of mnist are 1x28x28, and the model's are 1x8x8"),
        ("digits", "digits has 10 classes, and the model has 3 labels"),
        ("digts", "unknown data set or folder 'digts'; did you mean 'digits'?"),
    ):
        result = cli("import", "ddpm", "--data", data)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert f"--data: {message}" in result.err


def test_a_folder_that_is_none_is_refused(cli: Cli, workplace: Path) -> None:
    write_pipeline(workplace / "ddpm")
    for name, message in (
        ("nothing", "nothing is not a folder, as a pipeline of diffusers is"),
        (
            "ddpm/unet",
            "ddpm/unet holds a network alone; its noise and prediction are in the folder of its pipeline",
        ),
    ):
        result = cli("import", name)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert message in result.err
    shutil.rmtree("ddpm/unet")
    shutil.rmtree("ddpm/scheduler")
    Path("ddpm/model_index.json").unlink()
    with pytest.raises(UserError, match="ddpm is not a run folder"):
        diffcli.load("ddpm")
