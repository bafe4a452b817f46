"""One person of a survey, and the report of a file."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from valuesim_dspy.survey.checking import make_people
from valuesim_dspy.survey.codebook import UnknownQuestionError, load_codebook
from valuesim_dspy.survey.people import People, Respondent


@pytest.fixture(scope="module")
def everyone() -> People:
    """Three people with most of what can be known."""
    questions = {
        "Q57": np.array([1, 9, -4]),
        "Q260": np.array([1, 2, -2]),
        "Q261": np.array([1972, -1, 1999]),
        "Q262": np.array([45, -1, 19]),
        "Q275": np.array([0, 8, -5]),
    }
    attributes = {
        "D_INTERVIEW": np.array(["392070001", "840070001", "x"], dtype=object),
        "B_COUNTRY_ALPHA": np.array(["JPN", "USA", ""], dtype=object),
        "W_WEIGHT": np.array([0.5, 1.5, float("nan")]),
        "A_YEAR": np.array([2019, 2017, -5]),
    }
    asked = ["Q1", *questions]
    return make_people(load_codebook(), questions, attributes, asked=asked)


def test_what_is_known_of_a_person(everyone: People) -> None:
    """Country, age, sex, education, weight and year come as plain values."""
    first = Respondent(everyone, 0)
    assert (first.id, first.row, first.year, first.weight) == ("392070001", 1, 2019, 0.5)
    assert (first.country, first.country_name) == ("JPN", "Japan")
    assert (first.age, first.sex, first.education) == (45, "male", 0)
    assert Respondent(everyone, 1).country_name == "the United States"
    assert Respondent(everyone, 1).sex == "female"
    assert Respondent(everyone, 1).education == 8


def test_what_is_not_known_of_a_person(everyone: People) -> None:
    """What the file does not say is None, an empty country, or a weight of 1."""
    last = Respondent(everyone, 2)
    assert (last.country, last.country_name) == ("", "")
    assert (last.sex, last.education, last.year, last.weight) == (None, None, None, 1.0)
    assert last.age == 19


def test_negative_codes_are_never_answers(everyone: People) -> None:
    """An answer is a valid code or None; why there is none is said apart."""
    first, second, third = (Respondent(everyone, at) for at in range(3))
    assert (first.answer("Q57"), first.missing("Q57")) == (1, None)
    assert (second.answer("Q57"), second.missing("Q57")) == (None, "unknown-code")
    assert (third.answer("Q57"), third.missing("Q57")) == (None, "not-asked")
    assert (first.answer("Q1"), first.missing("Q1")) == (None, "not-in-file")
    assert second.missing("Q262") == "dont-know"
    assert all(code >= 0 for at in range(3) for code in Respondent(everyone, at).answers.values())


def test_a_question_that_does_not_exist(everyone: People) -> None:
    """A mistyped question is an error, not a missing answer."""
    with pytest.raises(UnknownQuestionError, match="Q575"):
        Respondent(everyone, 0).answer("Q575")
    with pytest.raises(UnknownQuestionError, match="Q575"):
        Respondent(everyone, 0).missing("Q575")


def test_answers_are_in_codebook_order(everyone: People) -> None:
    """Answers come in codebook order, narrow and wide ones together."""
    first = Respondent(everyone, 0)
    assert list(first.answers) == ["Q57", "Q260", "Q261", "Q262", "Q275"]
    assert dict(first.masked(frozenset({"Q57", "Q261", "Q1"}))) == {"Q57": 1, "Q261": 1972}


def test_a_key_is_salted(everyone: People) -> None:
    """The key is 12 hex digits that change with the salt and the person, and hide the id."""
    first, second = Respondent(everyone, 0), Respondent(everyone, 1)
    assert len(first.key("a")) == 12
    assert int(first.key("a"), 16) >= 0
    assert first.key("a") == Respondent(everyone, 0).key("a")
    assert len({first.key("a"), first.key("b"), second.key("a"), second.key("b")}) == 4


def test_a_person_is_never_printed(everyone: People) -> None:
    """The repr shows four hex digits: no id, no row, no country."""
    shown = repr(Respondent(everyone, 0))
    assert shown == f"Respondent({Respondent(everyone, 0).key('')[:4]}..)"
    assert "392070001" not in shown


def test_people_are_equal_by_place(everyone: People) -> None:
    """Two views of one person are equal; copies are the view itself."""
    first = Respondent(everyone, 0)
    assert first == Respondent(everyone, 0)
    assert hash(first) == hash(Respondent(everyone, 0))
    assert first != Respondent(everyone, 1)
    assert first != "392070001"
    assert copy.deepcopy(first) is first
    assert not hasattr(first, "__dict__")


def test_a_pickled_person_is_alone(everyone: People) -> None:
    """A pickle holds this person's row and nobody else's."""
    content = pickle.dumps(Respondent(everyone, 0))
    assert b"840070001" not in content
    back = pickle.loads(content)
    assert (back.id, back.row, back.country, back.weight) == ("392070001", 1, "JPN", 0.5)
    assert dict(back.answers) == dict(Respondent(everyone, 0).answers)


def test_taking_people_keeps_their_rows(everyone: People) -> None:
    """A selection keeps ids, row numbers and answers together."""
    some = everyone.take(np.array([2, 0]))
    assert some.ids.tolist() == ["x", "392070001"]
    assert some.rows.tolist() == [3, 1]
    assert Respondent(some, 1).answer("Q261") == 1972
    assert some.report is everyone.report


def test_the_report_is_plain_and_short(everyone: People) -> None:
    """The report goes through JSON, and is one line for people."""
    report = everyone.report
    assert json.loads(json.dumps(report.as_dict()))["by_country"] == {"": 1, "JPN": 1, "USA": 1}
    assert report.as_dict()["columns_missing"] == ["Q1"]
    line = report.describe()
    assert "\n" not in line
    assert line.startswith("3 rows read; missing answers: ")
    assert "13.3% dont-know" in line
    assert "1 questions have no column" in line
    assert "codes unknown to the codebook in Q57" in line
    assert "392070001" not in line
