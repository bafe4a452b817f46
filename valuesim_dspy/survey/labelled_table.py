"""A table with labels, and writing it as SPSS (.sav), Stata (.dta) or CSV with a codebook."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.survey.question import Question

Array = npt.NDArray[Any]

_NAME = re.compile(r"[^A-Za-z0-9_]")
_LONGEST = {".sav": 64, ".dta": 32}  # bytes of a variable's name
_LABEL = {".sav": 250, ".dta": 80}  # of its label; SPSS counts bytes, Stata characters
_VALUE_LABEL = {".sav": 120, ".dta": 32000}
_MEASURES = {"open": "scale", "count": "scale", "nominal": "nominal", "binary": "nominal"}


@dataclass(frozen=True)
class Labels:
    """What a column is called and what its codes mean.

    Args:
        label: The column in words.
        options: Words by code of 0 or more.
        missing: Kinds of missing by negative code.
        measure: "nominal", "ordinal" or "scale".
    """

    label: str
    options: Mapping[int, str] = field(default_factory=dict)
    missing: Mapping[int, str] = field(default_factory=dict)
    measure: str = "scale"


@dataclass(frozen=True)
class LabelledTable:
    """Columns of one length, what each means, and what the whole is.

    Args:
        columns: Integers, floats or str objects [n] by name.
        labels: For some of them, what they mean.
        note: One line on what the table is.
    """

    columns: Mapping[str, Array]
    labels: Mapping[str, Labels]
    note: str


def question_labels(question: Question, *, prefix: str = "") -> Labels:
    """The labels of a question's column."""
    return Labels(
        label=prefix + question.text,
        options={option.code: option.label for option in question.options},
        missing=dict(question.missing),
        measure=_MEASURES.get(question.scale_kind, "ordinal"),
    )


def write_labelled(table: LabelledTable, path: str | Path) -> list[Path]:
    """Write a table, readable by its owner only.

    Args:
        table: The table.
        path: The file, replaced if it exists; its suffix chooses the format.

    Returns:
        What was written: the file, and for CSV its codebook beside it (`NAME.codebook.csv`).

    Raises:
        ConfigError: The suffix is of no format, or a column's name does not fit it.
        MissingDataError: The folder is not there, or the library that writes the format.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        message = "choose the format by the file's ending"
        raise ConfigError(message, key="out", value=str(path), allowed=WRITERS)
    if not path.parent.is_dir():
        raise MissingDataError(f"{path.parent}: no such folder", "make it, or choose another")
    return WRITERS[suffix](table, path)


def _write_sav(table: LabelledTable, path: Path) -> list[Path]:
    pyreadstat, known = _library(".sav"), _known(table, ".sav")
    # The codes that stand for no answer are left out by SPSS and by R's haven.
    ranges = {
        name: [{"lo": float(min(labels.missing)), "hi": -1.0}]
        for name, labels in known.items()
        if labels.missing
    }
    measures = {name: labels.measure for name, labels in known.items()}

    def write(part: Path, frame: Any, options: Mapping[str, Any]) -> None:
        pyreadstat.write_sav(
            frame,
            str(part),
            missing_ranges=ranges,
            variable_measure=measures,
            row_compress=True,
            **options,
        )

    return [_write_frame(table, path, known, write)]


def _write_dta(table: LabelledTable, path: Path) -> list[Path]:
    pyreadstat = _library(".dta")

    def write(part: Path, frame: Any, options: Mapping[str, Any]) -> None:
        pyreadstat.write_dta(frame, str(part), version=14, **options)

    return [_write_frame(table, path, _known(table, ".dta"), write)]


def _library(suffix: str) -> Any:
    if importlib.util.find_spec("pyreadstat") is None:
        how = "pip install 'valuesim-dspy[survey]', or write CSV"
        raise MissingDataError(f"pyreadstat, which writes {suffix}, is not installed", how)
    return importlib.import_module("pyreadstat")


def _known(table: LabelledTable, suffix: str) -> dict[str, Labels]:
    names = _names(table, suffix)
    return {names[name]: labels for name, labels in table.labels.items()}


def _write_frame(
    table: LabelledTable, path: Path, known: Mapping[str, Labels], write: Callable[..., None]
) -> Path:
    import pandas as pd

    suffix = path.suffix.lower()
    names = _names(table, suffix)
    frame = pd.DataFrame({names[name]: column for name, column in table.columns.items()})
    most = _VALUE_LABEL[suffix]
    options = {
        "file_label": _cut(table.note, 60),
        "column_labels": {name: _cut(known[name].label, _LABEL[suffix]) for name in known},
        "variable_value_labels": {
            name: {
                code: _cut(text, most) for code, text in {**told.missing, **told.options}.items()
            }
            for name, told in known.items()
            if told.options or told.missing
        },
    }
    return _private(path, lambda part: write(part, frame, options))


def _write_csv(table: LabelledTable, path: Path) -> list[Path]:
    def rows(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(table.columns)
            # In blocks: all cells as Python objects at once would be gigabytes.
            for start in range(0, len(next(iter(table.columns.values()))), 5000):
                block = [column[start : start + 5000].tolist() for column in table.columns.values()]
                writer.writerows(zip(*block, strict=True))

    def codebook(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["column", "label", "code", "meaning", "kind"])
            for name, told in table.labels.items():
                writer.writerow([name, told.label, "", "", told.measure])
                for code, text in told.options.items():
                    writer.writerow([name, told.label, code, text, "option"])
                for code, text in told.missing.items():
                    writer.writerow([name, told.label, code, text, "missing"])

    return [_private(path, rows), _private(path.with_suffix(".codebook.csv"), codebook)]


WRITERS: Mapping[str, Callable[[LabelledTable, Path], list[Path]]] = {
    ".sav": _write_sav,
    ".dta": _write_dta,
    ".csv": _write_csv,
}
"""What writes each format, by suffix."""


def _names(table: LabelledTable, suffix: str) -> dict[str, str]:
    """Names that the format takes, by column."""
    names: dict[str, str] = {}
    for name in table.columns:
        fit = _NAME.sub("_", name)
        fit = (fit if fit[:1].isalpha() else f"v_{fit}")[: _LONGEST[suffix]]
        if fit.casefold() in {other.casefold() for other in names.values()}:
            message = f"two columns would be called {fit} in a {suffix} file: write CSV"
            raise ConfigError(message, key="questions", value=name)
        names[name] = fit
    return names


def _cut(text: str, most: int) -> str:
    """The text within a number of bytes, ending in dots where it was longer."""
    if len(text.encode()) <= most:
        return text
    return text.encode()[: most - 3].decode(errors="ignore") + "..."


def _private(path: Path, write: Callable[[Path], None]) -> Path:
    """Write a part file that only its owner can read, and put it in place when it is whole."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        part.chmod(0o600)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
