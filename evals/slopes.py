"""Learning curves: accuracy at each point, the slope over what is known, and differences of slopes.

The slope is that of the least-squares line through accuracy over the share of what can be known, 0
to 1, so it is in accuracy from nothing known to all known. It is linear in the answers' scores: the
slope of a mean is the mean of the cases' slopes, so that drawing respondents again and taking the
mean is the same as fitting the line again in every draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from evals.benchmark import Result
from evals.growing import Point
from evals.intervals import CASE, Interval, clustered_interval
from evals.metrics import METRICS, MIN_COVERAGE
from valuesim_dspy.errors import ConfigError

SEED = 0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """One arm on the same cases with more and more known.

    Args:
        arm: The arm's name.
        knows: `cold` or `warm`.
        growth: What grows, a key of `evals.growing.GROWTHS`.
        order: In which order, a key of `evals.growing.ORDERS`.
        shares: The part that is known at each point, ascending, [points].
        known: Answers known at each point, profile and history, as a mean over people, [points].
        results: What the arm did at each point.
    """

    arm: str
    knows: str
    growth: str
    order: str
    shares: tuple[float, ...]
    known: tuple[float, ...]
    results: tuple[Result, ...]

    @property
    def name(self) -> str:
        """What the curve's run is called."""
        return f"{self.arm}, {self.order}"

    @property
    def points(self) -> tuple[Point, ...]:
        """Where each result was taken."""
        return tuple(Point(self.growth, self.order, share) for share in self.shares)

    @cached_property
    def correct(self) -> Floats:
        """The score of each case at each point, 0 or 1, float64 [points, cases].

        Raises:
            ConfigError: The points are not on the same cases, or not in the same order.
        """
        frames = [result.frame for result in self.results]
        for frame in frames[1:]:
            if not frame[CASE].equals(frames[0][CASE]):
                raise ConfigError(f"the points of {self.name} are not on the same cases")
        return np.array([frame["correct"].to_numpy(float) for frame in frames])

    @property
    def people(self) -> npt.NDArray[np.str_]:
        """The respondent of each case, [cases]."""
        return self.results[0].frame["respondent"].to_numpy(str)

    @cached_property
    def accuracies(self) -> tuple[Interval, ...]:
        """Accuracy at each point, failures counted as wrong, with its interval by respondent.

        NaN where too few cases were answered for a score.
        """
        return tuple(
            result.accuracy
            if share >= MIN_COVERAGE
            else replace(result.accuracy, estimate=math.nan, low=math.nan, high=math.nan)
            for result, share in zip(self.results, self.coverages, strict=True)
        )

    @cached_property
    def coverages(self) -> tuple[float, ...]:
        """The share of cases answered at each point, in [0, 1]."""
        return tuple(METRICS["coverage"].compute(result.frame) for result in self.results)

    @property
    def coverage(self) -> float:
        """The least of them."""
        return min(self.coverages)

    @property
    def is_valid(self) -> bool:
        """Whether enough cases were answered at every point for a slope to be reported."""
        return self.coverage >= MIN_COVERAGE

    @property
    def slopes(self) -> Floats:
        """The slope of each case's scores, float64 [cases]."""
        return slope_weights(self.shares) @ self.correct

    @property
    def areas(self) -> Floats:
        """The area under each case's scores, in [0, 1], float64 [cases]."""
        return area_weights(self.shares) @ self.correct


def slope_weights(shares: Sequence[float]) -> Floats:
    """Return what each point weighs in the slope of the least-squares line, float64 [points].

    Args:
        shares: Where the points are, at least two different ones.

    Raises:
        ConfigError: There are no two different points.
    """
    x = np.asarray(shares, dtype=float)
    centred = x - x.mean() if len(x) else x
    square = float(centred @ centred)
    if square <= 0:
        raise ConfigError("a slope needs two different points", key="shares", value=list(shares))
    weights: Floats = centred / square
    return weights


def area_weights(shares: Sequence[float]) -> Floats:
    """Return what each point weighs in the mean height by the trapezoid rule, float64 [points].

    Args:
        shares: Where the points are, ascending, at least two different ones.
    """
    x = np.asarray(shares, dtype=float)
    steps = np.diff(x) / (x[-1] - x[0])
    weights: Floats = (np.append(steps, 0.0) + np.append(0.0, steps)) / 2
    return weights


def slope(curves: Sequence[Curve]) -> Interval:
    """Return the slope of an arm, as the mean over its curves of several orders.

    Args:
        curves: Of one arm and one way to grow, on the same cases.

    Returns:
        Accuracy from nothing known to all known, with its interval by respondent.
    """
    people = _same_people(curves)
    return clustered_interval(_mean([c.slopes for c in curves]), people, seed=SEED)


def area(curves: Sequence[Curve]) -> Interval:
    """Return the mean accuracy along the way, as the mean over curves of several orders."""
    people = _same_people(curves)
    return clustered_interval(_mean([c.areas for c in curves]), people, seed=SEED)


def slope_difference(curves: Sequence[Curve], others: Sequence[Curve]) -> Interval:
    """Return the slope of an arm minus that of another, paired by case.

    Args:
        curves: Of one arm.
        others: Of the other, in the same orders, on the same cases.

    Raises:
        ConfigError: The curves are not on the same cases and points, or cold and warm are mixed.
    """
    people = _same_people([*curves, *others])
    if {c.knows for c in curves} != {c.knows for c in others}:
        raise ConfigError("cold and warm arms are never subtracted", key="knows")
    if [c.points for c in curves] != [c.points for c in others]:
        raise ConfigError("the slopes are not of the same points", key="shares")
    gaps = _mean([c.slopes for c in curves]) - _mean([c.slopes for c in others])
    return clustered_interval(gaps, people, seed=SEED)


def _mean(rows: Sequence[Floats]) -> Floats:
    mean: Floats = np.mean(np.array(rows), axis=0)
    return mean


def _same_people(curves: Sequence[Curve]) -> npt.NDArray[np.str_]:
    first = curves[0].results[0].frame[CASE]
    if not all(curve.results[0].frame[CASE].equals(first) for curve in curves):
        raise ConfigError("the curves are not on the same cases, so they cannot be paired")
    return curves[0].people
