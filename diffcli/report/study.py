"""The report's study: which models it compares, and how long each is trained."""

from __future__ import annotations

from dataclasses import dataclass

from diffcli.report.claims import BLUR, HIGH, LOW, NOISE


@dataclass(frozen=True)
class Effort:
    """How long a model is trained; None is what its preset says, or all batches."""

    epochs: int | None = None
    limit_batches: int | None = None


@dataclass(frozen=True)
class Budget:
    """How long each model of a study is trained and on how much it is evaluated."""

    description: str
    efforts: dict[str, Effort]
    n_test: int
    n_fid: int
    steps: int | None


MODELS = (LOW, HIGH, BLUR, NOISE)
CNN_QUICK, UNET_QUICK = Effort(epochs=4, limit_batches=50), Effort(epochs=4, limit_batches=16)
BUDGETS = {
    "quick": Budget(
        "half an hour on two cores: short epochs, few samples",
        {LOW: CNN_QUICK, HIGH: CNN_QUICK, BLUR: UNET_QUICK, NOISE: UNET_QUICK},
        n_test=100,
        n_fid=200,
        steps=20,
    ),
    "report": Budget(
        "the report's 50 epochs each, every sampler step: for a GPU, or days",
        {name: Effort() for name in MODELS},
        n_test=1000,
        n_fid=1000,
        steps=None,
    ),
}
