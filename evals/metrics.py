"""Scores of one answer and metrics of one benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from evals.distributional import DISTRIBUTIONAL
from evals.individual import INDIVIDUAL
from evals.intervals import same_cases
from evals.metric import NAN, Metric
from evals.probabilistic import PROBABILISTIC
from evals.subgroups import WEIGHTED
from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.outcomes import Outcome, outcomes_frame

if TYPE_CHECKING:
    import pandas as pd

    from valuesim_dspy.survey.codebook import Codebook
    from valuesim_dspy.survey.question import Question

MIN_COVERAGE = 0.95
"""Below this share of answered cases a result is invalid and has no score."""


def exact(question: Question, truth: int, answer: int | None) -> float:
    """Return 1.0 for the code the respondent gave, else 0.0; no answer is 0.0."""
    del question
    return float(answer == truth)


def closeness(question: Question, truth: int, answer: int | None) -> float:
    """Return 1 minus the distance on the scale, in [0, 1]; no answer is 0.0.

    The distance is in ranks, the ends being 1 apart. Where there is no order, and where either
    code is off the scale, it is `exact`.
    """
    distance = rank_distance(question, truth, answer)
    return exact(question, truth, answer) if distance is None else 1.0 - distance


SCORES: Mapping[str, Callable[[Question, int, int | None], float]] = {
    "exact": exact,
    "closeness": closeness,
}
"""Scores of one answer, called with question, truth and answer: in [0, 1], higher is better."""


def rank_distance(question: Question, truth: int, answer: int | None) -> float | None:
    """Return how far apart two codes stand on the question's scale.

    Returns:
        The difference of ranks over the number of on-scale codes less one, in [0, 1]; None
        without an answer, without an order, or where either code is off the scale.
    """
    order = question.order
    if answer is None or truth not in order or answer not in order:
        return None
    return abs(order.index(truth) - order.index(answer)) / (len(order) - 1)


def score_frame(outcomes: Sequence[Outcome], codebook: Codebook) -> pd.DataFrame:
    """Return `outcomes_frame` with what is known of each question, scored.

    Added are `section`, `battery`, `kind`, `scale_kind`, `n_options`, and
    `correct`, 1.0 or 0.0, a failure is 0.0;
    `truth_place` and `answer_place`, where the two stand on an ordinal question's scale, 0 for
    the first of its options in order to 1 for the last; NaN for failures, for other scales, and
    where the code is off the scale;
    `places`, where all codes stand on it, as JSON text of code to place; "" on other scales;
    `error`, the distance of the two, in [0, 1], lower is better; NaN where either is;
    `answered`, whether an answer came;
    `disagree`, 1.0 where two or more views differ, 0.0 where they agree, NaN with fewer.

    Args:
        outcomes: One per case, each with a known truth.
        codebook: Has every question of the outcomes.

    Raises:
        MissingDataError: There are no outcomes.
        SurveyDataError: A truth is unknown, or the codebook lacks a question.
    """
    if not outcomes:
        raise MissingDataError("no case was put to the program", "give a set that is not empty")
    unknown = sum(outcome.truth is None for outcome in outcomes)
    if unknown:
        raise SurveyDataError(f"{unknown} cases have no true answer; score those that have one")
    frame = outcomes_frame(outcomes).astype({"fidelity": float})
    questions = [codebook[id] for id in frame["question"]]
    for name in ("section", "battery", "kind", "scale_kind"):
        frame[name] = [getattr(question, name) for question in questions]
    frame["n_options"] = [len(question.options) for question in questions]
    frame["answered"] = frame["status"] == "answered"
    given = [outcome.answer if outcome.status == "answered" else None for outcome in outcomes]
    truths = frame["truth"].tolist()
    cases = list(zip(questions, truths, given, strict=True))
    frame["correct"] = [exact(*case) for case in cases]
    frame["truth_place"] = [_place(question, truth) for question, truth, _ in cases]
    frame["answer_place"] = [_place(question, answer) for question, _, answer in cases]
    texts = {question.id: _places(question) for question in questions}
    frame["places"] = [texts[question.id] for question in questions]
    frame["error"] = [_error(*case) for case in cases]
    frame["disagree"] = _disagree(frame)
    return frame


def _error(question: Question, truth: int, answer: int | None) -> float:
    distance = rank_distance(question, truth, answer)
    return NAN if distance is None or question.scale_kind != "ordinal" else distance


def _place(question: Question, code: int | None) -> float:
    if question.scale_kind != "ordinal" or code not in question.order:
        return NAN
    return question.order.index(code) / (len(question.order) - 1)


def _places(question: Question) -> str:
    if question.scale_kind != "ordinal":
        return ""
    return json.dumps({code: _place(question, code) for code in question.order})


def _disagree(frame: pd.DataFrame) -> pd.Series:
    views = frame[[name for name in frame if str(name).startswith("view_")]].astype(float)
    differ = (views.max(axis=1) != views.min(axis=1)).astype(float)
    return differ.where(views.count(axis=1) >= 2)


def _share(status: str) -> Callable[[pd.DataFrame], float]:
    return lambda frame: float((frame["status"] == status).mean())


def _mean(column: str) -> Callable[[pd.DataFrame], float]:
    return lambda frame: float(frame[column].mean())


def _mean_of_means(column: str, group: str) -> Callable[[pd.DataFrame], float]:
    return lambda frame: float(frame.groupby(group)[column].mean().mean())


_ALL = (
    Metric(
        "accuracy",
        "Cases answered with the code the respondent gave; failures count as wrong.",
        "share of all cases, 0 to 1",
        True,
        _mean("correct"),
    ),
    Metric(
        "accuracy_macro",
        "The mean over questions of each question's accuracy.",
        "share, 0 to 1",
        True,
        _mean_of_means("correct", "question"),
    ),
    Metric(
        "nmae",
        "The mean absolute error in ranks over the length of the scale, on ordinal questions; "
        "over answered cases whose two codes are on the scale.",
        "share of the scale, 0 to 1",
        False,
        _mean("error"),
    ),
    Metric(
        "nmae_cases",
        "The cases that nmae is over.",
        "cases",
        None,
        lambda frame: float(frame["error"].notna().sum()),
    ),
    Metric(
        "invalid_rate",
        "Cases in which no attempt gave one of the codes offered.",
        "share of all cases, 0 to 1",
        False,
        _share("invalid"),
    ),
    Metric(
        "failed_rate",
        "Cases that failed otherwise, such as by an error of the endpoint.",
        "share of all cases, 0 to 1",
        False,
        _share("failed"),
    ),
    Metric(
        "coverage",
        f"Cases answered at all; below {MIN_COVERAGE} the result is invalid.",
        "share of all cases, 0 to 1",
        True,
        _share("answered"),
    ),
    Metric(
        "disagreement",
        "Cases in which the perspectives do not all give one code, where there are several.",
        "share of cases with two views or more, 0 to 1",
        None,
        _mean("disagree"),
    ),
    Metric(
        "fidelity",
        "The share of the facts that the backstory keeps, as a mean over respondents with one.",
        "share, 0 to 1",
        True,
        _mean_of_means("fidelity", "respondent"),
    ),
)

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (*_ALL, *WEIGHTED, *INDIVIDUAL, *DISTRIBUTIONAL, *PROBABILISTIC)
}
"""The metrics of one scored table, by name."""


def skill(frame: pd.DataFrame, country_mode: pd.DataFrame) -> float:
    """Return what part of the way from the country mode's accuracy to 1 was gone.

    Args:
        frame: The scored table of any arm.
        country_mode: That of the warm country mode on the same cases.

    Returns:
        (accuracy - country mode's) / (1 - country mode's): at most 1, 0 for the country mode
        itself, negative below it; NaN where the country mode is never wrong.

    Raises:
        ConfigError: The two are not on the same cases.
    """
    own, base = (float(table["correct"].mean()) for table in same_cases(frame, country_mode))
    return (own - base) / (1 - base) if base < 1 else NAN
