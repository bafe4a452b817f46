"""What a cell of a survey file may hold: whole numbers, decimals, text, and nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

BLANK = -5  # what an empty cell of a whole-number column is read as: missing
NULLS = ("", "NA", "NaN", "nan", ".", "#NULL!")
LARGEST = 2**31 - 1  # no code is that large: what is beyond it is just as unknown
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SMALL = np.iinfo(np.int16)

Array = npt.NDArray[Any]


class CellError(ValueError):
    """A cell that does not hold what its column is read as.

    Args:
        at: The cell's place in what was given, from 0.
        value: What it holds.
        whole: Whether a whole number was needed, or any number.
    """

    def __init__(self, at: int, value: object, *, whole: bool) -> None:
        self.at, self.value = at, value
        self.needed = f"not a {'whole ' if whole else ''}number: mend the cell, or leave it empty"
        super().__init__(self.needed)


def read_number(cell: str, *, whole: bool, comma: bool = False) -> float | None:
    """The number written in a cell; None where it is none.

    Args:
        cell: The text, without spaces around it.
        whole: Whether it must be a whole number; an empty cell is then `BLANK`, else NaN.
        comma: Whether a decimal comma is a decimal point.
    """
    if cell in NULLS:
        return BLANK if whole else float("nan")
    text = cell.replace(",", ".") if comma else cell
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if not whole:
        return value
    return (
        max(-LARGEST, min(LARGEST, value)) if value.is_integer() or abs(value) > LARGEST else None
    )


def as_kind(values: Array, kind: str) -> Array:
    """Numbers or texts as what their column is read as.

    Args:
        values: Integers, floats (NaN for an empty cell) or str objects, [n].
        kind: "int16", "int32", "float64" or "text".

    Returns:
        int16 or int32 [n] for whole numbers, float64 [n], or str objects [n].

    Raises:
        CellError: A cell does not hold it.
    """
    if kind == "text":
        return as_texts(values)
    numbers = _from_texts(values, whole=kind != "float64") if values.dtype == object else values
    if kind == "float64":
        return numbers.astype(np.float64)
    return as_whole(numbers)


def as_whole(values: Array) -> Array:
    """Numbers as whole ones: int16 where all fit, else int32; NaN as `BLANK`.

    Raises:
        CellError: A number is not whole.
    """
    if values.dtype.kind == "f":
        values = values.astype(np.float64)  # half ones cannot hold the limits
        blank = np.isnan(values)
        broken = ~blank & (np.abs(values) <= LARGEST) & (values != np.trunc(values))
        broken |= np.isinf(values)
        if broken.any():
            at = int(np.argmax(broken))
            raise CellError(at, float(values[at]), whole=True)
        values = np.where(blank, BLANK, values)
    values = np.clip(values, -LARGEST, LARGEST)
    small = not len(values) or (values.min() >= _SMALL.min and values.max() <= _SMALL.max)
    return values.astype(np.int16 if small else np.int32)


def as_texts(values: Array) -> Array:
    """Cells as text, as a CSV file would have them: 840.0 is "840", an empty cell ""."""
    if values.dtype == object:
        return np.array([str(cell).strip() for cell in values.tolist()], dtype=object)
    return np.array([_written(cell) for cell in values.tolist()], dtype=object)


def _written(cell: float) -> str:
    if isinstance(cell, float):
        if cell != cell:
            return ""
        return str(int(cell)) if cell.is_integer() else repr(cell)
    return str(cell)


def _from_texts(values: Array, *, whole: bool) -> Array:
    numbers: dict[str, float] = {}
    cells: Iterable[str] = values.tolist()
    read = []
    for at, cell in enumerate(cells):
        if cell not in numbers:
            number = read_number(cell.strip(), whole=whole)
            if number is None:
                raise CellError(at, cell, whole=whole)
            numbers[cell] = number
        read.append(numbers[cell])
    return np.array(read, dtype=np.float64)
