"""Training of a small classifier: of the ones that the package ships, and of those that tell how good samples are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from diffcli.data.datasets import ImageSet
from diffcli.evaluation.classifier import Classifier, DigitClassifier, probabilities

BATCH = 128
SCORE_STEPS = 3000
"""Training steps of a classifier of the accuracy score, the same for every number of images."""


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random rotation (12 degrees), scale (10 %) and shift (7 % of the side) of each image, (B, C, H, W) in [0, 1]."""
    count = len(images)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, scale = uniform(0.21), 1 + uniform(0.1)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [torch.stack([cos, -sin, uniform(0.14)], 1), torch.stack([sin, cos, uniform(0.14)], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def accuracy(network: Classifier, images: ImageSet) -> float:
    """Share of ``images`` read as their label."""
    device = next(network.parameters()).device
    answers = [
        probabilities(network.eval(), images[index].images.to(device) / 255.0).argmax(dim=1).cpu()
        for index in torch.arange(len(images)).split(1000)
    ]
    return float((torch.cat(answers) == images.labels).double().mean())


def fitting(network: Classifier, images: ImageSet, steps: int, generator: torch.Generator) -> Iterator[float]:
    """Trains ``network`` in place by AdamW with a one-cycle learning rate on augmented batches; yields the loss of each
    step.

    Args:
        images: labelled, on the CPU.
        generator: of the order and the augmentation, on the CPU.
    """
    device = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    network.train()
    done = 0
    while done < steps:
        for index in torch.randperm(len(images), generator=generator).split(BATCH)[: steps - done]:
            batch = images[index]
            logits = network(augment(batch.images.to(device) / 255.0, generator))
            loss = F.cross_entropy(logits, batch.labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
            yield loss.item()


def accuracy_after_training(
    train: ImageSet, test: ImageSet, device: torch.device, seed: int, advance: Callable[[int], None]
) -> float:
    """The accuracy on test images of a new classifier that was trained on labelled images for ``SCORE_STEPS`` steps.

    Args:
        train: its labels are 0 and up, as those of ``test``.
        seed: of the initial weights, the order and the augmentation.
        advance: called with 1 after each step.
    """
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DigitClassifier(train.image_shape[0], classes).to(device)
    with torch.enable_grad():
        for _ in fitting(network, train, SCORE_STEPS, torch.Generator().manual_seed(seed)):
            advance(1)
    return accuracy(network, test)
