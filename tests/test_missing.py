"""Codes of missing answers: as files have them, and as they are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.answers import UNKNOWN_CODE, encode, is_wide, number_type
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.missing import KINDS, inherited, kept
from valuesim_dspy.survey.respondents import Respondents

BOOK = """
id: small
version: 1
title: A small codebook
missing: {77: refusal, 88: dont-know, 99: no-answer}
scales:
  ten: {kind: ordinal, range: [0, 10], ends: {0: Bad, 10: Good}, order: ascending}
  hundred: {kind: ordinal, range: [0, 100], ends: {0: Cold, 100: Warm}, order: ascending}
  five: {kind: nominal, options: {1: A, 2: B, 3: C}}
  long: {kind: nominal, options: {1: A, 40000: B}}
  year: {kind: open}
batteries:
  - id: all
    kind: attitude
    ask: "What of {topic}?"
    fact: "Of {topic} you say {code}."
    items:
      happy: {topic: life, scale: ten}
      warm: {topic: the weather, scale: hundred}
      letter: {topic: letters, scale: five, missing: {7: refusal, 8: dont-know, 9: no-answer}}
      place: {topic: places, scale: long, missing: {99999: not-applicable}}
      age: {topic: age, scale: year, missing: {999: missing}}
"""


def book(folder: Path, old: str = "", new: str = "") -> Codebook:
    """The small codebook, with one change."""
    assert old in BOOK
    path = folder / "small.yaml"
    path.write_text(BOOK.replace(old, new) if old else BOOK)
    return load_codebook(path)


def test_negative_codes_are_kept_as_they_are() -> None:
    """As the official file has them; an empty cell is missing, whatever else is said."""
    declared = {-1: "dont-know", -4: "not-asked"}
    assert kept(declared) == ({**declared, -5: "missing"}, {})
    assert kept({-5: "no-internet"}) == ({-5: "no-internet"}, {})


def test_other_codes_are_kept_under_negative_ones_of_their_kind() -> None:
    """A kind has one code, the usual one where that is free."""
    kinds, recode = kept({77: "refusal", 88: "dont-know", 99: "no-answer", 999: "no-answer"})
    assert recode == {77: -6, 88: -1, 99: -2, 999: -2}
    assert kinds == {-6: "refusal", -1: "dont-know", -2: "no-answer", -5: "missing"}


def test_a_kind_joins_the_negative_code_it_has_already() -> None:
    """Also where that is not the usual one, and never a code of another kind."""
    assert kept({-7: "refusal", 97: "refusal"})[1] == {97: -7}
    kinds, recode = kept({-1: "refusal", 8: "dont-know"})
    assert kinds[-1] == "refusal" and kinds[recode[8]] == "dont-know" and recode[8] not in KINDS


def test_codes_that_int8_cannot_hold_are_kept_under_others() -> None:
    """-999 would collide with what marks unknown codes, or would not fit."""
    kinds, recode = kept({-999: "missing", -128: "own kind", -127: "other kind"})
    assert recode[-999] == -5 and set(recode) == {-999, -128, -127}
    assert kinds[recode[-128]] == "own kind" and kinds[recode[-127]] == "other kind"


@given(
    st.dictionaries(st.integers(-2000, 2000), st.sampled_from([*KINDS, "a", "b", "c"]), max_size=30)
)
def test_nothing_is_lost_and_nothing_is_mixed(declared: dict[int, str]) -> None:
    """Every code is kept under a negative int8 code that stands for its kind."""
    kinds, recode = kept(declared)
    assert all(-126 <= code < 0 for code in kinds)
    for code, kind in declared.items():
        assert kinds[recode.get(code, code)] == kind


def test_a_header_speaks_of_questions_with_options_only() -> None:
    """77 is an age, and a point on a scale of 100; a negative code is never an answer."""
    header = {-1: "dont-know", 77: "refusal"}
    assert inherited(header, ()) == {-1: "dont-know"}
    assert inherited(header, range(101)) == {-1: "dont-know"}
    assert inherited(header, range(11)) == header


def test_a_codebook_says_its_missing_codes(tmp_path: Path) -> None:
    """In the header, beside an item, and for codes of any size."""
    small = book(tmp_path)
    assert small["happy"].recode == {77: -6, 88: -1, 99: -2}
    assert small["warm"].recode == {} and small["warm"].missing == {-5: "missing"}
    assert set(small["letter"].recode) == {77, 88, 99, 7, 8, 9}
    assert small["age"].recode == {999: -5}
    assert small.missing == {77: "refusal", 88: "dont-know", 99: "no-answer"}


def test_columns_are_read_by_it(tmp_path: Path) -> None:
    """The kinds of missing are told apart; what nobody declared is set aside."""
    small = book(tmp_path)
    answers = {
        "happy": [0, 10, 77, 88, 11],
        "warm": [77, 88, 99, 100, -5],
        "letter": [1, 2, 7, 8, 9],
        "place": [1, 40000, 99999, 99, 5],
        "age": [77, 999, 18, -5, 99],
    }
    columns = {name: np.array(codes) for name, codes in answers.items()}
    people = Respondents.from_columns(questions=columns, codebook=small)
    assert [p.answer("happy") for p in people] == [0, 10, None, None, None]
    assert [p.missing("happy") for p in people][2:] == ["refusal", "dont-know", "unknown-code"]
    assert people[0].answer("warm") == 77 and people[4].missing("warm") == "missing"
    assert [p.missing("letter") for p in people][2:] == ["refusal", "dont-know", "no-answer"]
    assert people[1].answer("place") == 40000 and people[2].missing("place") == "not-applicable"
    assert [p.answer("age") for p in people] == [77, None, 18, None, 99]
    assert people.report.unknown_codes == {"happy": {11: 1}, "place": {5: 1}}
    assert people.report.missing["refusal"] == 2


def test_codes_are_read_in_a_type_that_holds_them(tmp_path: Path) -> None:
    """Missing codes of five digits do not make a question wide, but its column in the file."""
    small = book(tmp_path, "missing: {7: refusal, 8: dont-know, 9", "missing: {99997: refusal, 9")
    assert number_type(small["happy"]) == "int16"
    assert number_type(small["letter"]) == "int32" and not is_wide(small["letter"])
    assert number_type(small["place"]) == number_type(small["age"]) == "int32"
    coded = encode(small["letter"], np.array([1, 99997, 99996], dtype=np.int32))
    assert coded.dtype == np.int8 and coded.tolist() == [1, -6, UNKNOWN_CODE]


def test_an_option_cannot_be_missing_too(tmp_path: Path) -> None:
    """Beside an item a code has one meaning; the error names it."""
    with pytest.raises(SurveyDataError, match=r"all\.letter\.missing\.3: .*an option"):
        book(tmp_path, "missing: {7: refusal", "missing: {3: refusal")


def test_another_code_is_another_codebook(tmp_path: Path) -> None:
    """What a file's codes mean is part of the digest; the packaged one has none of it."""
    digest = book(tmp_path).digest
    other = tmp_path / "other"
    other.mkdir()
    assert book(other, "77: refusal", "97: refusal").digest != digest
    assert all(not question.recode for question in load_codebook())
    assert "recode" not in load_codebook()["Q57"].content()
