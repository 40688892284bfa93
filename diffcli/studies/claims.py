"""The verdicts of a study's claims: pure functions from results to verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffcli.evaluation.intervals import Interval
from diffcli.evaluation.metrics import METRICS
from diffcli.studies.best_values import differences, start_of_reconstructions
from diffcli.studies.checks import CHECKS
from diffcli.studies.claim_text import Claim, EarlierBound, Verdict
from diffcli.studies.facts import FACTS
from diffcli.studies.results import NotMeasured, Number, Results, keys_of, number_of, runs_of
from diffcli.studies.study_schema import StudyBound, StudyClaim

ORDER: Sequence[Verdict] = (
    "not confirmed",
    "not measured",
    "not settled",
    "the judges disagree",
    "confirmed",
    "true by construction",
)
"""The order of verdicts: of several parts that have to be true, the first of these decides."""
DAY = len("2026-01-31")


@dataclass(frozen=True)
class Finding:
    """The result of a comparison by one judge.

    Args:
        evidence: the numbers in words, or what is missing.
        dates: of the evaluations that the numbers are of.
    """

    verdict: Verdict
    evidence: str
    dates: tuple[str, ...] = ()


def check(claims: Sequence[StudyClaim], results: Results) -> list[Claim]:
    """Every claim with its verdict and numbers, and every bound that it had before, by the same numbers.

    A verdict is that of a 95 % interval: confirmed where all of it is on the claim's side, not confirmed where none is,
    not settled where it has both; not measured where runs or scores are missing. Where several judges give a score it
    is theirs together, see :func:`joint_verdict`. A part that is true by construction decides only if it is not
    confirmed.
    """
    return [_claim_of(claim, results) for claim in claims]


def joint_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of several judges of one comparison: theirs, where all have the same; that they disagree, where one
    confirms what another one contradicts; else open."""
    different = set(verdicts)
    if "not measured" in different:
        return "not measured"
    if "not confirmed" in different and different & {"confirmed", "true by construction"}:
        return "the judges disagree"
    return different.pop() if len(different) == 1 else "not settled"


def _claim_of(claim: StudyClaim, results: Results) -> Claim:
    findings = _findings(claim, results)
    verdict = _joint(findings)
    return Claim(
        claim.text or words_of(claim),
        verdict,
        _evidence(findings, verdict),
        claim.why if verdict != "confirmed" else None,
        None if claim.since is None else claim.since.isoformat(),
        claim.known_numbers,
        _oldest(findings),
        tuple(_earlier_bound(bound, results) for bound in claim.history),
    )


def _earlier_bound(bound: StudyBound, results: Results) -> EarlierBound:
    findings = _findings(bound.claim, results)
    verdict = _joint(findings)
    return EarlierBound(
        bound.claim.text or words_of(bound.claim),
        verdict,
        _evidence(findings, verdict),
        bound.why,
        None if bound.since is None else bound.since.isoformat(),
        bound.known_numbers,
        _oldest(findings),
        bound.until.isoformat(),
    )


def _findings(claim: StudyClaim, results: Results) -> list[list[Finding]]:
    """The findings of each judge on each comparison that a claim is made of."""
    return [by_judge for leaf in _leaves(claim) for by_judge in _comparisons(leaf, results)]


def _joint(findings: Sequence[Sequence[Finding]]) -> Verdict:
    return min((joint_verdict([one.verdict for one in by_judge]) for by_judge in findings), key=ORDER.index)


def _evidence(findings: Sequence[Sequence[Finding]], verdict: Verdict) -> str:
    """The numbers in words, each with its own verdict where they differ."""
    every = [one for by_judge in findings for one in by_judge]
    agree = all(one.verdict == verdict for one in every)
    words = (one.evidence if agree else f"{one.evidence} ({one.verdict})" for one in every)
    return ". ".join(dict.fromkeys(words))


def _oldest(findings: Sequence[Sequence[Finding]]) -> str | None:
    return min((date for by_judge in findings for one in by_judge for date in one.dates), default=None)


def _leaves(claim: StudyClaim) -> Iterator[StudyClaim]:
    """The claims of two numbers, or of one, that a claim is made of."""
    if not claim.all:
        yield claim
    for part in claim.all:
        whole = claim.by_construction or part.by_construction
        yield from _leaves(part.model_copy(update={"by_construction": whole}))


def _comparisons(claim: StudyClaim, results: Results) -> Iterator[list[Finding]]:
    """The findings of each judge on each metric of a claim."""
    for metric in claim.metric or [""]:
        try:
            keys = _keys(claim, metric, results)
        except NotMeasured as reason:
            yield [Finding("not measured", str(reason))]
            continue
        yield [_finding(claim, metric, key, results) for key in keys]


def _keys(claim: StudyClaim, metric: str, results: Results) -> list[str]:
    """The keys of a metric's scores, one for each judge that any of the numbers compared was measured by."""
    if claim.check is not None:
        return [""]
    return sorted(set().union(*(keys_of(subject, metric, results) for _, subject in claim.subjects)))


def _finding(claim: StudyClaim, metric: str, key: str, results: Results) -> Finding:
    try:
        advantage, evidence, settings = _advantage(claim, metric, key, results)
    except NotMeasured as reason:
        return Finding("not measured", str(reason))
    verdict = _verdict(advantage, negated=claim.form == "not_better")
    if claim.by_construction and verdict == "confirmed":
        verdict = "true by construction"
    return Finding(verdict, evidence, tuple(str(one["date"])[:DAY] for one in settings if one.get("date")))


def _verdict(advantage: Interval, negated: bool) -> Verdict:
    if advantage.low > 0:
        return "not confirmed" if negated else "confirmed"
    # Of two exact numbers that are equal, neither is better.
    if advantage.high < 0 or advantage.low == advantage.high:
        return "confirmed" if negated else "not confirmed"
    return "not settled"


def _advantage(
    claim: StudyClaim, metric: str, key: str, results: Results
) -> tuple[Interval, str, list[Mapping[str, Any]]]:
    """(by how much a claim is true, the numbers in words, the settings of their evaluations)."""
    if claim.check is not None:
        assert claim.of is not None
        runs = runs_of(results, claim.of.model)
        advantage, evidence = CHECKS[claim.check](runs)
        return advantage, f"{claim.of.model}: {evidence}", [run.evaluation.get("settings", {}) for run in runs]
    if claim.of is not None:
        number = number_of(claim.of, key, results)
        evidence = f"{number.key}: {number.name} {number.interval}"
        if claim.at_least is not None:
            return number.interval.minus(Interval.exact(claim.at_least)), evidence, [*number.settings]
        assert claim.at_most is not None
        return Interval.exact(claim.at_most).minus(number.interval), evidence, [*number.settings]
    subject = claim.better or claim.not_better
    assert subject is not None
    assert claim.than is not None
    a, b = number_of(subject, key, results), number_of(claim.than, key, results)
    _check_comparable(claim, a, b)
    higher = _direction(metric) == "higher"
    winner, loser = (a.interval, b.interval) if higher else (b.interval, a.interval)
    # Higher: a > by b + margin; lower: a < b / by - margin.
    advantage = winner.minus(loser.times(claim.by)) if higher else winner.times(1 / claim.by).minus(loser)
    surplus = Interval(advantage.value - claim.margin, advantage.low - claim.margin, advantage.high - claim.margin)
    difference = a.interval.minus(b.interval)
    words = f"{a.key}: {a.name} {a.interval}, {b.name} {b.interval}; difference {difference}"
    return surplus, words, [*a.settings, *b.settings]


def _direction(metric: str) -> str | None:
    return FACTS[metric].better if metric in FACTS else METRICS[metric].better


def _check_comparable(claim: StudyClaim, a: Number, b: Number) -> None:
    """Checks that two numbers can be compared.

    Raises:
        NotMeasured: they cannot.
    """
    if a.name == b.name:
        raise NotMeasured(f"{a.key} cannot be compared: both numbers are of {a.name}")
    # Two priors of a claim's own choice may be of two kinds, and two z_t are two starts: that is what it asks.
    subjects = [subject for _, subject in claim.subjects]
    exceptions = [*claim.across]
    exceptions += ["kind"] if any(subject.prior for subject in subjects) else []
    exceptions += ["reconstruction"] if any(subject.is_disturbed for subject in subjects) else []
    if setting_names := differences(a.key, [*a.settings, *b.settings], apart_from=exceptions):
        raise NotMeasured(f"{a.key} cannot be compared: the runs differ in {', '.join(setting_names)}")


def words_of(claim: StudyClaim) -> str:
    """A claim without a text as a sentence."""
    metrics = " and ".join(claim.metric)
    names = {
        key: subject.model
        + (f" after epoch {subject.epoch}" if subject.epoch else "")
        + (f" from {subject.prior}" if subject.prior else "")
        + (f" from {start_of_reconstructions({'reconstruction': dict(subject)})}" if subject.is_disturbed else "")
        for key, subject in claim.subjects
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
