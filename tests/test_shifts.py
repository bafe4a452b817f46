"""Flips, changes and the pull of a place, by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from evals.benchmark import Result
from evals.metrics import score_frame
from evals.shifts import LastOption, Shift, last_option, place_effect, shift
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.usage import Usage

SHOWN = {(person, "Q69"): (1, 2, 3, 4) for person in "abcdef"}


def frame(answers: dict[str, int | None], truths: dict[str, int] | None = None) -> pd.DataFrame:
    """Return a scored table of one question; the truth is 1 where nothing else is said."""
    outcomes = [
        Outcome(
            respondent=person,
            question="Q69",
            truth=(truths or {}).get(person, 1),
            answer=answer,
            status="failed" if answer is None else "answered",
        )
        for person, answer in answers.items()
    ]
    return score_frame(outcomes, load_codebook()).assign(weight=1.0)


def result(answers: dict[str, int | None], truths: dict[str, int] | None = None) -> Result:
    """Return a result with that table."""
    table = frame(answers, truths)
    none = Usage()
    return Result("rag", "rag", "dev", "cold", table, none, none, 0, 0.0, "synthetic-machinery")


def moved(before: dict[str, int | None], after: dict[str, int | None], **known: Any) -> Shift:
    """Return the shift between two tables."""
    return shift("paraphrased", result(before), result(after), **known)


def test_flips_are_counted_over_cases_answered_both_times() -> None:
    """Two of four flip; who has no answer either time is dropped, and said."""
    before = {"a": 1, "b": 1, "c": 2, "d": 2, "e": None, "f": 1}
    found = moved(before, {"a": 1, "b": 2, "c": 2, "d": 3, "e": 1, "f": None})
    assert found.flips.estimate == 0.5
    assert (found.flips.n, found.flips.dropped) == (4, 2)
    assert found.flips.low <= 0.5 <= found.flips.high
    assert found.above is None


def test_a_flip_from_wrong_to_wrong_is_a_flip() -> None:
    """Accuracy would not show it."""
    found = moved({"a": 2, "b": 2}, {"a": 3, "b": 4})
    assert (found.flips.estimate, found.accuracy.estimate) == (1.0, 0.0)


def test_accuracy_changes_as_failures_do() -> None:
    """A right answer that fails is a point lost; the error is over those with both."""
    found = moved({"a": 1, "b": 1, "c": 2, "d": 4}, {"a": 1, "b": None, "c": 1, "d": 4})
    assert found.accuracy.estimate == 0.0
    assert found.accuracy.n == 4
    assert found.nmae.estimate == pytest.approx(-1 / 9)
    assert (found.nmae.n, found.nmae.dropped) == (3, 1)
    lost = moved({"a": 1, "b": 1}, {"a": 1, "b": None})
    assert lost.accuracy.estimate == -0.5


def test_only_the_cases_that_were_changed_are_compared() -> None:
    """The arm as it is is cut to them."""
    found = moved({"a": 1, "b": 2, "c": 3}, {"c": 1, "a": 1})
    assert sorted(found.before["respondent"]) == ["a", "c"]
    assert found.flips.estimate == 0.5
    assert found.accuracy.estimate == 0.5


def test_a_case_that_was_never_put_as_it_is_is_refused() -> None:
    """Pairs have two sides."""
    with pytest.raises(ConfigError, match="not on the same cases"):
        moved({"a": 1}, {"a": 1, "b": 1})


def test_flips_are_read_against_repetition_case_by_case() -> None:
    """A case that flips anyhow says nothing about the perturbation."""
    before: dict[str, int | None] = {"a": 1, "b": 1, "c": 1, "d": 1}
    floor = result({"a": 2, "b": 1, "c": 1, "d": 1})
    same = moved(before, {"a": 3, "b": 1, "c": 1, "d": 1}, floor=floor)
    assert same.above is not None and same.above.estimate == 0.0
    assert (same.above.low, same.above.high) == (0.0, 0.0)
    more = moved(before, {"a": 3, "b": 2, "c": 2, "d": 1}, floor=floor)
    assert more.above is not None and more.above.estimate == 0.5


def test_the_last_option_is_compared_with_the_truths_there() -> None:
    """Half of the answers and a quarter of the truths stand last; who failed is left out."""
    told = frame({"a": 4, "b": 4, "c": 1, "d": 2, "e": None}, {"a": 4, "e": 4})
    found = last_option("as is", told, SHOWN)
    assert (found.name, found.answers, found.truths) == ("as is", 0.5, 0.25)
    assert found.excess.estimate == 0.25
    assert found.excess.n == 4


def test_last_goes_by_what_was_shown() -> None:
    """In the reversed order the first option stands last."""
    turned = {case: codes[::-1] for case, codes in SHOWN.items()}
    found = last_option("reversed", frame({"a": 4, "b": 1}), turned)
    assert (found.answers, found.truths) == (0.5, 1.0)
    assert found.excess.estimate == -0.5


def test_without_answers_there_is_no_share() -> None:
    """Nothing is made up."""
    found = last_option("as is", frame({"a": None, "b": None}), SHOWN)
    assert isinstance(found, LastOption)
    assert np.isnan([found.answers, found.truths, found.excess.estimate]).all()


@pytest.mark.parametrize(
    ("as_is", "turned", "effect"),
    [
        pytest.param(4, 1, 1.0, id="always the last shown"),
        pytest.param(1, 4, -1.0, id="always the first shown"),
        pytest.param(4, 4, 0.0, id="always what is coded 4"),
        pytest.param(2, 3, 0.0, id="never an end"),
        pytest.param(4, 2, 0.5, id="an end only where it is last"),
    ],
)
def test_the_pull_of_a_place_is_free_of_what_stands_there(
    as_is: int, turned: int, effect: float
) -> None:
    """An arm that likes an option for what it says shows none."""
    people = "abcd"
    before, after = (frame(dict.fromkeys(people, code)) for code in (as_is, turned))
    found = place_effect(before, after, SHOWN)
    assert found.estimate == effect
    assert (found.low, found.high) == (effect, effect)


def test_the_pull_is_over_cases_answered_both_times() -> None:
    """A failure is neither here nor there."""
    before, after = frame({"a": 4, "b": 4, "c": None}), frame({"a": 1, "b": None, "c": 1})
    found = place_effect(before, after, SHOWN)
    assert (found.estimate, found.n, found.dropped) == (1.0, 1, 2)
