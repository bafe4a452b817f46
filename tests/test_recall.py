"""Recall: shares read strictly, a survey's marginals by hand, correlations against NumPy."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from people import case, scripted

from evals.recall import (
    Marginal,
    Recaller,
    RecallMarginal,
    cell_correlation,
    marginals,
    read_shares,
    recall_examples,
    total_variation,
)
from valuesim_dspy.errors import InvalidAnswerError
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.respondents import Respondents

EVEN = {"1": 0.25, "2": 0.25, "3": 0.25, "4": 0.25}


def people(answers: list[int], countries: list[str], weights: list[float]) -> Respondents:
    """Return people who answered one question."""
    count = len(answers)
    attributes = {
        "D_INTERVIEW": np.array([f"id{place}" for place in range(count)]),
        "B_COUNTRY_ALPHA": np.array(countries),
        "W_WEIGHT": np.array(weights),
    }
    return Respondents.from_columns(questions={"Q69": np.array(answers)}, attributes=attributes)


@pytest.mark.parametrize(
    ("told", "read"),
    [
        pytest.param(EVEN, [0.25] * 4, id="shares"),
        pytest.param({"1": 40, "2": 30, "3": 20, "4": 10}, [0.4, 0.3, 0.2, 0.1], id="percent"),
        pytest.param({"1": 1.0, "2": 0, "3": 0, "4": 0}, [1, 0, 0, 0], id="all on one"),
    ],
)
def test_shares_are_read_and_made_to_sum_to_one(told: dict[str, float], read: list[float]) -> None:
    """By code, ascending; percentages are shares too."""
    found = read_shares(told, (1, 2, 3, 4))
    assert list(found) == [1, 2, 3, 4]
    assert list(found.values()) == pytest.approx(read)


def test_rounding_is_forgiven_and_no_more() -> None:
    """Shares told to two places may be off by a little."""
    found = read_shares({**EVEN, "4": 0.26}, (1, 2, 3, 4))
    assert sum(found.values()) == pytest.approx(1)
    assert not read_shares({**EVEN, "4": 0.30}, (1, 2, 3, 4))


@pytest.mark.parametrize(
    "told",
    [
        {"1": 0.5, "2": 0.5},
        {**EVEN, "5": 0.0},
        {**EVEN, "1": -0.25, "2": 0.75},
        dict.fromkeys(EVEN, 0.0),
        dict.fromkeys(EVEN, float("nan")),
        dict.fromkeys(EVEN, 0.5),
        [0.25, 0.25, 0.25, 0.25],
        "mostly 1",
    ],
)
def test_what_are_no_shares_of_these_options_is_not_guessed_at(told: Any) -> None:
    """Too few options, too many, below 0, a sum that is neither 1 nor 100."""
    assert read_shares(told, (1, 2, 3, 4)) == {}


def test_the_prompt_names_survey_country_question_and_options_and_nobody() -> None:
    """No fact of a person is in it, though the case is one of a person."""
    asked = case("Q69")
    with scripted([{"shares": EVEN}]) as engine:
        Recaller()(case=asked)
    prompt = str(engine.requests[0])
    assert "World Values Survey" in prompt
    assert "Japan" in prompt
    assert asked.question.text in prompt
    assert "Quite a lot" in prompt
    assert not any(fact.text in prompt for fact in asked.profile.facts)


def test_the_answer_is_the_commonest_option() -> None:
    """Ties go to the lowest code."""
    with scripted([{"shares": {"1": 0.1, "2": 0.4, "3": 0.4, "4": 0.1}}]):
        found = Recaller()(case=case("Q69"))
    assert found.answer == 2
    assert found.probabilities == pytest.approx({1: 0.1, 2: 0.4, 3: 0.4, 4: 0.1})


def test_what_cannot_be_read_is_asked_again_within_bounds() -> None:
    """Then it is a failure of this cell, which is counted, and of no other."""
    with scripted([{"shares": {"1": 1.0}}, "no idea", {"shares": EVEN}]) as engine:
        assert Recaller()(case=case("Q69")).answer == 1
    assert len(engine.requests) == 3
    with scripted([{"shares": {"1": 1.0}}] * 3), pytest.raises(InvalidAnswerError, match="Q69"):
        Recaller()(case=case("Q69"))


def test_the_signature_asks_for_every_option() -> None:
    """What is asked for is what is checked."""
    assert "Every option has a share" in RecallMarginal.instructions
    assert list(RecallMarginal.input_fields) == ["survey", "country", "question", "options"]


def test_marginals_are_weighted_shares_of_one_country() -> None:
    """Two of weight 3 against two of weight 1; others' countries and missing answers are out."""
    answers = [1, 1, 2, 2, 3, -1]
    found = marginals(
        people(answers, ["JPN"] * 4 + ["BRA", "JPN"], [3, 3, 1, 1, 5, 5]),
        [("JPN", "Q69"), ("BRA", "Q69")],
        least=4,
    )
    assert list(found) == [("JPN", "Q69")]
    marginal = found["JPN", "Q69"]
    assert marginal.shares == pytest.approx([0.75, 0.25, 0, 0])
    assert (marginal.people, marginal.top) == (4, 0.75)


def test_countries_with_too_few_people_are_left_out() -> None:
    """The limit is on people who answered this question."""
    crowd = people([1] * 9 + [-1], ["JPN"] * 10, [1.0] * 10)
    assert marginals(crowd, [("JPN", "Q69")], least=10) == {}
    assert list(marginals(crowd, [("JPN", "Q69")], least=9)) == [("JPN", "Q69")]


def test_sampling_alone_shrinks_with_people() -> None:
    """Near what theory says of so many; none where all agree; the same with the same seed."""
    rng = np.random.default_rng(5)
    distances = {}
    for size in (100, 6400):
        answers = rng.integers(1, 5, size).tolist()
        crowd = people(answers, ["JPN"] * size, [1.0] * size)
        cell = [("JPN", "Q69")]
        drawn = [marginals(crowd, cell, seed=seed)["JPN", "Q69"].sampling for seed in range(20)]
        distances[size] = float(np.mean(drawn))
        assert drawn[0] == marginals(crowd, cell, seed=0)["JPN", "Q69"].sampling
    # Half the sum over four options of the mean absolute error of a share of a quarter.
    expected = {size: 2 * np.sqrt(2 / np.pi * 3 / 16 / size) for size in distances}
    assert distances == pytest.approx(expected, rel=0.35)
    agreed = people([2] * 60, ["JPN"] * 60, [1.0] * 60)
    assert marginals(agreed, [("JPN", "Q69")])["JPN", "Q69"].sampling == 0.0


def test_total_variation_is_half_the_sum_of_differences() -> None:
    """0 for equal ones, 1 for those that share nothing."""
    assert total_variation(np.array([0.5, 0.5]), np.array([0.5, 0.5])) == 0.0
    assert total_variation(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0
    assert total_variation(np.array([0.6, 0.4]), np.array([0.5, 0.5])) == pytest.approx(0.1)


def test_an_example_of_recall_is_of_nobody() -> None:
    """Its truth is the commonest answer there; its case holds no facts but the country."""
    known = {("JPN", "Q69"): Marginal(np.array([0.1, 0.2, 0.6, 0.1]), 100, 0.02)}
    (example,) = recall_examples(load_codebook(), known)
    assert example.answer == 3
    assert example.case.profile.country == "JPN"
    assert dict(example.case.profile.answers) == {}


def test_recall_is_simulated_like_any_other_program() -> None:
    """Shares come out as probabilities; a cell that fails does not end the others."""
    known = {
        (country, "Q69"): Marginal(np.array([0.1, 0.2, 0.6, 0.1]), 100, 0.02)
        for country in ("JPN", "BRA")
    }
    right = {"shares": {"1": 0, "2": 0.2, "3": 0.8, "4": 0}}
    with scripted([right, *[{"shares": {"1": 1.0}}] * 3]) as engine:
        outcomes = answer_cases(Recaller(), recall_examples(load_codebook(), known))
    assert [outcome.status for outcome in outcomes] == ["answered", "invalid"]
    assert outcomes[0].answer == outcomes[0].truth == 3
    assert outcomes[0].probabilities == pytest.approx({1: 0, 2: 0.2, 3: 0.8, 4: 0})
    assert [outcome.country for outcome in outcomes] == ["JPN", "BRA"]
    assert len(engine.requests) == 4


def cells(seed: int = 0, count: int = 60, effect: float = 1.0) -> pd.DataFrame:
    """Return cells whose accuracy follows recall, and both the modal share."""
    rng = np.random.default_rng(seed)
    modal = rng.random(count)
    recall = modal + rng.normal(0, 0.3, count)
    return pd.DataFrame(
        {
            "question": [f"Q{place % 12}" for place in range(count)],
            "cases": rng.integers(1, 4, count),
            "modal": modal,
            "recall": recall,
            "full": modal + effect * recall + rng.normal(0, 0.3, count),
        }
    )


def test_the_correlation_is_pearsons_with_cases_as_weights() -> None:
    """A cell of three cases counts as three of one case."""
    table = cells()
    long = table.loc[table.index.repeat(table["cases"])]
    found = cell_correlation(table, "full")
    assert found.estimate == pytest.approx(np.corrcoef(long["recall"], long["full"])[0, 1])
    assert found.low < found.estimate < found.high
    assert (found.n, found.clusters) == (60, 12)


def test_the_partial_correlation_is_that_of_residuals() -> None:
    """What the third column explains of both is taken out."""
    table = cells().assign(cases=1)
    line = np.column_stack([np.ones(60), table["modal"]])
    left = [
        table[name] - line @ np.linalg.lstsq(line, table[name], rcond=None)[0]
        for name in ("recall", "full")
    ]
    found = cell_correlation(table, "full", given="modal")
    assert found.estimate == pytest.approx(np.corrcoef(*left)[0, 1])
    assert found.estimate < cell_correlation(table, "full").estimate


def test_what_goes_through_a_third_column_alone_is_gone_when_it_is_held_fixed() -> None:
    """Easy questions are both recalled and foreseen."""
    table = cells(seed=3, count=600, effect=0.0)
    assert cell_correlation(table, "full").low > 0.3
    assert abs(cell_correlation(table, "full", given="modal").estimate) < 0.15


def test_the_interval_draws_whole_questions() -> None:
    """Cells of a question say the same thing again: more of them narrow nothing."""
    table = cells()
    again = pd.concat([table] * 4, ignore_index=True)
    one, four = (cell_correlation(each, "full") for each in (table, again))
    assert (four.low, four.high) == pytest.approx((one.low, one.high))
    alone = again.assign(question=[f"Q{place}" for place in range(len(again))])
    narrow = cell_correlation(alone, "full")
    assert narrow.high - narrow.low < 0.7 * (four.high - four.low)


def test_the_same_seed_draws_the_same_interval() -> None:
    """And another seed another."""
    one, again = (cell_correlation(cells(), "full", seed=4) for _ in range(2))
    assert one == again
    assert one != cell_correlation(cells(), "full", seed=5)


def test_what_does_not_vary_has_no_correlation() -> None:
    """Nor have two questions an interval, or no cells anything."""
    assert np.isnan(cell_correlation(cells().assign(full=1.0), "full").estimate)
    two = cells().assign(question=lambda table: ["Q1", "Q2"] * (len(table) // 2))
    found = cell_correlation(two, "full")
    assert not np.isnan(found.estimate)
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(cell_correlation(cells().assign(recall=np.nan), "full").estimate)


def test_cells_without_recall_are_left_out() -> None:
    """A failure has no distance; the others are compared."""
    table = cells()
    gaps = table.assign(recall=table["recall"].where(table.index > 9))
    found = cell_correlation(gaps, "full")
    assert found.n == 50
    assert found.estimate == pytest.approx(cell_correlation(table.iloc[10:], "full").estimate)
