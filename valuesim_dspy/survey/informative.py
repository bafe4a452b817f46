"""Which question to ask next: the one whose answer is expected to tell most about others.

Learned from other people's answers alone: of the person only *which* questions were asked is used,
never an answer, so the order is the same for everybody of whom the same can be known.

An ordered or open question is one column, any other a column for each option that is not rare,
without the commonest. Columns are centred within countries, since the country is known without
asking, and standardised; an answer that is missing stands at the mean. S is their correlation,
shrunk towards none (Schaefer and Strimmer 2005, "A shrinkage approach to large-scale covariance
matrix estimation", Statistical Applications in Genetics and Molecular Biology 4(1), 32). With the
questions A asked, and v(t | A) the variance of an aim's column t that S leaves once A is known,

    gain(q | A) = mean over aims of 1/2 log( v(t | A) / v(t | A and q) )

is the mutual information of q and t given A, in nats, were answers normally distributed; of an aim
with several columns their mean. Columns that have nothing to do with t take away (1 - shrinkage)^2
/ (n - 1) of its variance each by chance, which is given back, or questions with many options would
win; a gain that is below 0 then is 0. Greedily taking the question with the greatest gain is
experimental design with a Gaussian process (Krause, Singh and Guestrin 2008, "Near-optimal sensor
placements in Gaussian processes", Journal of Machine Learning Research 9, 235-284); by conditioning
it does what minimum redundancy and maximum relevance do pair by pair.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.survey.codebook import Question
from valuesim_dspy.survey.respondents import Respondents

MIN_PEOPLE = 10
"""With fewer people nothing is learned."""
MOST_PEOPLE = 4000
"""More people are not looked at: a correlation of other so many differs by a hundredth."""
MIN_CODE = 5
"""An option that fewer people chose has no column of its own."""
HOME = 5.0
"""People by whose number a country's mean is drawn towards the mean of all."""
MIN_SHRINKAGE = 0.01
DECIMALS = 9
"""Kept of a gain, so that equal ones tie and the codebook's order decides."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Informative:
    """What other people's answers say about which question tells most.

    Args:
        spans: Question id to its columns, in codebook order; none where nothing is known of it.
        aims: The questions about which something is to be learned.
        correlation: Of the columns, shrunk, float64 [c, c], positive definite, diagonal 1.
        people: How many people it was learned from.
        shrinkage: How far it was shrunk, in [0.01, 1]; 1 leaves nothing of it.
    """

    spans: Mapping[str, slice]
    aims: tuple[str, ...]
    correlation: Array
    people: int
    shrinkage: float

    @classmethod
    def of(
        cls,
        respondents: Respondents,
        places: Sequence[int],
        questions: Iterable[str],
        aims: Iterable[str],
    ) -> Informative:
        """Learn it.

        Args:
            respondents: The people.
            places: Which of them are looked at: training people, never who will be asked. Of more
                than `MOST_PEOPLE` the first so many.
            questions: Ids of what may be asked.
            aims: Ids of the questions about which something is to be learned. Where these are
                asked of nobody in a devset or testset, what is learned is cold. A question may
                be both; it is no aim of its own.

        Raises:
            MissingDataError: There are fewer than `MIN_PEOPLE` people.
            ConfigError: There is no aim.
            UnknownQuestionError: The codebook has no such question.
        """
        people = respondents.take(np.asarray(places, dtype=np.intp)[:MOST_PEOPLE])
        if len(people) < MIN_PEOPLE:
            what = f"{len(people)} training people are too few to say which question tells most"
            raise MissingDataError(what, f"take at least {MIN_PEOPLE}")
        codebook = respondents.codebook
        aimed = {codebook[name].id for name in aims}
        if not aimed:
            raise ConfigError("nothing is to be learned: give a question", key="aims")
        used = {codebook[name].id for name in questions} | aimed
        asked = [q for q in codebook if q.id in used and not q.private]
        blocks = [_columns(question, people.column(question.id)) for question in asked]
        ends = np.cumsum([0, *(block.shape[1] for block in blocks)]).tolist()
        spans = {q.id: slice(*two) for q, two in zip(asked, pairwise(ends), strict=True)}
        columns = _standardised(np.column_stack(blocks), np.array(people.alphas, dtype=str))
        shrinkage = _shrinkage(columns)
        correlation = (1.0 - shrinkage) * (columns.T @ columns) / max(1, len(columns) - 1)
        np.fill_diagonal(correlation, 1.0)
        kept = tuple(q.id for q in asked if q.id in aimed)
        return cls(spans, kept, correlation, len(people), shrinkage)

    def gains(self, asked: Collection[str], candidates: Iterable[str]) -> dict[str, float]:
        """Return what asking each candidate next is expected to tell, in nats, 0 or more.

        Args:
            asked: Ids of what was asked before; what is not known of here tells nothing.
            candidates: Ids of what may be asked; those asked before are left out.
        """
        names = sorted({*candidates} - {*asked}, key=self._turn)
        gains = self._gains(self._left(asked), names, asked)
        return dict(zip(names, gains.tolist(), strict=True))

    def next_question(self, asked: Collection[str], candidates: Iterable[str]) -> str:
        """Return the candidate that is expected to tell most; a tie goes to the codebook's first.

        Args:
            asked: Ids of what was asked before.
            candidates: Ids of what may be asked; those asked before are passed over.

        Raises:
            MissingDataError: Everything was asked before.
        """
        order = self.order(candidates, asked=asked, most=1)
        if not order:
            raise MissingDataError("every question was asked", "give more candidates")
        return order[0]

    def order(
        self, candidates: Iterable[str], *, asked: Collection[str] = (), most: int | None = None
    ) -> tuple[str, ...]:
        """Return candidates in the order in which to ask them, each best after those before it.

        Args:
            candidates: Ids of what may be asked; those asked before are left out.
            asked: Ids of what was asked before.
            most: At most so many; None for all.
        """
        known, left = set(asked), self._left(asked)
        waiting = sorted({*candidates} - known, key=self._turn)
        found: list[str] = []
        while waiting and (most is None or len(found) < most):
            best = waiting.pop(int(np.argmax(self._gains(left, waiting, known))))
            left = _without(left, [self._span(best)])
            known.add(best)
            found.append(best)
        return tuple(found)

    def _turn(self, name: str) -> tuple[int, str]:
        span = self.spans.get(name)
        # What nobody knows anything of comes last, in the order of its name.
        return (len(self.correlation), name) if span is None else (span.start, "")

    def _span(self, name: str) -> slice:
        return self.spans.get(name, slice(0, 0))

    def _left(self, asked: Collection[str]) -> Array:
        """Return the covariance that is left once some questions are known."""
        return _without(self.correlation, [self._span(name) for name in sorted({*asked})])

    def _gains(self, left: Array, names: Sequence[str], asked: Collection[str]) -> Array:
        """Return the gain of each question, float64 [names]."""
        aims = [self._span(name) for name in self.aims if name not in asked]
        aims = [span for span in aims if span.stop > span.start]
        if not aims:
            return np.zeros(len(names))
        at, sizes = _places(aims), [span.stop - span.start for span in aims]
        spans = [self._span(name) for name in names]
        chance = (1.0 - self.shrinkage) ** 2 / (self.people - 1)
        by_chance = chance * np.array([[span.stop - span.start] for span in spans])
        share = np.clip(_told(left, spans, at) / left[at, at], 0.0, 1.0 - 1e-9) - by_chance
        # A question is no aim of its own.
        share[np.array([s.start for s in spans])[:, None] == _owners(aims, sizes)] = 0.0
        weight = np.repeat(1.0 / np.array(sizes), sizes) / len(aims)
        told: Array = -0.5 * np.log1p(-share) @ weight
        return np.maximum(0.0, told).round(DECIMALS)


def _columns(question: Question, codes: npt.NDArray[Any]) -> Array:
    """Return answers as numbers, float64 [n, columns]; NaN where there is none."""
    if not question.options:
        return np.where(codes >= 0, codes, np.nan).astype(np.float64)[:, None]
    if question.order:
        column = np.full(len(codes), np.nan)
        for place, code in enumerate(question.order):
            column[codes == code] = place
        return column[:, None]
    valid = np.isin(codes, question.codes)
    counts = {code: int((codes == code).sum()) for code in question.codes}
    commonest = max(counts, key=lambda code: counts[code])
    kept = [code for code in counts if counts[code] >= MIN_CODE and code != commonest]
    made = np.zeros((len(codes), len(kept)))
    for at, code in enumerate(kept):
        made[:, at] = np.where(valid, codes == code, np.nan)
    return made


def _standardised(columns: Array, homes: npt.NDArray[Any]) -> Array:
    """Centre within countries, put what is missing at 0, and scale to a variance of 1 (or 0)."""
    known = ~np.isnan(columns)
    filled = np.where(known, columns, 0.0)
    overall = filled.sum(axis=0) / np.maximum(1, known.sum(axis=0))
    names, home = np.unique(homes, return_inverse=True)
    lives = np.eye(len(names))[home]
    means = (lives.T @ filled + HOME * overall) / (lives.T @ known + HOME)
    centred = np.where(known, columns - means[home], 0.0)
    centred -= np.where(known, centred.sum(axis=0) / np.maximum(1, known.sum(axis=0)), 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / max(1, len(columns) - 1))
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-9)


def _shrinkage(columns: Array) -> float:
    """Return the intensity that is best by Schaefer and Strimmer's estimate."""
    n = len(columns)
    mean = columns.T @ columns / n
    spread = (columns**2).T @ (columns**2) - n * mean**2
    variance, square = spread * n / (n - 1) ** 3, (mean * n / (n - 1)) ** 2
    for table in (variance, square):
        np.fill_diagonal(table, 0.0)
    whole = float(square.sum())
    return float(np.clip(variance.sum() / whole, MIN_SHRINKAGE, 1.0)) if whole > 0 else 1.0


def _places(spans: Sequence[slice]) -> npt.NDArray[np.intp]:
    return np.array([at for span in spans for at in range(span.start, span.stop)], dtype=np.intp)


def _owners(spans: Sequence[slice], sizes: Sequence[int]) -> npt.NDArray[np.intp]:
    """Return where the question of each column begins, int [columns]."""
    return np.repeat(np.array([span.start for span in spans], dtype=np.intp), sizes)


def _told(left: Array, spans: Sequence[slice], at: npt.NDArray[np.intp]) -> Array:
    """Return the variance of columns that knowing each question takes away, float64 [spans, at]."""
    told = np.zeros((len(spans), len(at)))
    widths = np.array([span.stop - span.start for span in spans])
    starts = np.array([span.start for span in spans], dtype=np.intp)
    one = starts[widths == 1]
    told[widths == 1] = left[np.ix_(one, at)] ** 2 / left[one, one][:, None]
    for place in np.flatnonzero(widths > 1).tolist():
        span = spans[place]
        toward = left[span][:, at]
        told[place] = (toward * np.linalg.solve(left[span, span], toward)).sum(axis=0)
    return told


def _without(left: Array, known: Sequence[slice]) -> Array:
    """Return the covariance once some columns are known; their own is 1, with nothing told."""
    at = _places(known)
    if not len(at):
        return left
    toward = left[at]
    after: Array = left - toward.T @ np.linalg.solve(left[np.ix_(at, at)], toward)
    after[at, :] = after[:, at] = 0.0
    after[at, at] = 1.0
    return after
