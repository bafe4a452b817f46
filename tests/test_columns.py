"""The columns that are no answers: which they are, and how other surveys name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.columns import ATTRIBUTES, Columns, whole_text
from valuesim_dspy.survey.respondents import Respondents, read_respondents

BOOK = """
id: small
version: 1
title: A small codebook
countries: iso
columns: {id: [land, nr], country: land, year: when, weight: w, sex: gndr, age: years}
scales:
  yes-no: {kind: binary, options: {1: Yes, 2: No}, order: [2, 1]}
  sexes: {kind: nominal, options: {1: Woman, 2: Man, 3: Another}}
  number: {kind: open}
batteries:
  - id: all
    kind: demographic
    ask: "What of {topic}?"
    fact: "Of {topic} you say {answer}."
    items:
      bees: {topic: bees, scale: yes-no}
      gndr: {topic: sex, scale: sexes}
      years: {topic: age, scale: number, fact: "You are {code}."}
"""
ROWS = "nr,land,when,w,bees,gndr,years\n1,GB,2018,0.5,1,1,40\n1,NO,2019,2,2,2,41\n2,826,,,1,3,\n"


def book(folder: Path, old: str = "", new: str = "") -> Codebook:
    """The small codebook, with one change."""
    assert old in BOOK
    path = folder / "small.yaml"
    path.write_text(BOOK.replace(old, new) if old else BOOK)
    return load_codebook(path)


def people(folder: Path, old: str = "", new: str = "", rows: str = ROWS) -> Respondents:
    """The people of a small file."""
    (folder / "small.csv").write_text(rows)
    return read_respondents(folder / "small.csv", codebook=book(folder, old, new))


def test_the_official_columns_are_the_default() -> None:
    """A codebook that says nothing means wave 7's names; its digest does not mention them."""
    columns = load_codebook().columns
    assert columns == Columns() and columns.content() == []
    assert columns.kinds == dict(ATTRIBUTES)
    assert (columns.sex, columns.age, columns.education) == ("Q260", "Q262", "Q275")
    assert columns.named("W_WEIGHT") == "W_WEIGHT"


def test_other_names_say_who_where_when_and_at_what_weight(tmp_path: Path) -> None:
    """Alpha-2 and numeric codes, a number that counts anew, an unknown year, no weight."""
    found = people(tmp_path)
    assert [person.id for person in found] == ["GB-1", "NO-1", "826-2"]
    assert [person.country for person in found] == ["GBR", "NOR", "GBR"]
    assert [person.year for person in found] == [2018, 2019, None]
    assert [person.weight for person in found] == [0.5, 2.0, 1.0]
    assert found.report.weighted == 2 and found.report.duplicates == 0
    assert found.report.columns_unknown == 0


def test_sex_and_age_are_questions_of_any_name(tmp_path: Path) -> None:
    """Sex is told by the labels, whatever their codes."""
    found = people(tmp_path)
    assert [person.sex for person in found] == ["female", "male", None]
    assert [person.age for person in found] == [40, 41, None]
    assert [person.education for person in found] == [None] * 3


def test_a_column_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    """Rows are numbered, countries unknown, weights 1; and sex comes along when not asked for."""
    rows = "bees,gndr\n1,1\n2,2\n"
    found = people(tmp_path, rows=rows)
    assert [person.id for person in found] == ["row-1", "row-2"]
    assert found.countries == {"": 2} and found[0].weight == 1.0 and found.report.weighted == 0
    only = read_respondents(tmp_path / "small.csv", codebook=found.codebook, columns=["bees"])
    assert only[0].sex == "female" and only.report.columns_missing == ("years",)


def test_the_official_names_mean_nothing_to_another_survey(tmp_path: Path) -> None:
    """Only the columns that the codebook names are read; a synthetic stamp always is."""
    rows = "D_INTERVIEW,B_COUNTRY,bees,version\n7,392,1,SYNTHETIC-1\n"
    found = people(tmp_path, rows=rows)
    assert found[0].id == "row-1" and found[0].country == "" and found.synthetic


def test_a_question_may_be_called_version(tmp_path: Path) -> None:
    """It is an answer then, and no stamp."""
    rows = "nr,land,VERSION\n1,GB,2\n"
    found = people(tmp_path, "bees: {topic: bees", "VERSION: {topic: bees", rows)
    assert found[0].answer("VERSION") == 2 and not found.synthetic


def test_codes_of_the_files_own(tmp_path: Path) -> None:
    """They hold instead of ISO's, so that 4 is Cape Verde and never Afghanistan."""
    own = "country_codes: {4: CPV, two: BWA}\ncountries: iso"
    rows = "nr,land,bees\n1,4,1\n2,4.0,1\n3,TWO,1\n4,72,1\n5,GB,2\n"
    found = people(tmp_path, "countries: iso", own, rows)
    assert [person.country for person in found] == ["CPV", "CPV", "BWA", "", ""]
    assert found.report.unknown_codes == {"land": {72: 1, "GB": 1}}


def test_a_survey_of_one_country(tmp_path: Path) -> None:
    """`country` says where everybody lives whom no column places."""
    found = people(tmp_path, "countries: iso", "country: JPN\ncountries: iso")
    assert [person.country for person in found] == ["GBR", "NOR", "GBR"]
    found = people(tmp_path, rows="bees\n1\n2\n")
    assert found.countries == {"": 2}
    folder = tmp_path / "japan"
    folder.mkdir()
    home = people(folder, "countries: iso", "country: JP\ncountries: iso", "bees\n1\n2\n")
    assert home.countries == {"JPN": 2} and home.codebook.columns.home == "JPN"


ERRORS = [
    (("w, sex", "w, ses: x, sex"), "columns.ses", "did you mean sex?"),
    (("sex: gndr", "sex: gender"), "columns.sex", "no such question"),
    (("weight: w", "weight: bees"), "columns.weight", "a question of the codebook"),
    (("id: [land, nr]", "id: []"), "columns.id", "together tell people apart"),
    (("id: [land, nr]", "id: [1]"), "columns.id", "a list of texts"),
    (("year: when", "year: [a, b]"), "columns.year", "a text is needed"),
    ((BOOK.splitlines()[5], "columns: x"), "columns", "a mapping"),
    (("countries: iso", "countries: iso\ncountry: JAP"), "country", "no such country"),
    (("countries: iso", "country: JPN"), "country", "countries: iso"),
    (("countries: iso", "countries: iso\ncountry_codes: {1: X}"), "country_codes.1", "no such"),
    (("countries: iso", "countries: all"), "countries", "a list is needed"),
]


@pytest.mark.parametrize(("change", "place", "message"), ERRORS, ids=lambda value: str(value)[:40])
def test_mistakes_are_named(
    tmp_path: Path, change: tuple[str, str], place: str, message: str
) -> None:
    """Each mistake is refused with its file, its key and what to do."""
    with pytest.raises(SurveyDataError) as caught:
        book(tmp_path, *change)
    assert f"column {place}: " in str(caught.value) and message in str(caught.value)


def test_iso_lists_every_country_by_three_codes(tmp_path: Path) -> None:
    """The packaged countries, found by alpha-2 too; those of ESS, EVS and Eurostat as well."""
    small = book(tmp_path)
    packaged = load_codebook().countries
    assert small.countries.keys() == packaged.keys()
    for code, alpha in (("NO", "NOR"), ("EL", "GRC"), ("UK", "GBR"), ("XK", "XKX"), ("NA", "NAM")):
        assert small.country(code).alpha == alpha and small.country_name(alpha)
    two = [code for country in small.countries.values() for code in country.also if len(code) == 2]
    assert len(two) == len(set(two)) > 210
    assert small.country_alpha(826) == "GBR"


@pytest.mark.parametrize(
    ("cell", "text"), [("12.0", "12"), (" 7 ", "7"), (12, "12"), ("v1.0.1", "v1.0.1"), ("", "")]
)
def test_whole_numbers_are_written_as_such(cell: Any, text: str) -> None:
    """SPSS and Stata hold every number as a decimal."""
    assert whole_text(cell) == text


def test_parts_of_what_was_read() -> None:
    """One column may serve two ends: it is read as text and turned back into numbers."""
    columns = Columns({"D_INTERVIEW": ("nr", "when"), "A_YEAR": ("when",), "S018": ("s",)})
    assert columns.kinds == {"nr": "text", "when": "text", "s": "float64"}
    read = {
        "nr": np.array(["1", "2"], dtype=object),
        "when": np.array(["2018.0", "?"], dtype=object),
        "Q1": np.array([1, 2]),
    }
    answers, attributes = columns.part(read)
    assert list(answers) == ["Q1"] and list(attributes) == ["D_INTERVIEW", "A_YEAR"]
    assert attributes["D_INTERVIEW"].tolist() == ["1-2018", "2-?"]
    assert attributes["A_YEAR"].tolist() == [2018, 0]
    assert attributes["A_YEAR"].dtype.kind == "i"


def test_columns_are_part_of_the_digest(tmp_path: Path) -> None:
    """Another column for the same thing is another codebook."""
    digest = book(tmp_path).digest
    (tmp_path / "o").mkdir()
    assert book(tmp_path / "o", "weight: w", "weight: dweight").digest != digest
