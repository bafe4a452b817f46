"""Bootstrap intervals for means: people, or people and questions, are what is drawn again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from valuesim_dspy.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

CASE = ["respondent", "question"]
"""The columns that name a case."""

MIN_DRAWS = 2000
_CELLS = 2_000_000  # weights held in memory at once

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and the percentile interval around it, in the unit of the values.

    Attributes:
        estimate: The mean over cases; NaN without any.
        low: The lower end; NaN where fewer than two clusters leave nothing to draw from.
        high: The upper end; NaN as above.
        n: Cases the mean is over.
        clusters: Respondents among them.
        items: Questions among them where questions are drawn too, else 0.
        dropped: Cases left out because a value was NaN.
        level: The nominal coverage, in (0, 1).
    """

    estimate: float
    low: float
    high: float
    n: int
    clusters: int
    items: int = 0
    dropped: int = 0
    level: float = 0.95


def clustered_interval(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike,
    *,
    draws: int = MIN_DRAWS,
    level: float = 0.95,
    seed: int,
) -> Interval:
    """Return the mean and its interval when whole clusters are drawn with replacement.

    A draw is as many clusters as there are; its mean is over the cases of the clusters drawn,
    so clusters with more cases weigh more, as in the estimate. Order of rows does not matter.
    With fewer than about 20 clusters percentile intervals are too narrow.

    Args:
        values: Shape (cases,); NaN is dropped and counted.
        clusters: Shape (cases,); the respondent of each case.
        draws: Bootstrap draws, at least 2,000.
        level: Nominal coverage, in (0, 1).
        seed: Of the draws: the same seed gives the same interval.

    Raises:
        ConfigError: Too few draws, a level out of range, or shapes that differ.
    """
    kept = _Kept(values, {"clusters": clusters}, draws, level)
    people, at = np.unique(kept.by["clusters"], return_inverse=True)
    size = len(people)
    if size < 2:
        return kept.interval(np.array([]), size)
    sums = np.bincount(at, weights=kept.values, minlength=size)
    counts = np.bincount(at, minlength=size).astype(float)
    rng = np.random.default_rng(seed)
    # One product serves sums and counts; every cluster has a case, so no draw is empty.
    totals = np.vstack([w @ np.column_stack([sums, counts]) for w in _weights(rng, size, draws)])
    return kept.interval(totals[:, 0] / totals[:, 1], size)


def crossed_interval(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike,
    items: npt.ArrayLike,
    *,
    draws: int = MIN_DRAWS,
    level: float = 0.95,
    seed: int,
) -> Interval:
    """Return the mean and its interval when respondents and questions are both drawn.

    For claims about questions that were not asked. Each draw weighs a case by how often its
    respondent was drawn times how often its question was: the pigeonhole bootstrap (Owen 2007,
    Annals of Applied Statistics 1(2)), whose intervals are rather too wide than too narrow.
    Draws whose respondents and questions have no case in common are left out.

    Args:
        values: Shape (cases,); NaN is dropped and counted.
        clusters: Shape (cases,); the respondent of each case.
        items: Shape (cases,); the question of each case.
        draws: Bootstrap draws, at least 2,000.
        level: Nominal coverage, in (0, 1).
        seed: Of the draws.

    Raises:
        ConfigError: Too few draws, a level out of range, or shapes that differ.
    """
    kept = _Kept(values, {"clusters": clusters, "items": items}, draws, level)
    people, row = np.unique(kept.by["clusters"], return_inverse=True)
    asked, column = np.unique(kept.by["items"], return_inverse=True)
    shape = (len(people), len(asked))
    if min(shape) < 2:
        return kept.interval(np.array([]), *shape)
    cell = row * shape[1] + column
    cells = shape[0] * shape[1]
    sums = np.bincount(cell, weights=kept.values, minlength=cells).astype(float).reshape(shape)
    counts = np.bincount(cell, minlength=cells).astype(float).reshape(shape)
    by_person, by_item = np.random.default_rng(seed).spawn(2)
    step = max(1, _CELLS // max(shape))
    means = [
        _product_means(w, v, sums, counts)
        for w, v in zip(
            _weights(by_person, shape[0], draws, step),
            _weights(by_item, shape[1], draws, step),
            strict=True,
        )
    ]
    return kept.interval(np.concatenate(means), *shape)


def paired_difference(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    column: str = "correct",
    draws: int = MIN_DRAWS,
    level: float = 0.95,
    seed: int,
    crossed: bool = False,
) -> Interval:
    """Return the mean of `a` minus `b` over their cases, paired, clustered by respondent.

    Args:
        a: A scored table (`evals.metrics.score_frame`).
        b: The scored table of the reference, on the same cases.
        column: What to compare; a case where either is NaN is dropped and counted.
        draws: Bootstrap draws, at least 2,000.
        level: Nominal coverage, in (0, 1).
        seed: Of the draws.
        crossed: Draw questions as well as respondents, for claims about unasked questions.

    Raises:
        ConfigError: The two are not on the same cases, or a case occurs twice.
    """
    a, b = same_cases(a, b)
    gaps = a[column].to_numpy(float) - b[column].to_numpy(float)
    people, asked = (a.index.get_level_values(name).to_numpy() for name in CASE)
    if crossed:
        return crossed_interval(gaps, people, asked, draws=draws, level=level, seed=seed)
    return clustered_interval(gaps, people, draws=draws, level=level, seed=seed)


def same_cases(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables indexed by case, in one order.

    Raises:
        ConfigError: The sets of cases differ, a case occurs twice, or a true answer differs.
    """
    a, b = a.set_index(CASE).sort_index(), b.set_index(CASE).sort_index()
    if not (a.index.is_unique and b.index.is_unique):
        raise ConfigError("a case occurs twice in one result, so results cannot be paired")
    if not a.index.equals(b.index):
        one, other = len(a.index.difference(b.index)), len(b.index.difference(a.index))
        raise ConfigError(
            f"the results are not on the same cases ({one} only in the first, {other} only in "
            "the second); compare results of one fold, split and set"
        )
    if not (a["truth"].to_numpy(float) == b["truth"].to_numpy(float)).all():
        raise ConfigError("the true answers of the two results differ; measure on the same data")
    return a, b


class _Kept:
    """The values that are not NaN, with their clusters, after the arguments are checked."""

    def __init__(
        self, values: npt.ArrayLike, by: dict[str, npt.ArrayLike], draws: int, level: float
    ) -> None:
        if draws < MIN_DRAWS:
            raise ConfigError(f"at least {MIN_DRAWS} are needed", key="draws", value=draws)
        if not 0 < level < 1:
            raise ConfigError("a share between 0 and 1 is needed", key="level", value=level)
        given = np.asarray(values, dtype=float)
        groups = {name: np.asarray(group) for name, group in by.items()}
        for name, group in groups.items():
            if group.shape != given.shape or given.ndim != 1:
                raise ConfigError(f"{given.shape} values and {group.shape} {name}", key=name)
        is_known = ~np.isnan(given)
        self.values: Floats = given[is_known]
        self.by = {name: group[is_known] for name, group in groups.items()}
        self.dropped, self.level = int((~is_known).sum()), level

    def interval(self, means: Floats, clusters: int, items: int = 0) -> Interval:
        """Put the interval of the draws' means around the mean."""
        tail = (1 - self.level) / 2
        means = means[~np.isnan(means)]
        low, high = np.quantile(means, [tail, 1 - tail]) if len(means) else (np.nan, np.nan)
        estimate = float(self.values.mean()) if len(self.values) else float("nan")
        return Interval(
            estimate=estimate,
            low=float(low),
            high=float(high),
            n=len(self.values),
            clusters=clusters,
            items=items,
            dropped=self.dropped,
            level=self.level,
        )


def _weights(
    rng: np.random.Generator, size: int, draws: int, step: int | None = None
) -> Iterator[Floats]:
    """Yield how often each of `size` was drawn, in blocks of shape (up to step, size)."""
    step = step or max(1, _CELLS // size)
    for start in range(0, draws, step):
        block = min(step, draws - start)
        yield rng.multinomial(size, np.full(size, 1 / size), block).astype(float)


def _product_means(rows: Floats, columns: Floats, sums: Floats, counts: Floats) -> Floats:
    total = ((rows @ sums) * columns).sum(axis=1)
    weight = ((rows @ counts) * columns).sum(axis=1)
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
