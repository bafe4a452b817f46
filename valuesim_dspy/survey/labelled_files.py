"""The variables of an SPSS or Stata file: names, labels, and which codes are in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valuesim_dspy.errors import MissingDataError, SurveyDataError

SUFFIXES = (".sav", ".zsav", ".dta")
_BATCH = 300  # columns read at once: a file of thousands does not fit in memory whole
_MAX_CODE = 2**31 - 1
_MAX_DISTINCT = 2000
_DATES = ("DATE", "TIME", "MOYR", "QYR", "WKYR", "%T", "%D")


@dataclass(frozen=True)
class Variable:
    """One variable of a labelled file; no row of it.

    Args:
        name: Its column.
        label: What the file says it is; "" for nothing.
        labels: Labels of whole-number codes.
        declared: Codes, in use or labelled, that the file itself declares missing.
        kind: "codes" (whole numbers), "numbers" (fractions too), "text" or "date".
        codes: Whole numbers in use, ascending; empty where there are too many.
        texts: Texts in use, for a text variable with few.
        distinct: How many different values are in use.
        given: Rows that have a value.
    """

    name: str
    label: str = ""
    labels: Mapping[int, str] = field(default_factory=dict)
    declared: frozenset[int] = frozenset()
    kind: str = "codes"
    codes: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    distinct: int = 0
    given: int = 0


@dataclass(frozen=True)
class LabelledFile:
    """The variables of a file in its order, its title and its number of rows."""

    path: Path
    title: str
    rows: int
    variables: tuple[Variable, ...]

    def distinct_rows(self, columns: Iterable[str]) -> int:
        """How many different combinations of values these columns have."""
        frame, _ = _read(self.path, usecols=list(columns))
        return len(frame.drop_duplicates())


def read_variables(path: Path) -> LabelledFile:
    """Read what a file says of its variables, and which codes are in use.

    Args:
        path: A .sav, .zsav or .dta file.

    Raises:
        MissingDataError: There is no such file, or the package that reads it is not installed.
        SurveyDataError: It is a file of another kind, or damaged.
    """
    if not path.is_file():
        raise MissingDataError(f"{path}: there is no such file", "give an SPSS or Stata file")
    if path.suffix.lower() not in SUFFIXES:
        message = f"has no labels to read: only {', '.join(SUFFIXES)} files do"
        raise SurveyDataError(message, path=path)
    _, meta = _read(path, metadataonly=True)
    variables = tuple(_variables(path, meta))
    rows = meta.number_rows or 0
    return LabelledFile(path, str(meta.file_label or "").strip(), int(rows), variables)


def _read(path: Path, **options: Any) -> tuple[Any, Any]:
    try:
        import pyreadstat
    except ImportError:
        how = "install the extra: pip install 'valuesim-dspy[survey]'"
        raise MissingDataError(f"{path.suffix} files need pyreadstat", how) from None
    is_stata = path.suffix.lower() == ".dta"
    read = pyreadstat.read_dta if is_stata else pyreadstat.read_sav
    # so that a 77 that SPSS declares missing comes as 77; Stata's .a to .z are empty cells here
    options = {"user_missing": not is_stata, "disable_datetime_conversion": True, **options}
    problems = (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, ValueError, OSError)
    for encoding in (None, "LATIN1"):
        try:
            return read(str(path), encoding=encoding, **options)
        except problems:
            continue
    raise SurveyDataError("is damaged: download or export it again", path=path)


def _variables(path: Path, meta: Any) -> Iterator[Variable]:
    names = list(meta.column_names)
    for start in range(0, len(names), _BATCH):
        frame, _ = _read(path, usecols=names[start : start + _BATCH])
        for name in names[start : start + _BATCH]:
            yield _variable(name, frame[name], meta)


def _variable(name: str, column: Any, meta: Any) -> Variable:
    values = column.dropna()
    written = meta.variable_value_labels.get(name, {})
    labels = {
        int(code): " ".join(str(label).split())
        for code, label in written.items()
        if isinstance(code, int | float) and float(code).is_integer() and abs(code) <= _MAX_CODE
    }
    texts: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    unique = values.unique()
    if any(mark in str(meta.original_variable_types.get(name, "")).upper() for mark in _DATES):
        kind = "date"
    elif str(meta.readstat_variable_types.get(name)) == "string":
        kind, values = "text", values[values.astype(str).str.strip() != ""]
        unique = values.unique()
        texts = tuple(sorted(map(str, unique))) if len(unique) <= _MAX_DISTINCT else ()
    else:
        whole = all(float(x).is_integer() and abs(x) <= _MAX_CODE for x in unique)
        kind = "codes" if whole else "numbers"
        if whole and len(unique) <= _MAX_DISTINCT:
            codes = tuple(sorted(int(x) for x in unique))
    return Variable(
        name=name,
        label=" ".join(str(meta.column_names_to_labels.get(name) or "").split()),
        labels=dict(sorted(labels.items())),
        declared=_declared(meta, name, {*codes, *labels}),
        kind=kind,
        codes=codes,
        texts=texts,
        distinct=len(unique),
        given=len(values),
    )


def _declared(meta: Any, name: str, codes: Iterable[int]) -> frozenset[int]:
    ranges = (meta.missing_ranges or {}).get(name, [])
    limits = [(item["lo"], item["hi"]) for item in ranges if not isinstance(item["lo"], str)]
    return frozenset(code for code in codes for low, high in limits if low <= code <= high)
