"""The schema of a study's file.

title: What T does
models:
  T 10: {preset: quickstart, set: {schedule.T: 10}}
  T 100: quickstart
budget: {max_time: 30s}
claims: [{better: T 100, than: T 10, metric: fid}]
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from diffcli.config.schema import Duration, Positive, PrecisionName, Strict
from diffcli.evaluation.options import MOST_BITS, MOST_NOISE

Epoch = Positive | Literal["first", "last"]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Bits = Annotated[int, Field(ge=1, le=MOST_BITS)]
Noise = Annotated[float, Field(ge=0, le=MOST_NOISE)]


class ReportedScores(Strict):
    """The scores that a publication reports of a model: where, and ``scores`` by the keys of ``eval.json``."""

    where: str
    scores: dict[str, float]


def _preset_alone(value: Any) -> Any:
    return {"preset": value} if isinstance(value, str) else value


class StudyModel(Strict):
    """A model of a study; its preset's name alone is enough.

    Args:
        preset: a preset's name or its YAML file.
        set: preset keys and their new values, ``{schedule.T: 10}``.
        seeds: of its trainings, one run for each; null is the study's.
        priors: where samples start, each in its turn; none is the preset's, and where that is fitted all that are.
        label: what a model with labels is told of what it draws and reconstructs, as ``EvaluateOptions`` takes it,
            ``none`` for nothing; null draws labels as frequent as they are in the data, and tells reconstructions none,
            beside that their own.
        reported: to be shown beside the scores.
        remark: on its training, for the first lines of the page; why it ended early, for example.
    """

    preset: str
    set: dict[str, Any] = {}
    seeds: list[Seed] | None = None
    priors: list[str] = []
    label: int | str | list[int | str] | None = None
    reported: ReportedScores | None = None
    remark: str = ""


class Effort(Strict):
    """The length of a training; null is what the preset says, or all batches."""

    epochs: Positive | None = None
    max_time: Duration | None = None
    limit_batches: Positive | None = None


class ByEpoch(Strict):
    """The evaluation of the weights that a run kept at its ``sample_epochs``; null as the study's evaluation.

    Args:
        models: labels of those that are measured along their training; none is all.
    """

    models: list[str] = []
    n_test: Positive | None = None
    n_fid: Annotated[int, Field(ge=2)] | None = None
    steps: Positive | None = None
    metrics: list[str] = []


def _listed_alone(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class Reconstructions(Strict):
    """Reconstructions from z_t that also are measured: of each model, from each t, with each number of bits and each
    noise.

    Args:
        models: labels of those that are measured so; none is all.
        t: steps; null is T.
        bits: of each pixel of z_t; null is float32.
        noise: standard deviations of what is added to z_t, where pixels have the range 1.
        n_test: test images; null is as many as the study's evaluation takes.
        steps: from T, of the sampler; null is as many as the study's evaluation takes.
        metrics: of reconstructions; none is all of them.
        precision: in which the networks compute. In bfloat16 they would see z_t with 8 bits, whatever was asked for.
    """

    models: list[str] = []
    t: Annotated[list[Positive | None], Field(min_length=1)] = [None]
    bits: Annotated[list[Bits | None], Field(min_length=1)] = [None]
    noise: Annotated[list[Noise], Field(min_length=1)] = [0.0]
    n_test: Positive | None = None
    steps: Positive | None = None
    metrics: list[str] = []
    precision: PrecisionName = "32-true"


class StudyEvaluation(Strict):
    """The evaluation of each model, in the words of ``eval``'s options.

    Args:
        n_test: test images, drawn at random by the seed; null is all.
        n_fid: samples for the distances.
        n_cas: samples for the accuracy score, where ``metrics`` names it.
        steps: of each model's own sampler; null is what its preset says.
        metrics: names; none is all that are not costly.
        precision: in which the networks compute here, as ``training.precision``; another one is measured anew.
        by_epoch: also measures the weights kept along the training; null does not.
        reconstructions: also measures reconstructions from other z_t than z_T as it is, or from that in other steps or
            of more images.
    """

    n_test: Positive | None = None
    n_fid: Annotated[int, Field(ge=2)] = 1000
    n_cas: Positive | None = None
    steps: Positive | None = None
    metrics: list[str] = []
    precision: PrecisionName = "32-true"
    by_epoch: ByEpoch | None = None
    reconstructions: Annotated[list[Reconstructions], BeforeValidator(_listed_alone)] = []


class Budget(Effort):
    """The length of the models' training, and what differs in their evaluation.

    Args:
        about: in a line, what it takes.
        without: labels of models that are left out.
        models: by label, of those models whose training differs.
        evaluation: keys that replace the study's.
        steps: by label, of the samplers of those models that take others than the evaluation's.
        precision: by label, of those models that are measured in another one than the evaluation's.
        n_test: by label, of those models that reconstruct more or fewer test images than the evaluation's.
        n_fid: by label, of those models that draw more or fewer samples than the evaluation's.
    """

    about: str = ""
    without: list[str] = []
    models: dict[str, Effort] = {}
    evaluation: dict[str, Any] = {}
    steps: dict[str, Positive] = {}
    precision: dict[str, PrecisionName] = {}
    n_test: dict[str, Positive] = {}
    n_fid: dict[str, Annotated[int, Field(ge=2)]] = {}


def _label_alone(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


class ClaimSubject(Strict):
    """A model that a number is of; its label alone is enough.

    Args:
        prior: where its samples start; null is the first.
        epoch: after which of the epochs whose weights were kept; null is the best checkpoint.
        t: of the z_t that reconstructions start from; null is T.
        bits: of each of its pixels; null is float32.
        noise: the standard deviation of what is added to it.
        steps: of the sampler from T; null is those of the only group that was measured from this z_t. Where no group
            was, the evaluation itself answers for z_T, if they are its own.
    """

    model: str
    prior: str | None = None
    epoch: Epoch | None = None
    t: Positive | None = None
    bits: Bits | None = None
    noise: Noise = 0.0
    steps: Positive | None = None

    @property
    def is_disturbed(self) -> bool:
        """Whether it names the z_t that reconstructions start from, or the steps from it."""
        return any((self.t, self.bits, self.noise, self.steps))

    @model_validator(mode="after")
    def _names_one_start(self) -> ClaimSubject:
        if self.is_disturbed and (self.prior is not None or self.epoch is not None):
            raise PydanticCustomError(
                "start",
                "t, bits, noise and steps are of reconstructions by the best weights; leave prior and epoch out",
            )
        return self


SubjectOrLabel = Annotated[ClaimSubject, BeforeValidator(_label_alone)]


def _day(value: Any) -> Any:
    # YAML makes a date of 2026-01-31, and a text of '2026-01-31' in quotes.
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    if value is not None and type(value) is not date:
        raise PydanticCustomError("day", "a date is written as 2026-01-31")
    return value


Day = Annotated[date, BeforeValidator(_day)]
DayOrNone = Annotated[date | None, BeforeValidator(_day)]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_as_list)]

FORMS = ("better", "not_better", "at_least", "at_most", "check", "all")


class StudyClaim(Strict):
    """A statement about the numbers of a study, in one of these forms:

    - ``better``, ``than``, ``metric``: one is better than the other, by more than ``margin``, or ``by`` times;
    - ``not_better``, ``than``, ``metric``: it is not, or not by that much;
    - ``of``, ``metric``, ``at_least`` or ``at_most``: a number is within a bound;
    - ``of``, ``check``: code decides, see :mod:`diffcli.studies.checks`;
    - ``all``: several of these together.

    A score that several judges give, ``fid`` by ``classifier`` and by ``resnet``, is compared by each of them.

    Args:
        metric: one or several, for each of which it has to hold.
        across: settings in which the two may differ although their numbers are compared.
        why: why it came out otherwise; shown where it did.
        by_construction: it follows from how the models are made, so that a measurement cannot contradict it; of a claim
            of several parts, also one of them.
        since: the date on which its bound was fixed.
        known_numbers: in words, numbers of it that were known then; empty where none were.
        history: the bounds that it had before, oldest first.
    """

    text: str | None = None
    better: SubjectOrLabel | None = None
    not_better: SubjectOrLabel | None = None
    than: SubjectOrLabel | None = None
    of: SubjectOrLabel | None = None
    metric: Names = []
    by: Annotated[float, Field(gt=0)] = 1.0
    margin: Annotated[float, Field(ge=0)] = 0.0
    at_least: float | None = None
    at_most: float | None = None
    check: str | None = None
    all: list[StudyClaim] = []
    across: list[str] = []
    why: str | None = None
    by_construction: bool = False
    since: DayOrNone = None
    known_numbers: str = ""
    history: list[StudyBound] = []

    @property
    def form(self) -> str:
        """The one of ``FORMS`` that it has."""
        return next(name for name in FORMS if getattr(self, name) not in (None, []))

    @property
    def subjects(self) -> list[tuple[str, ClaimSubject]]:
        """The numbers that it is about, each with its key."""
        return [(key, subject) for key in ("better", "not_better", "than", "of") if (subject := getattr(self, key))]

    @model_validator(mode="after")
    def _has_one_form(self) -> StudyClaim:
        forms = [name for name in FORMS if getattr(self, name) not in (None, [])]
        if len(forms) != 1:
            problem = f"it has {' and '.join(forms)}" if forms else "it has none"
            raise PydanticCustomError("claim", f"a claim has one of {', '.join(FORMS)}; {problem}")
        form = forms[0]
        needs_by_form: dict[str, set[str]] = {"check": {"of"}, "all": set()}
        needs_by_form |= {key: {"than", "metric"} for key in ("better", "not_better")}
        needs = needs_by_form.get(form, {"of", "metric"})
        for key in ("than", "of", "metric"):
            if (key in needs) != (getattr(self, key) not in (None, [])):
                verb = "needs" if key in needs else "takes no"
                raise PydanticCustomError("claim", f"a claim with {form} {verb} {key}")
        return self

    @model_validator(mode="after")
    def _has_a_story_in_order(self) -> StudyClaim:
        for key in ("since", "known_numbers", "history"):
            if any(getattr(part, key) for part in self.all):
                raise PydanticCustomError("claim", f"{key} is of a whole claim, not of one of its parts")
        if self.history and self.since is None:
            raise PydanticCustomError(
                "claim", "a claim with a history says since when its bound stands: since is missing"
            )
        days = [day for bound in self.history for day in (bound.since, bound.until)] + [self.since]
        dates = [day for day in days if day is not None]
        if dates != sorted(dates):
            raise PydanticCustomError("claim", "the dates of a history go from the oldest bound to the present one")
        return self


class StudyBound(Strict):
    """A bound that a claim had before.

    Args:
        claim: it, in one of the forms of a claim.
        since: the date on which it was fixed; null is not known.
        until: the date on which another one took its place.
        known_numbers: in words, numbers of it that were known when it was fixed; empty where none were.
        why: why another one took its place.
    """

    claim: StudyClaim
    since: DayOrNone = None
    until: Day
    known_numbers: str = ""
    why: str

    @field_validator("claim")
    @classmethod
    def _bound_alone(cls, claim: StudyClaim) -> StudyClaim:
        if claim.since or claim.known_numbers or claim.history:
            raise PydanticCustomError(
                "claim", "since, known_numbers and history stand beside an earlier claim, not in it"
            )
        return claim


class StudyFigure(Strict):
    """A figure of the page.

    Args:
        title: its number and what it shows.
        show: curves (``loss``, ``loss-by-t``, ``schedules``, ``bits``: classes kept by the bits of z_t) of all its
            models in one picture; ``degradations``, a test image over t, a row for each; or pictures of each model
            beside those of the others.
        models: labels; none is all.
        epochs: of those by epoch; none is all that the runs have.
        about: what is to be seen.
    """

    title: str
    show: Literal[
        "loss",
        "loss-by-t",
        "schedules",
        "bits",
        "degradations",
        "samples",
        "reconstructions",
        "samples-by-epoch",
        "reconstructions-by-epoch",
    ]
    models: list[str] = []
    epochs: list[Positive] = []
    about: str = ""


class StudySection(Strict):
    """A section of the page: paragraphs, and below them a table of numbers that were measured in another way.

    Args:
        text: paragraphs, with an empty line between.
        table: a Markdown file beside the study's that holds it; the other lines of the file are shown as one more
            paragraph.
    """

    title: str
    text: str = ""
    table: str | None = None


class Study(Strict):
    """A whole study.

    Args:
        source: what it examines: a publication, as a page names it.
        question: what is asked, paragraphs.
        answer: what the results mean, paragraphs.
        models: by label.
        seeds: of every model's trainings, one run for each; none is the preset's own.
        budget: the only one.
        budgets: several by name, the first one unless another is asked for.
        sections: stand before the figures.
        figures: null shows the degradations, the loss, and each model's samples and reconstructions.
    """

    title: str
    source: str = ""
    question: str = ""
    answer: str = ""
    models: Annotated[dict[str, Annotated[StudyModel, BeforeValidator(_preset_alone)]], Field(min_length=1)]
    seeds: list[Seed] = []
    evaluation: StudyEvaluation = StudyEvaluation()
    budget: Budget | None = None
    budgets: dict[str, Budget] = {}
    claims: list[StudyClaim] = []
    sections: list[StudySection] = []
    figures: list[StudyFigure] | None = None

    @field_validator("title")
    @classmethod
    def _one_line(cls, title: str) -> str:
        if not title.strip() or len(title.splitlines()) > 1:
            raise PydanticCustomError("title", "a title is one line of text")
        return title

    @model_validator(mode="after")
    def _one_budget(self) -> Study:
        if self.budget is not None and self.budgets:
            raise PydanticCustomError("budget", "give budget or budgets, not both")
        return self

    @property
    def known_budgets(self) -> dict[str, Budget]:
        """The budgets by name; the one that is taken without a name comes first."""
        return self.budgets or {"default": self.budget or Budget()}

    def seeds_of(self, label: str) -> Sequence[int | None]:
        """The seeds of a model's runs; None is its preset's own."""
        model_seeds = self.models[label].seeds
        return (self.seeds if model_seeds is None else model_seeds) or [None]
