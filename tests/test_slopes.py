"""Learning curves: slopes and areas by hand, differences that are paired, what may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from curves import KNOWN, curve

from evals.slopes import area, area_weights, slope, slope_difference, slope_weights
from valuesim_dspy.errors import ConfigError

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def rows(*correct: Sequence[float]) -> list[list[float]]:
    """Return the scores of each point."""
    return [list(one) for one in correct]


def test_the_weights_of_five_points_are_those_of_the_textbook() -> None:
    """(x - mean) / sum of squares: -0.8, -0.4, 0, 0.4, 0.8."""
    np.testing.assert_allclose(slope_weights(SHARES), [-0.8, -0.4, 0.0, 0.4, 0.8], atol=1e-12)
    np.testing.assert_allclose(area_weights(SHARES), [0.125, 0.25, 0.25, 0.25, 0.125])
    np.testing.assert_allclose(area_weights((0.0, 0.5, 2.0)), [0.125, 0.5, 0.375])


def test_a_slope_is_that_of_the_line_through_the_accuracies() -> None:
    """Accuracies 0.5, 0.5, 0.75, 0.75, 1.0: 0.4 * 0.25 + 0.8 * 0.5 = 0.5 of accuracy."""
    made = curve(
        rows([1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]), shares=SHARES
    )
    found = slope([made])
    assert found.estimate == pytest.approx(0.5)
    middles = [point.estimate for point in made.accuracies]
    assert found.estimate == pytest.approx(np.polyfit(SHARES, middles, 1)[0])
    assert area([made]).estimate == pytest.approx((0.25 + 0.5 + 0.75 + 0.75 + 0.5) / 4)
    assert found.clusters == 2


def test_the_interval_is_that_of_a_line_fitted_in_every_draw() -> None:
    """The same as refitting least squares to each draw's accuracies by hand."""
    rng = np.random.default_rng(0)
    people = np.repeat([f"p{n:02}" for n in range(12)], 4)
    correct = (rng.random((5, 48)) < 0.4).astype(float)
    found = slope([curve(correct.tolist(), shares=SHARES, people=people.tolist())])
    drawn = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), 2000)
    weights = np.repeat(drawn, 4, axis=1)
    refitted = [
        np.polyfit(SHARES, [float((w * row).sum() / w.sum()) for row in correct], 1)[0]
        for w in weights
    ]
    low, high = np.quantile(refitted, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_a_difference_of_slopes_is_paired() -> None:
    """Two arms that rise alike for each person differ by nothing, with an interval of nothing."""
    one = curve(rows([0, 0, 1, 1], [1, 1, 0, 1]), shares=(0.0, 1.0))
    other = curve(rows([0, 0, 1, 1], [1, 1, 0, 1]), arm="rag", shares=(0.0, 1.0))
    gap = slope_difference([one], [other])
    assert (gap.estimate, gap.low, gap.high) == (0.0, 0.0, 0.0)
    steeper = curve(rows([0, 0, 0, 0], [1, 1, 1, 1]), shares=(0.0, 1.0))
    flat = curve(rows([0, 0, 0, 0], [0, 0, 0, 1]), arm="rag", shares=(0.0, 1.0))
    assert slope_difference([steeper], [flat]).estimate == pytest.approx(0.75)
    assert slope_difference([flat], [steeper]).estimate == pytest.approx(-0.75)


def test_several_orders_count_as_their_mean() -> None:
    """Slopes 1 and 0 are 0.5 together, and so are their areas' means."""
    up = curve(rows([0, 0], [1, 1]), shares=(0.0, 1.0))
    flat = curve(rows([1, 1], [1, 1]), order="asked", shares=(0.0, 1.0))
    assert slope([up, flat]).estimate == pytest.approx(0.5)
    assert area([up, flat]).estimate == pytest.approx(0.75)


def test_a_curve_knows_its_points_and_whether_it_is_valid() -> None:
    """Too few answers at one point make the whole curve invalid."""
    made = curve(rows([0, 1], [1, 1]), shares=(0.0, 1.0))
    assert [point.share for point in made.points] == [0.0, 1.0]
    assert made.known == KNOWN[:2]
    assert made.is_valid
    failed = curve(rows([0, 1], [1, 1]), shares=(0.0, 1.0), answered=[[True, True], [True, False]])
    assert failed.coverages == (1.0, 0.5)
    assert failed.coverage == 0.5
    assert not failed.is_valid
    assert failed.accuracies[0].estimate == 0.5
    assert np.isnan(failed.accuracies[1].estimate)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"knows": "warm"}, "never subtracted"),
        ({"order": "asked"}, "same points"),
        ({"shares": (0.0, 0.5)}, "same points"),
        ({"people": ["x", "x", "y", "y"]}, "same cases"),
    ],
)
def test_what_may_not_be_compared_is_refused(changed: dict[str, Any], said: str) -> None:
    """Cold and warm, other orders, other points, other people."""
    scores = rows([0, 0, 1, 1], [1, 1, 0, 1])
    one = curve(scores, shares=(0.0, 1.0))
    with pytest.raises(ConfigError, match=said):
        slope_difference([one], [curve(scores, **{"arm": "rag", "shares": (0.0, 1.0), **changed})])


def test_one_point_has_no_slope() -> None:
    """And neither have two at one place."""
    for shares in ((0.5,), (0.5, 0.5), ()):
        with pytest.raises(ConfigError, match="two different points"):
            slope_weights(shares)


def test_points_on_other_cases_are_refused() -> None:
    """A curve is over one set of cases, in one order."""
    made = curve(rows([0, 1], [1, 1]), shares=(0.0, 1.0))
    made.results[1].frame["question"] = made.results[1].frame["question"].to_numpy()[::-1]
    with pytest.raises(ConfigError, match="not on the same cases"):
        slope([made])
