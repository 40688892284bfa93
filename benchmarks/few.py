"""One seed's ten digits after 1, 2, 4 and 8 evaluations of the network, for each model of the table ``samplers-few`` of
:mod:`benchmarks.quality`, with the samplers of that table.

    python -m benchmarks.few --out docs/few-evaluations.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import diffcli
from benchmarks.quality import BY_EVALUATIONS
from diffcli.checkpoints.model_file import READY_MODELS, SUFFIX
from diffcli.inference.pictures import labelled_rows
from diffcli.utils.devices import Devices

COUNTS = (1, 2, 4, 8)
PICTURE = "few-evaluations.png"
"""In docs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs") / PICTURE)
    options = parser.parse_args()
    pictures = []
    for kind, rows in BY_EVALUATIONS.items():
        for row in (row for row in rows if row.options["steps"] in COUNTS):
            # The file itself, not a run of its name; and PyTorch, which every machine has.
            model = diffcli.load(READY_MODELS / f"{row.model}{SUFFIX}", devices=Devices("cpu", engine="torch"))
            images = model.sample(10, label="0-9", seed=0, quiet=True, **row.options)
            pictures.append((f"{kind}, {row.options['steps']}", images))
    labelled_rows(pictures, zoom=2).save(options.out)


if __name__ == "__main__":
    main()
