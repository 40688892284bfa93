"""The classification accuracy score: how good a label-conditional model's samples are as training data."""

from __future__ import annotations

import torch

from diffcli.data.datasets import ImageSet, Source
from diffcli.evaluation.fitting import SCORE_STEPS, accuracy_after_training, labelled
from diffcli.evaluation.options import N_CAS
from diffcli.utils.console import progress
from diffcli.utils.devices import Processes
from diffcli.utils.errors import UserError


def cas_size(count: int | None, source: Source) -> int:
    """The number of samples asked for, else ``N_CAS``, or all images that are no test images where those are fewer.

    Raises:
        UserError: more are asked for than there are such images to train on beside.
    """
    limit = len(labelled(source.development))
    if count is not None and count > limit:
        raise UserError(
            f"`n_cas` must be at most {limit:,}, for as many real images are trained on beside; got {count:,}"
        )
    return count or min(N_CAS, limit)


def accuracy_scores(
    samples: ImageSet, source: Source, seed: int, processes: Processes, quiet: bool
) -> dict[str, float]:
    """The classification accuracy score (Ravuri & Vinyals 2019), as ``cas``; beside it ``cas_real``.

    A small classifier learns from samples and the labels they were asked for, and reads the real test images. The same
    one, trained in the same way on as many real images that are no test images, is what perfect samples would give.

    Args:
        samples: those without a label are left out.
        seed: of the real images' choice and of both trainings.
    """
    order = torch.randperm(len(source.development), generator=torch.Generator().manual_seed(seed))
    real = labelled(source.development[order])
    sets = {
        "cas": samples[samples.labels >= 0],
        "cas_real": real[torch.arange(len(real)) < len(samples)],
    }
    total = SCORE_STEPS * len(processes.share(list(sets)))
    with progress("training classifiers for the accuracy score", total, "steps", quiet) as advance:

        def score(name: str) -> float:
            return accuracy_after_training(sets[name], source.test, processes.device, seed, advance)

        return dict(zip(sets, processes.map_in_order(list(sets), score), strict=True))
