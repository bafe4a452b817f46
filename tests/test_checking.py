"""Columns become people only if they fit; what does not is named or set aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.checking import make_people
from valuesim_dspy.survey.codebook import Codebook, UnknownQuestionError, load_codebook
from valuesim_dspy.survey.people import People

QUESTIONS = {"Q57": np.array([1, 2, -1, 9]), "Q262": np.array([30, 41, -2, 99])}


@pytest.fixture(scope="module")
def wvs7() -> Codebook:
    """The packaged codebook."""
    return load_codebook()


def people(codebook: Codebook, questions: Any = None, **attributes: Any) -> People:
    """People of the small columns, and of these attributes."""
    columns = {
        name: np.array(column, dtype=object if isinstance(column[0], str) else None)
        for name, column in attributes.items()
    }
    return make_people(codebook, questions or QUESTIONS, columns, asked=["Q1", "Q57", "Q262"])


def test_the_report_counts_what_was_found(wvs7: Codebook) -> None:
    """Answers, kinds of missing, unknown codes, absent questions: all are counted."""
    report = people(wvs7).report
    assert report.rows == 4
    assert report.columns_missing == ("Q1",)
    assert report.unknown_codes == {"Q57": {9: 1}}
    assert report.missing == {"dont-know": 1, "no-answer": 1, "unknown-code": 1}
    assert report.answers == 5
    assert report.by_country == {"": 4}


def test_a_question_may_have_a_kind_of_missing_of_its_own(wvs7: Codebook) -> None:
    """-5 is no internet where the codebook says so, and missing elsewhere."""
    own = wvs7["Q217"].missing[-5]
    found = make_people(
        wvs7, {"Q217": np.array([-5]), "Q1": np.array([-5])}, {}, asked=["Q1", "Q217"]
    )
    assert own != "missing"
    assert found.report.missing == {own: 1, "missing": 1}


def test_countries_by_letters_or_by_number(wvs7: Codebook) -> None:
    """Letters win; the number helps where they are absent or empty; the rest is set aside."""
    assert people(wvs7, B_COUNTRY=[392, 840, 392, -5]).report.by_country == {
        "": 1,
        "JPN": 2,
        "USA": 1,
    }
    found = people(
        wvs7, B_COUNTRY_ALPHA=["JPN", "", " usa ", "XXX"], B_COUNTRY=[840, 840, 840, 99999]
    )
    assert [found.countries[at] for at in found.country] == ["JPN", "USA", "USA", ""]
    assert found.report.unknown_codes["B_COUNTRY_ALPHA"] == {"XXX": 1}
    assert found.report.unknown_codes["B_COUNTRY"] == {99999: 1}


def test_interview_numbers_are_text(wvs7: Codebook) -> None:
    """Numbers lose a ".0" that a spreadsheet added; an empty one becomes the row's."""
    found = people(wvs7, D_INTERVIEW=["392070001.0", " 7 ", "", "v1.0.1"])
    assert found.ids.tolist() == ["392070001", "7", "row-3", "v1.0.1"]
    assert people(wvs7, D_INTERVIEW=[5, 6, 7, 5]).ids.tolist() == ["5", "6", "7", "5"]
    assert people(wvs7, D_INTERVIEW=[5, 6, 7, 5]).report.duplicates == 1
    assert people(wvs7).ids.tolist() == ["row-1", "row-2", "row-3", "row-4"]


def test_weights_are_numbers_of_0_or_more(wvs7: Codebook) -> None:
    """An absent weight is 1; a negative or infinite one is an error with its row."""
    found = people(wvs7, W_WEIGHT=[0.5, float("nan"), 0.0, 2.0])
    assert found.weights.tolist() == [0.5, 1.0, 0.0, 2.0]
    assert found.s018.tolist() == [1.0] * 4
    for bad in (-0.1, float("inf")):
        with pytest.raises(SurveyDataError, match=r"row 3 .* mend it") as error:
            people(wvs7, S018=[1.0, 1.0, bad, 1.0])
        assert error.value.column == "S018"


def test_years(wvs7: Codebook) -> None:
    """A negative year is no year."""
    assert people(wvs7, A_YEAR=[2018, -5, 2**31 - 1, 0]).years.tolist() == [2018, 0, 9999, 0]


@pytest.mark.parametrize(
    "attributes",
    [
        {"version": ["SYNTHETIC-1"] * 4},
        {"doi": ["Synthetic, not survey data"] * 4},
        {"version": ["6-0-0"] * 4, "doi": ["synthetic"] * 4},
    ],
)
def test_synthetic_data_say_so(wvs7: Codebook, attributes: dict[str, list[str]]) -> None:
    """The version or the doi marks data that are about nobody, in any case."""
    assert people(wvs7, **attributes).stamp == "synthetic"


def test_real_data_are_never_taken_for_synthetic(wvs7: Codebook) -> None:
    """Without the mark in every row, data are of people; a mixture is refused."""
    assert people(wvs7).stamp == ""
    assert people(wvs7, version=["6-0-0"] * 4, doi=["doi.org/10.14281"] * 4).stamp == ""
    with pytest.raises(SurveyDataError, match="some rows are synthetic and some are not"):
        people(wvs7, version=["SYNTHETIC-1"] * 3 + ["6-0-0"])


@pytest.mark.parametrize(
    ("questions", "attributes", "message"),
    [
        ({"Q57": np.array([1.0, 2.0])}, {}, "integers are needed"),
        ({"Q57": np.array(["1"])}, {}, "integers are needed"),
        ({"Q57": np.array([1]), "Q1": np.array([1, 2])}, {}, r"shape \(2,\); \(1,\) is needed"),
        ({"Q57": np.array([[1]])}, {}, "shape"),
        ({"Q57": np.array([1])}, {"B_COUNTRY": np.array(["JPN"])}, "integers are needed"),
        ({"Q57": np.array([1])}, {"S018": np.array(["a"])}, "numbers are needed"),
        ({"Q57": np.array([1])}, {"N_TOWN": np.array(["x"])}, "not an attribute; allowed: D_INT"),
        ({"Q57": np.array([], dtype=int)}, {}, "no rows"),
        ({}, {}, "no column holds a question"),
    ],
)
def test_columns_that_do_not_fit(
    wvs7: Codebook, questions: Any, attributes: Any, message: str
) -> None:
    """Lengths, types and names are checked, and the column is named."""
    with pytest.raises(SurveyDataError, match=message):
        make_people(wvs7, questions, attributes, asked=["Q1", "Q57"])


def test_an_unknown_question(wvs7: Codebook) -> None:
    """A question that the codebook does not have is an error, not a silence."""
    with pytest.raises(UnknownQuestionError, match="Q999"):
        make_people(wvs7, {"Q999": np.array([1])}, {}, asked=[])


def test_the_digest_follows_the_columns(wvs7: Codebook) -> None:
    """Without a file the digest is that of the columns: any change changes it."""
    first = people(wvs7, D_INTERVIEW=["a", "b", "c", "d"])
    assert first.digest == people(wvs7, D_INTERVIEW=["a", "b", "c", "d"]).digest
    assert first.digest != people(wvs7, D_INTERVIEW=["a", "b", "c", "e"]).digest
    assert first.digest != people(wvs7, {**QUESTIONS, "Q57": np.array([1, 2, -1, 1])}).digest
    assert len(first.digest) == 64
    given = make_people(wvs7, QUESTIONS, {}, asked=["Q57"], digest="ab", path=Path("x.csv"))
    assert (given.digest, given.path) == ("ab", Path("x.csv"))


def test_a_message_names_the_file(wvs7: Codebook) -> None:
    """Columns from a file are refused with the file's path."""
    with pytest.raises(SurveyDataError, match=r"x\.csv, column W_WEIGHT"):
        make_people(
            wvs7,
            {"Q57": np.array([1])},
            {"W_WEIGHT": np.array([-1.0])},
            asked=["Q57"],
            path=Path("x.csv"),
        )
