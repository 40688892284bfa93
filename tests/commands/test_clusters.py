"""Labels that are clusters of the training images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import Cli
from PIL import Image

from diffcli.checkpoints.model_file import read_checkpoint
from diffcli.checkpoints.runs import Run
from diffcli.data.clusters import cluster_centres, label_by_cluster, nearest_centres
from diffcli.data.datasets import digits
from diffcli.inference.loading import read_model


@pytest.fixture(scope="module")
def centres() -> torch.Tensor:
    return cluster_centres(digits().development.images, 12)


def test_an_image_belongs_to_the_nearest_centre_in_pixels(centres: torch.Tensor) -> None:
    images = digits().test.images
    flat = images.flatten(1).double() / 255 - 0.5
    distances = (flat[:, None] - centres.double()[None]).square().sum(dim=2)
    clusters = nearest_centres(images, centres)
    assert torch.equal(clusters, distances.argmin(dim=1))
    assert len(clusters.unique()) == 12


def test_clusters_are_the_same_again_and_tell_digits_apart(centres: torch.Tensor) -> None:
    images = digits().development
    assert torch.equal(centres, cluster_centres(images.images, 12))
    labels = label_by_cluster(images, centres).labels
    # The most frequent digit of a cluster is that of most of its images; by chance one in ten would be.
    pure = sum(int(torch.bincount(images.labels[labels == number]).max()) for number in range(12))
    assert pure > 0.7 * len(images)


@pytest.fixture
def trained_by_cluster(cluster_run: Path, workplace: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(cluster_run, "run")
    return Path("run")


def test_a_checkpoint_holds_the_centres_and_resumes_with_them(
    cli: Cli, trained_by_cluster: Path, centres: torch.Tensor
) -> None:
    content = read_checkpoint(Run(trained_by_cluster).last)
    assert content["clusters"].shape == (12, 64)
    assert len(content["class_shares"]) == 12
    assert sum(content["class_shares"]) == pytest.approx(1)
    new_centres = content["clusters"] + 0.01
    torch.save(content | {"clusters": new_centres}, Run(trained_by_cluster).last)
    assert cli("train", "--resume", "run", "--epochs", "3", "--quiet").code == 0
    assert torch.equal(read_checkpoint(Run(trained_by_cluster).last)["clusters"], new_centres)
    assert (trained_by_cluster / "samples" / "epoch-001-conditional.png").is_file()


def test_a_model_file_holds_the_centres(cli: Cli, trained_by_cluster: Path) -> None:
    assert cli("export", "run", "--out", "clusters.safetensors").code == 0
    model, copy = read_model(Run(trained_by_cluster).best), read_model(Path("clusters.safetensors"))
    assert model.clusters is not None
    assert copy.clusters is not None
    assert torch.equal(model.clusters, copy.clusters)
    assert torch.equal(model.sample(4, label=3), copy.sample(4, label=3))


def test_samples_of_a_cluster_are_asked_for_by_number(cli: Cli, trained_by_cluster: Path) -> None:
    for label in ("3", "11", "none"):
        assert cli("sample", "--run", "run", "--n", "4", "--label", label, "--out", f"{label}.png", "--quiet").code == 0
    assert Path("3.png").read_bytes() != Path("11.png").read_bytes()
    assert cli("sample", "--run", "run", "--conditional", "--n", "4", "--out", "rows.png", "--quiet").code == 0
    refusal = cli("sample", "--run", "run", "--label", "12", "--out", "no.png")
    assert refusal.code == 2
    assert "0..11" in refusal.err
    assert not Path("no.png").exists()


def test_reconstructions_are_told_the_clusters_of_test_images(trained_by_cluster: Path) -> None:
    model = read_model(Run(trained_by_cluster).best)
    test = digits().test
    assert model.clusters is not None
    assert torch.equal(model.labelled(test).labels, nearest_centres(test.images, model.clusters))


def test_scores_that_need_the_classes_are_left_out_or_refused(cli: Cli, trained_by_cluster: Path) -> None:
    result = cli(
        "eval", "--run", "run", "--extractor", "classifier", "--n-fid", "64", "--n-test", "32", "--json", "--quiet"
    )
    assert result.code == 0, result.err
    scores = json.loads(result.out)["scores"]
    assert "fid_classifier" in scores
    assert "class_kept" in scores
    assert "label_kept" not in scores
    for flag in ("--label-kept", "--per-label"):
        refusal = cli("eval", "--run", "run", flag, "--n-fid", "64")
        assert refusal.code == 2
        assert "clusters of the training images" in refusal.err


def test_a_blur_model_starts_where_a_cluster_does(cli: Cli, workplace: Path) -> None:
    options = ["--set", "labels={clusters: 5}", "--set", "training.epochs=1", "--out", "cold", "--quiet"]
    assert cli("train", "--preset", "quickstart-blur", *options).code == 0
    assert cli("sample", "--run", "cold", "--label", "0-4", "--out", "grid.png", "--quiet").code == 0


def test_a_folder_without_classes_can_have_clusters(cli: Cli, workplace: Path) -> None:
    Path("photos").mkdir()
    for number, image in enumerate(digits().test.images[:40]):
        Image.fromarray(image[0].numpy()).save(f"photos/{number}.png")
    data = "data={name: folder, path: photos, size: 8, channels: 1}"
    result = cli(
        "train",
        "--preset",
        "quickstart",
        "--set",
        data,
        "--set",
        "labels={clusters: 4}",
        "--epochs",
        "1",
        "--out",
        "run",
        "--quiet",
    )
    assert result.code == 0, result.err
    assert len(read_model(Run(Path("run")).last).class_shares) == 4


BAD = {
    "labels={clusters: 1}": "labels.clusters: .*greater than or equal to 2",
    "labels={clusters: 5000}": "labels.clusters must be at most the number of training images, 1,",
    "labels={clusters: 5, classes: [a, b]}": "labels.classes: clusters are labels of their own",
    "labels={cluster: 5}": "did you mean 'labels.clusters'",
}


@pytest.mark.parametrize("assignment", BAD)
def test_bad_clusters_cost_one_line(cli: Cli, workplace: Path, assignment: str) -> None:
    import re

    refusal = cli("train", "--preset", "quickstart", "--set", assignment, "--out", "run")
    assert refusal.code == 2
    assert re.search(BAD[assignment], refusal.err.replace("\n", " "))
    assert not Path("run").exists()
