"""Codebooks as text: what is plain, what is in quotes, and where the comments stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.codebook_writing import GUESS, codebook_lines
from valuesim_dspy.survey.guess_batteries import Item, guess_batteries
from valuesim_dspy.survey.guess_columns import ColumnGuess
from valuesim_dspy.survey.guess_missing import guess_missing
from valuesim_dspy.survey.guess_scales import ScaleGuess, guess_scale
from valuesim_dspy.survey.labelled_files import LabelledFile, Variable

AGREE = {1: "Agree strongly", 2: "Agree", 3: "Disagree", 4: "Disagree strongly"}
COLUMNS = ColumnGuess({"id": ("land", "nr"), "country": ("land",)}, {"id": "guess: anew"})


def item(name: str, label: str, labels: dict[int, str], role: str = "") -> Item:
    """A variable that becomes a question."""
    variable = Variable(name, label, labels, codes=tuple(labels) or (1, 20, 30))
    missing = guess_missing(variable)
    scale = guess_scale(variable, missing)
    assert isinstance(scale, ScaleGuess)
    return Item(variable, scale, missing, role)


def written(
    *items: Item,
    columns: ColumnGuess = COLUMNS,
    name: str = "mine",
    suffix: str = ".sav",
    skipped: dict[str, str] | None = None,
) -> list[str]:
    """The lines of a codebook with these questions."""
    file = LabelledFile(Path(f"x{suffix}"), "A: title", 5, ())
    return codebook_lines(file, name, columns, guess_batteries(items), skipped or {})


def loaded(folder: Path, lines: list[str]) -> Codebook:
    """The codebook that these lines are."""
    (folder / "mine.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_codebook(folder / "mine.yaml")


def test_what_is_written_is_what_is_loaded(tmp_path: Path) -> None:
    """Title, id, columns, scales, batteries, topics."""
    lines = written(item("a", "Trust: police", AGREE), item("b", "Trust: army", AGREE))
    mine = loaded(tmp_path, lines)
    assert (mine.id, mine.title, mine.version) == ("mine", "A: title", 1)
    assert mine.columns.attributes["D_INTERVIEW"] == ("land", "nr")
    assert mine.batteries == {"trust": ("a", "b")}
    assert [question.topic for question in mine] == ["police", "army"]
    assert mine["a"].order == (4, 3, 2, 1) and "JPN" in mine.countries
    assert lines[0].startswith("# Drafted by") and f"  id: [land, nr]  {GUESS}anew" in lines


def test_two_variables_of_one_scale_share_it(tmp_path: Path) -> None:
    """One scale is written once; another that would bear its name gets a number."""
    lines = written(
        item("a", "One matter", AGREE),
        item("b", "Another matter", {**AGREE, 9: "No answer"}),
        item("c", "A third", {1: "Agree strongly", 2: "Agree", 3: "Neither", 4: "Disagree"}),
    )
    mine = loaded(tmp_path, lines)
    assert [question.scale for question in mine] == [
        "agree-strongly-4",
        "agree-strongly-4",
        "agree-strongly-4-2",
    ]
    assert mine["b"].recode == {9: -2} and mine["a"].recode == {}


@pytest.mark.parametrize("label", ['say "so"', "a: b # c", "- x", "\\ back", "ä 中", "it's {so}"])
def test_labels_of_any_kind_survive(tmp_path: Path, label: str) -> None:
    """In quotes as YAML has them; braces become brackets, they would be placeholders."""
    mine = loaded(tmp_path, written(item("v1", label, {1: label, 2: "Other things"})))
    told = label.replace("{", "(").replace("}", ")")
    assert mine["v1"].label(1) == told and told[1:].rstrip(".?!:") in mine["v1"].text


@pytest.mark.parametrize("name", ["true", "null", "x.1", "Q1", "Ä", "_a", "1a", "a$b"])
def test_names_of_any_kind_survive(tmp_path: Path, name: str) -> None:
    """Also those that YAML would read as something else."""
    assert list(loaded(tmp_path, written(item(name, "A", AGREE))).questions) == [name]


def test_stata_has_missing_values_of_its_own(tmp_path: Path) -> None:
    """What they are read as is in the header."""
    lines = written(item("a", "A", AGREE), suffix=".dta")
    assert loaded(tmp_path, lines).missing[-3] == "not-applicable"
    assert loaded(tmp_path, written(item("a", "A", AGREE))).missing == {}


def test_items_differ_from_their_battery_where_they_must(tmp_path: Path) -> None:
    """A question among statements is asked as one; kinds of their own are kept."""
    lines = written(
        item("a", "Free to live", AGREE),
        item("b", "Do you like it here", AGREE),
        item("c", "Important in life", AGREE),
    )
    mine = loaded(tmp_path, lines)
    assert mine["a"].text == 'Do you agree or disagree: "Free to live"?'
    assert mine["b"].text == "Do you like it here?"
    assert [question.kind for question in mine] == ["attitude", "attitude", "value"]
    assert mine.batteries == {"free-to-live": ("a", "b", "c")}


def test_sex_and_age_are_told_plainly(tmp_path: Path) -> None:
    """You are a woman, you are 20 years old."""
    columns = ColumnGuess({"sex": ("s",), "age": ("a",), "education": ("gone",)})
    lines = written(
        item("s", "Sex", {1: "Male", 2: "Female", 3: "Diverse"}, "sex"),
        item("a", "Age", {}, "age"),
        columns=columns,
    )
    mine = loaded(tmp_path, lines)
    assert mine["s"].fact_text(2) == "You are a woman."
    assert mine["s"].fact_text(3) == "Your sex: diverse."
    assert mine["a"].fact_text(20) == "You are 20 years old."
    assert mine.columns.sex == "s" and mine.columns.education is None


def test_names_in_answers_keep_their_capitals(tmp_path: Path) -> None:
    """A church is told by its name."""
    labels = {1: "Roman Catholic", 2: "Church of England", 3: "None"}
    mine = loaded(tmp_path, written(item("r", "Religion", labels)))
    assert mine["r"].fact_text(1).endswith("you answered: Roman Catholic.")
    assert "church of England" in mine["r"].fact_text(2)


def test_long_lists_are_facts_and_no_targets(tmp_path: Path) -> None:
    """Nobody could be scored on forty towns; towns are private, too."""
    labels = {n: f"Place {chr(64 + n % 26)}{n}" for n in range(1, 41)}
    mine = loaded(tmp_path, written(item("t", "Region", dict(sorted(labels.items())))))
    assert not mine["t"].scorable
    nominal = loaded(tmp_path, written(item("t", "Region", {1: "Up", 2: "Dale", 3: "Moor"})))
    assert nominal["t"].private and nominal["t"].scorable


def test_countries_of_the_files_own_are_wrapped(tmp_path: Path) -> None:
    """Many codes go on several lines."""
    codes = dict(enumerate(list(load_codebook().countries)[:60], start=1))
    columns = ColumnGuess({"country": ("c",)}, country_codes=codes)
    lines = written(item("a", "A", AGREE), columns=columns)
    assert dict(loaded(tmp_path, lines).columns.country_codes) == codes
    assert max(len(line) for line in lines) < 250


def test_what_is_left_out_stands_at_the_end(tmp_path: Path) -> None:
    """With the reason, as a comment."""
    lines = written(item("a", "A", AGREE), skipped={"w": "a weight", "t": "text"})
    assert lines[-2:] == ["#   w: a weight", "#   t: text"]
    assert len(loaded(tmp_path, lines)) == 1


def test_a_variable_without_a_label_is_marked(tmp_path: Path) -> None:
    """Its name is all there is."""
    lines = written(item("a7", "", AGREE))
    assert any("a7" in line and "the file has no label for it" in line for line in lines)
    assert loaded(tmp_path, lines)["a7"].topic == "a7"


def test_no_columns_are_no_columns(tmp_path: Path) -> None:
    """Rows are numbered then, and the line for a country is ready."""
    lines = written(item("a", "A", AGREE), columns=ColumnGuess({}))
    mine = loaded(tmp_path, lines)
    assert "D_INTERVIEW" not in mine.columns.attributes
    assert any(line.startswith("# country: USA") for line in lines)
