"""The report's findings, each checked against what was measured: pure functions from results to verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diffcli.reporting.claim import Claim
from diffcli.reporting.comparable import better, differences

Results = Mapping[str, Mapping[str, Any]]
"""By preset, what ``eval.json`` holds, and ``alpha_T`` under its key."""

LOW, HIGH, BLUR, NOISE = "ddpm-const-lowbeta", "ddpm-const-highbeta", "blur-const", "ddpm-cosine-unet"


class NotMeasured(Exception):
    """The runs at hand cannot tell; the message says why."""


def _check_comparable(runs: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> None:
    """Checks that the metrics of runs can be compared.

    The report compares losses over two schedules: these are left out of what has to be the same.

    Raises:
        NotMeasured: they cannot.
    """
    settings = [run.get("settings", {}) for run in runs]
    for metric in metrics:
        if differing := differences(metric, settings, apart_from=("degradation", "schedule", "noise")):
            raise NotMeasured(f"{metric} cannot be compared: the runs differ in {', '.join(differing)}")


def _fid_key(*runs: Mapping[str, Any]) -> str:
    shared = set.intersection(*(set(run["scores"]) for run in runs))
    found = sorted(key for key in shared if key.startswith("fid_") and not key.endswith("_floor"))
    return found[-1] if found else "fid"


def _against(
    a: Mapping[str, Any], b: Mapping[str, Any], names: tuple[str, str], metrics: list[str]
) -> tuple[dict[str, bool], str]:
    """For each metric whether ``a`` is better than ``b``, and the numbers as text."""
    shared = [metric for metric in metrics if metric in a["scores"] and metric in b["scores"]]
    _check_comparable([a, b], shared)
    verdicts = {metric: better(metric, a["scores"][metric], b["scores"][metric]) for metric in shared}
    numbers = [f"{metric} {a['scores'][metric]:.4g} and {b['scores'][metric]:.4g}" for metric in shared]
    return verdicts, f"{names[0]} and {names[1]}: " + ", ".join(numbers)


def low_beats_high(results: Results) -> tuple[bool, str]:
    metrics = [_fid_key(results[LOW], results[HIGH]), "rmse", "ssim", "psnr", "loss"]
    verdicts, evidence = _against(results[LOW], results[HIGH], ("low", "high"), metrics)
    loss_is_lower = not verdicts.pop("loss")
    return all(verdicts.values()) and loss_is_lower, evidence


def high_loss_is_easy(results: Results) -> tuple[bool, str]:
    losses = results[HIGH]["loss_by_t"]
    second_half = [loss for loss in losses[len(losses) // 2 :] if loss is not None]
    if losses[0] is None or not second_half:
        raise NotMeasured(
            "needs a larger n_test: no test image fell into the first tenth of t, or none into its second half"
        )
    early, late = losses[0], sum(second_half) / len(second_half)
    evidence = (
        f"high: loss {early:.4g} in the first tenth of t, {late:.2g} in its second half, where z_t is nearly pure noise"
    )
    return late < 0.1 * early, evidence


def leftover_signal_still_generates(results: Results) -> tuple[bool, str]:
    key = _fid_key(results[LOW], results[HIGH])
    _check_comparable([results[LOW], results[HIGH]], [key])
    low, high = results[LOW]["scores"][key], results[HIGH]["scores"][key]
    return (
        low < high,
        f"low: alpha_T {results[LOW]['alpha_T']:.4f}, {key} {low:.4g}; high: alpha_T {results[HIGH]['alpha_T']:.1e}, {key} {high:.4g}",
    )


def blur_reconstructs_noise_generates(results: Results) -> tuple[bool, str]:
    metrics = ["rmse", "ssim", "psnr", _fid_key(results[BLUR], results[NOISE])]
    verdicts, evidence = _against(results[BLUR], results[NOISE], ("blur", "noise"), metrics)
    fid_is_worse = not verdicts.pop(metrics[-1])
    return all(verdicts.values()) and fid_is_worse, evidence


def blur_keeps_the_class(results: Results) -> tuple[bool, str]:
    _check_comparable([results[BLUR], results[NOISE]], ["class_kept"])
    blur, noise = results[BLUR]["scores"]["class_kept"], results[NOISE]["scores"]["class_kept"]
    return blur >= 0.75 and noise < 0.5, f"class kept: blur {blur:.3f}, noise {noise:.3f} (the report: 7 of 8, and few)"


def uniform_prior_is_to_blame(results: Results) -> tuple[bool, str]:
    by_prior = results[BLUR]["by_prior"]
    key = _fid_key({"scores": by_prior["uniform"]}, {"scores": by_prior["blurred-data"]})
    fids = {name: scores[key] for name, scores in by_prior.items()}
    evidence = f"{key} by prior: " + ", ".join(f"{name} {value:.4g}" for name, value in fids.items())
    return fids["uniform"] > 2 * fids["blurred-data"], evidence


CLAIMS: dict[str, tuple[tuple[str, ...], Callable[[Results], tuple[bool, str]]]] = {
    "The low beta beats the high beta in every metric but the test loss (2.4).": ((LOW, HIGH), low_beats_high),
    "The high beta's loss is low because z_t is nearly pure noise (2.4, Figure 5).": ((HIGH,), high_loss_is_easy),
    "An alpha_T of about 0.135 still generates (2.4).": ((LOW, HIGH), leftover_signal_still_generates),
    "Blur beats noise on RMSE, SSIM and PSNR, and loses on FID with the uniform prior (4).": (
        (BLUR, NOISE),
        blur_reconstructs_noise_generates,
    ),
    "Blur reconstructions keep their class, noise reconstructions do not (4).": ((BLUR, NOISE), blur_keeps_the_class),
    "The uniform prior is what breaks unconditional blur (3.5, 5).": ((BLUR,), uniform_prior_is_to_blame),
}
"""By text, the presets whose runs a claim is about, and what checks it."""


def check(results: Results, several: Mapping[str, str] | None = None) -> list[Claim]:
    """Every claim with its verdict; one whose runs or scores are missing is not measured.

    Args:
        several: of the presets with more than one run, the label of the one in ``results``; the evidence names it.
    """
    claims = []
    for text, (presets, function) in CLAIMS.items():
        taken = [label for preset, label in (several or {}).items() if preset in presets]
        note = f" (of the runs of one preset the first was taken: {', '.join(taken)})" if taken else ""
        try:
            holds, evidence = function(results)
            claims.append(Claim(text, holds, evidence + note))
        except KeyError as missing:
            claims.append(Claim(text, None, f"needs {missing.args[0]}{note}"))
        except NotMeasured as reason:
            claims.append(Claim(text, None, f"{reason}{note}"))
    return claims
