"""The output of a simulation: every row once, in order, whole or not at all, private."""

from __future__ import annotations

import csv
import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from valuesim_dspy import answers_file
from valuesim_dspy.answers_file import COLUMNS, check_output, unlabelled, write_answers
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.journal import Journal, Shard
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.exporting import SIMULATED_NOTE

BOOK = load_codebook()
OWN = {"own-1": {"text": "Move?", "options": {"1": "Yes", "2": "No"}}}
ARGUMENTS = {"codebook": f"wvs7 {BOOK.digest}", "own": json.dumps(OWN), "model": "test"}
ROWS = [
    Outcome(
        *("abc", "Q57", 1, 2, "answered"),
        decision="vote",
        views={"cognitive": 2, "affective": 1},
        fidelity=0.5,
        calls=4,
        paid=3,
        tokens=900,
        seconds=1.5,
        country="JPN",
        probabilities={1: 0.25, 2: 0.75},
        paid_tokens=700,
    ),
    Outcome("abc", "own-1", None, 1, "answered", country="JPN"),
    Outcome("def", "Q57", 2, None, "failed", 'LMServerError (500): no, "not" now'),
    Outcome("def", "own-1", None, None, "skipped", "nothing is known"),
]


def journal(path: Path, rows: list[Outcome] = ROWS, **known: Any) -> Journal:
    """Return a journal that holds rows, added last first."""
    known = {"arguments": ARGUMENTS, "total": len(rows), "width": 2, **known}
    opened = Journal.open(path, **known)
    for number in reversed(range(len(rows))):
        if opened.takes(number):
            opened.add(number, rows[number])
    return opened


def test_parquet_holds_every_row_in_order(tmp_path: Path) -> None:
    """Codes are whole numbers, nothing where there is none; mappings are JSON."""
    with journal(tmp_path / "j") as kept:
        frame = pd.read_parquet(write_answers([kept], tmp_path / "a.parquet"))
    assert list(frame.columns) == [name for name in COLUMNS if name != "interview"]
    assert list(frame["respondent"]) == ["abc", "abc", "def", "def"]
    assert list(frame["question"]) == ["Q57", "own-1", "Q57", "own-1"]
    first = frame.iloc[0]
    assert (first["answer"], first["truth"], first["country"]) == (2, 1, "JPN")
    assert json.loads(first["probabilities"]) == {"1": 0.25, "2": 0.75}
    assert json.loads(first["views"]) == {"cognitive": 2, "affective": 1}
    assert (first["calls"], first["paid"], first["tokens"], first["paid_tokens"]) == (
        4,
        3,
        900,
        700,
    )
    assert (first["fidelity"], first["seconds"], first["decision"]) == (0.5, 1.5, "vote")
    assert frame["answer"].isna().tolist() == [False, False, True, True]
    assert frame["status"].tolist() == ["answered", "answered", "failed", "skipped"]
    assert frame["reason"][2].startswith("LMServerError")
    assert frame["fidelity"].isna().tolist() == [False, True, True, True]


def test_csv_holds_the_same(tmp_path: Path) -> None:
    """With empty cells where there is nothing."""
    with journal(tmp_path / "j") as kept:
        write_answers([kept], tmp_path / "a.csv")
        write_answers([kept], tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert [row["answer"] for row in rows] == ["2", "1", "", ""]
    assert [row["reason"] for row in rows] == frame["reason"].tolist()
    assert [row["answer_label"] for row in rows] == frame["answer_label"].fillna("").tolist()
    assert list(rows[0]) == list(frame.columns)


def test_answers_are_told_in_words(tmp_path: Path) -> None:
    """Of the codebook the run was made with, and of one's own questions."""
    with journal(tmp_path / "j") as kept:
        frame = pd.read_parquet(write_answers([kept], tmp_path / "a.parquet"))
    assert frame["answer_label"].tolist()[:2] == [BOOK["Q57"].label(2), "Yes"]
    assert frame["answer_label"].isna().tolist() == [False, False, True, True]


def test_labels_of_another_codebook_are_left_out(tmp_path: Path) -> None:
    """Its digest is not that of the packaged one: what its codes mean is not guessed."""
    other = {**ARGUMENTS, "codebook": "wvs7 0000000000000000"}
    with journal(tmp_path / "j", arguments=other) as kept:
        frame = pd.read_parquet(write_answers([kept], tmp_path / "a.parquet"))
        with pytest.raises(ConfigError, match="made with the codebook wvs7, and this is another"):
            write_answers([kept], tmp_path / "b.parquet", codebook=BOOK)
    assert frame["answer_label"].isna().tolist() == [True, False, True, True]
    assert not (tmp_path / "b.parquet").exists()


def test_a_codebook_of_ones_own_gives_its_labels(tmp_path: Path) -> None:
    """Where it is the one that the run was made with."""
    mine = replace(BOOK, id="mine")
    arguments = {**ARGUMENTS, "codebook": f"mine {mine.digest}"}
    with journal(tmp_path / "j", arguments=arguments) as kept:
        bare = pd.read_parquet(write_answers([kept], tmp_path / "a.parquet"))
        told = pd.read_parquet(write_answers([kept], tmp_path / "b.parquet", codebook=mine))
    assert bare["answer_label"].isna()[0] and told["answer_label"][0] == BOOK["Q57"].label(2)


def test_questions_without_labels_are_named() -> None:
    """Those of another codebook or wording; one's own are in the journal."""
    asked = {**ARGUMENTS, "questions": "Q57,Q58,own-1"}
    assert unlabelled(asked) == [] and unlabelled({}) == []
    other = {**asked, "codebook": "wvs7 anotherdigest"}
    assert unlabelled(other) == ["Q57", "Q58"]
    assert unlabelled({**asked, "codebook": f"mine {BOOK.digest}"}, BOOK) == []


def test_interview_numbers_are_there_where_they_are_asked_for(tmp_path: Path) -> None:
    """By the number of the row."""
    with journal(tmp_path / "j") as kept:
        write_answers([kept], tmp_path / "a.csv", interview=lambda number: f"I{number // 2}")
    frame = pd.read_csv(tmp_path / "a.csv")
    assert list(frame.columns) == list(COLUMNS)
    assert frame["interview"].tolist() == ["I0", "I0", "I1", "I1"]


def test_the_parquet_file_says_what_it_is(tmp_path: Path) -> None:
    """Not survey data; made with these arguments."""
    with journal(tmp_path / "j") as kept:
        write_answers([kept], tmp_path / "a.parquet")
    told = pq.read_schema(tmp_path / "a.parquet").metadata
    assert told[b"valuesim.note"].decode() == SIMULATED_NOTE
    assert json.loads(told[b"valuesim.arguments"]) == ARGUMENTS


def test_parts_are_put_together_in_order(tmp_path: Path) -> None:
    """As if one run had made them."""
    parts = [journal(tmp_path / f"j{index}", shard=Shard(index, 2)) for index in (1, 2)]
    with journal(tmp_path / "whole") as whole:
        write_answers([whole], tmp_path / "a.csv")
    write_answers(parts, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    for part in parts:
        part.close()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_only_its_owner_can_read_it(tmp_path: Path, suffix: str) -> None:
    """Also where a file with other rights was there before; nothing else is left behind."""
    out = tmp_path / f"a{suffix}"
    with journal(tmp_path / "j") as kept:
        write_answers([kept], out)
        out.chmod(0o644)
        write_answers([kept], out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, "j"]


def test_rows_are_written_a_group_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that memory does not grow with the run."""
    monkeypatch.setattr(answers_file, "ROWS", 3)
    with journal(tmp_path / "j") as kept:
        write_answers([kept], tmp_path / "a.parquet")
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == [3, 1]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_an_output_is_whole_or_as_it_was(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it ends early the old file stays, and no draft."""
    out = tmp_path / f"a{suffix}"
    with journal(tmp_path / "j") as kept:
        before = write_answers([kept], out).read_bytes()
    monkeypatch.setattr(answers_file, "ROWS", 1)

    def broken(number: int) -> str:
        if number == 2:
            raise OSError(28, "No space left on device")
        return "1"

    with journal(tmp_path / "j") as kept, pytest.raises(ConfigError, match="No space left"):
        write_answers([kept], out, interview=broken)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, "j"]


def test_only_parquet_and_csv_are_written(tmp_path: Path) -> None:
    """Said before the work; the folder must be there."""
    for name in ("a.xlsx", "a", "a.parquet.gz"):
        with pytest.raises(ConfigError, match=r"allowed: \.parquet, \.csv"):
            check_output(tmp_path / name)
    with pytest.raises(ConfigError, match="names no output"):
        (tmp_path / "folder.csv").mkdir()
        check_output(tmp_path / "folder.csv")
    with pytest.raises(MissingDataError, match="no folder"):
        check_output(tmp_path / "nosuch" / "a.csv")
    assert check_output(tmp_path / "A.CSV") == tmp_path / "A.CSV"


def test_an_empty_run_is_a_table_without_rows(tmp_path: Path) -> None:
    """With its columns."""
    with journal(tmp_path / "j", []) as kept:
        for name in ("a.csv", "a.parquet"):
            write_answers([kept], tmp_path / name)
    assert list(pd.read_csv(tmp_path / "a.csv").columns)[:1] == ["respondent"]
    assert len(pd.read_parquet(tmp_path / "a.parquet")) == 0


def test_any_text_a_server_sends_can_be_written(tmp_path: Path) -> None:
    """Half of a pair of surrogates is no text: a mark stands for it."""
    rows = [Outcome("abc", "Q57", None, None, "failed", "said \ud800 and\n\u2028more")]
    with journal(tmp_path / "j", rows, width=1) as kept:
        for name in ("a.csv", "a.parquet"):
            write_answers([kept], tmp_path / name)
    assert pd.read_parquet(tmp_path / "a.parquet")["reason"][0] == "said ? and\n\u2028more"
    assert pd.read_csv(tmp_path / "a.csv")["reason"][0] == "said ? and\n\u2028more"


def parquet(path: Path, marks: dict[str, str] | None) -> None:
    """Write a table with these marks in its metadata."""
    table = pa.table({"respondent": ["x"]})
    pq.write_table(table.replace_schema_metadata(marks), path)


FOREIGN = {
    "notes.csv": lambda path: path.write_text("respondent,my notes\nx,y\n"),
    "longer.csv": lambda path: path.write_text(",".join([*COLUMNS, "mine"]) + "\n"),
    "empty.csv": lambda path: path.write_text(""),
    "oneline.csv": lambda path: path.write_text("x" * 10_000),
    "text.parquet": lambda path: path.write_text("my own file"),
    "plain.parquet": lambda path: parquet(path, None),
    "half.parquet": lambda path: parquet(path, {"valuesim.arguments": "{}"}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_simulation_wrote_is_not_written_over(tmp_path: Path, name: str) -> None:
    """Though a journal lies beside it; before the work, and where it came there meanwhile."""
    out = tmp_path / name
    FOREIGN[name](out)
    before = out.read_bytes()
    with journal(tmp_path / f"{name}.journal") as kept:
        for act in (lambda: check_output(out, kept.path), lambda: write_answers([kept], out)):
            with pytest.raises(ConfigError, match="is there and no simulation wrote it") as caught:
                act()
            assert "\n" not in str(caught.value)
    assert out.read_bytes() == before


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("interview", [None, str])
def test_an_output_of_ours_is_written_anew(tmp_path: Path, suffix: str, interview: Any) -> None:
    """With the numbers of interviews or without, also where the other form lies there."""
    out = tmp_path / f"a{suffix}"
    with journal(tmp_path / "j") as kept:
        for given in (interview, None, interview):
            assert check_output(write_answers([kept], out, interview=given), kept.path) == out


def test_an_output_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """What is no plain file is never opened: a pipe would be waited for."""
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="no simulation wrote it"):
        check_output(tmp_path / "a.csv")
