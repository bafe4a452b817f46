"""Wording of one's own: what it replaces, what stays, and how mistakes in its file are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.own_wording import open_codebook, with_wording

HEAD = "question,code,text\n"


def worded(folder: Path, content: str | bytes, name: str = "wording.csv") -> Codebook:
    """The packaged codebook in the wording of a file."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return with_wording(load_codebook(), path)


def test_a_csv_file_replaces_questions_and_labels(tmp_path: Path) -> None:
    """Only those it has; codes, order, poles, topic and facts stay."""
    found = worded(tmp_path, HEAD + 'Q57,,"Speaking generally, whom?"\nQ57,1,Most\nQ46,,Happy?\n')
    plain = load_codebook()
    trust = found["Q57"]
    assert trust.text == trust.text_for("JPN") == "Speaking generally, whom?"
    assert [option.label for option in trust.options] == ["Most", plain["Q57"].label(2)]
    for name in ("codes", "order", "poles", "topic", "scale", "missing", "kind", "battery"):
        assert getattr(trust, name) == getattr(plain["Q57"], name)
    assert trust.fact_text(1) == plain["Q57"].fact_text(1)
    assert found["Q46"].text == "Happy?" and found["Q46"].options == plain["Q46"].options
    assert found["Q1"] is plain["Q1"]
    assert (found.id, found.version, len(found)) == (plain.id, plain.version, len(plain))


def test_a_yaml_file_says_the_same(tmp_path: Path) -> None:
    """A text alone, or a text and options."""
    csv = worded(tmp_path, HEAD + "Q57,,Whom?\nQ57,1,Most\nQ46,,Happy?\nQ1,4,Not\n")
    yaml = "Q57:\n  text: Whom?\n  options: {1: Most}\nQ46: Happy?\nQ1: {options: {4: Not}}\n"
    assert worded(tmp_path, yaml, "w.yaml").digest == csv.digest
    assert worded(tmp_path, yaml, "w.yml").wording == csv.wording


def test_the_digest_is_of_what_is_said(tmp_path: Path) -> None:
    """Neither the order of rows nor the file's name matter; another word does."""
    one = worded(tmp_path, HEAD + "Q57,,Whom?\nQ46,,Happy?\n")
    same = worded(tmp_path, HEAD + "Q46,,Happy?\n\nQ57,,Whom?\n", "other.csv")
    other = worded(tmp_path, HEAD + "Q57,,Who?\nQ46,,Happy?\n")
    assert one.wording == same.wording and one.digest == same.digest and len(one.wording) == 16
    assert other.wording != one.wording and other.digest != one.digest
    assert load_codebook().wording == "" and load_codebook().digest != one.digest


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + HEAD + "Q57,,Whom?\n",
        "question;code;text\nQ57;;Whom?\n",
        "text,code,question\nWhom?,,Q57\n",
        HEAD.replace("\n", "\r\n") + "Q57,, Whom? \r\n\r\n",
    ],
)
def test_csv_files_as_spreadsheets_write_them(tmp_path: Path, content: str) -> None:
    """A byte order mark, semicolons, another order of columns, blanks, Windows' line ends."""
    assert worded(tmp_path, content)["Q57"].text == "Whom?"


def test_the_country_is_filled_in(tmp_path: Path) -> None:
    """In questions {country} is the person's, as in a codebook."""
    found = worded(tmp_path, HEAD + "Q57,,How is {country}?\n")["Q57"]
    assert found.text == "How is your country?" and found.text_for("JPN") == "How is Japan?"


def test_open_codebook_takes_both(tmp_path: Path) -> None:
    """A codebook alone, or in a wording."""
    (tmp_path / "w.csv").write_text(HEAD + "Q57,,Whom?\n")
    assert open_codebook() is load_codebook()
    assert open_codebook("wvs7", tmp_path / "w.csv")["Q57"].text == "Whom?"
    with pytest.raises(MissingDataError, match="no codebook 'nosuch'"):
        open_codebook("nosuch")


ERRORS = [
    (HEAD + "Q999,,Whom?\n", "Q999", "no such question"),
    (HEAD + "q57,,Whom?\n", "q57", "did you mean Q57?"),
    (HEAD + "Q57,9,Whom?\n", "Q57.9", "no such code; codes: [1, 2]"),
    (HEAD + "Q57,one,Whom?\n", "line 2", "a code is a whole number"),
    (HEAD + "Q57,,\n", "line 2", "question and text must be given"),
    (HEAD + ",,Whom?\n", "line 2", "question and text must be given"),
    (HEAD + "Q57,,A?\nQ57,,B?\n", "line 3", "there twice"),
    (HEAD + "Q57,,Well, whom?\n", "line 2", "texts with commas in quotes"),
    (HEAD + 'Q57,,"Whom?\n', "", "not readable as CSV"),
    (HEAD + "Q57,,Whom {x}?\n", "Q57", "only {country} is known"),
    (HEAD + "Q57,,Whom {?\n", "Q57", "braces"),
    (HEAD + "Q57,1,In {country}\n", "Q57.1", "only {country} is known, in questions"),
    (HEAD + "Q57,1,Same\nQ57,2,Same\n", "Q57", "labels must be different"),
    ("id,text\nQ57,Whom?\n", "line 1", "the columns must be question, code, text"),
    ("", "line 1", "the columns must be"),
    (HEAD.encode() + b"Q57,,\xff\n", "", "not UTF-8"),
]


@pytest.mark.parametrize(("content", "place", "message"), ERRORS)
def test_mistakes_in_a_csv_file_are_named(
    tmp_path: Path, content: str | bytes, place: str, message: str
) -> None:
    """With the file and the line or the question, in one line."""
    with pytest.raises(SurveyDataError) as caught:
        worded(tmp_path, content)
    said = str(caught.value)
    assert "wording.csv" in said and place in said and message in said and "\n" not in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Q57: {txt: Whom?}", "did you mean text?"),
        ("Q57: {text: ''}", "a text is needed"),
        ("Q57: [a]", "a text is needed"),
        ("Q57: {options: {a: b}}", "a code"),
        ("Q57: A?\nQ57: B?", "given twice"),
        ("Q57: A?\n---\nQ57: B?", "there twice"),
        ("- Q57", "a mapping"),
        ("Q57: [", "not readable as YAML"),
        ("Q999: A?", "no such question"),
    ],
)
def test_mistakes_in_a_yaml_file_are_named(tmp_path: Path, content: str, message: str) -> None:
    """With the file and the question."""
    with pytest.raises(SurveyDataError) as caught:
        worded(tmp_path, content, "wording.yaml")
    assert "wording.yaml" in str(caught.value) and message in str(caught.value)


def test_no_file_is_no_wording(tmp_path: Path) -> None:
    """It says what to give."""
    with pytest.raises(MissingDataError, match=r"no wording file .*give a \.csv or a \.yaml"):
        with_wording(load_codebook(), tmp_path / "none.csv")
    with pytest.raises(MissingDataError):
        with_wording(load_codebook(), tmp_path)
