"""The table of answers and the lazy views of its rows."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuesim_dspy.survey.answers import (
    NOT_IN_FILE,
    UNKNOWN_CODE,
    Answers,
    AnswerTable,
    encode,
    is_wide,
)
from valuesim_dspy.survey.question import Question

MISSING = {-1: "dont-know", -2: "no-answer", -5: "missing"}
FOUR = Question("How?", ["a", "b", "c", "d"], id="Q1", missing=MISSING)
YEAR = Question("When were you born?", id="Q261", missing=MISSING)
LIST = Question("Where?", {1: "here", 360005: "there"}, id="Q290", missing=MISSING)


def table() -> AnswerTable:
    """Three people, three questions, one of them wide."""
    return AnswerTable.of(
        {
            "Q1": np.array([1, 4, -1], dtype=np.int8),
            "Q2": np.array([UNKNOWN_CODE, 2, -5], dtype=np.int8),
            "Q261": np.array([1972, -2, 1990], dtype=np.int32),
        }
    )


def test_known_codes_stay_and_others_are_set_aside() -> None:
    """Codes and kinds of missing are kept; anything else becomes the one sentinel."""
    values = np.array([1, 4, -1, -5, 0, 5, -3, 127, -128, 300, 70000, -70000])
    coded = encode(FOUR, values)
    assert coded.dtype == np.int8
    assert coded.tolist() == [1, 4, -1, -5] + [UNKNOWN_CODE] * 8


def test_an_open_question_takes_any_number_of_0_or_more() -> None:
    """A year of birth has no option list: only unknown negative codes are set aside."""
    coded = encode(YEAR, np.array([0, 1972, 10**6, -2, -9]))
    assert coded.dtype == np.int32
    assert coded.tolist() == [0, 1972, 10**6, -2, UNKNOWN_CODE]


def test_a_long_list_is_checked_too() -> None:
    """Codes that need more than 8 bits are still checked against the options."""
    assert encode(LIST, np.array([360005, 1, 2, -1])).tolist() == [360005, 1, UNKNOWN_CODE, -1]
    assert [is_wide(question) for question in (FOUR, YEAR, LIST)] == [False, True, True]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int64])
def test_any_integers_are_encoded(dtype: type) -> None:
    """Columns of any integer type give the same codes."""
    assert encode(FOUR, np.array([1, 4, 100], dtype=dtype)).tolist() == [1, 4, UNKNOWN_CODE]


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1), st.sampled_from([FOUR, YEAR, LIST]))
def test_encoding_invents_no_code(values: list[int], question: Question) -> None:
    """Whatever comes in, what comes out is the same code or the sentinel."""
    for before, after in zip(values, encode(question, np.array(values)).tolist(), strict=True):
        assert after in (before, UNKNOWN_CODE)


def test_a_table_finds_codes_by_question() -> None:
    """Narrow and wide questions are read alike; one without a column says so."""
    answers = table()
    assert answers.code(0, "Q1") == 1
    assert answers.code(2, "Q261") == 1990
    assert answers.code(1, "Q99") == NOT_IN_FILE
    assert answers.column(np.array([2, 0]), "Q261").tolist() == [1990, 1972]
    assert answers.column(np.array([2, 0]), "Q99").tolist() == [NOT_IN_FILE, NOT_IN_FILE]
    assert answers.column(np.array([1]), "Q1").dtype == np.int32


def test_a_table_cannot_be_changed() -> None:
    """Views share the table, so nobody may write into it."""
    for part in (table(), table().take([0, 1])):
        with pytest.raises(ValueError, match="read-only"):
            part.narrow[0, 0] = 3
        with pytest.raises(ValueError, match="read-only"):
            part.wide[0, 0] = 3


def test_a_view_holds_valid_answers_only_in_order() -> None:
    """Missing and unknown codes are not there at all; order is that of the table."""
    assert dict(Answers(table(), 0)) == {"Q1": 1, "Q261": 1972}
    assert list(Answers(table(), 1)) == ["Q1", "Q2"]
    assert len(Answers(table(), 2)) == 1
    assert "Q1" not in Answers(table(), 2)
    with pytest.raises(KeyError, match="Q2"):
        Answers(table(), 0)["Q2"]


def test_a_masked_view_shows_nothing_else() -> None:
    """A target cannot be had by key, by iteration, by length, or by masking again."""
    seen = Answers(table(), 1).masked({"Q1", "Q261"})
    assert dict(seen) == {"Q1": 4}
    assert seen.get("Q2") is None
    assert "Q2" not in seen
    assert len(seen) == 1
    assert dict(seen.masked(["Q1", "Q2"])) == {"Q1": 4}
    assert dict(seen.masked([])) == {}


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("only", [None, {"Q1", "Q261"}, set()])
def test_all_codes_at_once_are_those_one_by_one(row: int, only: set[str] | None) -> None:
    """The quick way shows neither more nor less than the view, in the same order."""
    seen = Answers(table(), row) if only is None else Answers(table(), row).masked(only)
    assert list(seen.codes().items()) == [(id, seen[id]) for id in seen]
    assert all(type(code) is int for code in seen.codes().values())


def test_views_are_light_and_equal_by_content() -> None:
    """A view holds no dictionary; two views of the same answers are equal and hash alike."""
    answers = table()
    one, two = Answers(answers, 0), Answers(table(), 0)
    assert one == two == {"Q1": 1, "Q261": 1972}
    assert hash(one) == hash(two)
    assert one != Answers(answers, 1)
    assert not hasattr(one, "__dict__")


def test_a_view_never_prints_answers() -> None:
    """The repr says how many, not which."""
    assert repr(Answers(table(), 0)) == "Answers(2 questions)"


def test_copies_share_and_pickles_take_one_row() -> None:
    """A deep copy is the view itself; a pickle takes this person's row and nobody else's."""
    seen = Answers(table(), 1).masked({"Q1"})
    assert copy.deepcopy(seen) is seen
    assert copy.deepcopy(table()).narrow.shape == (3, 2)
    many = AnswerTable.of({"Q1": np.ones(50_000, dtype=np.int8)})
    content = pickle.dumps(Answers(many, 7))
    assert len(content) < 2_000
    back = pickle.loads(pickle.dumps(seen))
    assert back == seen
    assert "Q2" not in back
