"""Two small classifiers: they read images (class kept, label kept) and give features for distances offline.

They are two judges that know nothing of each other: other architectures, seeds and training images. What both say of
samples is more than what presets may have been tuned to in the features of one. Those of digits come along; the weights
in ``weights/`` are made by
``python -m diffcli.evaluation.train_classifier``; each file's metadata holds the accuracy that the script measured on
the test split, which no network trained on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from diffcli.utils.compile import full_precision
from diffcli.utils.errors import UserError
from diffcli.utils.files import ENTRY
from diffcli.utils.hashing import of_file

WEIGHTS = Path(__file__).parent / "weights"
CLASSIFIED = ("mnist", "digits")
FEATURES = 64


AT_ONCE = 250
"""Images that are read together: of 64x64 in colour, 100 MB of feature maps."""
LARGEST = 32
"""Side of the images that the classifiers see whole; of larger ones the first convolution takes larger steps."""


def _stride(side: int) -> int:
    """The step of the first convolution in pixels, a power of two."""
    return 1 if side <= LARGEST else 2 * _stride(-(-side // 2))


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class Unavailable(UserError):
    """A classifier or an extractor is not there for this data set, or on this machine."""


class DigitClassifier(nn.Module):
    """Images, float (B, channels, H, W) in [0, 1] with H, W at least 4 -> logits (B, classes).

    Args:
        side: the shorter side of the images.
    """

    num_features = FEATURES

    def __init__(self, channels: int = 1, classes: int = 10, side: int = LARGEST) -> None:
        super().__init__()
        stride = _stride(side)
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_conv(channels, 32, max(5, 2 * stride + 1), stride), nn.MaxPool2d(2), _conv(32, 32, 3)),
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


class _Residual(nn.Module):
    """x + f(x), f two 3x3 convolutions after group normalisation; (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (
                    nn.GroupNorm(8, channels),
                    nn.SiLU(),
                    nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                )
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class ResidualClassifier(nn.Module):
    """Images, float (B, channels, H, W) in [0, 1] with H, W at least 4 -> logits (B, classes).

    Residual blocks with group normalisation, strided convolutions in place of pooling (He et al. 2016, in a small
    form).

    Args:
        side: the shorter side of the images.
    """

    num_features = 96

    def __init__(self, channels: int = 1, classes: int = 10, side: int = LARGEST) -> None:
        super().__init__()
        stride = _stride(side)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 2 * stride + 1, stride=2 * stride, padding=stride),
            _Residual(32),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            _Residual(64),
            nn.Conv2d(64, self.num_features, 1),
            _Residual(self.num_features),
            nn.GroupNorm(8, self.num_features),
            nn.SiLU(),
        )
        self.head = nn.Linear(self.num_features, classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features, (B, 96): the last feature map, averaged over space."""
        return self.body(2 * images - 1).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


Classifier: TypeAlias = DigitClassifier | ResidualClassifier


@dataclass(frozen=True)
class Judge:
    """A kind of classifier that is shipped for each data set of ``CLASSIFIED``.

    Args:
        network: its class.
        share: of the training images it was trained on, drawn at random.
        seed: of its weights, its training images and their order.
        file: its weights' file name; ``{}`` is the data set.
    """

    network: type[Classifier]
    share: float
    seed: int
    file: str


JUDGES = {
    "classifier": Judge(DigitClassifier, 1.0, 0, "{}.safetensors"),
    "resnet": Judge(ResidualClassifier, 0.5, 1, "{}-resnet.safetensors"),
}
"""The judges by the name that goes into the keys of scores."""


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier at work.

    Args:
        network: in evaluation mode.
        settings: what tells it from other ones: its weights, their checksum, its width and accuracy.
        by_class: whether it reads the data set's classes, and not clusters of the images.
    """

    network: Classifier
    settings: dict[str, Any]
    by_class: bool = True

    @property
    def test_accuracy(self) -> float:
        """The share of its data set's test images that it reads right."""
        return float(self.settings["test_accuracy"])


def classifier_settings(dataset: str, judge: str = "classifier") -> dict[str, Any]:
    """The settings that tell a shipped classifier from other ones: its weights, their checksum, its width and accuracy.

    Args:
        dataset: ``mnist`` or ``digits``.
        judge: a key of ``JUDGES``.
    """
    from safetensors import safe_open

    file = weights_path(dataset, judge)
    with safe_open(file, framework="pt") as content:
        metadata = content.metadata()
    facts = json.loads(metadata[ENTRY]) if ENTRY in metadata else metadata  # up to version 0.3, an entry for each fact
    return {
        "weights": dataset,
        "weights_sha256": of_file(file),
        "features": JUDGES[judge].network.num_features,
        "test_accuracy": float(facts["test_accuracy"]),
    }


def weights_path(dataset: str, judge: str = "classifier") -> Path:
    """The file in the package that holds a judge's weights for ``dataset``."""
    return WEIGHTS / JUDGES[judge].file.format(dataset)


def load_classifier(dataset: str, judge: str = "classifier") -> TrainedClassifier:
    """The shipped classifier for ``mnist`` or ``digits``, in evaluation mode.

    Raises:
        Unavailable: no classifier is shipped for ``dataset``.
    """
    from safetensors.torch import load_file

    if dataset not in CLASSIFIED:
        raise Unavailable(f"no classifier of {dataset} comes along, only of {' and '.join(CLASSIFIED)}")
    network = JUDGES[judge].network()
    network.load_state_dict(load_file(weights_path(dataset, judge)))
    return TrainedClassifier(network.eval().requires_grad_(False), classifier_settings(dataset, judge))


@torch.inference_mode()
def probabilities(network: nn.Module, images: Tensor, batch_size: int = AT_ONCE) -> Tensor:
    """Class probabilities (N, 10) for images (N, 1, H, W) in [0, 1], on the network's device."""
    with full_precision(images.device):
        return torch.cat([network(batch).softmax(dim=1) for batch in images.split(batch_size)])
