"""The answers of many people as one table of small integers, and lazy views of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.survey.question import Question

UNKNOWN_CODE = -128  # stands for a code that the codebook does not know
NOT_IN_FILE = -127  # the answer to a question whose column was not there
_INT8_CODES = range(-126, 127)

Array = npt.NDArray[Any]


def is_wide(question: Question) -> bool:
    """Whether a question's codes may not fit the int8 table: open ones, and long lists."""
    codes = (*question.codes, *question.missing)
    return not question.options or any(code not in _INT8_CODES for code in codes)


def number_type(question: Question) -> str:
    """The type that every code a file may have for a question fits."""
    return "int32" if is_wide(question) or max(question.recode, default=0) > 32767 else "int16"


def encode(question: Question, values: Array) -> Array:
    """Keep the codes that the codebook knows; put `UNKNOWN_CODE` for any other.

    Args:
        question: Its codes and kinds of missing; an open one takes any number of 0 or more.
        values: Codes as read, integers [n].

    Returns:
        Codes, int8 [n], or int32 [n] for a wide question.
    """
    for code, kept in question.recode.items():
        values = np.where(values == code, kept, values)
    if is_wide(question):
        known = np.isin(values, [*question.codes, *question.missing])
        if not question.options:
            known |= values >= 0
        return np.where(known, values, UNKNOWN_CODE).astype(np.int32)
    lookup = np.full(256, UNKNOWN_CODE, dtype=np.int8)
    codes = np.array([*question.codes, *question.missing], dtype=np.int16)
    lookup[codes + 128] = codes
    clipped: Array = np.clip(values.astype(np.int64), -128, 127)
    return lookup[clipped + 128]


@dataclass(frozen=True, eq=False, repr=False)
class AnswerTable:
    """Codes of n people, one row each; negative ones are kinds of missing.

    Args:
        places: For each question that is there, in codebook order, whether it is wide and its
            column in `narrow` or in `wide`.
        narrow: int8 [n, questions whose codes are small].
        wide: int32 [n, the others].
    """

    places: Mapping[str, tuple[bool, int]]
    narrow: Array
    wide: Array

    @classmethod
    def of(cls, columns: Mapping[str, Array]) -> AnswerTable:
        """Build a table from encoded columns, in codebook order."""
        narrow = [name for name, column in columns.items() if column.dtype == np.int8]
        wide = [name for name in columns if name not in set(narrow)]
        places = {name: (False, at) for at, name in enumerate(narrow)}
        places |= {name: (True, at) for at, name in enumerate(wide)}
        n = len(next(iter(columns.values())))
        return cls(
            {name: places[name] for name in columns},
            _side_by_side([columns[name] for name in narrow], n, np.int8),
            _side_by_side([columns[name] for name in wide], n, np.int32),
        )

    def __deepcopy__(self, memo: object) -> AnswerTable:
        return self  # its arrays are read-only: copies of cases share them

    def code(self, row: int, question: str) -> int:
        """One code as stored; `NOT_IN_FILE` for a question that has no column."""
        place = self.places.get(question)
        if place is None:
            return NOT_IN_FILE
        wide, column = place
        return int(self.wide[row, column] if wide else self.narrow[row, column])

    def column(self, rows: Array, question: str) -> Array:
        """The codes of some people for a question, int32 [len(rows)]."""
        place = self.places.get(question)
        if place is None:
            return np.full(len(rows), NOT_IN_FILE, dtype=np.int32)
        table = self.wide if place[0] else self.narrow
        return table[rows, place[1]].astype(np.int32)

    def take(self, rows: Sequence[int] | Array) -> AnswerTable:
        """A table of these rows only."""
        narrow, wide = self.narrow[rows], self.wide[rows]
        return AnswerTable(self.places, _frozen(narrow), _frozen(wide))


class Answers(Mapping[str, int]):
    """The valid answers of one person, in codebook order, read when asked for.

    Args:
        table: The table of everyone.
        row: The person's row in it.
        only: The questions that may be seen; None for all.
    """

    __slots__ = ("_only", "_row", "_table")

    def __init__(self, table: AnswerTable, row: int, only: frozenset[str] | None = None) -> None:
        self._table, self._row, self._only = table, row, only

    def __getitem__(self, question: str) -> int:
        hidden = self._only is not None and question not in self._only
        code = NOT_IN_FILE if hidden else self._table.code(self._row, question)
        if code < 0:
            raise KeyError(question)
        return code

    def __iter__(self) -> Iterator[str]:
        for question in self._table.places:
            seen = self._only is None or question in self._only
            if seen and self._table.code(self._row, question) >= 0:
                yield question

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return f"Answers({len(self)} questions)"  # never the codes: they are a person's

    def __reduce__(self) -> tuple[type[Answers], tuple[AnswerTable, int, frozenset[str] | None]]:
        return Answers, (self._table.take([self._row]), 0, self._only)

    def __deepcopy__(self, memo: object) -> Answers:
        return self

    def codes(self) -> dict[str, int]:
        """All of them at once: many times as fast as one by one."""
        narrow, wide = self._table.narrow[self._row].tolist(), self._table.wide[self._row].tolist()
        return {
            question: code
            for question, (is_long, at) in self._table.places.items()
            if (code := wide[at] if is_long else narrow[at]) >= 0
            and (self._only is None or question in self._only)
        }

    def masked(self, questions: Iterable[str]) -> Answers:
        """A view of these questions only, never of more than this view shows."""
        only = frozenset(questions)
        return Answers(self._table, self._row, only if self._only is None else only & self._only)


def _side_by_side(columns: Sequence[Array], n: int, dtype: type) -> Array:
    table: Array = np.empty((n, len(columns)), dtype=dtype)
    for at, column in enumerate(columns):
        table[:, at] = column
    return _frozen(table)


def _frozen(array: Array) -> Array:
    array.setflags(write=False)
    return array
