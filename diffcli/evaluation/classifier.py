"""A small digit classifier: reads reconstructions (class kept) and gives features for a Frechet distance offline.

The weights in ``weights/`` are made by ``python -m diffcli.evaluation.train_classifier``; each file's metadata
holds the accuracy that the script measured on the test split, which the network never trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffcli.diffusion.precision import full_precision
from diffcli.errors import UserError, unknown
from diffcli.evaluation.fingerprints import of_file

WEIGHTS = Path(__file__).parent / "weights"
CLASSIFIED = ("mnist", "digits")
FEATURES = 64


def _conv(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class Unavailable(UserError):
    """A classifier or an extractor is not there for this data set, or on this machine."""


class DigitClassifier(nn.Module):
    """Images, float (B, channels, H, W) in [0, 1] with H, W at least 4 -> logits (B, classes)."""

    num_features = FEATURES

    def __init__(self, channels: int = 1, classes: int = 10) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_conv(channels, 32, 5), nn.MaxPool2d(2), _conv(32, 32, 3)),
                nn.Sequential(_conv(32, FEATURES, 3), nn.MaxPool2d(2), _conv(FEATURES, FEATURES, 3)),
                _conv(FEATURES, FEATURES, 3),
            ]
        )
        self.head = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features, (B, 64): the last feature map, averaged over space."""
        hidden = images - 0.5
        for stage in self.stages:
            hidden = stage(hidden)
        return hidden.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@dataclass(frozen=True)
class TrainedClassifier:
    """A loaded classifier and the share of its data set's test images that it reads right."""

    network: DigitClassifier
    dataset: str
    test_accuracy: float


def classifier_settings(dataset: str) -> dict[str, Any]:
    """What tells the classifier shipped for ``mnist`` or ``digits`` from other ones."""
    from safetensors import safe_open

    file = weights_path(dataset)
    with safe_open(file, framework="pt") as content:
        accuracy = float(content.metadata()["test_accuracy"])
    return {
        "weights": dataset,
        "weights_sha256": of_file(file),
        "features": FEATURES,
        "test_accuracy": accuracy,
    }


def weights_path(dataset: str) -> Path:
    """Where the weights for ``dataset`` lie in the package."""
    return WEIGHTS / f"{dataset}.safetensors"


def load_classifier(dataset: str) -> TrainedClassifier:
    """The shipped classifier for ``mnist`` or ``digits``, in evaluation mode.

    Raises:
        Unavailable: no classifier is shipped for ``dataset``.
    """
    from safetensors.torch import load_file

    if dataset not in CLASSIFIED:
        raise Unavailable(unknown("digit classifier", dataset, CLASSIFIED))
    network = DigitClassifier()
    network.load_state_dict(load_file(weights_path(dataset)))
    accuracy = classifier_settings(dataset)["test_accuracy"]
    return TrainedClassifier(network.eval().requires_grad_(False), dataset, accuracy)


@torch.inference_mode()
def probabilities(network: nn.Module, images: Tensor, batch_size: int = 1000) -> Tensor:
    """Class probabilities (N, 10) for images (N, 1, H, W) in [0, 1], on the network's device."""
    with full_precision(images.device):
        return torch.cat([network(batch).softmax(dim=1) for batch in images.split(batch_size)])
