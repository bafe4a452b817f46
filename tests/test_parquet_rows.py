"""How parquet files are read, and Arrow's columns without pandas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey import parquet_rows
from valuesim_dspy.survey.arrow_cells import (
    as_coded,
    as_numbers,
    find_text,
    from_numbers,
    from_texts,
)
from valuesim_dspy.survey.parquet_rows import read_parquet

KINDS = {"Q1": "int16", "Q223": "int32", "W_WEIGHT": "float64", "D_INTERVIEW": "text"}


def read(folder: Path, **columns: Any) -> dict[str, list[Any]]:
    """Read a file of these columns."""
    path = folder / "s.parquet"
    parquet.write_table(pa.table(columns), path, row_group_size=2)
    return {name: list(values) for name, values in read_parquet(path, KINDS).columns.items()}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, None, 3], pa.int8()),
        pa.array([1, None, 3], pa.uint16()),
        pa.array([1, None, 3], pa.float64()),
        pa.array([1, None, 3], pa.float16()),
        pa.array(["1", None, " 3.0"]),
        pa.array(["1", "", "3"]).dictionary_encode(),
        pa.array([1, None, 3]).dictionary_encode(),
    ],
    ids=str,
)
def test_codes_of_any_type(tmp_path: Path, column: Any) -> None:
    """Integers, decimals, digits and categories give the same codes; nothing is missing."""
    assert read(tmp_path, Q1=column) == {"Q1": [1, -5, 3]}


def test_other_columns(tmp_path: Path) -> None:
    """Large codes, weights and text come as from a CSV file; what is not wanted is left."""
    found = read(
        tmp_path,
        Q223=pa.array([840_001, 99_999_999_999, None]),
        W_WEIGHT=pa.array([1, None, 2], pa.int32()),
        D_INTERVIEW=pa.array([840070001.0, 2.0, None]),
        N_TOWN=["a", "b", "c"],
    )
    assert found["Q223"] == [840_001, 2**31 - 1, -5]
    assert found["W_WEIGHT"][::2] == [1.0, 2.0]
    assert np.isnan(found["W_WEIGHT"][1])
    assert found["D_INTERVIEW"] == ["840070001", "2", ""]
    assert "N_TOWN" not in found


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int8()), pa.binary(), pa.timestamp("us"), pa.date32()], ids=str
)
def test_a_column_of_something_else(tmp_path: Path, kind: Any) -> None:
    """Lists, bytes and dates are no codes."""
    with pytest.raises(SurveyDataError, match=r"column Q1: holds .*numbers or text are needed"):
        read(tmp_path, Q1=pa.nulls(3, kind))


def test_columns_within_columns(tmp_path: Path) -> None:
    """A nested column says to flatten the file."""
    column = pa.array([{"a": 1, "b": 2}], pa.struct([("a", pa.int8()), ("b", pa.int8())]))
    with pytest.raises(SurveyDataError, match="columns within columns"):
        read(tmp_path, Q1=pa.array([1]), other=column)


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    """A needed column must be there once, whatever its capitals."""
    path = tmp_path / "s.parquet"
    parquet.write_table(pa.table([[1], [2]], names=["Q1", "q1"]), path)
    with pytest.raises(SurveyDataError, match=r"column Q1: the column is there twice"):
        read_parquet(path, KINDS)


def test_a_file_without_rows(tmp_path: Path) -> None:
    """Columns without rows are no survey."""
    with pytest.raises(SurveyDataError, match="has columns but no rows"):
        read(tmp_path, Q1=pa.array([], pa.int8()))


def test_what_would_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the columns wanted is known before they are unpacked."""
    monkeypatch.setattr(parquet_rows, "MAX_UNPACKED", 1000)
    assert len(read(tmp_path, Q1=[1] * 10, other=list(range(9990, 10_000)))["Q1"]) == 10
    with pytest.raises(SurveyDataError, match="would unpack to more than"):
        read(tmp_path, Q1=list(range(1000)))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 9, b"no parquet at all"])
def test_what_is_no_parquet(tmp_path: Path, content: bytes) -> None:
    """Other bytes are a damaged file; nothing of them is shown."""
    path = tmp_path / "s.parquet"
    path.write_bytes(content)
    with pytest.raises(SurveyDataError, match="the parquet file is damaged") as error:
        read_parquet(path, KINDS)
    assert error.value.__suppress_context__


def chunked(*parts: Any) -> Any:
    """A column of these chunks, each cut from the middle of a longer one."""
    return pa.chunked_array([pa.concat_arrays([part, part]).slice(len(part)) for part in parts])


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int64(), pa.float32(), pa.float64()])
def test_numbers_of_chunks_with_and_without_gaps(kind: Any) -> None:
    """Offsets, chunks and gaps of Arrow's arrays are all minded."""
    column = chunked(pa.array([1, 2, 3], kind), pa.array([None, 5] * 5, kind))
    assert as_numbers(column, -5).tolist() == [1, 2, 3, *([-5, 5] * 5)]
    assert as_numbers(pa.chunked_array([], kind), 0).tolist() == []


def test_texts_as_codes() -> None:
    """Different texts are kept once; the chunks may have dictionaries of their own."""
    one, other = (pa.array(part).dictionary_encode() for part in (["b", None], ["a", "b"]))
    cells, places = as_coded(pa.chunked_array([one, other]))
    assert [cells[place] for place in places] == ["b", None, "a", "b"]


@pytest.mark.parametrize("text", ["b", "ab", "", "é", "missing", "a"])
def test_finding_a_text(text: str) -> None:
    """The first row that is the text and no more is found, over chunks and offsets."""
    written = ["ab", "abab", "b", "", "é", "b"]
    parts = [from_texts(np.array(part, dtype=object)) for part in (written[:3], written[3:])]
    column = pa.chunked_array([part.slice(1) for part in parts])
    rest = [*written[1:3], *written[4:]]
    expected = rest.index(text) if text in rest else None
    assert find_text(column, text) == expected or (text == "" and expected is None)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float64"])
def test_numbers_there_and_back(dtype: str) -> None:
    """An array that is a slice of another is written as it is seen."""
    values = np.arange(20, dtype=dtype)[::2]
    assert as_numbers(pa.chunked_array([from_numbers(values)]), 0).tolist() == values.tolist()


def test_texts_there_and_back() -> None:
    """Text of any script, and none at all, comes back."""
    texts = np.array(["", "a", "\u65e5\u672c", "x\0y"], dtype=object)
    assert from_texts(texts).to_pylist() == texts.tolist()
    assert from_texts(np.array([], dtype=object)).to_pylist() == []


def test_pandas_is_not_imported() -> None:
    """Going there and back without pandas is the point of it: its import takes as long as all."""
    script = (
        "import sys, numpy as np, pyarrow as pa;"
        "from valuesim_dspy.survey.arrow_cells import *;"
        "from valuesim_dspy.survey import arrow_cells as a;"
        "column = pa.chunked_array([a.from_numbers(np.arange(3, dtype='int8'))]);"
        "a.as_numbers(column, 0); a.from_texts(np.array(['x'], dtype=object));"
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False"


ROOT = Path(__file__).resolve().parent.parent
