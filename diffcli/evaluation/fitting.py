"""Training of a small classifier: of the ones that the package ships, and of those that tell how good samples are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from diffcli.data.sources import NO_LABEL, ImageSet, split
from diffcli.evaluation.classifier import AT_ONCE, Classifier, DigitClassifier, probabilities

BATCH = 128
SCORE_STEPS = 6000
"""Training steps of a classifier of the accuracy score at most."""
HELD_OUT = 0.1
"""Share of the images by which a training sees that it is done."""
SHORTEST, LONGEST = 50, 400
"""Steps of a training's first cycle: an epoch, within these."""


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random rotation (12 degrees), scale (10 %) and shift (7 % of the side) of each image, (B, C, H, W) in [0, 1]."""
    count = len(images)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, scale = uniform(0.21), 1 + uniform(0.1)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [torch.stack([cos, -sin, uniform(0.14)], 1), torch.stack([sin, cos, uniform(0.14)], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="border")


def labelled(images: ImageSet) -> ImageSet:
    """The images that have a label."""
    return images[images.labels != NO_LABEL]


def _probabilities(network: Classifier, images: ImageSet) -> Tensor:
    """Class probabilities (N, classes) of images, on the CPU."""
    device = next(network.parameters()).device
    batches = torch.arange(len(images)).split(AT_ONCE)
    network.eval()
    return torch.cat([probabilities(network, images.images[index].to(device) / 255.0).cpu() for index in batches])


def accuracy(network: Classifier, images: ImageSet) -> float:
    """Share of the images with a label that are read as that."""
    images = labelled(images)
    return float((_probabilities(network, images).argmax(dim=1) == images.labels).double().mean())


def fit(
    network: Classifier,
    images: ImageSet,
    *,
    limit: int,
    seed: int,
    batch: int = BATCH,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Trains ``network`` in place until it reads a held-out tenth of the images no better.

    Each cycle of the learning rate has twice the steps of the one before (Loshchilov & Hutter 2017, section 3). The
    training ends with a cycle after which neither the accuracy on the held-out images nor their likelihood is better
    than ever before; the weights with the best accuracy stay.

    Args:
        images: with labels.
        limit: of the steps.
        seed: of the held-out images, the order and the augmentation.
        batch: images of a step.
        advance: called with the number of steps just done, ``limit`` in all.
    """
    train, held_out = split(images, HELD_OUT, seed, by_class=True)
    held_out = held_out if len(held_out) else train
    generator = torch.Generator().manual_seed(seed)
    best, least_loss, weights, steps_left = -1.0, math.inf, network.state_dict(), limit
    steps = min(max(-(-len(train) // batch), SHORTEST), LONGEST)
    while steps_left:
        steps = min(steps, steps_left)
        with torch.enable_grad():
            for _ in fit_steps(network, train, steps, generator, batch):
                advance(1)
        steps_left -= steps
        of_label = _probabilities(network, held_out)
        accuracy = float((of_label.argmax(dim=1) == held_out.labels).double().mean())
        loss = float(F.nll_loss(of_label.double().clamp(min=1e-12).log(), held_out.labels))
        if accuracy > best:
            weights = {key: value.clone() for key, value in network.state_dict().items()}
        elif loss >= least_loss:
            break
        best, least_loss, steps = max(best, accuracy), min(least_loss, loss), 2 * steps
    advance(steps_left)
    network.load_state_dict(weights)
    network.eval()


def fit_steps(
    network: Classifier, images: ImageSet, steps: int, generator: torch.Generator, batch_size: int = BATCH
) -> Iterator[float]:
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
    count = 0
    while count < steps:
        for index in torch.randperm(len(images), generator=generator).split(batch_size)[: steps - count]:
            batch = images[index]
            logits = network(augment(batch.images.to(device) / 255.0, generator))
            loss = F.cross_entropy(logits, batch.labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            count += 1
            yield loss.item()


def accuracy_after_training(
    train: ImageSet, test: ImageSet, device: torch.device, seed: int, advance: Callable[[int], None]
) -> float:
    """The accuracy on test images of a new classifier that was trained on labelled images for as long as it learns, at
    most ``SCORE_STEPS`` steps.

    Args:
        train: its labels are 0 and up, as those of ``test``.
        seed: of the initial weights, the order and the augmentation.
        advance: called with the number of steps just done, ``SCORE_STEPS`` in all.
    """
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DigitClassifier(train.image_shape[0], classes, min(train.image_shape[1:])).to(device)
    fit(network, train, limit=SCORE_STEPS, seed=seed, advance=advance)
    return accuracy(network, test)
