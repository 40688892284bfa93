"""The number of new images that are drawn, and whether in rows between two seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from diffcli.inference.checks import check_count
from diffcli.inference.options import N_SAMPLES, STEPS_BETWEEN, DrawOptions
from diffcli.inference.prior_hints import NamedPriors, no_priors
from diffcli.inference.sampling import Sampling
from diffcli.inference.walks import Walk
from diffcli.utils.errors import UserError


def images_drawn(
    sampling: Sampling,
    options: DrawOptions,
    n: int | None,
    names: Sequence[str] = (),
    *,
    priors: NamedPriors = no_priors,
) -> tuple[Sampling, int]:
    """The sampling that draws ``n`` new images, or rows of them, and the number of images that these are.

    Args:
        sampling: with a prior, of the same options.
        n: None is 64 images, and one row, or one for each of several labels.
        names: of the labels, for messages.
        priors: the model's, for messages, see :meth:`Model.stored_priors`.

    Raises:
        UserError: ``n`` is out of range, ``between``, ``steps_between`` and ``seed`` do not go together, or nothing
            lies between the ends of a row.
    """
    if options.between is None:
        if options.steps_between is not None:
            raise UserError("`steps_between` is of a row between two seeds; add `between`, or leave it out")
        count = N_SAMPLES if n is None else n
        check_count(count)
        return sampling, count
    if options.seed:
        raise UserError("`between` names the seeds; leave `seed` out")
    rows = max(1, len(sampling.labels.labels if sampling.labels else ())) if n is None else n
    check_count(rows)
    steps = STEPS_BETWEEN if options.steps_between is None else options.steps_between
    check_count(rows * (steps + 1))
    walk = Walk(options.between, steps)
    assert sampling.prior is not None
    walk.check(sampling.prior, sampling.labels, rows, names, priors=priors)
    return replace(sampling, walk=walk), rows * walk.length
