"""Reads .sav and .dta files in a process of its own, for `labelled_rows` and `labelled_files`.

The library that reads them is written in C, and some damaged files end the process. This one
holds nothing but the file: if it ends, one read fails. It takes requests as lines of JSON and
answers each with a line of JSON, and the bytes of arrays behind it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.cells import BLANK, CellError, as_kind
from valuesim_dspy.survey.csv_rows import find_columns
from valuesim_dspy.survey.file_limits import MAX_ROWS, check_rows, check_wanted, damaged
from valuesim_dspy.survey.labelled_variables import count_rows, tell_variables

BLOCK = 5000  # rows at a time: the library makes a Python object of every cell
MEMORY, PER_BYTE = 768 * 1024**2, 8  # what a read may take, and more for each byte of the file

# What Stata's extended missing values stand for, by what their labels say.
_KINDS = (
    (("know", "dk"), -1),
    (("no answer", "refus"), -2),
    (("applicable",), -3),
    (("not asked",), -4),
)

Array = npt.NDArray[Any]


def serve(requests: IO[str], answers: IO[bytes]) -> None:
    """Answer requests until there are no more.

    Args:
        requests: Lines of JSON: {"path": str}, and "kinds": {column: kind} for rows, "columns":
            [name] for how many different rows these have, neither for what the variables are.
        answers: For each a line of JSON: {"error": {message, row, column, value}}, {"told": ..},
            or for rows {"columns": [{name, dtype, count, texts}], "unknown": int}. Behind the
            latter come the bytes of each column; for one that has texts, each cell's place among
            them, int32.
    """
    for line in requests:
        request = json.loads(line)
        path = Path(request["path"])
        try:
            _limit_memory(path)
            if "kinds" in request:
                _answer(answers, *read_labelled(path, request["kinds"]))
            elif "columns" in request:
                _put(answers, {"told": count_rows(path, request["columns"])})
            else:
                _put(answers, {"told": tell_variables(path)})
        except MemoryError:
            _put(answers, {"error": {"message": "needs too much memory: damaged, or give CSV"}})
        except SurveyDataError as error:
            _put(answers, {"error": _parts(error)})


def _limit_memory(path: Path) -> None:
    """Let a damaged file's impossible sizes end in an error, where the system has limits."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    own = MEMORY + PER_BYTE * path.stat().st_size
    resource.setrlimit(resource.RLIMIT_AS, (own if most < 0 else min(own, most), most))


def _parts(error: SurveyDataError) -> dict[str, Any]:
    where = str(SurveyDataError("", path=error.path, row=error.row, column=error.column))
    shown = str(SurveyDataError("", value=error.value))
    message = str(error).removeprefix(where).removesuffix(shown)
    value = None if error.value is None else str(error.value)
    return {"message": message, "row": error.row, "column": error.column, "value": value}


def _answer(answers: IO[bytes], columns: Mapping[str, Array], unknown: int) -> None:
    listed, contents = [], []
    for name, column in columns.items():
        known: dict[str, int] = {}
        if column.dtype == object:
            places = [known.setdefault(cell, len(known)) for cell in column.tolist()]
            column = np.array(places, dtype=np.int32)
        about = {"name": name, "dtype": str(column.dtype), "count": len(column)}
        listed.append(about | {"texts": list(known)})
        contents.append(column)
    _put(answers, {"columns": listed, "unknown": unknown})
    for column in contents:
        answers.write(column.tobytes())
    answers.flush()


def _put(answers: IO[bytes], answer: Mapping[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def read_labelled(path: Path, kinds: Mapping[str, str]) -> tuple[dict[str, Array], int]:
    """Read the columns wanted of a .sav or .dta file.

    Returns:
        Arrays by canonical name, and the number of columns that were not wanted.

    Raises:
        SurveyDataError: The file is damaged, or a cell does not fit its column.
    """
    _, about = _read(path, {"metadataonly": True})
    names = about.column_names
    found = find_columns(path, names, kinds)
    check_wanted(path, len(names), found)
    check_rows(path, 1 if about.number_rows is None else about.number_rows)
    use = {name: names[at] for name, at in found.items()}
    parts: dict[str, list[Array]] = {name: [] for name in found}
    start, count = 0, BLOCK
    while count == BLOCK and start <= MAX_ROWS:
        options = {"usecols": list(use.values()), "row_offset": start, "row_limit": BLOCK}
        block, _ = _read(path, options)
        counts = {len(block.get(column, ())) for column in use.values()}
        if len(counts) > 1:
            raise damaged(path, path.suffix.lower())
        for name, column in use.items():
            cells = _cells(block[column], about, column)
            parts[name].append(_as_kind(path, name, cells, kinds[name], start))
        count = counts.pop()
        start += count
    check_rows(path, start)
    return {name: np.concatenate(blocks) for name, blocks in parts.items()}, len(names) - len(use)


def _read(path: Path, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Read as the file says it is encoded; if it is not, byte by byte."""
    import pyreadstat

    read = pyreadstat.read_dta if path.suffix.lower() == ".dta" else pyreadstat.read_sav
    problems = (
        *(pyreadstat.ReadstatError, pyreadstat.PyreadstatError),
        *(ValueError, TypeError, LookupError, OverflowError),
    )
    for encoding in (None, "LATIN1"):
        try:
            return read(
                str(path),
                encoding=encoding,
                user_missing=True,
                output_format="dict",
                disable_datetime_conversion=True,
                **options,
            )
        except problems:
            continue
    raise damaged(path, path.suffix.lower())


def _cells(values: Sequence[Any], about: Any, column: str) -> Array:
    """Texts, or numbers with NaN where there is none."""
    if about.readstat_variable_types.get(column) == "string":
        return np.array(["" if cell is None else str(cell) for cell in values], dtype=object)
    try:
        return np.array(values, dtype=np.float64)
    except (ValueError, TypeError):  # Stata's extended missing values come as letters
        labels = about.variable_value_labels.get(column, {})
        codes = {letter: _kind(labels.get(letter, "")) for letter in "abcdefghijklmnopqrstuvwxyz"}
        return np.array([codes.get(cell, cell) for cell in values], dtype=np.float64)


def _kind(label: str) -> int:
    told = label.lower()
    return next((code for words, code in _KINDS if any(word in told for word in words)), BLANK)


def _as_kind(path: Path, name: str, cells: Array, kind: str, start: int) -> Array:
    try:
        return as_kind(cells, kind)
    except CellError as error:
        message = f"row {start + error.at + 1}: {error.needed}"
        raise SurveyDataError(message, path=path, column=name, value=error.value) from None


def main() -> None:
    """Serve on the standard streams; what the library itself prints goes nowhere."""
    with os.fdopen(os.dup(1), "wb") as answers:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is needed
            os.dup2(nowhere.fileno(), 1)
        serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
