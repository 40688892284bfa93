"""Every benchmark in one run; each table goes into ``docs/benchmarks.md``, between the two comments that name it.

python -m benchmarks --data-dir data [--rounds 5] [--batches 15] [--only training-notebook ...] [--earlier DIFFCLI]

The table ``earlier`` is made where ``--earlier`` names the program of an earlier version.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

from benchmarks import blur, earlier, evaluation, growth, jobs, sampling, step, training, unet
from benchmarks.rounds import machine, put

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def sections(data_dir: Path, rounds: int, batches: int, program: Path | None = None) -> dict[str, Callable[[], str]]:
    """Every table by the name that it has in the page."""
    against = {"earlier": lambda: earlier.commands(program, data_dir, rounds)} if program else {}
    return {
        "machine": lambda: f"{machine()}; {date.today()}; {rounds} rounds, {batches} batches a round.",
        "starting": lambda: jobs.starting(data_dir, rounds),
        "two-jobs": lambda: jobs.two_at_once(data_dir, rounds, 2 * batches),
        "training-notebook": lambda: training.against_notebook(data_dir, rounds, batches),
        "training-peers": lambda: training.against_peers(data_dir, rounds, batches),
        "training-step": lambda: step.against_bare(data_dir, rounds, 4 * batches),
        "training-matmul": lambda: training.against_matmul(data_dir, rounds, batches),
        "training-variants": lambda: training.variants(data_dir, rounds, batches),
        "training-profile": lambda: training.profile(data_dir),
        "training-unet": lambda: unet.against_plain(rounds),
        "training-memory": lambda: growth.training_memory(data_dir),
        "sampling-peers": lambda: sampling.against_peers(rounds),
        "sampling-batch": lambda: sampling.cost_of_small_batches(rounds),
        "sampling-engine": lambda: sampling.engines(rounds),
        "sampling-noise": lambda: sampling.noise(rounds),
        "evaluation": lambda: evaluation.measure_again(data_dir, rounds),
        "blur": lambda: blur.against_torchvision(data_dir, rounds),
        "growth-training": lambda: growth.training(rounds),
        "growth-sampling": lambda: growth.sampling(rounds),
        "growth-memory": growth.memory,
        **against,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("DIFFCLI_DATA", "data")))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=15)
    parser.add_argument("--only", nargs="+", metavar="TABLE", help="these tables, by name")
    parser.add_argument("--earlier", type=Path, metavar="DIFFCLI", help="the program of an earlier version")
    options = parser.parse_args()
    # Ends the jobs that run beside, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    tables = sections(options.data_dir, options.rounds, options.batches, options.earlier)
    if unknown := set(options.only or ()) - set(tables):
        parser.error(f"--only: no table {', '.join(sorted(unknown))}; there are {', '.join(tables)}")
    for name in options.only or tables:
        print(f"\n{name}\n", flush=True)
        text = tables[name]()
        print(text, flush=True)
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), name, text), encoding="utf-8")


if __name__ == "__main__":
    main()
