"""A person's own mean: battery first, then like scales, and never the question itself."""

import pytest

from evals.baselines import BatteryMean, Uniform
from evals.baselines.own_answers import known_answers, nearest_code, positions
from valuesim_dspy.case import Case, HistoryItem, Profile
from valuesim_dspy.own import own_profile
from valuesim_dspy.survey.codebook import load_codebook

BOOK = load_codebook()


def asked(answers: dict[str, int], question: str, *later: HistoryItem) -> Case:
    """A case of a person with these answers."""
    return Case(own_profile(dict(answers), country="JPN"), BOOK[question], later)


def test_known_answers_are_profile_and_history_without_the_question() -> None:
    """The newest rules; the question itself and private questions are left out."""
    private = next(q for q in BOOK if q.private)
    profile = {"Q1": 1, "Q2": 2, "Q3": 3, private.id: 1, "Q4": -2}
    later = (HistoryItem(BOOK["Q2"], 4), HistoryItem(BOOK["Q5"], 1), HistoryItem(BOOK["Q2"], 3))
    found = known_answers(Case(Profile("p", profile, BOOK), BOOK["Q3"], later))
    assert found == {"Q1": 1, "Q2": 3, "Q5": 1}


@pytest.mark.parametrize(
    ("position", "code"), [(0.0, 4), (1.0, 1), (0.5, 3), (0.51, 2), (-3.0, 4), (9.0, 1), (0.2, 3)]
)
def test_the_nearest_code_on_a_scale(position: float, code: int) -> None:
    """Q1 runs 4, 3, 2, 1 from least to most; a tie goes to the lesser."""
    assert nearest_code(BOOK["Q1"], position) == code


def test_positions_leave_out_what_is_off_the_scale() -> None:
    """Of Q254 only the codes in its order have a place."""
    off = next(code for code in BOOK["Q254"].codes if code not in BOOK["Q254"].order)
    found = positions(BOOK.questions, {"Q254": off, "Q1": 2})
    assert found == {"Q1": pytest.approx(2 / 3)}


def test_the_battery_comes_before_like_scales() -> None:
    """Siblings 1 and 2 of Q1's battery mean 2 (a tie goes to the lesser), whatever else is said."""
    battery = [id for id in BOOK.batteries[BOOK["Q1"].battery] if id != "Q1"]
    others = {q.id: 4 for q in BOOK if q.options == BOOK["Q1"].options and q.battery != BOOK["Q1"].battery}  # fmt: skip # noqa: E501
    siblings = {battery[0]: 1, battery[1]: 2}
    assert BatteryMean().code(asked({**others, **siblings}, "Q1")) == 2
    assert BatteryMean().code(asked({battery[0]: 1}, "Q1")) == 1


def test_like_scales_serve_where_no_sibling_is_known() -> None:
    """Same options first, then as many places, then the same kind of scale."""
    same = next(
        q for q in BOOK
        if q.battery != BOOK["Q64"].battery and len(q.order) == 4 and not q.private
    )  # fmt: skip
    lowest, ten = same.order[0], next(q for q in BOOK if len(q.order) == 10 and not q.private)
    case = asked({same.id: lowest, ten.id: ten.order[-1]}, "Q64")
    assert BatteryMean().code(case) == BOOK["Q64"].order[0]
    only_ten = asked({ten.id: ten.order[-1]}, "Q64")
    assert BatteryMean().code(only_ten) == BOOK["Q64"].order[-1]


def test_a_nominal_question_takes_the_commonest_answer_to_like_ones() -> None:
    """Of the same options the commonest code, the lowest of equals; else a draw."""
    first, second = BOOK["Q152"], BOOK["Q153"]
    assert not first.order and first.options == second.options
    assert BatteryMean().code(asked({"Q153": 3}, "Q152")) == 3
    assert BatteryMean(5).code(asked({"Q1": 1}, "Q152")) == Uniform(5).code(
        asked({"Q1": 1}, "Q152")
    )


def test_of_a_person_without_answers_nothing_follows() -> None:
    """The draw is that of `uniform`, with the same seed."""
    for question in ("Q1", "Q149", "Q164"):
        nobody = asked({}, question)
        assert BatteryMean(3).code(nobody) == Uniform(3).code(nobody)


def test_the_answer_to_the_question_itself_is_never_read() -> None:
    """A profile that held the target would change nothing."""
    rest = {"Q2": 1, "Q3": 1}
    answers = {BatteryMean().code(asked({**rest, "Q1": code}, "Q1")) for code in (1, 2, 3, 4)}
    assert answers == {BatteryMean().code(asked(rest, "Q1"))}
