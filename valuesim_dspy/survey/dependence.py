"""How strongly the answers to two questions depend on each other, on given people.

The measure is Cramer's V, corrected for its bias (Bergsma 2013, "A bias-correction for Cramer's V
and Tschuprow's T", Journal of the Korean Statistical Society 42, 323-328). For the people who
answered both questions, n of them, in a table of r x c codes that occur:

    phi2  = sum of N_ij^2 / (N_i. N_.j) - 1
    phi2~ = max(0, phi2 - (r - 1)(c - 1) / (n - 1))
    r~    = r - (r - 1)^2 / (n - 1), and c~ likewise
    V     = sqrt(phi2~ / min(r~ - 1, c~ - 1)), in [0, 1]; 0 is independent, 1 is determined

It asks for no order and no scale, so any two questions can be compared. The same correlation gives
a smaller V on longer scales. Chance is told by the exact mean and variance of n phi2 over all
permutations of one question's answers (Dawson 1954, "A simplified expression for the variance of
the chi-squared function on a contingency table", Biometrika 41, 280), which hold for small and
sparse tables too; the tail is that of the gamma distribution of this mean and variance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.codebook import Codebook
from valuesim_dspy.survey.respondents import Respondents

MIN_PEOPLE = 20
"""With fewer people who answered both, nothing is said of a pair."""
MIN_CODE = 5
"""Codes that fewer people gave are taken as one: two lone answers that meet are no dependence."""
MOST_PEOPLE = 4000
"""More people are not looked at: V of other so many people differs by a hundredth."""
DEFAULT_THRESHOLD = 0.35
"""Where two questions of different batteries count as one question asked twice.

In the synthetic population named twins have V of 0.25 to 0.55, nine in ten pairs inside an attitude
battery less than 0.35, and one pair in two hundred across batteries more. On scales of equal use V
of 0.35 is a correlation of 0.35 on two options, 0.57 on four, 0.64 on five and 0.80 on ten.
"""

Array = npt.NDArray[Any]
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class Dependence:
    """The dependence of every two questions, on one set of people.

    Attributes:
        questions: Ids, [q].
        v: Bias-corrected Cramer's V, float64 [q, q], symmetric; NaN where it cannot be said: on
            the diagonal, below `MIN_PEOPLE`, or where all gave one answer.
        surprise: How far beyond chance each V is, as a standard normal score, [q, q].
        people: How many people it was measured on.
    """

    questions: tuple[str, ...]
    v: Array
    surprise: Array
    people: int

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.questions)}

    def between(self, one: str, other: str) -> float:
        """Return V of two questions, in [0, 1]; NaN where it cannot be said."""
        return float(self.v[self._place[one], self._place[other]])

    def nearest(self, target: str, among: Iterable[str]) -> tuple[str, float] | None:
        """Return the question that a target depends on most, and its V; never the target itself.

        None where of no question given anything is known.
        """
        names = list(among)
        found = self.v[self._place[target], [self._place[name] for name in names]]
        if not names or np.isnan(found).all():
            return None
        best = int(np.nanargmax(found))
        return names[best], float(found[best])

    def pairs(self, threshold: float, codebook: Codebook) -> Pairs:
        """Return the pairs of questions of different batteries that depend on each other.

        A pair depends if its V is at least the threshold and beyond chance: so far that of all
        the pairs looked at, were every question answered at random, one would be expected.

        Args:
            threshold: V, in (0, 1].
            codebook: Says which questions are of one battery.

        Returns:
            Pairs in codebook order, the earlier question first.

        Raises:
            ConfigError: The threshold is not in (0, 1].
        """
        if not 0.0 < threshold <= 1.0:
            message = f"V is in [0, 1], and a threshold of {threshold} would take all or none"
            raise ConfigError(message, key="dependence", value=threshold)
        battery = np.array([codebook[name].battery for name in self.questions])
        looked_at = np.triu(battery[:, None] != battery[None, :], k=1) & ~np.isnan(self.v)
        chance = NormalDist().inv_cdf(1.0 - 1.0 / max(2, int(looked_at.sum())))
        found = looked_at & (self.v >= threshold) & (self.surprise > chance)
        names = self.questions
        return tuple((names[one], names[other]) for one, other in np.argwhere(found).tolist())


def dependent_pairs(
    respondents: Respondents,
    train_indices: Sequence[int],
    threshold: float = DEFAULT_THRESHOLD,
) -> Pairs:
    """Return the pairs of questions across batteries that depend on each other; see `pairs`.

    Args:
        respondents: The people.
        train_indices: The places of training people; nobody else is looked at.
        threshold: V, in (0, 1].

    Raises:
        ConfigError: The threshold is not in (0, 1].
    """
    measured = measure_dependence(respondents, train_indices)
    return measured.pairs(threshold, respondents.codebook)


def measure_dependence(
    respondents: Respondents,
    places: Sequence[int],
    *,
    questions: Collection[str] | None = None,
    shuffled: int | None = None,
) -> Dependence:
    """Measure the dependence of every two questions.

    Args:
        respondents: The people.
        places: Which of them are looked at; of more than `MOST_PEOPLE` the first so many.
        questions: Which questions; all of the codebook by default.
        shuffled: A seed: every question's answers are dealt out anew among these people, which
            shows what chance alone would give.
    """
    chosen = respondents.take(list(places[:MOST_PEOPLE]))
    codebook = respondents.codebook
    names = tuple(q.id for q in codebook if questions is None or q.id in questions)
    codes = np.full((len(chosen), len(names)), -1, dtype=np.int32)
    rng = np.random.default_rng(shuffled)
    for at, name in enumerate(names):
        column = chosen.column(name)
        codes[:, at] = column if shuffled is None else rng.permutation(column)
    v, surprise = cramers_v(codes)
    return Dependence(names, v, surprise, len(chosen))


def cramers_v(codes: Array) -> tuple[Array, Array]:
    """Return bias-corrected Cramer's V of every two columns, and how far beyond chance it is.

    Args:
        codes: Integer codes, [n, q]; negative ones are missing, pair by pair.

    Returns:
        V, float64 [q, q], in [0, 1], and standard normal scores of the same shape: the chance
        that answers dealt out at random give so large a V is that of a larger score. NaN on the
        diagonal and where fewer than `MIN_PEOPLE` gave both answers or all gave the same.
    """
    codes, n_columns = _without_rare(codes), codes.shape[1]
    v = np.full((n_columns, n_columns), np.nan)
    surprise = v.copy()
    answered = np.flatnonzero((codes >= 0).any(axis=0))
    if len(codes) < MIN_PEOPLE or len(answered) < 2:
        return v, surprise
    tables = _Tables.of(codes[:, answered])
    inner = np.ix_(answered, answered)
    v[inner], surprise[inner] = tables.v(), tables.surprise()
    np.fill_diagonal(v, np.nan)
    np.fill_diagonal(surprise, np.nan)
    return v, surprise


def _without_rare(codes: Array) -> Array:
    """Take a column's rare codes as one code, and as missing where even together they are rare."""
    kept = np.full(codes.shape, -1, dtype=np.int32)
    for at, column in enumerate(codes.T):
        levels, place, count = np.unique(column, return_inverse=True, return_counts=True)
        valid, rare = levels >= 0, count < MIN_CODE
        number = np.where(rare, len(levels), np.arange(len(levels)))
        if count[valid & rare].sum() < MIN_CODE:
            number[rare] = -1
        number[~valid] = -1
        kept[:, at] = number[place]
    return kept


@dataclass(frozen=True, eq=False)
class _Tables:
    """What the tables of every two columns come to, each [q, q].

    Attributes:
        n: People who answered both; NaN where they are too few.
        rows: Codes of the row's question that occur among them.
        inverse: Sum over these codes of 1 / the number of people who gave it.
        phi2: Pearson's mean square contingency.
    """

    n: Array
    rows: Array
    inverse: Array
    phi2: Array

    @classmethod
    def of(cls, codes: Array) -> _Tables:
        levels = [np.unique(column[column >= 0]) for column in codes.T]
        starts = np.cumsum([0, *map(len, levels)])[:-1]
        owner = np.repeat(np.arange(len(levels)), [len(level) for level in levels])
        # exact: float32 counts up to 2^24 people, and there are at most MOST_PEOPLE
        given = (codes[:, owner] == np.concatenate(levels)).astype(np.float32)
        valid = (codes >= 0).astype(np.float32)
        margins = (given.T @ valid).astype(np.float64)  # [code, other question]
        shares = np.divide(1.0, margins, out=np.zeros_like(margins), where=margins > 0)
        cells = (given.T @ given).astype(np.float64)
        cells *= cells
        cells *= shares[:, owner]
        cells *= shares[:, owner].T
        phi2 = np.add.reduceat(np.add.reduceat(cells, starts, axis=0), starts, axis=1) - 1.0
        n = (valid.T @ valid).astype(np.float64)
        rows = np.add.reduceat((margins > 0).astype(np.float64), starts, axis=0)
        known = (n >= MIN_PEOPLE) & (rows > 1) & (rows.T > 1)
        n = np.where(known, n, np.nan)
        # the same to the last digit from either side
        phi2 = (phi2 + phi2.T) / 2.0
        return cls(n, rows, np.add.reduceat(shares, starts, axis=0), phi2)

    def v(self) -> Array:
        """Bias-corrected Cramer's V."""
        corrected = np.maximum(0.0, self.phi2 - self._expected())
        freedom = (self.rows - 1.0) - (self.rows - 1.0) ** 2 / (self.n - 1.0)
        least = np.minimum(freedom, freedom.T)
        # at most 0 where next to everybody gave an answer of their own: nothing can be said
        least = np.where(least > 1e-9, least, np.nan)
        return np.sqrt(np.minimum(1.0, corrected / least))

    def surprise(self) -> Array:
        """Standard normal scores of phi2 by the gamma tail (Wilson and Hilferty 1931)."""
        mean, spread = self._expected(), self._variance()
        spread = np.where(spread > 1e-12, spread, np.nan)
        narrow = spread / (9.0 * mean**2)
        score: Array = (np.cbrt(np.maximum(self.phi2, 0.0) / mean) - 1.0 + narrow) / np.sqrt(narrow)
        return score

    def _expected(self) -> Array:
        """Mean of phi2 over all permutations."""
        expected: Array = (self.rows - 1.0) * (self.rows.T - 1.0) / (self.n - 1.0)
        return expected

    def _variance(self) -> Array:
        """Variance of phi2 over all permutations."""
        n, r = self.n, self.rows
        even = (r - 1.0) * (n - r) / (n - 1.0)
        uneven = (n * self.inverse - r**2) / (n - 2.0)
        most = 2.0 * n / (n - 3.0) * (even - uneven) * (even - uneven).T
        variance: Array = (most + n**2 / (n - 1.0) * uneven * uneven.T) / n**2
        return variance
