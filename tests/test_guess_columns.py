"""Which variables say who, where, when and at what weight; and which are no questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from labelled import write_ess, write_wave6

from valuesim_dspy.survey.codebook_header import iso_places
from valuesim_dspy.survey.guess_columns import ColumnGuess, guess_columns
from valuesim_dspy.survey.labelled_files import LabelledFile, Variable, read_variables

PLACES = iso_places()
ROWS = 40


def variable(name: str, label: str = "", **known: Any) -> Variable:
    """A variable that every row has a value of."""
    known.setdefault("codes", (1, 2, 3))
    known.setdefault("given", ROWS)
    known.setdefault("distinct", len(known["codes"]))
    return Variable(name, label, **known)


def guess(*variables: Variable) -> ColumnGuess:
    """The columns of a file of these variables."""
    return guess_columns(LabelledFile(Path("x.sav"), "", ROWS, variables), PLACES)


def test_the_columns_of_the_ess(tmp_path: Path) -> None:
    """Alpha-2 countries, an id that counts anew, the best weight, and what else there is."""
    found = guess_columns(read_variables(write_ess(tmp_path / "ess.sav")), PLACES)
    assert dict(found.columns) == {
        "id": ("cntry", "idno"),
        "country": ("cntry",),
        "year": ("inwyys",),
        "weight": ("pspwght",),
        "sex": ("gndr",),
        "age": ("agea",),
    }
    assert "also there: dweight" in found.notes["weight"] and "anew" in found.notes["id"]
    assert found.dropped == {"name": "text", "dweight": "a weight", "pspwght": "a weight"}
    assert found.country_codes == {}


def test_the_columns_of_wave_6(tmp_path: Path) -> None:
    """V names say nothing by themselves: labels do."""
    found = guess_columns(read_variables(write_wave6(tmp_path / "w6.sav")), PLACES)
    assert found.columns["id"] == ("V3",) and found.columns["country"] == ("V2",)
    assert found.columns["weight"] == ("V258",) and found.columns["year"] == ("V262",)
    assert found.columns["sex"] == ("V240",) and found.columns["age"] == ("V242",)
    assert found.dropped["V1"] == "about the interview, not the person"


def test_a_v_name_with_another_label_is_not_taken() -> None:
    """V3 may be anything; without a label it is wave 6's interview number."""
    other = variable("V3", "Important in life: Work", codes=tuple(range(ROWS)))
    assert "id" not in guess(other).columns
    bare = variable("V3", codes=tuple(range(ROWS)))
    assert guess(bare).columns["id"] == ("V3",)


def test_the_columns_of_the_joint_file_of_evs_and_wvs() -> None:
    """Both codes of a country are there: the one in letters is taken."""
    found = guess(
        variable("cntry", "country (ISO 3166-1 Numeric code)", codes=(392, 840)),
        variable("cntry_AN", "country", kind="text", codes=(), texts=("JP", "US")),
        variable("uniqid", "unified respondent number", codes=tuple(range(ROWS))),
        variable("gwght", "calibration weight", kind="numbers", codes=()),
        variable("pwght", "population size weight", kind="numbers", codes=()),
        variable("year", "survey year", codes=(2017, 2018)),
        variable("A001", "important in life: family", labels={1: "very important", 2: "no"}),
    )
    assert found.columns["country"] == ("cntry_AN",) and found.columns["id"] == ("uniqid",)
    assert found.columns["weight"] == ("gwght",) and found.columns["year"] == ("year",)
    assert found.dropped == {
        "cntry": "also like the column for country",
        "gwght": "a weight",
        "pwght": "a weight",
    }


def test_country_codes_of_the_files_own() -> None:
    """Numbers that are labelled with countries, and are not ISO's."""
    labels = {1: "Benin", 2: "Botswana", 3: "Burkina Faso", 4: "Cabo Verde", 5: "Atlantis"}
    found = guess(variable("COUNTRY", "Country", labels=labels, codes=(1, 2, 3, 4)))
    assert found.columns["country"] == ("COUNTRY",)
    assert found.country_codes == {1: "BEN", 2: "BWA", 3: "BFA", 4: "CPV"}
    iso = {392: "Japan", 840: "United States", 826: "Great Britain"}
    assert guess(variable("country", labels=iso, codes=(392, 840))).country_codes == {}


def test_a_country_is_one_by_its_values() -> None:
    """A question about one's country is not one, whatever it is called."""
    said = {1: "Very good", 2: "Bad"}
    assert "country" not in guess(variable("country", "Country", labels=said)).columns
    text = variable("cntry", kind="text", codes=(), texts=("Norway!", "?", "x"))
    assert "country" not in guess(text).columns


def test_weights_are_numbers_without_labels() -> None:
    """A labelled one is a question; that of a body is no weight of a person in a sample."""
    labelled = variable("weight", "Do you weigh enough", labels={1: "Yes", 2: "No"})
    body = variable("wght", "Body weight in kg", kind="codes", codes=tuple(range(50, 90)))
    found = guess(labelled, body)
    assert "weight" not in found.columns and "wght" not in found.dropped
    both = guess(variable("wgt", kind="numbers"), variable("pspwght", kind="numbers"))
    assert both.columns["weight"] == ("pspwght",)
    assert both.dropped == {"wgt": "a weight", "pspwght": "a weight"}


@pytest.mark.parametrize(
    ("given", "role"),
    [
        (variable("sex", "Sex", labels={1: "Yes", 2: "No"}), "sex"),
        (variable("age", "Age", codes=(1, 2, 3)), "age"),
        (variable("year", "Year", codes=(1, 2, 99)), "year"),
        (variable("id", "ID", kind="numbers", codes=()), "id"),
        (variable("id", "ID", codes=(1,), given=3), "id"),
        (variable("educ", "Education", labels={1: "Yes", 2: "No"}), "education"),
    ],
)
def test_a_name_is_not_enough(given: Variable, role: str) -> None:
    """The values must be those of such a column."""
    assert role not in guess(given).columns


def test_what_is_no_question_says_why() -> None:
    """Text, dates, fractions, what is empty, and what is about the interview."""
    found = guess(
        variable("a", "Comment", kind="text", codes=()),
        variable("b", "Born", kind="date", codes=()),
        variable("c", "Score", kind="numbers", codes=()),
        variable("d", "Nothing", given=0),
        variable("e", "Interviewer's age group"),
        variable("f", "Interest in politics"),
    )
    assert found.dropped == {
        "a": "text",
        "b": "a date",
        "c": "numbers with fractions",
        "d": "no row has a value",
        "e": "about the interview, not the person",
    }
