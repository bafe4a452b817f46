"""What is read of an SPSS or Stata file: names, labels, codes in use; never a row."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from labelled import write, write_ess

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey import labelled_variables
from valuesim_dspy.survey.labelled_files import LabelledFile, Variable, read_variables


def variables(path: Path) -> dict[str, Variable]:
    """The variables of a file by name."""
    return {variable.name: variable for variable in read_variables(path).variables}


@pytest.mark.parametrize("name", ["ess.sav", "ess.dta", "ESS.SAV"])
def test_names_labels_and_codes_are_read(tmp_path: Path, name: str) -> None:
    """The same from SPSS and from Stata, in the file's order."""
    path = write_ess(tmp_path / name.lower()).rename(tmp_path / name)
    file = read_variables(path)
    assert file.rows == 60 and [v.name for v in file.variables][:3] == ["name", "cntry", "idno"]
    found = variables(path)
    happy = found["happy"]
    assert happy.label == "How happy are you" and happy.kind == "codes" and happy.given == 60
    assert happy.labels[0] == "Extremely unhappy" and happy.labels[77] == "Refusal"
    assert set(happy.codes) <= {*range(11), 77, 88, 99} and {77, 88, 99} <= set(happy.codes)
    assert happy.declared == frozenset()
    assert found["cntry"].kind == "text" and found["cntry"].texts == ("GB", "NO")
    assert found["pspwght"].kind == "numbers" and found["pspwght"].codes == ()
    assert found["idno"].distinct == 30 and file.distinct_rows(["cntry", "idno"]) == 60


def test_codes_that_spss_declares_missing_are_told(tmp_path: Path) -> None:
    """Those in use or labelled, of what the file declares as a range; they stay codes."""
    found = variables(write_ess(tmp_path / "ess.sav", declared=True))
    assert found["happy"].declared == {77, 88, 99} and 88 in found["happy"].codes
    assert found["freehms"].declared == {7, 8, 9} and found["cntry"].declared == frozenset()


def test_dates_fractions_and_empty_variables(tmp_path: Path) -> None:
    """Each is of its kind; blanks are no texts, and labels of fractions no options."""
    frame = pd.DataFrame(
        {
            "when": pd.to_datetime(["2018-05-01", "2019-06-02", None]),
            "half": [0.5, 1.0, 2.0],
            "empty": [np.nan] * 3,
            "said": ["yes", "", " "],
            "big": [1.0, 2.0, 4e9],
            "Umfrage_ä": [1.0, 2.0, np.nan],
        }
    )
    values = {"half": {0.5: "a half", 1.0: "one"}, "Umfrage_ä": {1.0: "sehr  gut "}}
    path = write(tmp_path / "odd.sav", frame, {"half": "  A\thalf "}, values, {})
    found = variables(path)
    assert {name: variable.kind for name, variable in found.items()} == {
        "when": "date",
        "half": "numbers",
        "empty": "codes",
        "said": "text",
        "big": "numbers",
        "Umfrage_ä": "codes",
    }
    assert found["half"].labels == {1: "one"} and found["half"].label == "A half"
    assert found["empty"].given == 0 and found["empty"].codes == ()
    assert found["said"].texts == ("yes",) and found["said"].given == 1
    assert found["Umfrage_ä"].labels == {1: "sehr gut"} and found["Umfrage_ä"].given == 2


def test_many_variables_are_read_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of thousands of columns is never in memory whole; nothing is lost between batches."""
    frame = pd.DataFrame({f"v{n}": [1.0, float(n)] for n in range(7)})
    path = write(tmp_path / "wide.sav", frame, {}, {}, {})
    asked: list[int] = []
    read = labelled_variables._read

    def counting(path: Path, **options: Any) -> Any:
        asked.append(len(options.get("usecols", ())))
        return read(path, **options)

    monkeypatch.setattr(labelled_variables, "_read", counting)
    monkeypatch.setattr(labelled_variables, "_BATCH", 3)
    found = {told["name"]: told for told in labelled_variables.tell_variables(path)["variables"]}
    assert asked == [0, 3, 3, 1]
    assert [found[f"v{n}"]["codes"] for n in (0, 6)] == [[0, 1], [1, 6]]


def test_a_file_knows_no_row(tmp_path: Path) -> None:
    """What is kept of a file has neither people nor texts that only they have."""
    file = read_variables(write_ess(tmp_path / "ess.sav"))
    assert isinstance(file, LabelledFile)
    weights = next(v for v in file.variables if v.name == "pspwght")
    assert weights.codes == () and weights.texts == ()


@pytest.mark.parametrize("name", ["x.sav", "x.dta", "x.zsav"])
@pytest.mark.parametrize("content", [b"", b"no such file", b"$FL2" + b"\0" * 500])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """In one line that names the file."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SurveyDataError) as caught:
        read_variables(path)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_other_files_have_no_labels(tmp_path: Path) -> None:
    """A CSV has none; a file that is not there is missed."""
    (tmp_path / "x.csv").write_text("a\n1\n")
    with pytest.raises(SurveyDataError, match=r"no labels to read: only \.sav"):
        read_variables(tmp_path / "x.csv")
    with pytest.raises(MissingDataError, match="no such file"):
        read_variables(tmp_path / "none.sav")


def test_without_the_reader_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named."""
    path = write_ess(tmp_path / "ess.sav")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDataError, match=r"pip install 'valuesim-dspy\[survey\]'"):
        read_variables(path)
