"""Reads the variables of SPSS and Stata files, in the guarded process of `labelled_worker`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from valuesim_dspy.survey.file_limits import damaged

_BATCH = 300  # columns read at once: a file of thousands does not fit in memory whole
_MAX_CODE = 2**31 - 1
_MAX_DISTINCT = 2000
_DATES = ("DATE", "TIME", "MOYR", "QYR", "WKYR", "%T", "%D")


def tell_variables(path: Path) -> dict[str, Any]:
    """Return what a file says of its variables, and which codes are in use, as JSON.

    Returns:
        `title`, `rows` and `variables`, each with the fields of `labelled_files.Variable`.

    Raises:
        SurveyDataError: The file is damaged.
    """
    _, meta = _read(path, metadataonly=True)
    title = " ".join(str(meta.file_label or "").split())
    variables = list(_variables(path, meta))
    return {"title": title, "rows": int(meta.number_rows or 0), "variables": variables}


def count_rows(path: Path, columns: Sequence[str]) -> int:
    """Return how many different combinations of values some columns have.

    Raises:
        SurveyDataError: The file is damaged.
    """
    values, _ = _read(path, usecols=list(columns))
    rows = zip(*(map(_given, values.get(name, ())) for name in columns), strict=True)
    return len(set(rows))


def _read(path: Path, **options: Any) -> tuple[Any, Any]:
    import pyreadstat

    is_stata = path.suffix.lower() == ".dta"
    read = pyreadstat.read_dta if is_stata else pyreadstat.read_sav
    # so that a 77 that SPSS declares missing comes as 77; Stata's .a to .z are empty cells here
    options = {"user_missing": not is_stata, "disable_datetime_conversion": True, **options}
    problems = (
        *(pyreadstat.ReadstatError, pyreadstat.PyreadstatError),
        *(ValueError, TypeError, LookupError, OverflowError, OSError),
    )
    for encoding in (None, "LATIN1"):
        try:
            return read(str(path), encoding=encoding, output_format="dict", **options)
        except problems:
            continue
    raise damaged(path, path.suffix.lower())


def _given(cell: Any) -> Any:
    """A cell as a plain value; None where it is empty."""
    return None if cell is None or cell != cell else cell


def _variables(path: Path, meta: Any) -> Iterator[dict[str, Any]]:
    names = list(meta.column_names)
    for start in range(0, len(names), _BATCH):
        values, _ = _read(path, usecols=names[start : start + _BATCH])
        for name in names[start : start + _BATCH]:
            yield _variable(name, values.get(name, ()), meta)


def _variable(name: str, column: Iterable[Any], meta: Any) -> dict[str, Any]:
    listed = column.tolist() if hasattr(column, "tolist") else list(column)
    values = [cell for cell in listed if _given(cell) is not None]
    written = meta.variable_value_labels.get(name, {})
    labels = {
        int(code): " ".join(str(label).split())
        for code, label in written.items()
        if isinstance(code, int | float) and float(code).is_integer() and abs(code) <= _MAX_CODE
    }
    kind, texts, codes = "date", [], []
    if not any(mark in str(meta.original_variable_types.get(name, "")).upper() for mark in _DATES):
        kind = _kind(values, str(meta.readstat_variable_types.get(name)))
    if kind == "text":
        values = [text for text in map(str, values) if text.strip()]
    unique = set(values)
    if kind == "text" and len(unique) <= _MAX_DISTINCT:
        texts = sorted(unique)
    elif kind == "codes" and len(unique) <= _MAX_DISTINCT:
        codes = sorted(int(value) for value in unique)
    return {
        "name": name,
        "label": " ".join(str(meta.column_names_to_labels.get(name) or "").split()),
        "labels": dict(sorted(labels.items())),
        "declared": _declared(meta.missing_ranges or {}, name, {*codes, *labels}),
        "kind": kind,
        "codes": codes,
        "texts": texts,
        "distinct": len(unique),
        "given": len(values),
    }


def _kind(values: Sequence[Any], stored: str) -> str:
    if stored == "string":
        return "text"
    whole = all(float(value).is_integer() and abs(value) <= _MAX_CODE for value in values)
    return "codes" if whole else "numbers"


def _declared(ranges: Mapping[str, Any], name: str, codes: Iterable[int]) -> list[int]:
    limits = [(i["lo"], i["hi"]) for i in ranges.get(name, []) if not isinstance(i["lo"], str)]
    return sorted(code for code in codes if any(low <= code <= high for low, high in limits))
