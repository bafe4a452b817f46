"""Columns of Arrow as numpy arrays, without pandas: Arrow's own way there imports it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_DTYPES = {
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
}


def release_unused() -> None:
    """Give the memory that Arrow keeps for its next columns back to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def is_number(kind: Any) -> bool:
    """Whether `as_numbers` reads a column of this Arrow type."""
    return str(kind) in _DTYPES


def as_numbers(column: Any, empty: float) -> Array:
    """A chunked column of integers or floats, [n].

    Args:
        column: A `pyarrow.ChunkedArray`.
        empty: What stands for a cell that is empty.
    """
    dtype = np.dtype(_DTYPES[str(column.type)])
    parts = [_chunk(chunk, dtype, empty) for chunk in column.chunks if len(chunk)]
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _chunk(chunk: Any, dtype: np.dtype[Any], empty: float) -> Array:
    bits, content = chunk.buffers()
    count, offset = len(chunk), chunk.offset
    values: Array = np.frombuffer(content, dtype, count, offset * dtype.itemsize)
    if not chunk.null_count:
        return values
    if dtype.kind == "u":
        values = values.astype(np.int64)
    valid = np.unpackbits(np.frombuffer(bits, np.uint8), count=offset + count, bitorder="little")
    return np.where(valid[offset:].astype(bool), values, values.dtype.type(empty))


def as_coded(column: Any) -> tuple[list[Any], Array]:
    """A chunked column of text or bytes as its different cells and, for each row, a place there.

    Args:
        column: A `pyarrow.ChunkedArray`, dictionary-encoded or not; an empty cell is None.
    """
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries()
    if not column.num_chunks:
        return [], np.empty(0, np.int32)
    cells = [*column.chunk(0).dictionary.to_pylist(), None]
    places = as_numbers(pa.chunked_array([chunk.indices for chunk in column.chunks]), -1)
    return cells, places


def find_text(column: Any, text: str) -> int | None:
    """The first row of a chunked column of large strings that holds a text; None for none."""
    wanted, before = text.encode("utf-8", "surrogateescape"), 0
    for chunk in column.chunks:
        _, ends, content = chunk.buffers()
        places = np.frombuffer(ends, np.int64, len(chunk) + 1, 8 * chunk.offset)
        written = bytes(content) if content is not None else b""
        start = written.find(wanted, int(places[0]))
        while 0 <= start < places[-1]:
            row = int(np.searchsorted(places, start, side="right")) - 1
            if places[row] == start and places[row + 1] == start + len(wanted):
                return before + row
            start = written.find(wanted, start + 1)
        before += len(chunk)
    return None


def from_numbers(values: Array) -> Any:
    """An integer or float column as an Arrow array that shares its memory; no cell is empty."""
    import pyarrow as pa

    kinds = {"int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "float64": pa.float64()}
    content = np.ascontiguousarray(values)
    kind = kinds[str(content.dtype)]
    return pa.Array.from_buffers(kind, len(content), [None, pa.py_buffer(content)])


def from_texts(values: Array) -> Any:
    """A column of str objects as an Arrow array of strings."""
    import pyarrow as pa

    cells = [text.encode("utf-8", "surrogateescape") for text in values.tolist()]
    ends = np.zeros(len(cells) + 1, dtype=np.int64)
    np.cumsum([len(cell) for cell in cells], out=ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(cells))]
    return pa.Array.from_buffers(pa.large_utf8(), len(cells), buffers)
