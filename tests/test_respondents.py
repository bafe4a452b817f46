"""From a survey file to people: the whole way, and everything a caller does with them."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuesim_dspy.errors import ConfigError, MissingDataError, SurveyDataError
from valuesim_dspy.survey.codebook import UnknownQuestionError, load_codebook
from valuesim_dspy.survey.respondents import (
    Respondent,
    Respondents,
    read_respondent,
    read_respondents,
)

HEADER = "version,D_INTERVIEW,B_COUNTRY_ALPHA,Q57,Q1,Q262,Q260,Q275,O1_LONGITUDE,W_WEIGHT,Q33_3"
ROWS = [
    "6-0-0,101,JPN,1,2,30,1,3,139.7,0.5,1",
    "6-0-0,102,JPN,2,-1,41,2,-5,139.7,1.5,1",
    "6-0-0,103,USA,7,4,-2,1,8,-77.0,1.0,1",
    "6-0-0,104,FRA,,3,99,2,0,2.3,,1",
]


def written(folder: Path, *rows: str, header: str = HEADER) -> Path:
    """A survey file of these rows."""
    path = folder / "survey.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def four(tmp_path: Path) -> Respondents:
    """The four people of the small file."""
    return read_respondents(written(tmp_path, *ROWS))


def test_a_file_becomes_people(four: Respondents) -> None:
    """Rows become people in the file's order, with their row numbers."""
    assert len(four) == 4
    assert [person.id for person in four] == ["101", "102", "103", "104"]
    assert [person.row for person in four] == [1, 2, 3, 4]
    assert [person.country_name for person in four][2:] == ["the United States", "France"]
    assert dict(four[0].answers) == {"Q1": 2, "Q57": 1, "Q260": 1, "Q262": 30, "Q275": 3}
    assert four[3].missing("Q57") == "missing"
    assert four[3].weight == 1.0
    assert not four.synthetic


def test_the_report_of_a_file(four: Respondents) -> None:
    """Unknown codes and columns are counted and set aside, not fatal."""
    assert four.report.unknown_codes == {"Q57": {7: 1}}
    assert four[2].missing("Q57") == "unknown-code"
    assert four.report.columns_unknown == 2
    assert len(four.report.columns_missing) == 285
    assert four.report.missing["dont-know"] == 1


def test_an_error_names_file_line_column_value_and_remedy(tmp_path: Path) -> None:
    """A malformed cell says where it is and what to do."""
    path = written(tmp_path, *ROWS, "6-0-0,105,FRA,many,3,99,2,0,2.3,1,1")
    with pytest.raises(SurveyDataError) as error:
        read_respondents(path)
    assert str(error.value) == (
        f"{path}, line 6, column Q57: not a whole number: mend the cell, or leave it empty "
        "(value 'many')"
    )


def test_some_questions_only(tmp_path: Path) -> None:
    """Given columns are read with sex, age and education; others are not even decoded."""
    path = written(tmp_path, "6-0-0,1,JPN,many,2,30,1,3,1,1,1")
    people = read_respondents(path, columns=["Q1"])
    assert dict(people[0].answers) == {"Q1": 2, "Q260": 1, "Q262": 30, "Q275": 3}
    assert people[0].missing("Q57") == "not-in-file"
    with pytest.raises(ConfigError, match="columns: not a question of codebook wvs7"):
        read_respondents(path, columns=["Q1", "N_TOWN"])


def test_another_codebook(tmp_path: Path) -> None:
    """A codebook of one's own decides which columns are questions and which codes count."""
    source = tmp_path / "own.yaml"
    source.write_text(
        "id: own\nversion: 1\ntitle: Own\nmissing: {-1: dont-know, -9: lost, -5: missing}\n"
        "countries: [{alpha: JPN, numeric: 392, name: Japan}]\n"
        "scales: {agree: {kind: binary, options: {0: 'No', 1: 'Yes'}, order: [0, 1]}}\n"
        "batteries:\n"
        "  - id: tea\n    kind: attitude\n    scale: agree\n"
        "    ask: 'Do you like {topic}?'\n"
        "    facts: {0: 'You dislike {topic}.', 1: 'You like {topic}.'}\n"
        "    items: {T1: {topic: tea}, T2: {topic: coffee}}\n"
    )
    path = written(tmp_path, "0,-9,JPN", "1,2,USA", header="T2,T1,B_COUNTRY_ALPHA")
    people = read_respondents(path, codebook=load_codebook(source))
    assert [dict(person.answers) for person in people] == [{"T2": 0}, {"T2": 1}]
    assert [person.missing("T1") for person in people] == ["lost", "unknown-code"]
    assert [person.country for person in people] == ["JPN", ""]
    assert people[0].age is None


def test_a_missing_file(tmp_path: Path) -> None:
    """A path where no file is is missing data, not a malformed survey."""
    with pytest.raises(MissingDataError, match="there is no such file"):
        read_respondents(tmp_path / "absent.csv")


def test_the_digest_is_the_files(four: Respondents, tmp_path: Path) -> None:
    """The digest does not change with a selection, and changes with the file."""
    assert four[1:].digest == four.digest
    assert len(four.digest) == 64
    assert read_respondents(written(tmp_path, *ROWS[:3])).digest != four.digest


def test_slices_and_selections_share_the_table(four: Respondents) -> None:
    """Slices, selections and selections of them keep people as they are, in the order asked."""
    assert [person.id for person in four[::-2]] == ["104", "102"]
    assert [person.id for person in four.take([3, 0])[:1]] == ["104"]
    assert [person.row for person in four[1:].take(np.array([-1, 0]))] == [4, 2]
    assert four[1:]._people is four._people
    assert four[-1] == four[3]
    assert len(four.take([])) == 0
    with pytest.raises(IndexError):
        four.take([4])
    with pytest.raises(IndexError):
        four[4]


def test_a_mask_is_no_list_of_places(four: Respondents) -> None:
    """A boolean mask would be read as places 0 and 1: it is refused."""
    with pytest.raises(ConfigError, match="places must be whole numbers"):
        four.take(np.array([True, False, True, False]))


def test_columns_of_a_selection(four: Respondents) -> None:
    """A column is codes with negative ones for missing, for these people only."""
    assert four.column("Q262").tolist() == [30, 41, -2, 99]
    assert four[2:].column("Q1").tolist() == [4, 3]
    assert four.column("Q57").dtype == np.int32
    assert (four.column("Q2") < 0).all()
    with pytest.raises(UnknownQuestionError):
        four.column("Q2000")


def test_attributes_of_a_selection(four: Respondents) -> None:
    """Weights, rows, ids and countries follow the selection."""
    some = four.take([2, 0])
    assert some.weights.tolist() == [1.0, 0.5]
    assert some.s018.tolist() == [1.0, 1.0]
    assert some.rows.tolist() == [3, 1]
    assert some.ids == ["103", "101"]
    assert some.alphas == ["USA", "JPN"]
    assert some.countries == Counter({"USA": 1, "JPN": 1})
    assert four.countries["JPN"] == 2


def test_a_person_by_interview_number(four: Respondents) -> None:
    """People are found by id, in the selection that is asked; nobody else is."""
    assert four.by_id("103").row == 3
    with pytest.raises(MissingDataError, match="D_INTERVIEW of this file") as error:
        four[:2].by_id("103")
    assert "103" not in str(error.value)


def test_a_repeated_interview_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A repeated id is counted; it means the first row that has it, and that is said."""
    path = written(tmp_path, *ROWS, ROWS[1])
    people = read_respondents(path)
    assert people.report.duplicates == 1
    for find in (people.by_id, partial(read_respondent, path)):
        assert find("102").row == 2
        (record,) = caplog.records
        assert "2 rows have the interview number asked for: the person of row 2" in caplog.text
        assert "102" not in record.getMessage()
        caplog.clear()
    assert people.by_id("103").row == 3 == read_respondent(path, "103").row
    assert people[:3].by_id("102").row == 2 and not caplog.records


def test_a_selection_knows_everyone_of_its_file(four: Respondents) -> None:
    """In the file's order, until it is sent elsewhere."""
    assert four[1:2].take([0]).everyone.ids == four.ids
    assert pickle.loads(pickle.dumps(four[1:2])).everyone.ids == ["102"]


def test_people_are_hashable_picklable_and_not_copied(four: Respondents) -> None:
    """A selection hashes by identity, copies as itself, and pickles as these people only."""
    some = four[1:3]
    assert {four: 1, some: 2}[some] == 2
    assert copy.deepcopy(some) is some
    back = pickle.loads(pickle.dumps(some))
    assert [(person.id, dict(person.answers)) for person in back] == [
        (person.id, dict(person.answers)) for person in some
    ]
    assert len(back._people.ids) == 2
    assert back.digest == four.digest


def test_people_from_columns() -> None:
    """Columns in memory become people by the same rules as a file."""
    people = Respondents.from_columns(
        questions={"Q262": np.array([20, 30]), "Q1": np.array([1, 9])},
        attributes={
            "B_COUNTRY": np.array([392, 840]),
            "version": np.array(["SYNTHETIC-1"] * 2, dtype=object),
        },
    )
    assert dict(people[0].answers) == {"Q1": 1, "Q262": 20}
    assert people[1].missing("Q1") == "unknown-code"
    assert people.synthetic
    assert people.stamp == "synthetic"
    assert people.path is None
    assert len(people.digest) == 64


def test_descriptions_are_one_line_without_rows(four: Respondents) -> None:
    """Descriptions say how many and of what kind; nobody is in them."""
    assert four.describe().startswith("4 people of 3 countries; 4 rows read; missing answers: ")
    assert "\n" not in four.describe()
    assert repr(four) == f"Respondents(4 people, {four.digest[:12]})"
    marked = Respondents.from_columns(
        questions={"Q1": np.array([1])}, attributes={"doi": np.array(["synthetic"], dtype=object)}
    )
    assert marked.describe().startswith("1 synthetic people of 0 countries")
    assert "synthetic" in repr(marked)


def test_it_is_a_sequence_of_respondents(four: Respondents) -> None:
    """Iteration, containment and reversal come with being a sequence."""
    assert all(isinstance(person, Respondent) for person in four)
    assert four[2] in four
    assert [person.row for person in reversed(four)] == [4, 3, 2, 1]
    assert four.index(four[1]) == 1


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=50), st.data())
def test_a_view_agrees_with_its_column(codes: list[int], data: st.DataObject) -> None:
    """What a person's view says of a question is what the column says, in any selection."""
    people = Respondents.from_columns(questions={"Q1": np.array(codes)})
    places = data.draw(st.lists(st.integers(0, len(codes) - 1), max_size=20))
    some = people.take(places)
    for person, code in zip(some, some.column("Q1").tolist(), strict=True):
        assert person.answer("Q1") == (code if code >= 0 else None)
        assert person.masked(frozenset({"Q2"})) == {}


@pytest.mark.slow
def test_a_whole_survey_is_read(tmp_path: Path) -> None:
    """A file of the official size and shape is read, every row of it."""
    n = 97_220
    questions = list(load_codebook().questions)
    line = ",".join("1" for _ in questions)
    extra = ",".join(f"X{at}" for at in range(300))
    filler = ",".join("1234" for _ in range(300))
    path = tmp_path / "whole.csv"
    with path.open("w") as file:
        file.write(f"D_INTERVIEW,{','.join(questions)},{extra}\n")
        file.writelines(f"{at},{line},{filler}\n" for at in range(n))
    people = read_respondents(path)
    assert len(people) == n
    assert people[n - 1].id == str(n - 1)
    assert len(people[n - 1].answers) + len(people.report.unknown_codes) == 290
