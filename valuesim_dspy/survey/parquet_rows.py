"""The rows of a parquet file: the columns asked for as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.arrow_cells import as_coded, as_numbers, is_number
from valuesim_dspy.survey.cells import BLANK, CellError, as_kind
from valuesim_dspy.survey.csv_rows import RawSurvey, find_columns
from valuesim_dspy.survey.file_limits import MAX_UNPACKED, check_rows, check_wanted, damaged

Array = npt.NDArray[Any]


def read_parquet(path: Path, kinds: Mapping[str, str]) -> RawSurvey:
    """Read a parquet file.

    Args:
        path: The file.
        kinds: The columns wanted: "int16", "int32", "float64" or "text" by canonical name.

    Raises:
        SurveyDataError: The file is damaged or too large, or a cell does not fit its column.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            found = find_columns(path, names, kinds)
            check_wanted(path, len(names), found)
            check_rows(path, file.metadata.num_rows)
            _check_size(path, file.metadata, set(found.values()))
            columns = {
                name: _column(path, name, _one(file, names[at]), kinds[name])
                for name, at in found.items()
            }
    except (pa.ArrowException, OSError, MemoryError, ValueError, OverflowError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise damaged(path, "parquet") from None
    return RawSurvey(columns, "", len(names) - len(found))


def _check_size(path: Path, metadata: Any, wanted: set[int]) -> None:
    """Refuse what would unpack to more than any survey holds."""
    if metadata.num_columns != len(metadata.schema.to_arrow_schema().names):
        raise SurveyDataError("has columns within columns: flatten it, or give CSV", path=path)
    sizes = (
        metadata.row_group(group).column(at).total_uncompressed_size
        for group in range(metadata.num_row_groups)
        for at in wanted
    )
    if sum(sizes) > MAX_UNPACKED:
        limit = f"{MAX_UNPACKED / 1e6:.0f} MB"
        raise SurveyDataError(f"would unpack to more than {limit}: no survey file", path=path)


def _one(file: Any, name: str) -> Any:
    """One column of the file; all at once would take several times the memory."""
    table = file.read(columns=[name])
    table.validate(full=True)
    return table.column(0)


def _column(path: Path, name: str, column: Any, kind: str) -> Array:
    import pyarrow as pa

    dense = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    try:
        if pa.types.is_string(dense) or pa.types.is_large_string(dense):
            cells, places = as_coded(column)
            texts = np.array(["" if cell is None else cell for cell in cells], dtype=object)
            return as_kind(texts[places], kind)
        if pa.types.is_null(dense):
            return as_kind(np.full(len(column), np.nan), kind)
        if pa.types.is_boolean(dense) or dense != column.type:
            column = column.cast(pa.int8() if pa.types.is_boolean(dense) else dense)
        if not is_number(column.type):
            message = f"holds {dense}: numbers or text are needed"
            raise SurveyDataError(message, path=path, column=name)
        floats = pa.types.is_floating(column.type)
        if column.null_count and not floats and kind in ("float64", "text"):
            column, floats = column.cast(pa.float64(), safe=False), True
        return as_kind(as_numbers(column, float("nan") if floats else BLANK), kind)
    except CellError as error:
        message = f"row {error.at + 1}: {error.needed}"
        raise SurveyDataError(message, path=path, column=name, value=error.value) from None
