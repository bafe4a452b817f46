"""Scores of one answer and metrics of one benchmark, against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.distributional import DISTRIBUTIONAL
from evals.individual import INDIVIDUAL
from evals.metrics import METRICS, MIN_COVERAGE, SCORES, rank_distance, score_frame, skill
from evals.probabilistic import PROBABILISTIC
from evals.subgroups import WEIGHTED
from valuesim_dspy.errors import ConfigError, MissingDataError, SurveyDataError
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.survey.codebook import UnknownQuestionError, load_codebook
from valuesim_dspy.survey.question import Question

CODEBOOK = load_codebook()
# Q1: ordinal, 4 codes. Q119: 0 is off its scale of 4. Q56: in the order 2, 3, 1.
# Q111: nominal. Q94: 0, 1, 2 are all on the scale. Q7: mentioned or not.
TEN = Question("How much?", [str(n) for n in range(1, 11)])
THREE_VIEWS = ("cognitive", "affective", "behavioral")


def outcome(
    respondent: str, question: str, truth: int | None, answer: int | None, **known: Any
) -> Outcome:
    """Make an outcome; one without an answer failed unless it says otherwise."""
    status = "failed" if answer is None else "answered"
    return Outcome(respondent, question, truth, answer, **{"status": status, **known})


def views(*codes: int) -> dict[str, int]:
    """Give the codes to perspectives, in order."""
    return dict(zip(THREE_VIEWS, codes, strict=False))


def frame(*outcomes: Outcome) -> pd.DataFrame:
    """Score outcomes with the packaged codebook."""
    return score_frame(outcomes, CODEBOOK)


def metric(name: str, *outcomes: Outcome) -> float:
    """Compute one metric of some outcomes."""
    return METRICS[name].compute(frame(*outcomes))


# Seven cases of three people. Right: a/Q1, b/Q111, c/Q1. On-scale ordinal and answered:
# a/Q1 (distance 0), a/Q56 (2 against 1: both ends, 1), b/Q1 (1 against 3 of 4: 2/3), c/Q1 (0).
SEVEN = (
    outcome("a", "Q1", 2, 2, fidelity=0.9, views=views(2, 2, 2)),
    outcome("a", "Q56", 2, 1, fidelity=0.9, views=views(1, 2, 1)),
    outcome("a", "Q111", 1, 3, fidelity=0.9, views=views(3, 3, 1)),
    outcome("b", "Q1", 1, 3, fidelity=0.5, views=views(3, 3, 3)),
    outcome("b", "Q111", 2, 2, fidelity=0.5, views=views(1, 2, 2)),
    outcome("b", "Q56", 3, None, status="invalid"),
    outcome("c", "Q1", 4, 4),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 3 / 7),
        ("accuracy_macro", (2 / 3 + 0 / 2 + 1 / 2) / 3),
        ("nmae", (0 + 1 + 2 / 3 + 0) / 4),
        ("nmae_cases", 4),
        ("invalid_rate", 1 / 7),
        ("failed_rate", 0),
        ("coverage", 6 / 7),
        ("disagreement", 3 / 5),
        ("fidelity", (0.9 + 0.5) / 2),
    ],
)
def test_every_metric_of_seven_cases_is_as_worked_out_by_hand(name: str, expected: float) -> None:
    """Each metric gives the number that the seven cases above give on paper."""
    assert metric(name, *SEVEN) == pytest.approx(expected)


def test_every_registered_metric_has_a_hand_worked_number_and_says_what_it_is() -> None:
    """No metric is registered without a test, a name of its own, a sentence and a range."""
    tested = test_every_metric_of_seven_cases_is_as_worked_out_by_hand.pytestmark[0].args[1]
    apart = (*WEIGHTED, *INDIVIDUAL, *DISTRIBUTIONAL, *PROBABILISTIC)
    elsewhere = [metric.name for metric in apart]
    assert [*(name for name, _ in tested), *elsewhere] == list(METRICS)
    for name, found in METRICS.items():
        assert found.name == name
        assert found.what.endswith(".")
        assert found.range


def test_the_direction_of_each_metric_is_declared() -> None:
    """Errors and failures are better low, scores high, the rest neither."""
    better = {name: found.higher_is_better for name, found in METRICS.items()}
    assert all(metric.higher_is_better for metric in INDIVIDUAL)
    better = {name: up for name, up in better.items() if name not in {m.name for m in INDIVIDUAL}}
    assert [name for name in better if better[name]] == [
        "accuracy",
        "accuracy_macro",
        "coverage",
        "fidelity",
        "accuracy_weighted",
    ]
    assert [name for name in better if better[name] is False] == [
        "nmae",
        "invalid_rate",
        "failed_rate",
        "wasserstein",
        "wasserstein_by_country",
        "inter_item_deviation",
        *(metric.name for metric in PROBABILISTIC),
    ]


@pytest.mark.parametrize("status", ["failed", "invalid"])
def test_a_failure_is_wrong_has_its_own_rate_and_no_error(status: str) -> None:
    """Both kinds of failure stay in accuracy's denominator and out of nMAE's."""
    cases = (outcome("a", "Q1", 1, 1), outcome("b", "Q1", 1, None, status=status))
    assert metric("accuracy", *cases) == 0.5
    assert metric("coverage", *cases) == 0.5
    assert metric(f"{status}_rate", *cases) == 0.5
    assert metric({"failed": "invalid", "invalid": "failed"}[status] + "_rate", *cases) == 0
    assert (metric("nmae", *cases), metric("nmae_cases", *cases)) == (0, 1)


def test_an_answer_left_on_a_failure_does_not_count() -> None:
    """What counts is the status: a failed case is wrong whatever code it carries."""
    scored = frame(outcome("a", "Q1", 1, 1, status="invalid"))
    assert scored["correct"].tolist() == [0.0]
    assert scored["error"].isna().all()


@pytest.mark.parametrize(
    ("question", "truth", "answer", "expected"),
    [
        ("Q1", 1, 4, 1.0),
        ("Q1", 4, 3, 1 / 3),
        ("Q56", 2, 3, 0.5),  # neighbours in order, though not in code
        ("Q56", 2, 1, 1.0),  # ends in order, though neighbours in code
        ("Q94", 0, 2, 1.0),
        ("Q119", 4, 1, 1.0),
        ("Q119", 3, 0, math.nan),  # the prediction is off the scale
        ("Q119", 0, 3, math.nan),  # the truth is
        ("Q119", 0, 0, math.nan),  # both are
        ("Q111", 1, 2, math.nan),  # nominal
        ("Q7", 1, 2, math.nan),  # binary
        ("Q1", 1, None, math.nan),
    ],
)
def test_the_error_is_in_ranks_of_the_on_scale_codes(
    question: str, truth: int, answer: int | None, expected: float
) -> None:
    """Ranks, not codes, over the number of on-scale codes less one; NaN off the scale."""
    error = frame(outcome("a", question, truth, answer))["error"].item()
    assert error == pytest.approx(expected, nan_ok=True)


def test_off_scale_answers_are_right_or_wrong_all_the_same() -> None:
    """Correctness is equality of codes, on the scale or off it."""
    cases = frame(outcome("a", "Q119", 0, 0), outcome("b", "Q119", 0, 1))
    assert cases["correct"].tolist() == [1.0, 0.0]


def test_every_ordinal_question_has_errors_from_0_to_1() -> None:
    """Over all pairs of codes of every ordinal question, the least error is 0, the largest 1."""
    for question in CODEBOOK:
        if question.scale_kind == "ordinal":
            pairs = [(a, b) for a in question.codes for b in question.codes]
            errors = {rank_distance(question, a, b) for a, b in pairs} - {None}
            assert (min(errors), max(errors)) == (0.0, 1.0), question.id


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((1, 1, 1), 0.0),
        ((1, 1, 2), 1.0),
        ((2, 1), 1.0),
        ((1,), math.nan),
        ((), math.nan),
    ],
)
def test_views_disagree_unless_all_equal(answers: tuple[int, ...], expected: float) -> None:
    """With two views or more they disagree or not; with fewer the question does not arise."""
    # Somebody else's three views make all three columns.
    others = outcome("z", "Q1", 1, 1, views=views(1, 1, 1))
    scored = frame(outcome("a", "Q1", 1, 1, views=views(*answers)), others)
    assert scored["disagree"].iloc[0] == pytest.approx(expected, nan_ok=True)


def test_metrics_that_do_not_apply_are_nan_and_never_zero() -> None:
    """Without views, backstory or ordinal questions there is nothing to average."""
    only = outcome("a", "Q111", 1, 1)
    for name in ("disagreement", "fidelity", "nmae"):
        assert math.isnan(metric(name, only)), name
    assert metric("nmae_cases", only) == 0


def test_fidelity_is_a_mean_over_respondents() -> None:
    """A person of many cases weighs as much as one of few; people without a backstory none."""
    cases = [outcome("a", f"Q{n}", 1, 1, fidelity=1.0) for n in (1, 2, 3)]
    cases += [outcome("b", "Q1", 1, 1, fidelity=0.4), outcome("c", "Q1", 1, 1)]
    assert metric("fidelity", *cases) == pytest.approx(0.7)


def test_macro_accuracy_weighs_questions_alike() -> None:
    """A question asked of many weighs no more than one asked of one."""
    cases = [outcome(name, "Q1", 1, 1) for name in "abc"] + [outcome("a", "Q2", 1, 2)]
    assert metric("accuracy", *cases) == 0.75
    assert metric("accuracy_macro", *cases) == 0.5


def test_skill_is_the_share_of_the_way_from_the_country_mode_to_one() -> None:
    """0.8 above a country mode of 0.6 is half the way; itself 0; below it negative."""
    ids = ["Q1", "Q2", "Q3", "Q4", "Q5"]

    def right(count: int) -> pd.DataFrame:
        return frame(*(outcome("a", id, 1, 1 if n < count else 2) for n, id in enumerate(ids)))

    assert skill(right(4), right(3)) == pytest.approx(0.5)
    assert skill(right(3), right(3)) == 0
    assert skill(right(1), right(3)) == pytest.approx(-1.0)
    assert math.isnan(skill(right(5), right(5)))


def test_skill_refuses_other_cases() -> None:
    """A country mode measured on other questions is no base."""
    with pytest.raises(ConfigError, match="not on the same cases"):
        skill(frame(outcome("a", "Q1", 1, 1)), frame(outcome("a", "Q2", 1, 1)))


def test_score_frame_tells_what_each_question_is() -> None:
    """The table carries section, battery, kinds and the number of options, row by row."""
    scored = frame(*SEVEN)
    for _, row in scored.iterrows():
        question = CODEBOOK[row["question"]]
        assert row["section"] == question.section
        assert row["battery"] == question.battery
        assert row["kind"] == question.kind
        assert row["scale_kind"] == question.scale_kind
        assert row["n_options"] == len(question.codes)
    assert scored["answered"].tolist() == [True] * 5 + [False, True]
    assert [len(scored), scored["status"].tolist()[5]] == [7, "invalid"]


def test_all_failures_make_a_table_too() -> None:
    """A run in which nothing worked has accuracy 0 and coverage 0, not an error."""
    scored = frame(outcome("a", "Q1", 1, None), outcome("a", "Q2", 1, None))
    values = {name: found.compute(scored) for name, found in METRICS.items()}
    assert values["accuracy"] == values["coverage"] == 0 < MIN_COVERAGE
    assert values["failed_rate"] == 1
    assert math.isnan(values["nmae"])


def test_what_cannot_be_scored_is_refused() -> None:
    """No cases, an unknown truth and an unknown question are errors, not numbers."""
    with pytest.raises(MissingDataError, match="no case"):
        frame()
    with pytest.raises(SurveyDataError, match="1 cases have no true answer"):
        frame(outcome("a", "Q1", 1, 1), outcome("a", "Q2", None, 1))
    with pytest.raises(UnknownQuestionError, match="Q999"):
        frame(outcome("a", "Q999", 1, 1))


def test_exact_is_equality() -> None:
    """Only the very code scores, and no answer is 0."""
    exact = SCORES["exact"]
    assert [exact(TEN, 3, answer) for answer in (3, 4, None)] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("question", "truth", "answer", "expected"),
    [
        (TEN, 1, 10, 0.0),
        (TEN, 4, 6, 7 / 9),
        (TEN, 4, 4, 1.0),
        (TEN, 4, None, 0.0),
        (CODEBOOK["Q111"], 1, 2, 0.0),  # nominal: exact
        (CODEBOOK["Q111"], 2, 2, 1.0),
        (CODEBOOK["Q119"], 0, 0, 1.0),  # off the scale: exact
        (CODEBOOK["Q119"], 0, 1, 0.0),
        (CODEBOOK["Q119"], 1, 0, 0.0),
        (CODEBOOK["Q56"], 2, 3, 0.5),
    ],
)
def test_closeness_is_graded_on_ordered_scales_and_exact_elsewhere(
    question: Question, truth: int, answer: int | None, expected: float
) -> None:
    """1 less the distance in ranks; exact without an order and off the scale."""
    assert SCORES["closeness"](question, truth, answer) == pytest.approx(expected)


@given(
    question=st.sampled_from([question for question in CODEBOOK if question.options]),
    data=st.data(),
)
def test_scores_stay_between_0_and_1_and_the_truth_scores_1(
    question: Question, data: st.DataObject
) -> None:
    """Every score of every question is in [0, 1], symmetric, and 1 exactly for the truth."""
    truth, answer = (data.draw(st.sampled_from(question.codes)) for _ in range(2))
    for score in SCORES.values():
        value = score(question, truth, answer)
        assert 0 <= value <= 1
        assert value == score(question, answer, truth)
        assert (value == 1) == (truth == answer)
