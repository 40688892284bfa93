"""Pipelines of diffusers, imported and exported, against the library itself: the same network, the same noise, the same
images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli, save_own_images
from pipelines import NOISY, save_pipeline, small_network
from torch import Tensor

import diffcli
from diffcli.config.build import bind_sampler
from diffcli.diffusion.guidance import with_clipping, with_labels
from diffcli.diffusion.samplers import last
from diffcli.inference.options import SamplerOptions

pytestmark = pytest.mark.slow
diffusers = pytest.importorskip("diffusers")

TRAILING = {"timestep_spacing": "trailing", "clip_sample": False}
ATTENTION = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
COLOUR = {"in_channels": 3, "out_channels": 3}
NETWORKS: dict[str, dict[str, Any]] = {
    "grey": {},
    "colour": COLOUR,
    "classes": {"num_class_embeds": 5},
    "scale_shift": {"resnet_time_scale_shift": "scale_shift"},
    "attention": {**COLOUR, **ATTENTION},
    "skips": {
        "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        **COLOUR,
        "block_out_channels": (32, 64),
        "norm_num_groups": 32,
    },
    "resnet": {
        "down_block_types": ("ResnetDownsampleBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "ResnetUpsampleBlock2D"),
    },
    "old": {
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "attention_head_dim": None,
        **ATTENTION,
    },
    "learned": {"time_embedding_type": "learned", "num_train_timesteps": 100},
    "oblong": {"sample_size": (16, 24), "center_input_sample": True},
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": NOISY,
    "thousand": {},
    "scaled_linear": {**NOISY, "beta_schedule": "scaled_linear"},
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100},
    "trained_betas": {"trained_betas": np.linspace(0.004, 0.1, 60).tolist(), "num_train_timesteps": 60},
    "zero snr": {**NOISY, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    "zero snr sample": {**NOISY, "rescale_betas_zero_snr": True, "prediction_type": "sample"},
}
PREDICTIONS = ("epsilon", "v_prediction", "sample")


def factor(model: Any, t: int) -> float:
    """k of z_t = k x_t."""
    return float(2 / (4 - 3 * model.denoiser.degradation.alphas_cumprod[t]) ** 0.5)


def ours(model: Any, xT: Tensor, noises: list[Tensor], label: int | None, **options: Any) -> Tensor:
    """x_0 of x_T and the noise of each step."""
    sampling = model.sampling(SamplerOptions(**options))
    draws = iter(noises)
    labels = None if label is None else torch.full((len(xT),), label)
    estimate = model.denoiser if labels is None else with_labels(model.denoiser, labels)
    if sampling.sampler.clip:
        estimate = with_clipping(estimate)
    function = bind_sampler(sampling.sampler)
    with torch.inference_mode():
        return last(function(estimate, model.denoiser.degradation, xT, sampling.steps, lambda: next(draws)))


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def theirs(
    network: Any, scheduler: Any, zT: Tensor, steps: int, label: int | None, step: Callable[..., Tensor]
) -> Tensor:
    scheduler.set_timesteps(steps)
    zt, labels = zT, {} if label is None else {"class_labels": torch.full((len(zT),), label)}
    for index, t in enumerate(scheduler.timesteps):
        zt = step(scheduler, network(zt, t, **labels).sample, t, zt, index)
    return zt


def compare(
    folder: Path, network: Any, scheduler: Any, steps: int, step: Callable[..., Tensor], **options: Any
) -> None:
    """Both ways from one x_T with one noise: the same within 1e-5 of pixels in [-0.5, 0.5], and a level of grey."""
    model = diffcli.load(save_pipeline(folder, scheduler, network))
    label = 2 if network.config.num_class_embeds else None
    shape = (2, *model.image_shape)
    xT, noises = noise(shape, 0), [noise(shape, 1 + index) for index in range(steps)]
    a = ours(model, xT, noises, label, steps=steps, **options)
    b = theirs(
        network,
        scheduler,
        factor(model, model.T) * xT,
        steps,
        label,
        lambda scheduler, output, t, zt, index: step(scheduler, output, t, zt, noises[index]),
    )
    size = max(1.0, float(b.abs().max()) / 2)
    assert float((a - b / 2).abs().max()) <= 1e-5 * size
    levels = diffcli.to_uint8(a).int() - ((b / 2 + 0.5).clamp(0, 1) * 255).round().int()
    assert int(levels.abs().max()) <= 1


def ddim_step(eta: float, clip: bool = False) -> Callable[..., Tensor]:
    def step(scheduler: Any, output: Tensor, t: Tensor, zt: Tensor, eps: Tensor) -> Tensor:
        more = {"variance_noise": eps} if eta else {}
        return scheduler.step(output, t, zt, eta=eta, use_clipped_model_output=clip or None, **more).prev_sample

    return step


def other_step(monkeypatch: pytest.MonkeyPatch, module: str) -> Callable[..., Tensor]:
    """A step of a scheduler that draws by itself, of the noise that is wanted."""

    def step(scheduler: Any, output: Tensor, t: Tensor, zt: Tensor, eps: Tensor) -> Tensor:
        monkeypatch.setattr(f"diffusers.schedulers.{module}.randn_tensor", lambda *shape, **options: eps)
        return scheduler.step(output, t, zt).prev_sample

    return step


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_every_network_and_prediction_draws_the_same(workplace: Path, kind: str, prediction: str) -> None:
    network = small_network(**NETWORKS[kind])
    scheduler = diffusers.DDIMScheduler(**NOISY, **TRAILING, prediction_type=prediction)
    compare(workplace / "theirs", network, scheduler, 10, ddim_step(1.0), sampler={"name": "ddim", "eta": 1.0})


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("clip", [False, True])
def test_ddim_draws_the_same_of_every_schedule(workplace: Path, schedule: str, eta: float, clip: bool) -> None:
    settings = {"prediction_type": "v_prediction"} | SCHEDULES[schedule] | TRAILING | {"clip_sample": clip}
    scheduler = diffusers.DDIMScheduler(**settings)
    for steps in (1, 5, 20):
        folder = workplace / f"{steps}"
        compare(folder, small_network(), scheduler, steps, ddim_step(eta, clip), sampler={"name": "ddim", "eta": eta})


@pytest.mark.parametrize("schedule", [*SCHEDULES, "sigmoid"])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_small_log"])
def test_ancestral_draws_the_same(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, schedule: str, clip: bool, variance: str
) -> None:
    values = SCHEDULES.get(schedule, {**NOISY, "beta_schedule": "sigmoid"})
    settings = {"prediction_type": "v_prediction"} | values | TRAILING | {"clip_sample": clip}
    scheduler = diffusers.DDPMScheduler(**settings, variance_type=variance)
    step = other_step(monkeypatch, "scheduling_ddpm")
    for steps in (4, scheduler.config.num_train_timesteps if schedule == "linear" else 20):
        compare(workplace / f"{steps}", small_network(), scheduler, steps, step)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("order", [1, 2])
def test_dpm_solver_draws_the_same(workplace: Path, monkeypatch: pytest.MonkeyPatch, schedule: str, order: int) -> None:
    settings = {"prediction_type": "v_prediction"} | SCHEDULES[schedule] | {"timestep_spacing": "trailing"}
    scheduler = diffusers.DPMSolverMultistepScheduler(**settings, solver_order=order)
    step = other_step(monkeypatch, "scheduling_dpmsolver_multistep")
    for steps in (1, 5, 20):
        compare(workplace / f"{steps}", small_network(), scheduler, steps, step)


def digits_pipeline(folder: str, **changes: Any) -> Path:
    """A pipeline of 8x8 digits by label, whose row 10 is that of no label."""
    scheduler = diffusers.DDIMScheduler(**NOISY, timestep_spacing="trailing", prediction_type="v_prediction")
    return save_pipeline(folder, scheduler, small_network(sample_size=8, num_class_embeds=11, **changes))


def test_everything_that_is_done_with_a_model_is_done_with_theirs(cli: Cli, workplace: Path) -> None:
    digits_pipeline("theirs")
    import_result = cli("import", "theirs", "--data", "digits", "--unlabelled", 10)
    assert (import_result.code, import_result.out) == (0, "model.safetensors\n"), import_result.err
    save_own_images()
    model = diffcli.load("theirs")
    assert model.sample(2, label=[3], steps=2).shape == (2, 1, 8, 8)
    with pytest.raises(diffcli.UserError, match="the images of the training are not there any more"):
        diffcli.evaluate("theirs", n_test=2)
    few = ["--n-test", 4, "--n-fid", 4, "--steps", 2, "--extractor", "classifier", "--accelerator", "cpu"]
    for words in (
        ["sample", "--checkpoint", "model.safetensors", "--label", "0-9", "--guidance", "2", "--steps", 2],
        ["sample", "--run", "theirs", "--label", "3", "--steps", 2],
        ["sample", "--checkpoint", "model.safetensors", "--conditional", "--steps", 2, "--n", 2],
        ["eval", "--run", "model.safetensors", *few],
        ["restore", "photo.jpg", "--run", "model.safetensors", "--degradation", "quickstart-pixelate", "--steps", 2],
        ["restore", "photo.jpg", "--run", "model.safetensors", "--t", 50, "--steps", 2],
        ["export", "model.safetensors", "--out", "copy.safetensors"],
        ["train", "--init", "theirs", "--set", "data={name: digits}", "--epochs", 1, "--limit-batches", 1],
    ):
        result = cli(*words)
        assert result.code == 0, (words, result.err)
    run = Path(result.out.strip())
    assert diffcli.load(run).preset.network.name == "diffusers-unet"
    run_result = cli("sample", "--run", "theirs", "--label", "3", "--steps", 2)  # a run comes first, and a line says so
    assert (
        f"note: your run {run.relative_to(workplace) if run.is_absolute() else run} is used; the pipeline"
        in run_result.err
    )
    page = cli("compare", "model.safetensors", run, "--rmse", "--out", "page.html", *few)
    assert page.code == 0, page.err
    assert Path("page.html").stat().st_size > 10_000


def test_the_network_keeps_the_rules_of_networks() -> None:
    from diffcli import check_network
    from diffcli.networks import NETWORKS

    small = {"block_out_channels": [8, 16], "norm_num_groups": 4, "layers_per_block": 1, "attention_head_dim": 4}
    check_network(NETWORKS["diffusers-unet"], **small)


def test_weights_of_another_layer_are_refused(cli: Cli, workplace: Path) -> None:
    folder = digits_pipeline("theirs")
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace('"layers_per_block": 1', '"layers_per_block": 2'))
    for words in (["import", "theirs"], ["sample", "--run", "theirs"]):
        result = cli(*words)
        assert result.code == 2
        assert "pipeline theirs is of another network: network.unet." in result.err
    config.write_text(config.read_text().replace('"norm_num_groups": 4', '"norm_num_groups": 5'))
    result = cli("import", "theirs")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "network diffusers-unet: diffusers does not build it: num_channels" in result.err
    assert not Path("model.safetensors").exists()
