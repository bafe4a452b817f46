"""The same rows as CSV, zip, .sav, .dta and parquet are the same people."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey import synthetic
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.reading import NEVER_READ
from valuesim_dspy.survey.respondents import Respondents, read_respondents

pytestmark = pytest.mark.slow

pyreadstat = pytest.importorskip("pyreadstat")

BOOK = load_codebook()


def rows() -> pd.DataFrame:
    """The official columns of 300 synthetic people, with gaps and codes that nobody knows."""
    frame = pd.DataFrame(synthetic._columns(300, 4))
    frame["N_TOWN"], frame["O1_LONGITUDE"] = "Smalltown", 139.7
    frame.loc[3, "Q57"] = 88
    frame.loc[4, "Q262"] = -5
    frame.loc[7, "D_INTERVIEW"] = frame.loc[6, "D_INTERVIEW"]
    frame.loc[8, "B_COUNTRY_ALPHA"], frame.loc[9, "W_WEIGHT"] = "XYZ", np.nan
    frame["Q1"] = frame["Q1"].astype(float)
    frame.loc[10, "Q1"] = np.nan
    return frame


def as_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write as the official file is."""
    frame.to_csv(path, index=False)


def as_zip(frame: pd.DataFrame, path: Path) -> None:
    """Write as CSV in a zip file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("WVS/wave7.csv", frame.to_csv(index=False))


def as_sav(frame: pd.DataFrame, path: Path, **options: Any) -> None:
    """Write with labels, and with the negative codes declared as missing."""
    told = {code: str(code) for code in (-1, -2, -5, 1)}
    labels = {id: told for id in ("Q1", "Q57") if id in frame}
    codes = frame.select_dtypes("number").columns
    ranges = {name: [{"lo": -5, "hi": -1}] for name in codes if name in BOOK}
    options = {"missing_ranges": ranges, "variable_value_labels": labels, **options}
    pyreadstat.write_sav(frame, str(path), **options)


def as_dta(frame: pd.DataFrame, path: Path) -> None:
    """Write as Stata 14 does."""
    pyreadstat.write_dta(frame, str(path), version=14)


def as_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write as pandas does."""
    frame.to_parquet(path, index=False, row_group_size=70)


WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "survey.zip": as_zip,
    "survey.sav": as_sav,
    "packed.sav": lambda frame, path: as_sav(frame, path, row_compress=True),
    "survey.zsav": lambda frame, path: as_sav(frame, path, compress=True),
    "survey.dta": as_dta,
    "survey.parquet": as_parquet,
}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Respondents:
    """The people of the CSV file."""
    path = tmp_path_factory.mktemp("csv") / "survey.csv"
    as_csv(rows(), path)
    return read_respondents(path, cache=False)


def content(people: Respondents) -> list[Any]:
    """All that is known of people, but where from."""
    table = people._people.table
    arrays = [table.narrow, table.wide, people.weights, people.s018, people.years, people.rows]
    known = [people.ids, people.alphas, people.stamp, people.report]
    return [*known, dict(table.places), *(array.tolist() for array in arrays)]


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_people(tmp_path: Path, people: Respondents, name: str) -> None:
    """Answers, kinds of missing, ids, countries, weights and the report are those of the CSV."""
    WRITERS[name](rows(), tmp_path / name)
    read = read_respondents(tmp_path / name)
    assert content(read) == content(people)
    assert content(read_respondents(tmp_path / name)) == content(people)  # now from the cache
    assert read.digest != people.digest


def test_what_the_rows_hold(people: Respondents) -> None:
    """The comparison is of rows with gaps, kinds of missing, unknown codes and doubled ids."""
    report = people.report
    assert report.unknown_codes == {"Q57": {88: 1}, "B_COUNTRY_ALPHA": {"XYZ": 1}}
    assert report.duplicates == 1
    assert report.rows == len(people) == 300
    assert {"dont-know", "no-answer", "not-applicable", "missing"} <= set(report.missing)
    assert people[10].missing("Q1") == "missing"
    assert people[9].weight == 1.0
    assert people.synthetic


@pytest.mark.parametrize("name", ["survey.sav", "survey.dta", "survey.parquet"])
def test_only_what_is_needed_is_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where people live nor a question that was not asked for leaves the reader."""
    from valuesim_dspy.survey import respondents as module

    seen: list[set[str]] = []
    read_table = module.read_table

    def spy(*args: Any, **options: Any) -> Any:
        raw = read_table(*args, **options)
        seen.append(set(raw.columns))
        return raw

    monkeypatch.setattr(module, "read_table", spy)
    WRITERS[name](rows(), tmp_path / name)
    read = read_respondents(tmp_path / name, columns=["Q57"])
    assert {"Q57", "Q260", "D_INTERVIEW"} <= seen[0]
    assert not seen[0] & {"Q1", *NEVER_READ}
    assert read.report.columns_unknown == len(rows().columns) - len(seen[0])


@pytest.mark.parametrize("name", WRITERS)
def test_a_cell_that_is_no_code_is_named(tmp_path: Path, name: str) -> None:
    """A fraction among codes names the row, the column and the value in every format."""
    frame = rows()
    frame["Q58"] = frame["Q58"].astype(float)
    frame.loc[5, "Q58"] = 1.5
    WRITERS[name](frame, tmp_path / name)
    with pytest.raises(SurveyDataError, match="not a whole number") as error:
        read_respondents(tmp_path / name)
    assert (error.value.column, str(error.value.value)) == ("Q58", "1.5")
    assert "line 7" in str(error.value) or "row 6" in str(error.value)


@pytest.mark.parametrize("name", ["survey.sav", "survey.dta", "survey.parquet"])
def test_codes_that_are_text_are_read_as_numbers(
    tmp_path: Path, people: Respondents, name: str
) -> None:
    """A column of digits as text gives the codes; a column of words is refused."""
    frame = rows()
    frame["Q64"] = frame["Q64"].astype(str)
    WRITERS[name](frame, tmp_path / name)
    assert content(read_respondents(tmp_path / name)) == content(people)
    frame["Q64"] = "rather"
    WRITERS[name](frame, tmp_path / name)
    with pytest.raises(SurveyDataError, match="column Q64: row 1: not a whole number"):
        read_respondents(tmp_path / name)


@pytest.mark.parametrize("name", [*WRITERS, "survey.csv"])
def test_a_file_of_something_else(tmp_path: Path, name: str) -> None:
    """A sound file without any question of the codebook says so."""
    write = WRITERS.get(name, as_csv)
    write(pd.DataFrame({"height": [1.0, 2.0], "D_INTERVIEW": [1, 2]}), tmp_path / name)
    with pytest.raises(SurveyDataError, match="no question of the codebook among"):
        read_respondents(tmp_path / name)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_cut_short(tmp_path: Path, name: str) -> None:
    """Half a file is damaged, and says what to do."""
    WRITERS[name](rows(), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SurveyDataError, match=r"damaged: download (it again|or export it again)"):
        read_respondents(tmp_path / name)


@pytest.mark.parametrize("inner", ["survey.sav", "survey.dta", "survey.parquet"])
def test_a_zip_of_another_format_says_to_unpack_it(tmp_path: Path, inner: str) -> None:
    """The official zip files of SPSS and Stata hold no CSV: unpack them."""
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr(inner, "x")
    with pytest.raises(SurveyDataError, match="unpack it, and give the file inside"):
        read_respondents(tmp_path / "s.zip")
