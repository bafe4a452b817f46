"""Answers as files for SPSS, Stata and R: labels, kinds of missing, and the way back."""

from __future__ import annotations

import csv
import importlib.util
import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from valuesim_dspy.__main__ import main
from valuesim_dspy.errors import ConfigError, MissingDataError, SurveyDataError
from valuesim_dspy.survey import labelled_table
from valuesim_dspy.survey.codebook import UnknownQuestionError, load_codebook
from valuesim_dspy.survey.exporting import export_answers, export_respondents, select_questions
from valuesim_dspy.survey.labelled_table import LabelledTable, Labels, write_labelled
from valuesim_dspy.survey.respondents import Respondents, read_respondents
from valuesim_dspy.survey.synthetic import synthesize, write_synthetic

pyreadstat = pytest.importorskip("pyreadstat")

BOOK = load_codebook()
SUFFIXES = [".sav", ".dta", ".csv"]


@pytest.fixture(scope="module")
def people() -> Respondents:
    """A hundred synthetic people."""
    return synthesize(100, seed=6)


def outcomes(**more: Any) -> pd.DataFrame:
    """Simulated answers as `outcomes_frame` gives them; one case failed."""
    return pd.DataFrame(
        {
            "respondent": ["b1", "b1", "a2", "a2"],
            "question": ["Q57", "Q1", "Q1", "Q57"],
            "truth": pd.array([1, 4, None, 2], dtype="Int64"),
            "answer": pd.array([2, 3, 1, None], dtype="Int64"),
            "status": ["answered"] * 3 + ["failed"],
            **more,
        }
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_exported_reads_back(tmp_path: Path, people: Respondents, suffix: str) -> None:
    """Reading the export gives the same people: answers, missing kinds, weights, stamp."""
    export_respondents(people, tmp_path / f"out{suffix}")
    read = read_respondents(tmp_path / f"out{suffix}")
    held, given = read._people, people._people
    assert (held.table.narrow == given.table.narrow).all()
    assert (held.table.wide == given.table.wide).all()
    assert (read.ids, read.alphas, read.report) == (people.ids, people.alphas, people.report)
    for one, other in ((held.weights, given.weights), (held.s018, given.s018)):
        assert one.tolist() == other.tolist()
    assert held.years.tolist() == given.years.tolist()
    assert read.synthetic


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_are_private_and_nothing_else_is_left(
    tmp_path: Path, people: Respondents, suffix: str
) -> None:
    """What is written is readable by its owner only, also where a file was there before."""
    path = tmp_path / f"out{suffix}"
    path.write_text("old")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        written = export_respondents(people[:5], path)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(one.stat().st_mode) for one in written} == {0o600}
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_spss_knows_labels_and_what_is_missing(tmp_path: Path, people: Respondents) -> None:
    """Variables and values are labelled, and negative codes are declared as missing."""
    export_respondents(people, tmp_path / "out.sav", questions=["Q57", "Q106"])
    kept, about = pyreadstat.read_sav(tmp_path / "out.sav", user_missing=True)
    assert about.column_names_to_labels["Q57"] == BOOK["Q57"].text
    labels = about.variable_value_labels["Q57"]
    assert labels[1] == BOOK["Q57"].label(1)
    assert labels[-1] == "dont-know"
    assert about.missing_ranges["Q57"] == [{"lo": -5.0, "hi": -1.0}]
    assert (about.variable_measure["Q57"], about.variable_measure["Q106"]) == ("nominal", "ordinal")
    assert "synthetic" in about.file_label
    left, _ = pyreadstat.read_sav(tmp_path / "out.sav")
    assert kept["Q57"].min() < 0 < left["Q57"].min()
    questions = {name for name in kept.columns if name in BOOK}
    assert questions == {"Q57", "Q106"}


def test_stata_knows_labels(tmp_path: Path, people: Respondents) -> None:
    """Variables and values are labelled; a long label ends in dots."""
    export_respondents(people, tmp_path / "out.dta", questions=["Q57"])
    _, about = pyreadstat.read_dta(tmp_path / "out.dta")
    label = about.column_names_to_labels["Q57"]
    assert label.endswith("...") and BOOK["Q57"].text.startswith(label[:-3])
    assert about.variable_value_labels["Q57"][2] == BOOK["Q57"].label(2)


def test_csv_comes_with_a_codebook(tmp_path: Path, people: Respondents) -> None:
    """Beside the CSV lies a table of what every code means."""
    data, codebook = export_respondents(people, tmp_path / "out.csv", questions=["Q57"])
    assert codebook.name == "out.codebook.csv"
    with codebook.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    told = {row["code"]: (row["meaning"], row["kind"]) for row in rows if row["column"] == "Q57"}
    assert told["1"] == (BOOK["Q57"].label(1), "option")
    assert told["-4"] == ("not-asked", "missing")
    with data.open(newline="", encoding="utf-8") as stream:
        assert {row["Q57"] for row in csv.DictReader(stream)} <= set(told)


def test_codes_that_nobody_knows_are_labelled_so(tmp_path: Path) -> None:
    """A code that reading set aside is exported as one that the codebook does not know."""
    (tmp_path / "in.csv").write_text("Q57\n1\n88\n")
    export_respondents(read_respondents(tmp_path / "in.csv"), tmp_path / "out.sav")
    kept, about = pyreadstat.read_sav(tmp_path / "out.sav", user_missing=True)
    assert kept["Q57"].tolist() == [1, -128]
    assert "does not know" in about.variable_value_labels["Q57"][-128]
    assert about.missing_ranges["Q57"] == [{"lo": -128.0, "hi": -1.0}]
    assert "version" not in kept.columns


def test_questions_without_a_column_are_left_out(tmp_path: Path) -> None:
    """What the file did not hold is not exported, and if that is all, it is an error."""
    (tmp_path / "in.csv").write_text("Q57\n1\n")
    people = read_respondents(tmp_path / "in.csv")
    export_respondents(people, tmp_path / "out.csv", questions=["Q57", "Q58"])
    assert "Q58" not in (tmp_path / "out.csv").read_text()
    with pytest.raises(ConfigError, match="none of these questions"):
        export_respondents(people, tmp_path / "out.csv", questions=["Q58"])
    with pytest.raises(UnknownQuestionError):
        export_respondents(people, tmp_path / "out.csv", questions=["Q999"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_simulated_answers_are_one_row_a_respondent(tmp_path: Path, suffix: str) -> None:
    """Cases become a table; a failed one, and one that was not asked, is missing."""
    path = tmp_path / f"out{suffix}"
    export_answers(outcomes(), path, truth=True)
    read = {
        ".sav": lambda: pyreadstat.read_sav(path, user_missing=True)[0],
        ".dta": lambda: pyreadstat.read_dta(path)[0],
        ".csv": lambda: pd.read_csv(path),
    }[suffix]()
    assert list(read.columns) == ["respondent", "Q1", "Q1_true", "Q57", "Q57_true"]
    assert read.values.tolist() == [["b1", 3, 4, 2, 1], ["a2", 1, -5, -5, 2]]


def test_simulated_answers_say_so(tmp_path: Path) -> None:
    """Labels and the file itself say that nobody gave these answers."""
    export_answers(outcomes(), tmp_path / "out.sav")
    table, about = pyreadstat.read_sav(tmp_path / "out.sav")
    assert about.file_label == "simulated answers of ValueSim, not survey data"
    assert about.column_names_to_labels["Q57"].startswith("Simulated: ")
    assert list(table.columns) == ["respondent", "Q1", "Q57"]
    assert stat.S_IMODE((tmp_path / "out.sav").stat().st_mode) == 0o600


def test_simulated_answers_that_do_not_fit(tmp_path: Path) -> None:
    """A case twice, an unknown question, a lacking column, or nothing at all: one clear error."""
    path = tmp_path / "out.csv"
    with pytest.raises(SurveyDataError, match="asked a question twice"):
        export_answers(outcomes(respondent="same"), path)
    with pytest.raises(UnknownQuestionError):
        export_answers(outcomes(question=["Q57", "Q1", "Q1", "Q999"]), path)
    with pytest.raises(ConfigError, match=r"answer: .*no such column"):
        export_answers(outcomes().drop(columns="answer"), path)
    with pytest.raises(ConfigError, match="no simulated answers"):
        export_answers(outcomes()[:0], path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Q1", ["Q1"]),
        ("Q57-Q59, Q1", ["Q1", "Q57", "Q58", "Q59"]),
        ("Q2-Q2,Q2", ["Q2"]),
        (",Q3,", ["Q3"]),
    ],
)
def test_questions_by_name_and_range(text: str, ids: list[str]) -> None:
    """Ids and ranges, in any order, mean questions in codebook order."""
    assert select_questions(BOOK, text) == ids


@pytest.mark.parametrize("text", ["", " , ", "Q9-Q1"])
def test_a_selection_of_nothing(text: str) -> None:
    """No question, or a range that runs backwards, is an error of the flag."""
    with pytest.raises(ConfigError, match="questions"):
        select_questions(BOOK, text)


@pytest.mark.parametrize("text", ["Q999", "Q1-Q999", "Q57-"])
def test_a_selection_of_unknown_questions(text: str) -> None:
    """A question that the codebook does not have is named."""
    with pytest.raises(UnknownQuestionError):
        select_questions(BOOK, text)


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.parquet"])
def test_other_formats(tmp_path: Path, people: Respondents, name: str) -> None:
    """The file's ending must be one that is written."""
    with pytest.raises(ConfigError, match=r"allowed: \.sav, \.dta, \.csv"):
        export_respondents(people, tmp_path / name)


def test_a_folder_that_is_not_there(tmp_path: Path, people: Respondents) -> None:
    """A missing folder is named before anything is written."""
    with pytest.raises(MissingDataError, match="no such folder"):
        export_respondents(people, tmp_path / "nowhere" / "out.csv")


def test_without_the_library(
    tmp_path: Path, people: Respondents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pyreadstat is absent, CSV is still written and the extra is named for the others."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "pyreadstat", None)
    with pytest.raises(MissingDataError, match=r"valuesim-dspy\[survey\]"):
        export_respondents(people, tmp_path / "out.sav")
    assert export_respondents(people, tmp_path / "out.csv")


@pytest.mark.parametrize("suffix", [".sav", ".dta"])
def test_names_that_the_format_cannot_have(tmp_path: Path, suffix: str) -> None:
    """Odd names are changed to what the format takes; two that would be one are an error."""
    columns = {"own-1a": np.array([1, 2]), "1st": np.array([3, 4])}
    table = LabelledTable(columns, {"own-1a": Labels("Mine", {1: "yes"})}, "a test")
    path = tmp_path / f"out{suffix}"
    write_labelled(table, path)
    read = pyreadstat.read_dta if suffix == ".dta" else pyreadstat.read_sav
    frame, about = read(path)
    assert list(frame.columns) == ["own_1a", "v_1st"]
    assert about.column_names_to_labels["own_1a"] == "Mine"
    twice = LabelledTable({**columns, "OWN_1A": np.array([5, 6])}, {}, "a test")
    with pytest.raises(ConfigError, match="would be called OWN_1A"):
        write_labelled(twice, path)


@pytest.mark.parametrize(("text", "cut"), [("abcdef", "abcdef"), ("abcdefg", "abc...")])
def test_labels_are_cut_at_bytes(text: str, cut: str) -> None:
    """A label fits its bytes and never ends in half a letter."""
    assert labelled_table._cut(text, 6) == cut
    assert labelled_table._cut("\u65e5\u672c\u8a9e", 8) == "\u65e5..."


def test_a_write_that_breaks_off_leaves_the_old_file(
    tmp_path: Path, people: Respondents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is replaced when the new one is whole, and not before."""
    path = tmp_path / "out.csv"
    path.write_text("old")

    def broken(stream: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(labelled_table.csv, "writer", broken)
    with pytest.raises(KeyboardInterrupt):
        export_respondents(people, path)
    assert [one.name for one in tmp_path.iterdir()] == ["out.csv"]
    assert path.read_text() == "old"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`valuesim data export` writes the questions asked for and says where."""
    survey = write_synthetic(tmp_path / "people.csv", 20, seed=1)
    out = tmp_path / "out.dta"
    assert main(["data", "export", str(survey), "--out", str(out), "--questions", "Q1-Q3"]) == 0
    assert str(out) in capsys.readouterr().out
    assert {name for name in pyreadstat.read_dta(out)[0].columns if name in BOOK} == {
        *("Q1", "Q2", "Q3")
    }
    assert main(["data", "export", str(survey), "--out", str(tmp_path / "out.txt")]) == 2
    assert "choose the format" in capsys.readouterr().err
