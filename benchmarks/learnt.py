"""The numbers of docs/learnt.md: those of the study ``learnt``, which trains its models in minutes, and of the stored
evaluations of models that take longer.

    diffcli study learnt --out FOLDER
    python -m benchmarks.learnt FOLDER/learnt.json    # keeps the study's numbers in docs/evaluations/learnt.json
    python -m benchmarks.learnt                       # writes what is kept into the page

Nothing in a sentence of *Measured* is written by hand.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks import quality
from benchmarks.cells import read_cells
from benchmarks.rounds import put
from diffcli.evaluation.metrics import times_floor

PAGE = quality.ROOT / "docs" / "learnt.md"
STORE = quality.STORE / "learnt.json"
COLOUR = quality.STORE / "colour.json"


def numbers_of(study: Mapping[str, Any]) -> dict[str, Any]:
    """What of a study's ``.json`` is kept: by model, the scores of its best weights, by prior, by epoch, and of other
    z_T."""
    runs = {}
    for run in study["runs"]:
        runs[run["label"]] = {
            "scores": run["scores"],
            "by_prior": run["by_prior"],
            "by_epoch": {epoch: one["scores"] for epoch, one in run["by_epoch"].items()},
            "by_bits": {str(one["settings"]["reconstruction"]["bits"]): one["scores"] for one in run["by_start"]},
        }
    settings = study["runs"][0]["settings"]
    return {"diffcli": settings["diffcli"], "date": settings["date"], "models": runs}


def models() -> dict[str, Any]:
    """The kept numbers of the study, by model."""
    return dict(read_cells(STORE)["models"])


def _share(scores: Mapping[str, float], key: str = "class_kept") -> str:
    return f"{scores[key]:.3f} ± {scores[f'{key}_error']:.2g}"


def _floors(scores: Mapping[str, float]) -> str:
    """A distance in floors, by both judges."""
    first, second = (times_floor(f"fid_{judge}", scores) or 0.0 for judge in quality.JUDGES)
    return f"{first:.3g} and {second:.3g}"


def _read_scores(table: str, row: quality.Row) -> Mapping[str, float]:
    """The scores of a row of a stored table."""
    scores: Mapping[str, float] = quality.read_scores(table)[quality.key_of(row)]["scores"]
    return scores


def _bits(label: str) -> tuple[str, str]:
    """The classes that a blur model keeps from z_T in float32 and in 8 bits."""
    model = models()[label]
    return _share(model["scores"]), _share(model["by_bits"]["8"])


def bits() -> str:
    floats, file = _bits("cold")
    return (
        f"Of the classes of 359 digits the blur model keeps {floats} from z_T in float32, "
        f"and {file} from z_T rounded to 8 bits."
    )


def wiener() -> str:
    (plain, plain_file), (filtered, filtered_file) = _bits("cold unfiltered"), _bits("cold")
    return (
        f"With the filter {filtered} of the classes are kept from float32, without it {plain}; "
        f"from 8 bits {filtered_file} and {plain_file}."
    )


def remedy() -> str:
    (plain, plain_file), (noisy, noisy_file) = _bits("cold"), _bits("cold with noise")
    return (
        f"Trained with noise of 0.004, one grey level, the model keeps {noisy_file} of the classes from 8 bits, "
        f"without {plain_file}; from float32 {noisy} and {plain}."
    )


def one_step() -> str:
    hot, cold = (_floors(list(models()[name]["by_epoch"].values())[-1]) for name in ("hot unlabelled", "cold"))
    return (
        f"In one evaluation, both without labels, the noise model's digits are {hot} floors from real ones by the two "
        f"judges, the blur model's {cold}."
    )


def start() -> str:
    small = models()["cold"]["by_prior"]
    big = {row.options.get("prior", "mixture"): _read_scores("priors", row) for row in quality.TABLES["priors"][1]}
    lines = []
    for title, scores in (("Digits of 8x8", small), ("MNIST's, `blur-fast`", big)):
        grey, mixture, real = (_floors(scores[prior]) for prior in ("uniform", "mixture", "blurred-data"))
        lines.append(f"{title}: from grey {grey} floors, from a mixture {mixture}, from real blurred digits {real}.")
    return " ".join(lines)


def label_rows() -> str:
    hot = models()["hot"]["scores"]
    return (
        f"From z_T the model keeps {_share(hot)} of the classes when told no label, "
        f"and {hot['class_kept_told']:.3f} when told."
    )


def null_label() -> str:
    cold, hot = quality.TABLES["labels-cold"][1], quality.TABLES["labels-hot"][1]
    cold_told, cold_none = (_floors(_read_scores("labels-cold", row)) for row in (cold[0], cold[-1]))
    hot_told, hot_none = (_floors(_read_scores("labels-hot", row)) for row in (hot[1], hot[-1]))
    return (
        f"`blur-fast`, one sampler, unguided: told labels in turn {cold_told} floors, told none {cold_none}. "
        f"`mnist-fast`, each way with a guidance of its own: {hot_told}, and {hot_none}."
    )


def floors() -> str:
    rows = quality.TABLES["labels-cold"][1]
    alike, apart = _read_scores("labels-cold", rows[0]), _read_scores("labels-cold", rows[-1])
    keys = [f"fid_{judge}_floor" for judge in quality.JUDGES]
    first, second = (f"{alike[key]:.4f} and {apart[key]:.4f}" for key in keys)
    return (
        "2,000 real training images with as many of each label as the samples have, and 2,000 drawn at random, are "
        f"{first} from the test images by `classifier`, {second} by `resnet`."
    )


def judges() -> str:
    rows = quality.TABLES["samplers-guided"][1]
    plain, solver = (quality.read_scores("samplers-guided")[quality.key_of(row)] for row in (rows[0], rows[-1]))
    counts = [one["settings"]["evaluations"] for one in (plain, solver)]
    return (
        f"`ddim`, {counts[0]} evaluations, unguided: {_floors(plain['scores'])} floors by `classifier` and `resnet`; "
        f"`dpm-solver++`, {counts[1]} evaluations, guided: {_floors(solver['scores'])}."
    )


def steps() -> str:
    sampler = "{name: ddim, eta: 0}"
    rows = {
        row.options.get("steps"): row
        for row in quality.TABLES["samplers-hot"][1]
        if row.options.get("sampler") == sampler
    }
    few, many = (_floors(_read_scores("samplers-hot", rows[count])) for count in (10, 20))
    return f"`ddim` with eta 0, unguided, in 10 and in 20 steps: {few} floors, then {many}."


def colour() -> str:
    cells = read_cells(COLOUR)
    names = [f"emoji; 32; 400 s; {name}, guided by 1.4; seed 0" for name in ("noise alone", "blur, noise up to 1")]
    noise, blur = (_floors(cells[name]["scores"]) for name in names)
    return f"After 400 seconds of one core, the same network: noise alone {noise} floors, blur with noise {blur}."


def similarities() -> tuple[list[float], list[float]]:
    """SSIM of a digit with a pattern and of a fainter digit, each beside the digit: by windows inside, and with
    mirrored borders."""
    from sklearn.datasets import load_digits
    from torchmetrics.functional.image import structural_similarity_index_measure

    from diffcli.evaluation.scores import ssim

    small = torch.from_numpy(load_digits().images[0] / 16)
    digit = torch.zeros(1, 1, 28, 28, dtype=torch.float64)
    digit[..., 6:22, 6:22] = small.repeat_interleave(2, 0).repeat_interleave(2, 1)
    wave = torch.sin(torch.arange(28, dtype=torch.float64) * 2)
    pictures = (digit + 0.1 * wave[:, None] * wave).clamp(0, 1), 0.4 * digit
    inside = [float(ssim(digit, picture)) for picture in pictures]
    return inside, [float(structural_similarity_index_measure(picture, digit, data_range=1.0)) for picture in pictures]


def borders() -> str:
    inside, mirrored = (" and ".join(f"{value:.2f}" for value in values) for values in similarities())
    return (
        "A digit with a faint pattern over all of the picture, and a clean one that is fainter: "
        f"{inside} by windows inside the picture, {mirrored} with mirrored borders."
    )


RESULTS: dict[str, Callable[[], str]] = {
    "bits": bits,
    "wiener": wiener,
    "remedy": remedy,
    "one-step": one_step,
    "start": start,
    "told": label_rows,
    "null-label": null_label,
    "floors": floors,
    "judges": judges,
    "steps": steps,
    "colour": colour,
    "borders": borders,
}
"""The sentence of each result, by the name of its place in the page."""


def write() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, sentence in RESULTS.items():
        page = put(page, f"learnt-{name}", f"*Measured:* {sentence()}")
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, help="The study's .json, whose numbers are kept.")
    study = parser.parse_args().study
    if study is not None:
        STORE.write_text(
            json.dumps(numbers_of(json.loads(study.read_text(encoding="utf-8"))), indent=1) + "\n", encoding="utf-8"
        )
    write()


if __name__ == "__main__":
    main()
