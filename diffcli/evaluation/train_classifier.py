"""Trains a digit classifier that the package ships:
``python -m diffcli.evaluation.train_classifier --data mnist --judge resnet``.

AdamW with a one-cycle learning rate and random rotations, scalings and shifts of whole batches.
About ten minutes for MNIST on two cores, seconds for digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from diffcli.data.datasets import DATASETS
from diffcli.evaluation.classifier import CLASSIFIED, JUDGES, weights_path
from diffcli.evaluation.fitting import BATCH, accuracy, fit_steps
from diffcli.utils.files import json_text, user_path, write_safetensors, written_whole

EPOCHS = {"mnist": 14, "digits": 150}


def main(
    data: Annotated[str, typer.Option(help="mnist or digits.")] = "mnist",
    data_dir: Annotated[
        Path, typer.Option(envvar="DIFFCLI_DATA", help="Folder that holds MNIST/.", parser=user_path)
    ] = Path("data"),
    out: Annotated[
        Path | None, typer.Option(help="Weights file; default: the one in the package.", parser=user_path)
    ] = None,
    judge: Annotated[str, typer.Option(help="classifier or resnet.")] = "classifier",
) -> None:
    """Train one classifier and write its weights as safetensors."""
    if data not in CLASSIFIED:
        raise typer.BadParameter(f"'{data}'; choose from {', '.join(CLASSIFIED)}", param_hint="--data")
    if judge not in JUDGES:
        raise typer.BadParameter(f"'{judge}'; choose from {', '.join(JUDGES)}", param_hint="--judge")
    kind = JUDGES[judge]
    torch.manual_seed(kind.seed)
    generator = torch.Generator().manual_seed(kind.seed)
    source = DATASETS[data](data_dir=data_dir, download=True) if data == "mnist" else DATASETS[data]()
    train, epochs = source.development, EPOCHS[data]
    if kind.share < 1:  # as many steps as with all of them
        train = train[torch.randperm(len(train), generator=generator)[: int(kind.share * len(train))]]
        epochs *= 2
    network = kind.network()
    per_epoch = -(-len(train) // BATCH)
    for step, loss in enumerate(fit_steps(network, train, epochs * per_epoch, generator), 1):
        if step % per_epoch == 0:
            print(f"epoch {step // per_epoch}/{epochs}: last batch loss {loss:.4f}", flush=True)
    test_accuracy = accuracy(network, source.test)
    target = out or weights_path(data, judge)
    facts = {"dataset": data, "test_accuracy": round(test_accuracy, 6)}
    with written_whole(target) as part:
        write_safetensors(part, network.state_dict(), json_text(facts, indent=None))
    print(
        f"{len(train)} training images; test accuracy {test_accuracy:.2%} on {len(source.test)} images; weights in "
        f"{target}"
    )


if __name__ == "__main__":
    typer.run(main)
