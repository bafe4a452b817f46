"""The rows of a CSV survey file: its header, and the columns asked for as arrays."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import numpy.typing as npt

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.arrow_cells import as_coded, as_numbers, release_unused
from valuesim_dspy.survey.cells import BLANK as BLANK
from valuesim_dspy.survey.cells import NULLS, CellError, read_number
from valuesim_dspy.survey.columns import ATTRIBUTES as ATTRIBUTES
from valuesim_dspy.survey.file_limits import check_rows

DELIMITERS = (",", ";")
_MAX_LINE = 4 * 1024**2

Array = npt.NDArray[Any]
Open = Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True)
class RawSurvey:
    """What a reader hands on: one array of length n per column that was found.

    Args:
        columns: Arrays by canonical column name: integers for questions (an empty cell is
            `BLANK`), str objects for text, floats (NaN for an empty cell) for weights.
        digest: sha256 of the file's bytes, 64 hex digits; "" until `read_table` puts it in.
        columns_unknown: Columns of the file that were not asked for, and so not read.
    """

    columns: Mapping[str, Array]
    digest: str
    columns_unknown: int


@dataclass(frozen=True)
class _Layout:
    """Where the rows start and which column of the file holds which name."""

    path: Path
    open: Open
    start: int
    lines: int
    delimiter: str
    width: int
    kinds: Mapping[str, str]
    found: Mapping[str, int]


def read_rows(path: Path, open_stream: Open, kinds: Mapping[str, str]) -> RawSurvey:
    """Read a header and its rows.

    Args:
        path: The file, for messages.
        open_stream: Opens the CSV text; called again for each pass.
        kinds: The columns wanted: "int16", "int32", "float64" or "text" by canonical name.

    Raises:
        SurveyDataError: No question is there, or a row or a cell is malformed.
    """
    layout = _layout(path, open_stream, kinds)
    table = _parse(layout)
    if not table.num_rows:
        raise SurveyDataError("has a header but no rows", path=path)
    check_rows(path, table.num_rows)
    release_unused()  # the blocks of text, more than all that was read of them
    columns = {name: _array(layout, name, table.column(name)) for name in layout.found}
    del table
    release_unused()
    return RawSurvey(columns, "", layout.width - len(layout.found))


def _layout(path: Path, open_stream: Open, kinds: Mapping[str, str]) -> _Layout:
    with open_stream() as stream:
        header, start = _header(path, stream)
    best: tuple[list[str], dict[str, int], str] = ([], {}, ",")
    for delimiter in DELIMITERS:
        try:
            cells = next(csv.reader([header], delimiter=delimiter, strict=False), [])
        except csv.Error as error:
            raise SurveyDataError(f"the header is malformed: {error}", path=path, row=1) from error
        found = find_columns(path, cells, kinds, row=1)
        if len(found) > len(best[1]) or not best[0]:
            best = (cells, found, delimiter)
    cells, found, delimiter = best
    if not found.keys() - ATTRIBUTES.keys():
        message = (
            f"no question of the codebook among {len(cells)} columns: the header must name them "
            "(Q1, Q2, ..), separated by commas or semicolons"
        )
        raise SurveyDataError(message, path=path, row=1)
    lines = max(1, len(re.findall(r"\r\n|\r|\n", header)))
    return _Layout(path, open_stream, start, lines, delimiter, len(cells), kinds, found)


def _header(path: Path, stream: IO[bytes]) -> tuple[str, int]:
    """The text of the header and the number of bytes before the first row."""
    head = stream.read(_MAX_LINE)
    if not head.strip():
        raise SurveyDataError("the file is empty", path=path)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise SurveyDataError("the file is UTF-16: save it as UTF-8", path=path, row=1)
    match = re.match(rb'(?:"[^"]*"|[^"\r\n])*+(?:\r\n|\r|\n|\Z)', head)
    if match is None or (match.end() == len(head) == _MAX_LINE):
        message = "the header is malformed: a quote is not closed, or it is no text file"
        raise SurveyDataError(message, path=path, row=1)
    try:
        text = match.group().decode("utf-8-sig")
    except UnicodeDecodeError:
        text = match.group().decode("latin-1")
    return text, match.end()


def find_columns(
    path: Path, cells: Sequence[str], kinds: Mapping[str, str], *, row: int | None = None
) -> dict[str, int]:
    """The position of every column that is wanted; headers may read "Q1: Family".

    Args:
        path: The file, for messages.
        cells: The names of all its columns.
        kinds: The columns wanted, by canonical name.
        row: The line that holds the names, if one does.

    Raises:
        SurveyDataError: A column that is wanted is there twice.
    """
    names = {name.casefold(): name for name in kinds}
    found: dict[str, int] = {}
    for position, cell in enumerate(cells):
        name = names.get(cell.partition(":")[0].strip().casefold())
        if name in found:
            message = f"the column is there twice ({found[name] + 1} and {position + 1}): drop one"
            raise SurveyDataError(message, path=path, row=row, column=name)
        if name is not None:
            found[name] = position
    return found


def _parse(layout: _Layout) -> Any:
    from pyarrow import ArrowInvalid

    with suppress(ArrowInvalid):
        return _load(layout, exact=True)
    try:  # odd numbers ("1.0"), line breaks in cells, or a malformed file
        return _load(layout, exact=False)
    except ArrowInvalid:
        raise _misfit(layout) from None  # Arrow's message holds the row


def _load(layout: _Layout, *, exact: bool) -> Any:
    """Let Arrow parse the rows: as numbers when `exact`, else every cell as it is written."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    text = pa.dictionary(pa.int32(), pa.binary())
    types = {"int16": pa.int16(), "int32": pa.int32(), "float64": pa.float64()}
    names = [f"\0{position}" for position in range(layout.width)]
    for name, position in layout.found.items():
        names[position] = name
    wanted = {name: types.get(layout.kinds[name], text) if exact else text for name in layout.found}
    with layout.open() as stream:
        stream.seek(layout.start)
        if not stream.read(1):
            raise SurveyDataError("has a header but no rows", path=layout.path)
        stream.seek(layout.start)
        return arrow_csv.read_csv(
            stream,
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=_MAX_LINE),
            parse_options=arrow_csv.ParseOptions(
                delimiter=layout.delimiter, newlines_in_values=not exact
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=list(wanted), column_types=wanted, null_values=list(NULLS)
            ),
        )


def _array(layout: _Layout, name: str, column: Any) -> Array:
    import pyarrow as pa

    kind = layout.kinds[name]
    whole = kind != "float64"
    if not pa.types.is_dictionary(column.type):
        return as_numbers(column, BLANK if whole else float("nan"))
    cells, places = as_coded(column)
    written = ["" if cell is None else _decode(cell).strip() for cell in cells]
    if kind == "text":
        return np.array(written, dtype=object)[places]
    values = []
    for place, cell in enumerate(written):
        value = read_number(cell, whole=whole, comma=layout.delimiter == ";")
        if value is None:
            at = int(np.argmax(places == place))
            _blame(layout, name, CellError(at, cell, whole=whole))
        values.append(value)
    return np.array(values, dtype=np.float64).astype(np.int32 if whole else np.float64)[places]


def _decode(cell: bytes) -> str:
    try:
        return cell.decode("utf-8")
    except UnicodeDecodeError:
        return cell.decode("latin-1")


def _records(layout: _Layout) -> Iterator[tuple[int, list[str]]]:
    """Every row with the line of the file it ends on: slow, for messages only."""
    with layout.open() as stream:
        stream.seek(layout.start)
        text = io.TextIOWrapper(stream, encoding="latin-1", newline="")
        rows = csv.reader(text, delimiter=layout.delimiter)
        try:
            for cells in rows:
                if cells:
                    yield layout.lines + rows.line_num, cells
        except csv.Error:
            message = "a cell is too long, or a quote is not closed"
            line = layout.lines + rows.line_num
            raise SurveyDataError(message, path=layout.path, row=line) from None


def _blame(layout: _Layout, name: str, error: CellError) -> NoReturn:
    line = next((line for at, (line, _) in enumerate(_records(layout)) if at == error.at), None)
    raise SurveyDataError(
        error.needed, path=layout.path, row=line, column=name, value=error.value
    ) from None


def _misfit(layout: _Layout) -> SurveyDataError:
    for line, cells in _records(layout):
        if len(cells) != layout.width:
            message = (
                f"{len(cells)} cells where the header has {layout.width}: the line is cut short "
                "or split, or its cells are separated by another character"
            )
            return SurveyDataError(message, path=layout.path, row=line)
    message = f"the rows cannot be told apart, or one is longer than {_MAX_LINE >> 20} MB"
    return SurveyDataError(f"{message}: export the file again", path=layout.path)
