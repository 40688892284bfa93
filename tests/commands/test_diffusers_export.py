"""Models of ours as folders of diffusers, opened by the library itself: the same noise, the same images."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Cli
from pipelines import NOISY, save_pipeline, small_network
from test_diffusers import ddim_step, factor, noise, other_step, ours, theirs
from torch import Tensor

import diffcli
from diffcli.checkpoints import model_file
from diffcli.diffusion.guidance import with_clipping
from diffcli.diffusion.prior_graphs import StartGraph
from diffcli.diffusion.samplers import last
from diffcli.inference.options import SamplerOptions

pytestmark = pytest.mark.slow
diffusers = pytest.importorskip("diffusers")

UNET = "{name: diffusers-unet, block_out_channels: [8, 16], norm_num_groups: 4, layers_per_block: 1}"
NATIVE = ["--set", f"network={UNET}", "--set", "input=full-range", "--epochs", "1", "--limit-batches", "3", "--quiet"]


def train(cli: Cli, *more: str) -> Path:
    Path("mine.yaml").write_text(TINY)
    result = cli("train", "--preset", "mine.yaml", *NATIVE, *more)
    assert result.code == 0, result.err
    return Path(result.out.strip())


def drawn_there(
    pipeline: Any, model: diffcli.Model, xT: Tensor, step: Callable[..., Tensor], noises: Sequence[Tensor]
) -> Tensor:
    """The images that the library draws of x_T in ten steps, with these noises."""
    return theirs(
        pipeline.unet,
        pipeline.scheduler,
        factor(model, model.T) * xT,
        10,
        None,
        lambda scheduler, output, t, zt, index: step(scheduler, output, t, zt, noises[index]),
    )


def level(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round().int()


SAMPLERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ancestral": ({"name": "ancestral", "variance": "posterior"}, {}),
    "clipped": ({"name": "ancestral", "variance": "posterior", "clip": True}, {}),
    "ddim": ({"name": "ddim"}, {"eta": 0.0}),
    "eta": ({"name": "ddim", "eta": 0.5, "clip": True}, {"eta": 0.5, "clip": True}),
    "dpm-solver++": ({"name": "dpm-solver++"}, {}),
}


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_network_of_the_library_is_a_pipeline_of_it(
    cli: Cli, workplace: Path, monkeypatch: pytest.MonkeyPatch, name: str, prediction: str
) -> None:
    run = train(cli, "--set", f"prediction={prediction}")
    sampler, call = SAMPLERS[name]
    out = cli(
        "export", run, "--out", "theirs", "--format", "diffusers", "--sampler", json.dumps(sampler), "--steps", 10
    )
    assert (out.code, out.out) == (0, "theirs\n"), out.err
    assert "note: open it with DiffusionPipeline.from_pretrained('theirs')" in out.err
    assert not Path("theirs/pipeline.py").exists()
    pipeline, model = diffusers.DiffusionPipeline.from_pretrained("theirs"), diffcli.load(run)
    shape = (2, *model.image_shape)
    xT, noises = noise(shape, 0), [noise(shape, 1 + index) for index in range(10)]
    module = "scheduling_ddpm" if sampler["name"] == "ancestral" else "scheduling_dpmsolver_multistep"
    step = ddim_step(**call) if call else other_step(monkeypatch, module)
    a = diffcli.to_uint8(ours(model, xT, noises, None, steps=10, sampler=sampler)).int()
    b = drawn_there(pipeline, model, xT, step, noises)
    assert int((a - level(b / 2 + 0.5)).abs().max()) <= 1
    # As a whole, and by itself: the pipeline of the library draws.
    assert len(pipeline(batch_size=2, num_inference_steps=2, output_type="np").images) == 2
    again = diffcli.load("theirs")
    assert again.preset.prediction == prediction
    assert int((a - diffcli.to_uint8(ours(again, xT, noises, None, steps=10, sampler=sampler)).int()).abs().max()) <= 1


@pytest.mark.parametrize("dropped", [0.0, 0.1])
def test_labels_come_with_a_pipeline_that_is_told_them(cli: Cli, workplace: Path, dropped: float) -> None:
    run = train(cli, "--set", f"labels={{dropped: {dropped}}}", "--set", "prediction=v")
    out = cli("export", run, "--out", "theirs", "--format", "diffusers", "--sampler", "ddim", "--steps", "10")
    assert out.code == 0, out.err
    assert "from_pretrained('theirs', trust_remote_code=True), which runs its pipeline.py" in out.err
    with pytest.raises(ValueError, match="trust_remote_code"):
        diffusers.DiffusionPipeline.from_pretrained("theirs")
    pipeline = diffusers.DiffusionPipeline.from_pretrained("theirs", trust_remote_code=True)
    model, copy = diffcli.load(run), diffcli.load("theirs")
    assert copy.classes == model.classes
    assert copy.works_without_label == model.works_without_label == (dropped > 0)
    labels: list[Any] = ["3", 7] + ([None] if dropped else [])
    pictures = pipeline(labels, torch.Generator().manual_seed(0), 10, "pt").images
    zT = torch.randn(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(0))
    numbers = torch.tensor([-1 if label is None else int(label) for label in labels])
    for one in (model, copy):
        images = [
            ours(one, zT[i : i + 1] / factor(one, one.T), [], int(numbers[i]), steps=10, sampler="ddim")
            for i in range(len(labels))
        ]
        assert int((diffcli.to_uint8(torch.cat(images)).int() - level(pictures)).abs().max()) <= 1


@pytest.mark.parametrize("sampler", ["ddim", "{name: ancestral, variance: posterior}"])
def test_any_other_model_is_a_pipeline_of_graphs(cli: Cli, workplace: Path, sampler: str) -> None:
    Path("mine.yaml").write_text(TINY)
    assert cli("train", "--preset", "mine.yaml", "--epochs", "1", "--limit-batches", "2", "--quiet").code == 0
    out = cli("export", "last", "--out", "theirs", "--format", "diffusers", "--sampler", sampler, "--steps", "5")
    assert out.code == 0, out.err
    assert "trust_remote_code=True" in out.err
    pipeline = diffusers.DiffusionPipeline.from_pretrained("theirs", trust_remote_code=True)
    images = pipeline(3, generator=torch.Generator().manual_seed(0), output_type="pt").images
    generator = torch.Generator().manual_seed(0)
    torch.rand(3, generator=generator)
    _, xT, *noises = [torch.randn(3, 1, 8, 8, generator=generator) for _ in range(8)]
    a = diffcli.to_uint8(ours(diffcli.load("last"), xT, noises, None, steps=5, sampler=sampler)).int()
    assert int((a - level(images)).abs().max()) <= 1


IN_A_FRESH_PROCESS = """
import json, sys
import numpy as np
import torch
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
labels = json.loads(sys.argv[2])
images = pipeline(class_labels=labels, generator=torch.Generator().manual_seed(0), output_type="pt").images
np.save(sys.argv[3], images.numpy())
"""


@pytest.mark.parametrize("name", model_file.ready_models())
def test_a_ready_model_is_a_pipeline_that_draws_what_it_does(cli: Cli, workplace: Path, name: str) -> None:
    """Hot and cold, from the priors and with the guidance that they have."""
    out = cli("export", name, "--out", "theirs", "--format", "diffusers")
    assert (out.code, out.out) == (0, "theirs\n"), out.err
    model = diffcli.load(name)
    classes = [model.classes[1], None, len(model.classes) - 1]
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, "theirs", json.dumps(classes), "drawn.npy"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-500:]
    labels = torch.tensor([1, -1, len(model.classes) - 1])
    sampling, generator = model.sampling(SamplerOptions(), model.prior(None)), torch.Generator().manual_seed(0)
    uniform = torch.rand(3, generator=generator)
    normal, noise, *noises = [
        torch.randn(3, *model.image_shape, generator=generator) for _ in range(1 + len(sampling.steps))
    ]
    degradation, draws = model.denoiser.degradation, iter(noises)
    assert sampling.prior is not None
    with torch.inference_mode():
        xT = StartGraph(sampling.prior, degradation, sampling.denoiser.sigma)(uniform, normal, noise, labels)
        estimate = sampling.estimate(labels)
        estimate = with_clipping(estimate) if sampling.sampler.clip else estimate
        images = last(sampling.bound_sampler(estimate, degradation, xT, sampling.steps, lambda: next(draws)))
    difference = diffcli.to_uint8(images).int() - level(torch.from_numpy(np.load("drawn.npy")))
    assert int(difference.abs().max()) <= 1
    assert len({image.numpy().tobytes() for image in images}) == 3


def test_a_pipeline_comes_back_as_it_was(cli: Cli, workplace: Path) -> None:
    network = small_network(num_class_embeds=4, in_channels=3, out_channels=3)
    scheduler = diffusers.DDIMScheduler(**NOISY, timestep_spacing="trailing", prediction_type="v_prediction")
    save_pipeline("first", scheduler, network)
    assert cli("import", "first", "--unlabelled", "3", "--out", "ours.safetensors").code == 0
    assert cli("export", "ours.safetensors", "--format", "diffusers", "--out", "second").code == 0
    again = diffusers.DiffusionPipeline.from_pretrained("second", trust_remote_code=True)
    for name, value in network.state_dict().items():
        assert torch.equal(again.unet.state_dict()[name], value), name
    before, after = (json.loads(Path(place, "unet", "config.json").read_text()) for place in ("first", "second"))
    assert after | {"num_train_timesteps": None} | {"_diffusers_version": before["_diffusers_version"]} == before
    torch.testing.assert_close(again.scheduler.alphas_cumprod, scheduler.alphas_cumprod, atol=1e-6, rtol=1e-4)
    assert again.config.unlabelled_row == 3
    result = cli("sample", "--checkpoint", "ours.safetensors", "--label", "none", "--n", "2", "--guidance", "2")
    assert result.code == 2
    assert cli("sample", "--checkpoint", "ours.safetensors", "--label", "0-2", "--guidance", "2", "--n", "3").code == 0


def test_what_a_pipeline_cannot_do_is_refused(cli: Cli, workplace: Path) -> None:
    run = train(cli, "--set", "labels={}")
    for words, message in (
        (["--guidance", "2"], "--guidance: a pipeline of diffusers is not guided; leave it out"),
        (["--half"], "--half is for a model file"),
        (["--prior", "gaussian"], "--prior: a pipeline of diffusers starts from standard normal noise"),
        (["--data", "."], "--data"),
    ):
        result = cli("export", run, "--format", "diffusers", "--out", "theirs", *words)
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert message in result.err
        assert not Path("theirs").exists()
    notes = cli(
        "export",
        run,
        "--format",
        "diffusers",
        "--out",
        "a",
        "--sampler",
        "{name: heun, spacing: log-snr}",
        "--steps",
        "3",
    )
    assert notes.code == 0
    for line in ("heun has no scheduler there", "spacing log-snr is not there", "3 steps do not divide T = 20"):
        assert line in notes.err


@pytest.mark.parametrize("channels", [2, 4])
def test_images_of_other_channels_are_arrays(cli: Cli, workplace: Path, channels: int) -> None:
    network = small_network(in_channels=channels, out_channels=channels)
    scheduler = diffusers.DDIMScheduler(**NOISY, timestep_spacing="trailing", clip_sample=False)
    folder = save_pipeline("first", scheduler, network)
    values = np.random.default_rng(0).uniform(-1, 1, (30, 16, 16, channels)).astype(np.float32)
    np.savez("x.npz", images=values)
    Path("some").mkdir()
    for number, one in enumerate(values):
        np.save(f"some/{number}.npy", one)
    for data, layout in ((), "CHW"), (("--data", "x.npz"), "HWC"), (("--data", "some"), "HWC"):
        out = cli("import", folder, *data, "--out", "ours.safetensors")
        assert out.code == 0, out.err
        words = ["sample", "--checkpoint", "ours.safetensors", "--n", 2, "--steps", 10, "--quiet"]
        assert cli(*words, "--out", "theirs.npz").code == 0
        images = np.load("theirs.npz")["images"]
        assert images.dtype == np.float32
        images = images if layout == "CHW" else np.moveaxis(images, -1, 1)
        model = diffcli.load("ours.safetensors")
        library = f"first, a DDIMPipeline of diffusers {diffusers.__version__}: UNet2DModel and DDIMScheduler"
        assert model.preset.description == library
        xT, *_ = model.sampling(SamplerOptions(steps=10), model.prior(None)).start(range(2), model.image_shape)
        pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
        b = drawn_there(pipeline, model, xT, ddim_step(eta=0.0), [torch.zeros_like(xT)] * 10)
        torch.testing.assert_close(torch.from_numpy(images), b.clamp(-1, 1), atol=1e-4, rtol=0)
        # And back: a grid of channels is no picture there, which the line says.
        back = cli(
            "export",
            "ours.safetensors",
            "--format",
            "diffusers",
            "--out",
            f"back{len(data)}{Path(data[-1] if data else '').stem}",
        )
        assert back.code == 0, back.err
        assert "call it with num_inference_steps=50, output_type='np'" in back.err
        assert "note: images there are in 0 to 1, which stand for -1 to 1" in back.err
    for few in (["--loss", "--n-test", "4"], ["--swd", "--n-fid", "4", "--steps", "2"]):
        out = cli(
            "eval", "--checkpoint", "ours.safetensors", *few, "--accelerator", "cpu", "--quiet", "--out", "e.json"
        )
        assert out.code == 0, out.err
    words = ["train", "--init", folder, "--set", "data={name: npz, path: x.npz, low: -1, high: 1}", "--epochs", 1]
    out = cli(*words, "--limit-batches", 1, "--set", "training.batch_size=4", "--quiet")
    assert out.code == 0, out.err
    init = json.loads(Path(out.out.strip(), "run.json").read_text())["init"]
    assert (init["weights"], init["anew"]) == (len(network.state_dict()), [])
    result = cli("import", folder, "--data", "mnist", "--out", "no.safetensors")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert f"images of mnist are 1x28x28, and the model's are {channels}x16x16" in result.err
    np.savez("wide.npz", images=255 * values)
    result = cli("import", folder, "--data", "wide.npz", "--out", "no.safetensors")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert "are bytes, or numbers from -1 to 1" in result.err
    Path("none").mkdir()
    result = cli("import", folder, "--data", "none", "--out", "no.safetensors")
    assert (result.code, result.err.count("\n")) == (2, 1), result
    assert f"none holds no .npy files, as images of {channels} channels are" in result.err
