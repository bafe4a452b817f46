"""How far very many people's answers agree with one person's: one number for each of them.

The measure is weighted kappa (Cohen 1968), taken over questions. On one question two answers agree

- by 1 - |a - b|, where both have a place a, b in [0, 1] between the least and the most;
- by 1 or 0, the same option or another, where a question has no order or an answer no place in it;
- as ages and other numbers do, by the tenth of the people counted in which they stand.

From this is taken what the person's answer would agree with anybody's, so that agreement which
chance gives counts for nothing. A question that one of the two did not answer adds nothing, as an
average person's answer would, so nobody is nearer for having answered little. The sum over the
person's questions is divided by the greatest it could be: 1 is the same answer to everything, 0 is
as much agreement as chance gives, and below 0 is less.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.survey.codebook import Question
from valuesim_dspy.survey.respondents import Respondents

MOST_OPTIONS = 250
"""A question with more options is a list of countries or the like, and is left out."""
ROOM = 4096
"""Combined answers that are looked up at once: a table that stays in a core's nearest cache."""
BLOCK = 8192
"""People who are compared at a time."""
DECIMALS = 6
"""Kept of an agreement, so that sums in single precision tie where answers are as near."""

Array = npt.NDArray[Any]
Known = tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class Item:
    """How one question is compared, and where its answers are packed.

    Attributes:
        codes: The options' codes, ascending; of an open question where each tenth but the first
            begins.
        is_open: Whether answers are numbers.
        is_compared: Whether it counts for agreement: private answers never do.
        gain: What two answers add, float32 [places, places + 1]: a person's by another's; the
            last column, no answer, is 0.
        most: What the same answer adds, float64 [places].
        group: The packed numbers that hold its answers.
        stride: What one place adds to the packed number.
    """

    codes: Array
    is_open: bool
    is_compared: bool
    gain: Array
    most: Array
    group: int
    stride: int

    @property
    def places(self) -> int:
        """How many different answers there are; as a place, it stands for no answer."""
        return len(self.most)

    def place(self, code: int) -> int:
        """Where a code stands among the answers; `places` if it is none of them."""
        if self.is_open:
            return bisect_right(self.codes, code) if code >= 0 else self.places
        return self._at.get(code, self.places)

    @cached_property
    def _at(self) -> dict[int, int]:
        return {code: place for place, code in enumerate(self.codes.tolist())}


class PackedAnswers:
    """The answers of n people, packed so that one person's are compared with all of them at once.

    Several questions share one uint16 number a person, as digits do, and one lookup tells what
    they add together. 290 questions are about 60 numbers a person: 12 MB for 97,220 people.

    Args:
        people: Who is compared, in the order of every array returned.
    """

    def __init__(self, people: Respondents) -> None:
        self.items: dict[str, Item] = {}
        self._groups: list[list[str]] = []
        packed: list[Array] = []
        width = ROOM
        for question in people.codebook:
            if (not question.options and question.private) or len(question.options) > MOST_OPTIONS:
                continue
            values = people.column(question.id)
            codes = np.array(question.codes) if question.options else _tenths(values)
            places = len(codes) + (not question.options)
            if width * (places + 1) > ROOM:
                width = 1
                packed.append(np.zeros(len(people), dtype=np.uint16))
                self._groups.append([])
            at = _places(values, codes, not question.options)
            gain, most = _gains(_agreement(question, places), at)
            self.items[question.id] = Item(
                codes=codes,
                is_open=not question.options,
                is_compared=not question.private,
                gain=gain,
                most=most,
                group=len(packed) - 1,
                stride=width,
            )
            self._groups[-1].append(question.id)
            packed[-1] += (at * width).astype(np.uint16)
            width *= places + 1
        self._packed = packed

    def known(self, answers: Mapping[str, int], *, but: str = "") -> Known:
        """Return what can be compared of a person's answers: question id and place.

        Args:
            answers: Question id to code; what is no answer here is passed over.
            but: A question that is left out.
        """
        return tuple(
            (name, place)
            for name, item in self.items.items()
            if name in answers
            and name != but
            and item.is_compared
            and (place := item.place(answers[name])) < item.places
        )

    def agreement(self, known: Known, span: slice) -> Array:
        """Return how far each person's answers agree with a person's, at most 1, float32 [span].

        Args:
            known: The person's answers, from `known`.
            span: Which people.
        """
        total = np.zeros(span.stop - span.start, dtype=np.float32)
        rows = {name: self.items[name].gain[place] for name, place in known}
        most = sum(float(self.items[name].most[place]) for name, place in known)
        if most <= 0.0:
            return total
        tables = [self._table(group, rows) for group in self._groups]
        used = [at for at, group in enumerate(self._groups) if not rows.keys().isdisjoint(group)]
        # Blocks, so that the sums stay in a near cache while every table is gone through.
        for start in range(0, len(total), BLOCK):
            block = total[start : start + BLOCK]
            for at in used:
                begin = span.start + start
                block += tables[at].take(self._packed[at][begin : begin + len(block)])
        agreement: Array = np.round(total / np.float32(most), DECIMALS)
        return agreement

    def _table(self, group: Iterable[str], rows: Mapping[str, Array]) -> Array:
        """What each packed number adds, float32 [numbers]; questions without a row add nothing."""
        table = np.zeros(1, dtype=np.float32)
        for name in group:
            if name in rows:
                table = (rows[name][:, None] + table).ravel()
            else:
                table = np.tile(table, self.items[name].places + 1)
        return table

    def places(self, question: str, at: slice | Array) -> Array:
        """Return where some people's answers to a question stand, int [people].

        The number of its places stands for no answer.
        """
        item = self.items[question]
        places: Array = self._packed[item.group][at] // item.stride % (item.places + 1)
        return places


def _places(values: Array, codes: Array, is_open: bool) -> Array:
    """Place values among codes, or numbers among tenths; what is no answer comes last, int [n]."""
    if is_open:
        return np.where(values < 0, len(codes) + 1, np.searchsorted(codes, values, side="right"))
    found = np.searchsorted(codes, values)
    is_code = (values >= 0) & (np.append(codes, -1)[found] == values)
    return np.where(is_code, found, len(codes))


def _tenths(values: Array) -> Array:
    """Where the second to the tenth tenth of some numbers begin, int [9 at most], ascending."""
    valid = values[values >= 0]
    if not len(valid):
        return np.zeros(0, dtype=np.int64)
    cuts = np.unique(np.quantile(valid, np.arange(1, 10) / 10, method="higher"))
    return cuts[cuts > valid.min()].astype(np.int64)


def _agreement(question: Question, places: int) -> Array:
    """How far each two answers agree, float64 [places, places], in [0, 1]."""
    same = np.eye(places)
    if question.options and not question.order:
        return same
    at = np.linspace(0.0, 1.0, places)
    if question.options:
        found = [question.position(code) for code in question.codes]
        at = np.array([np.nan if place is None else place for place in found])
    near = 1.0 - np.abs(at[:, None] - at[None, :])
    return np.where(np.isnan(near), same, near)


def _gains(agreement: Array, places: Array) -> tuple[Array, Array]:
    """What agreements add beyond chance, float32 [p, p + 1], and the most they can, float64 [p].

    Args:
        agreement: How far each two answers agree, [p, p].
        places: The answers of the people counted, int [n]; p for none.
    """
    counts = np.bincount(places, minlength=len(agreement) + 1)[: len(agreement)]
    chance = agreement @ (counts / max(1, counts.sum()))
    gain = np.zeros((len(agreement), len(agreement) + 1), dtype=np.float32)
    gain[:, :-1] = agreement - chance[:, None]
    return gain, 1.0 - chance
