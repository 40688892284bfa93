"""What became of a study's claims: pure functions from results to verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from diffcli.evaluation.intervals import Interval
from diffcli.evaluation.metrics import METRICS
from diffcli.reporting.claim import Claim, Verdict
from diffcli.reporting.comparable import differences
from diffcli.studies.checks import CHECKS
from diffcli.studies.facts import FACTS
from diffcli.studies.results import NotMeasured, Number, Results, number_of, runs_of
from diffcli.studies.schema import StudyClaim

ORDER: Sequence[Verdict] = ("not confirmed", "not measured", "not settled", "confirmed")
"""Of several parts that have to be true, the first of these decides."""


def check(claims: Sequence[StudyClaim], results: Results) -> list[Claim]:
    """Every claim with its verdict and numbers; one whose runs or scores are missing is not measured.

    A verdict is that of a 95 % interval: confirmed where all of it is on the claim's side, not confirmed where none is, not
    settled where it has both.
    """
    return [_checked(claim, results) for claim in claims]


def _checked(claim: StudyClaim, results: Results) -> Claim:
    parts = [part for leaf in _leaves(claim) for part in _parts(leaf, results)]
    verdict = min((part.verdict for part in parts), key=ORDER.index)
    agree = all(part.verdict == verdict for part in parts)
    told = (part.evidence if agree else f"{part.evidence} ({part.verdict})" for part in parts)
    evidence = ". ".join(dict.fromkeys(told))
    return Claim(claim.text or words_of(claim), verdict, evidence, claim.why if verdict != "confirmed" else None)


def _leaves(claim: StudyClaim) -> list[StudyClaim]:
    """The claims of two numbers, or of one, that a claim is made of."""
    return [leaf for part in claim.all for leaf in _leaves(part)] or [claim]


def _parts(claim: StudyClaim, results: Results) -> list[Claim]:
    """A part for each metric of a claim."""
    found = []
    for metric in claim.metric or [""]:
        try:
            advantage, evidence = _advantage(claim, metric, results)
            found.append(Claim("", _verdict(advantage, negated=claim.form == "not_better"), evidence))
        except NotMeasured as reason:
            found.append(Claim("", "not measured", str(reason)))
    return found


def _verdict(advantage: Interval, negated: bool) -> Verdict:
    if advantage.low > 0:
        return "not confirmed" if negated else "confirmed"
    # Of two exact numbers that are equal, neither is better.
    if advantage.high < 0 or advantage.low == advantage.high:
        return "confirmed" if negated else "not confirmed"
    return "not settled"


def _advantage(claim: StudyClaim, metric: str, results: Results) -> tuple[Interval, str]:
    """(by how much a claim is true, the numbers in words)."""
    if claim.check is not None:
        assert claim.of is not None
        advantage, evidence = CHECKS[claim.check](runs_of(results, claim.of.model))
        return advantage, f"{claim.of.model}: {evidence}"
    if claim.of is not None:
        number = number_of(claim.of, metric, results)
        evidence = f"{number.key}: {number.name} {number.interval}"
        if claim.at_least is not None:
            return number.interval.minus(Interval.exact(claim.at_least)), evidence
        assert claim.at_most is not None
        return Interval.exact(claim.at_most).minus(number.interval), evidence
    which = claim.better or claim.not_better
    assert which is not None
    assert claim.than is not None
    a, b = number_of(which, metric, results), number_of(claim.than, metric, results)
    _check_comparable(claim, a, b)
    higher = _direction(metric) == "higher"
    good, bad = (a.interval, b.interval) if higher else (b.interval, a.interval)
    # Higher: a > by b + margin; lower: a < b / by - margin.
    advantage = good.minus(bad.times(claim.by)) if higher else good.times(1 / claim.by).minus(bad)
    beyond = Interval(advantage.value - claim.margin, advantage.low - claim.margin, advantage.high - claim.margin)
    difference = a.interval.minus(b.interval)
    return beyond, f"{a.key}: {a.name} {a.interval}, {b.name} {b.interval}; difference {difference}"


def _direction(metric: str) -> str | None:
    return FACTS[metric].better if metric in FACTS else METRICS[metric].better


def _check_comparable(claim: StudyClaim, a: Number, b: Number) -> None:
    """Checks that two numbers can be compared.

    Raises:
        NotMeasured: they cannot.
    """
    if a.key != b.key:
        raise NotMeasured(f"{a.key} of {a.name} and {b.key} of {b.name} cannot be compared")
    # Two priors of a claim's own choice may be of two kinds: that is what it asks.
    chosen = [which.prior for _, which in claim.selected]
    apart = [*claim.across, "kind"] if any(chosen) else claim.across
    if differing := differences(a.key, [*a.settings, *b.settings], apart_from=apart):
        raise NotMeasured(f"{a.key} cannot be compared: the runs differ in {', '.join(differing)}")


def words_of(claim: StudyClaim) -> str:
    """A claim without a text as a sentence."""
    metrics = " and ".join(claim.metric)
    names = {
        key: which.model
        + (f" after epoch {which.epoch}" if which.epoch else "")
        + (f" from {which.prior}" if which.prior else "")
        for key, which in claim.selected
    }
    if claim.all:
        return "; ".join(words_of(part).rstrip(".") for part in claim.all) + "."
    if claim.check is not None:
        return f"{names['of']}: {claim.check.replace('-', ' ')}."
    if claim.of is not None:
        bound = f"at least {claim.at_least:g}" if claim.at_least is not None else f"at most {claim.at_most:g}"
        return f"{names['of']} has a {metrics} of {bound}."
    times = "" if claim.by == 1 else f", {claim.by:g} times"
    margin = "" if claim.margin == 0 else f", by {claim.margin:g}"
    verb = "has a better" if claim.better else "has no better"
    return f"{names.get('better') or names.get('not_better')} {verb} {metrics} than {names['than']}{times}{margin}."
