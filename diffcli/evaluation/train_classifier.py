"""Trains the digit classifier that the package ships: ``python -m diffcli.evaluation.train_classifier --data mnist``.

AdamW with a one-cycle learning rate and random rotations, scalings and shifts of whole batches.
About ten minutes for MNIST on two cores, seconds for digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from diffcli.data.datasets import DATASETS, ImageSet
from diffcli.evaluation.classifier import CLASSIFIED, DigitClassifier, probabilities, weights_path

BATCH = 128
EPOCHS = {"mnist": 14, "digits": 150}


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random rotation (12 degrees), scale (10 %) and shift (7 % of the side) of each image, (B, 1, H, W) in [0, 1]."""
    count = len(images)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, scale = uniform(0.21), 1 + uniform(0.1)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [torch.stack([cos, -sin, uniform(0.14)], 1), torch.stack([sin, cos, uniform(0.14)], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def accuracy(network: DigitClassifier, images: ImageSet) -> float:
    """Share of ``images`` read as their label."""
    predicted = probabilities(network.eval(), images.images / 255.0).argmax(dim=1)
    return float((predicted == images.labels).double().mean())


def main(
    data: Annotated[str, typer.Option(help="mnist or digits.")] = "mnist",
    data_dir: Annotated[Path, typer.Option(envvar="DIFFCLI_DATA", help="Folder that holds MNIST/.")] = Path("data"),
    out: Annotated[Path | None, typer.Option(help="Weights file; default: the one in the package.")] = None,
    seed: int = 0,
) -> None:
    """Train one classifier and write its weights as safetensors."""
    from safetensors.torch import save_file

    if data not in CLASSIFIED:
        raise typer.BadParameter(f"'{data}'; choose from {', '.join(CLASSIFIED)}", param_hint="--data")
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    source = DATASETS[data](data_dir=data_dir, download=True) if data == "mnist" else DATASETS[data]()
    train, epochs = source.development, EPOCHS[data]
    network = DigitClassifier()
    steps = epochs * -(-len(train) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for epoch in range(epochs):
        network.train()
        for index in torch.randperm(len(train), generator=generator).split(BATCH):
            batch = train[index]
            logits = network(augment(batch.images / 255.0, generator))
            loss = F.cross_entropy(logits, batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{epochs}: last batch loss {loss.item():.4f}", flush=True)
    test_accuracy = accuracy(network, source.test)
    target = out or weights_path(data)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), target, metadata={"dataset": data, "test_accuracy": f"{test_accuracy:.6f}"})
    print(f"test accuracy {test_accuracy:.2%} on {len(source.test)} images; weights in {target}")


if __name__ == "__main__":
    typer.run(main)
