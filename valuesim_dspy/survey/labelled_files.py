"""The variables of an SPSS or Stata file: names, labels, and which codes are in use.

They are read in a guarded process, as rows are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valuesim_dspy.errors import MissingDataError, SurveyDataError
from valuesim_dspy.survey.file_limits import damaged
from valuesim_dspy.survey.labelled_rows import LabelledReader

SUFFIXES = (".sav", ".zsav", ".dta")


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
        """How many different combinations of values these columns have.

        Raises:
            SurveyDataError: The file is damaged.
        """
        return int(_told(self.path, {"columns": list(columns)}))


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
    told = _told(path, {})
    try:
        variables = tuple(_variable(each) for each in told["variables"])
        return LabelledFile(path, str(told["title"]), int(told["rows"]), variables)
    except (TypeError, ValueError, LookupError):
        raise damaged(path, path.suffix.lower()) from None


def _told(path: Path, request: Mapping[str, Any]) -> Any:
    """What a process of its own says: some damaged files end the process that reads them."""
    with LabelledReader() as reader:
        return reader.tell(path, request)


def _variable(told: Mapping[str, Any]) -> Variable:
    return Variable(
        **{
            **told,
            "labels": {int(code): str(label) for code, label in told["labels"].items()},
            "declared": frozenset(told["declared"]),
            "codes": tuple(told["codes"]),
            "texts": tuple(told["texts"]),
        }
    )
