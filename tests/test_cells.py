"""What a cell may hold, and what it is read as."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuesim_dspy.survey.cells import (
    BLANK,
    LARGEST,
    NULLS,
    CellError,
    as_kind,
    as_texts,
    as_whole,
    read_number,
)


@pytest.mark.parametrize("cell", NULLS)
def test_an_empty_cell_is_missing(cell: str) -> None:
    """What statistics programs write for nothing is `BLANK` among codes, NaN among weights."""
    assert read_number(cell, whole=True) == BLANK
    assert math.isnan(read_number(cell, whole=False) or 0.0)


@pytest.mark.parametrize(("cell", "comma", "value"), [("1,5", True, 1.5), ("1.5", True, 1.5)])
def test_a_decimal_comma(cell: str, comma: bool, value: float) -> None:
    """A decimal comma counts where it was asked for, and only there."""
    assert read_number(cell, whole=False, comma=comma) == value
    assert read_number("1,5", whole=False) is None


@pytest.mark.parametrize("cell", ["yes", "1.5", "1_0", "--1", "inf", "0x10", "\u0661"])
def test_what_is_no_whole_number(cell: str) -> None:
    """Words, fractions and what only Python takes for a number are none."""
    assert read_number(cell, whole=True) is None


@given(st.integers(-(10**12), 10**12))
def test_whole_numbers_within_limits(number: int) -> None:
    """A number beyond any code is as large as a code can be, so it stays unknown."""
    clipped = max(-LARGEST, min(LARGEST, number))
    assert read_number(str(number), whole=True) == clipped
    assert as_whole(np.array([number])).tolist() == [clipped]
    assert as_whole(np.array([float(number)])).tolist() == [clipped]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "float16", "float32"])
def test_numbers_of_any_type_become_small_ones(dtype: str) -> None:
    """Codes take two bytes each; those that do not fit take four."""
    assert as_whole(np.array([1, 2, 100], dtype=dtype)).dtype == np.int16
    assert as_whole(np.array([1, 40_000])).dtype == np.int32
    assert as_whole(np.array([], dtype=dtype)).tolist() == []


def test_nan_is_missing_and_infinity_is_an_error() -> None:
    """NaN is an empty cell; an infinite code is none."""
    assert as_whole(np.array([1.0, np.nan])).tolist() == [1, BLANK]
    with pytest.raises(CellError) as error:
        as_whole(np.array([1.0, 2.0, np.inf]))
    assert (error.value.at, error.value.value) == (2, math.inf)


def test_a_fraction_names_its_place() -> None:
    """The first cell that is not whole is named, and that a whole number is needed."""
    with pytest.raises(CellError, match="not a whole number") as error:
        as_kind(np.array([1.0, 2.5, 3.5]), "int16")
    assert (error.value.at, error.value.value) == (1, 2.5)
    with pytest.raises(CellError, match="not a number") as error:
        as_kind(np.array(["1.5", "heavy"], dtype=object), "float64")
    assert (error.value.at, error.value.value) == (1, "heavy")


def test_texts_are_as_a_csv_file_has_them() -> None:
    """A whole number has no point, nothing is an empty text, and spaces around are gone."""
    assert as_texts(np.array([840.0, 1.5, np.nan])).tolist() == ["840", "1.5", ""]
    assert as_texts(np.array([7, -1])).tolist() == ["7", "-1"]
    assert as_texts(np.array([" a ", "b"], dtype=object)).tolist() == ["a", "b"]


def test_kinds() -> None:
    """Each kind gives arrays of its type."""
    digits = np.array(["1", " 2", "NA"], dtype=object)
    assert as_kind(digits, "int16").tolist() == [1, 2, BLANK]
    assert as_kind(digits, "float64").dtype == np.float64
    assert as_kind(np.array([1, 2]), "float64").tolist() == [1.0, 2.0]
    assert as_kind(np.array([1, 2]), "text").tolist() == ["1", "2"]
