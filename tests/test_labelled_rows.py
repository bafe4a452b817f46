"""How SPSS and Stata files are read, and what happens when the library that reads them dies."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey import labelled_rows, labelled_worker
from valuesim_dspy.survey.labelled_rows import LabelledReader, read_labelled

pyreadstat = pytest.importorskip("pyreadstat")

KINDS = {"Q1": "int16", "Q2": "int16", "W_WEIGHT": "float64", "D_INTERVIEW": "text"}


@pytest.fixture
def sav(tmp_path: Path) -> Path:
    """A small .sav file with user-missing codes and one empty cell."""
    path = tmp_path / "s.sav"
    frame = pd.DataFrame(
        {
            "Q1": [1.0, -2.0, np.nan],
            "q2": [4, 70000, -1],
            "W_WEIGHT": [0.5, np.nan, 2.0],
            "D_INTERVIEW": [840070001, 840070002, 12],
            "N_TOWN": ["a", "b", "c"],
        }
    )
    pyreadstat.write_sav(frame, str(path), missing_ranges={"Q1": [-2, -1]})
    return path


def test_cells_are_those_of_a_csv_file(sav: Path) -> None:
    """Codes declared missing stay codes, an empty cell is missing, numbers of people are text."""
    raw = read_labelled(sav, KINDS)
    assert raw.columns["Q1"].tolist() == [1, -2, -5]
    assert raw.columns["Q2"].tolist() == [4, 70000, -1]
    assert raw.columns["W_WEIGHT"].tolist()[::2] == [0.5, 2.0]
    assert np.isnan(raw.columns["W_WEIGHT"][1])
    assert raw.columns["D_INTERVIEW"].tolist() == ["840070001", "840070002", "12"]
    assert set(raw.columns) == set(KINDS)
    assert raw.columns_unknown == 1


def test_extended_missing_values_of_stata_follow_their_labels(tmp_path: Path) -> None:
    """.a to .z are the kind of missing that their label names; without one, just missing."""
    told = {"a": "Don't know", "b": "No answer/refused", "c": "Not applicable", "d": "Not asked"}
    frame = pd.DataFrame({"Q1": [1, "a", "b", "c", "d", "e"], "Q2": [2, "a", 2, 2, 2, 2]})
    path = tmp_path / "s.dta"
    pyreadstat.write_dta(
        frame,
        str(path),
        missing_user_values={"Q1": list("abcde"), "Q2": ["a"]},
        variable_value_labels={"Q1": told},
    )
    raw = read_labelled(path, KINDS)
    assert raw.columns["Q1"].tolist() == [1, -1, -2, -3, -4, -5]
    assert raw.columns["Q2"].tolist() == [2, -5, 2, 2, 2, 2]


@pytest.mark.parametrize("rows", [1, 3, 4, 7, 8])
def test_rows_are_read_in_blocks(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows there are, each is read once and in order."""
    monkeypatch.setattr(labelled_worker, "BLOCK", 4)
    path = tmp_path / "s.sav"
    pyreadstat.write_sav(pd.DataFrame({"Q1": range(rows)}), str(path), row_compress=True)
    columns, unknown = labelled_worker.read_labelled(path, KINDS)
    assert columns["Q1"].tolist() == list(range(rows))
    assert unknown == 0


def test_text_in_another_encoding(tmp_path: Path) -> None:
    """Text that is not encoded as the file says is read byte by byte, not refused."""
    path = tmp_path / "s.sav"
    frame = pd.DataFrame({"Q1": [1, 2], "D_INTERVIEW": ["ab-1", "ab-2"]})
    pyreadstat.write_sav(frame, str(path))
    path.write_bytes(path.read_bytes().replace(b"ab-1", b"\xe9b-1"))
    raw = read_labelled(path, KINDS)
    assert raw.columns["Q1"].tolist() == [1, 2]
    assert raw.columns["D_INTERVIEW"].tolist() == ["\u00e9b-1", "ab-2"]


def test_one_process_reads_many_files(sav: Path, tmp_path: Path) -> None:
    """After a refusal the same process reads the next file."""
    (tmp_path / "not.sav").write_bytes(b"$FL2 not really")
    with LabelledReader() as reader:
        before = reader.read(sav, KINDS).columns["Q1"].tolist()
        process = reader._process
        with pytest.raises(SurveyDataError, match="damaged"):
            reader.read(tmp_path / "not.sav", KINDS)
        assert reader.read(sav, KINDS).columns["Q1"].tolist() == before
        assert reader._process is process
    assert process is not None and process.poll() is not None


def stand_in(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a process that runs this script in the place of the one that reads files."""

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", f"import sys, os, time; {script}"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    monkeypatch.setattr(labelled_rows, "_start", start)


@pytest.mark.parametrize(
    "script",
    [
        "sys.stdin.readline(); os.abort()",
        "sys.stdin.readline(); print('nonsense', flush=True)",
        "sys.stdin.readline(); print('{}', flush=True)",
        "sys.stdin.readline(); print('[]', flush=True)",
        "sys.stdin.readline(); time.sleep(600)",
    ],
    ids=["dies", "babbles", "says too little", "says another thing", "hangs"],
)
def test_a_process_that_fails_is_a_damaged_file(
    sav: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """If the process dies, babbles or takes too long, the file is damaged, and nothing waits."""
    stand_in(monkeypatch, script)
    with LabelledReader(seconds=1.0) as reader:
        with pytest.raises(SurveyDataError, match=r"the \.sav file is damaged"):
            reader.read(sav, KINDS)
        assert reader._process is None


@pytest.mark.parametrize(
    "about",
    [
        {"name": "Q1", "dtype": "object", "count": 1, "texts": []},
        {"name": "Q1", "dtype": "int32", "count": 10**12, "texts": []},
        {"name": "Q1", "dtype": "int32", "count": 9, "texts": []},
    ],
)
def test_an_answer_that_does_not_fit_is_refused(
    sav: Path, monkeypatch: pytest.MonkeyPatch, about: dict[str, Any]
) -> None:
    """Arrays of other types, impossible lengths or too few bytes are not taken."""
    answer = json.dumps({"columns": [about], "unknown": 0})
    stand_in(monkeypatch, f"sys.stdin.readline(); print({answer!r}); print('1234')")
    with LabelledReader(seconds=5.0) as reader, pytest.raises(SurveyDataError, match="damaged"):
        reader.read(sav, KINDS)


def test_without_the_library_the_error_says_how_to_get_it(
    sav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pyreadstat is absent, the extra to install is named."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDataError, match=r"pip install 'valuesim-dspy\[survey\]'"):
        read_labelled(sav, KINDS)


def test_an_error_crosses_the_processes_whole(tmp_path: Path) -> None:
    """Column, value and message arrive as they were; a row's other cells do not."""
    path = tmp_path / "s.sav"
    pyreadstat.write_sav(pd.DataFrame({"Q1": [1.0, 2.5], "Q2": [7, 7]}), str(path))
    with pytest.raises(SurveyDataError) as error:
        read_labelled(path, KINDS)
    assert (error.value.path, error.value.column, error.value.value) == (path, "Q1", "2.5")
    assert str(error.value) == (
        f"{path}, column Q1: row 2: not a whole number: mend the cell, or leave it empty"
        " (value '2.5')"
    )


def test_the_worker_answers_lines_with_lines_and_bytes(
    sav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that fails is an error line; one that succeeds has the arrays behind it."""
    requests = [
        {"path": str(sav), "kinds": {"height": "int16"}},
        {"path": str(sav), "kinds": KINDS},
    ]
    answers = io.BytesIO()
    lines = io.StringIO("".join(json.dumps(request) + "\n" for request in requests))
    # A limit would hold for the tests, too.
    monkeypatch.setattr(labelled_worker, "_limit_memory", lambda path: None)
    labelled_worker.serve(lines, answers)
    answers.seek(0)
    assert "no question" in json.loads(answers.readline())["error"]["message"]
    found = json.loads(answers.readline())
    assert [about["name"] for about in found["columns"]] == list(KINDS)
    assert found["columns"][3]["texts"] == ["840070001", "840070002", "12"]
    sizes = {"int16": 2, "int32": 4, "float64": 8}
    assert len(answers.read()) == sum(3 * sizes[about["dtype"]] for about in found["columns"])


def test_the_worker_hears_nothing_of_the_current_folder(
    sav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file named like a module, where the program is run, is not imported."""
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    assert read_labelled(Path(os.path.relpath(sav)), KINDS).columns["Q1"].tolist() == [1, -2, -5]
