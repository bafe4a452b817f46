"""The header and the scales of a codebook: what they say, and how mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.codebook import Codebook, load_codebook

HEADER = """
id: small
version: 1
title: A small codebook
citation: Nobody (2020)
missing: {-1: dont-know}
sections: [drinks]
twins: [[Q1, Q2]]
countries:
  - {alpha: MAR, numeric: 504, name: Morocco, also: [MOR]}
  - {alpha: USA, numeric: 840, name: the United States}
scales:
  yes-no: {kind: binary, options: {1: Yes, 2: No}, order: [2, 1]}
  ten: {kind: ordinal, range: [0, 3], ends: {0: Against, 3: All}, order: [1, 2, 3],
    poles: [none, all]}
  count: {kind: count, options: {0: 0, 1: 1, 2: 2 or more}}
  kinds: {kind: nominal, options: {2: B, 1: A}, say: {1: the first}}
"""
SECTION = """
section: drinks
title: Drinks
batteries:
  - id: drinks
    kind: value
    ask: "What of {topic}?"
    fact: "You say {answer}."
    items:
      Q1: {topic: tea, scale: yes-no}
      Q2: {topic: coffee, scale: ten}
      Q3: {topic: milk, scale: count}
      Q4: {topic: juice, scale: kinds}
"""


def load(folder: Path, old: str = "", new: str = "") -> Codebook:
    """The small codebook, with one change in its header."""
    assert old in HEADER
    (folder / "00.yaml").write_text(HEADER.replace(old, new) if old else HEADER)
    (folder / "01.yaml").write_text(SECTION)
    return load_codebook(folder)


def test_yes_and_no_are_words(tmp_path: Path) -> None:
    """YAML's habit of reading Yes as true does not reach labels."""
    question = load(tmp_path)["Q1"]
    assert [option.label for option in question.options] == ["Yes", "No"]
    assert question.fact_text(2) == "You say no."


def test_ranges_are_labelled_by_number(tmp_path: Path) -> None:
    """A range's codes are labelled by their number, those in `ends` by its text."""
    question = load(tmp_path)["Q2"]
    assert [option.label for option in question.options] == ["Against", "1", "2", "All"]
    assert question.order == (1, 2, 3)
    assert question.poles == ("none", "all")


def test_counts_are_ordered_by_themselves(tmp_path: Path) -> None:
    """A count needs no order: more is more; numbers are fine as labels."""
    question = load(tmp_path)["Q3"]
    assert question.order == (0, 1, 2)
    assert question.label(1) == "1"


def test_options_ascend_and_say_what_they_say(tmp_path: Path) -> None:
    """Options ascend by code however listed; {answer} is the label in lower case, or `say`."""
    question = load(tmp_path)["Q4"]
    assert question.codes == (1, 2)
    assert [question.fact_text(code) for code in (1, 2)] == ["You say the first.", "You say b."]
    assert question.order == () and question.poles is None


def test_the_header_is_read(tmp_path: Path) -> None:
    """Title, citation, kinds of missing and countries are the header's."""
    small = load(tmp_path)
    assert (small.title, small.citation) == ("A small codebook", "Nobody (2020)")
    assert small.missing == {-1: "dont-know"}
    assert list(small.countries) == ["MAR", "USA"]
    assert small.country_name("MOR") == "Morocco"
    assert small.section_titles == {"drinks": "Drinks"}


ERRORS = [
    (("version: 1", "version: one"), "version", "a whole number is needed (value 'one')"),
    (("version: 1\n", ""), "version", "this key is missing"),
    (("title:", "titel:"), "titel", "unknown key (did you mean title?)"),
    (("-1: dont-know", "x: dont-know"), "missing.x", "a code (a whole number)"),
    (("sections: [drinks]", "sections: drinks"), "sections", "a list is needed"),
    (("sections: [drinks]", "sections: [1]"), "sections", "a list of texts"),
    (("[[Q1, Q2]]", "[[Q1, Q22]]"), "twins", "no such question (did you mean Q2?) (value 'Q22')"),
    (("[[Q1, Q2]]", "[[Q1]]"), "twins", "two or more ids"),
    (("[[Q1, Q2]]", "[Q1, Q2]"), "twins", "two or more ids"),
    (("numeric: 840", "numeric: 504"), "USA", "another country has this code already"),
    (("alpha: USA", "alpha: MOR"), "MOR", "another country has this code already"),
    (("name: the United States", "nam: x"), "USA.nam", "did you mean name?"),
    (("kind: binary", "kind: binar"), "scales.yes-no.kind", "allowed: ordinal, binary"),
    (("kind: binary, ", ""), "scales.yes-no.kind", "this key is missing"),
    (("order: [2, 1]", "order: [2]"), "scales.yes-no.order", "from least to most"),
    (("order: [2, 1]", "ordr: [2, 1]"), "scales.yes-no.ordr", "did you mean order?"),
    (("order: [2, 1]", "order: [2, 1, 3]"), "scales.yes-no.order", "not among the codes [1, 2]"),
    (("order: [2, 1]", "order: [2, x]"), "scales.yes-no.order", "a list of whole numbers"),
    (("{1: Yes, 2: No}", "{1: Yes, 2: Yes}"), "scales.yes-no.options", "labels must be different"),
    (("{1: Yes, 2: No}", "{1: Yes}"), "scales.yes-no.options", "at least two options"),
    (("{1: Yes, 2: No}", "[Yes, No]"), "scales.yes-no.options", "a mapping"),
    (("{1: Yes, 2: No}", "{-1: Yes, 2: No}"), "scales.yes-no.options", "negative codes"),
    (("{1: Yes, 2: No}", "{1: true, 2: No}"), "scales.yes-no.options.1", "a text is needed"),
    (("range: [0, 3]", "range: [3, 0]"), "scales.ten.range", "the smaller first"),
    (("range: [0, 3]", "options: {0: A, 1: B}"), "scales.ten.ends", "ends label the codes"),
    (("range: [0, 3]", "range: [0, 3], options: {0: A}"), "ten.options", "not both"),
    (("3: All}", "4: All}"), "scales.ten.ends.4", "no such code; codes: [0, 1, 2, 3]"),
    (("say: {1:", "say: {7:"), "scales.kinds.say.7", "no such code"),
    (("say: {1: the first}", "order: [1, 2]"), "scales.kinds.order", "nominal scale has no order"),
    (("say: {1: the first}", "poles: [a, b]"), "scales.kinds.poles", "no order and so no poles"),
    (("kind: nominal", "kind: open"), "scales.kinds.options", "an open question has no options"),
]


@pytest.mark.parametrize(("change", "place", "message"), ERRORS, ids=lambda value: str(value)[:40])
def test_mistakes_are_named(
    tmp_path: Path, change: tuple[str, str], place: str, message: str
) -> None:
    """Each mistake is refused with its file, its key and what to do."""
    with pytest.raises(SurveyDataError) as caught:
        load(tmp_path, *change)
    said = str(caught.value)
    assert f"{tmp_path / '00.yaml'}, column " in said
    assert place in said
    assert message in said


def test_a_scale_has_one_definition(tmp_path: Path) -> None:
    """Two files must not give a scale of the same name."""
    (tmp_path / "02.yaml").write_text(
        "section: food\ntitle: Food\nscales: {ten: {kind: open}}\nbatteries: []\n"
    )
    with pytest.raises(SurveyDataError, match=r"02\.yaml, column scales\.ten: a scale of this"):
        load(tmp_path)


def test_a_section_is_listed_and_stands_in_one_file(tmp_path: Path) -> None:
    """A section that the header does not list, or lists once, is not taken silently."""
    (tmp_path / "02.yaml").write_text("section: drink\ntitle: Drinks\n")
    with pytest.raises(SurveyDataError, match=r"no such section \(did you mean drinks\?\)"):
        load(tmp_path)
    (tmp_path / "02.yaml").write_text("section: drinks\ntitle: Drinks\n")
    with pytest.raises(SurveyDataError, match="another file has this section already"):
        load(tmp_path)


def test_there_is_one_header(tmp_path: Path) -> None:
    """Two headers, or none, are refused."""
    (tmp_path / "02.yaml").write_text("id: second\n")
    with pytest.raises(SurveyDataError, match=r"02\.yaml, column id: 00\.yaml is the header"):
        load(tmp_path)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "01.yaml").write_text(SECTION)
    with pytest.raises(SurveyDataError, match="no file here has the codebook's id"):
        load_codebook(tmp_path / "none")


def test_a_codebook_has_questions(tmp_path: Path) -> None:
    """A header alone is no codebook."""
    path = tmp_path / "header.yaml"
    path.write_text(HEADER)
    with pytest.raises(SurveyDataError, match="no questions"):
        load_codebook(path)
