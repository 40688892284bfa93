"""Makes ready models of runs: ``python -m benchmarks.models [NAME=]RUN...``, which ``make models`` calls;
``--again NAME...`` measures those that are there once more, where scores have got another meaning.

``--priors mixture`` leaves out the other priors that came with a run, where they are large; ``--n-fid 304 --n-test
250`` are for data that have few images for tests; ``--description TEXT`` says what the model draws. The colour model:
``python -m benchmarks.models --priors mixture --n-fid 304 --n-test 250 --description ... emoji=RUN``, the run one of
``colour-fast`` on the pictures of docs/how-to/own-images.md.

Each run's model is measured as it is and with its weights in float16; the latter is written into
``diffcli/inference/weights`` with the scores that were measured of it, and both are printed side by side.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffcli
from diffcli.checkpoints.model_file import READY_MODELS, SUFFIX, read_metadata, read_stored, write_model_file
from diffcli.checkpoints.runs import find_run
from diffcli.cli.tables import print_comparison, print_evaluation


def write(
    names: Sequence[str],
    folder: Path = READY_MODELS,
    *,
    priors: Sequence[str] | None = None,
    description: str | None = None,
    **effort: Any,
) -> None:
    """Writes a model file for each run, by its preset's name.

    Args:
        names: see :func:`diffcli.load`; ``NAME=RUN`` gives a model another name.
        priors: the fitted priors that are kept; all where None.
        description: of the model; None is its preset's.
        effort: how it is measured, see :class:`diffcli.studies.compare_runs.CompareOptions`.
    """
    for text in names:
        other, _, place = text.rpartition("=")
        run = find_run(place)
        name = other or str(run.info()["preset"])
        file = folder / f"{name}{SUFFIX}"
        with tempfile.TemporaryDirectory() as scratch:
            half = Path(scratch) / file.name
            diffcli.export(run, half, half=True)
            content = read_stored(half)
            preset = content.preset if description is None else {**content.preset, "description": description}
            states = {key: state for key, state in content.prior_states.items() if priors is None or key in priors}
            write_model_file(half, replace(content, preset=preset, prior_states=states))
            comparison = diffcli.compare([run, half], **effort)
            full, half_run = (
                replace(run, name=kind) for run, kind in zip(comparison.runs, ("float32", "float16"), strict=True)
            )
            print_comparison(replace(comparison, runs=[full, half_run], claims=[]))
            content = read_stored(half)
            write_model_file(
                file,
                replace(
                    content, preset=without_folders(content.preset), preset_name=name, evaluation=half_run.evaluation
                ),
            )
        print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, {read_metadata(file)['epoch']} epochs")


def without_folders(preset: Mapping[str, Any]) -> dict[str, Any]:
    """A preset whose images are a folder, without the folders above it: they are those of one computer."""
    data = dict(preset["data"])
    return {**preset, "data": {**data, "path": Path(data["path"]).name} if "path" in data else data}


def measure_again(names: Sequence[str], folder: Path = READY_MODELS, **effort: Any) -> None:
    """Replaces the scores that ready models tell of by those of today; their weights stay as they are."""
    for name in names:
        file = folder / f"{name}{SUFFIX}"
        evaluation = diffcli.evaluate(file, **effort)
        print_evaluation(evaluation)
        write_model_file(file, replace(read_stored(file), evaluation=evaluation.as_dict()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="[NAME=]RUN")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--priors", nargs="+")
    parser.add_argument("--description")
    parser.add_argument("--n-fid", type=int)
    parser.add_argument("--n-test", type=int)
    options = parser.parse_args()
    counts = {"n_fid": options.n_fid, "n_test": options.n_test}
    effort = {name: count for name, count in counts.items() if count is not None}
    if options.again:
        measure_again(options.names, **{"n_test": 250, "extractor": "classifier", **effort})
    else:
        write(options.names, priors=options.priors, description=options.description, **effort)


if __name__ == "__main__":
    main()
