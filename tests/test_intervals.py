"""Bootstrap intervals, against loops that are slow and plain."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evals import intervals
from evals.intervals import (
    Interval,
    clustered_interval,
    crossed_interval,
    paired_difference,
    same_cases,
)
from valuesim_dspy.errors import ConfigError


def table(rows: list[tuple[str, str, float]], **columns: Any) -> pd.DataFrame:
    """Make a scored table of (respondent, question, correct)."""
    frame = pd.DataFrame(rows, columns=["respondent", "question", "correct"])
    return frame.assign(**{"truth": pd.array([1] * len(rows), dtype="Int64"), **columns})


def crossed_table(people: int, asked: int, seed: int) -> pd.DataFrame:
    """Make a table in which everybody answered everything, right or wrong at random."""
    rng = np.random.default_rng(seed)
    return table(
        [(f"p{i}", f"q{j}", float(rng.random() < 0.6)) for i in range(people) for j in range(asked)]
    )


def brute_force_means(
    values: list[float], clusters: list[str], weights: np.ndarray[Any, Any]
) -> list[float]:
    """Repeat the cases of each cluster as often as it was drawn, and average."""
    names = sorted(set(clusters))
    means = []
    for row in weights:
        drawn = []
        for name, times in zip(names, row, strict=True):
            own = [value for value, at in zip(values, clusters, strict=True) if at == name]
            drawn += own * int(times)
        means.append(sum(drawn) / len(drawn))
    return means


def test_the_clustered_interval_is_that_of_a_plain_loop() -> None:
    """The matrix product gives what repeating the drawn people's cases gives."""
    values = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]
    clusters = ["a", "a", "a", "b", "b", "c", "d"]
    weights = np.random.default_rng(5).multinomial(4, [0.25] * 4, 2000)
    low, high = np.quantile(brute_force_means(values, clusters, weights), [0.025, 0.975])
    found = clustered_interval(values, clusters, seed=5)
    assert found == Interval(pytest.approx(4 / 7), low, high, n=7, clusters=4)


def test_the_crossed_interval_is_that_of_a_plain_loop() -> None:
    """Each case weighs by how often its person was drawn times how often its question was."""
    frame = crossed_table(4, 3, seed=2).drop(index=[5])  # one case was not answered
    by_person, by_item = np.random.default_rng(9).spawn(2)
    people = by_person.multinomial(4, [1 / 4] * 4, 2000)
    asked = by_item.multinomial(3, [1 / 3] * 3, 2000)
    means = []
    for person_times, item_times in zip(people, asked, strict=True):
        total = weight = 0.0
        for case in frame.itertuples():
            times = person_times[int(case.respondent[1:])] * item_times[int(case.question[1:])]
            total, weight = total + times * case.correct, weight + times
        means += [total / weight] if weight else []
    low, high = np.quantile(means, [0.025, 0.975])
    found = crossed_interval(frame["correct"], frame["respondent"], frame["question"], seed=9)
    expected = Interval(frame["correct"].mean(), low, high, n=11, clusters=4, items=3)
    assert vars(found) == pytest.approx(vars(expected))


def test_draws_without_a_case_are_left_out_of_the_crossed_interval() -> None:
    """Where drawn people and drawn questions never meet there is no mean, and no NaN end."""
    found = crossed_interval([1.0, 3.0], ["a", "b"], ["x", "y"], seed=0)
    assert (found.low, found.high) == (1.0, 3.0)


def test_the_width_is_that_of_the_mean_of_clusters() -> None:
    """With clusters of one size the interval is about 1.96 standard errors of their means."""
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(200), 5)
    values = np.repeat(rng.normal(size=200), 5) + rng.normal(size=1000)
    means = values.reshape(200, 5).mean(axis=1)
    error = statistics.pstdev(means) / math.sqrt(200)
    found = clustered_interval(values, clusters, seed=3)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    assert found.estimate == pytest.approx(means.mean())
    assert found.low < found.estimate < found.high


def test_answers_of_one_person_are_no_independent_evidence() -> None:
    """The same answer repeated ten times leaves the interval as it was."""
    values, clusters = np.array([1.0, 0.0, 1.0, 1.0, 0.0]), np.arange(5)
    once = clustered_interval(values, clusters, seed=4)
    tenfold = clustered_interval(np.repeat(values, 10), np.repeat(clusters, 10), seed=4)
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))
    assert (once.n, tenfold.n) == (5, 50)


def test_drawing_questions_too_widens_an_interval_that_questions_drive() -> None:
    """Where questions differ and people do not, only the crossed interval sees it."""
    frame = table([(f"p{i}", f"q{j}", float(j % 2)) for i in range(30) for j in range(6)])
    columns = [frame[name] for name in ("correct", "respondent", "question")]
    people = clustered_interval(*columns[:2], seed=0)
    crossed = crossed_interval(*columns, seed=0)
    assert people.high - people.low == 0
    assert crossed.high - crossed.low > 0.5


def test_the_nominal_level_is_about_the_coverage() -> None:
    """Of 95 % intervals of fresh samples about 95 in 100 hold the true mean."""
    rng, hits = np.random.default_rng(8), 0
    clusters = np.repeat(np.arange(60), 4)
    for trial in range(200):
        chances = rng.beta(4, 4, size=60)  # people differ; the mean over them is 0.5
        values = (rng.random(240) < np.repeat(chances, 4)).astype(float)
        found = clustered_interval(values, clusters, seed=trial)
        hits += found.low <= 0.5 <= found.high
    assert 180 <= hits <= 198


def test_a_level_is_a_pair_of_percentiles() -> None:
    """A higher level gives a wider interval around the same estimate, and is kept."""
    frame = crossed_table(20, 5, seed=3)
    narrow, wide = (
        clustered_interval(frame["correct"], frame["respondent"], level=level, seed=0)
        for level in (0.5, 0.99)
    )
    assert wide.low < narrow.low <= narrow.estimate <= narrow.high < wide.high
    assert (narrow.level, wide.level) == (0.5, 0.99)


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    """Same seed, same interval; another seed, another; shuffled rows change nothing."""
    # Whole numbers of many sizes: sums are exact in any order, and no two seeds tie.
    numbers = np.random.default_rng(6).integers(0, 10_000, 120).astype(float)
    frame = crossed_table(15, 8, seed=6).assign(correct=numbers)
    mixed = frame.sample(frac=1, random_state=1)
    for crossed in (False, True):
        names = ["correct", "respondent", "question"][: 3 if crossed else 2]
        interval = crossed_interval if crossed else clustered_interval
        first, again = (interval(*(frame[name] for name in names), seed=7) for _ in range(2))
        assert first == again == interval(*(mixed[name] for name in names), seed=7)
        assert first != interval(*(frame[name] for name in names), seed=8)


def test_the_global_generator_is_left_alone() -> None:
    """No draw comes from or moves numpy's global state."""
    np.random.seed(1)
    clustered_interval([1.0, 0.0, 1.0], ["a", "b", "c"], seed=0)
    after = np.random.random()
    np.random.seed(1)
    assert np.random.random() == after


def test_blocks_change_memory_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn in many small blocks, the intervals are the same."""
    frame = crossed_table(12, 7, seed=4)
    columns = [frame[name] for name in ("correct", "respondent", "question")]
    whole = clustered_interval(*columns[:2], seed=0), crossed_interval(*columns, seed=0)
    monkeypatch.setattr(intervals, "_CELLS", 12 * 37)
    parts = clustered_interval(*columns[:2], seed=0), crossed_interval(*columns, seed=0)
    for one, other in zip(whole, parts, strict=True):
        assert vars(one) == pytest.approx(vars(other))


def test_nan_is_dropped_and_counted() -> None:
    """Cases without a value leave the mean, and a person without any leaves the clusters."""
    values = [1.0, math.nan, 0.0, 1.0, math.nan]
    found = clustered_interval(values, ["a", "a", "b", "c", "d"], seed=0)
    kept = clustered_interval([1.0, 0.0, 1.0], ["a", "b", "c"], seed=0)
    assert (found.n, found.clusters, found.dropped) == (3, 3, 2)
    assert (found.estimate, found.low, found.high) == (kept.estimate, kept.low, kept.high)


def test_fewer_than_two_clusters_have_no_interval() -> None:
    """One person shows no spread: the ends are NaN, not a false certainty."""
    one = clustered_interval([1.0, 0.0], ["a", "a"], seed=0)
    assert (one.estimate, one.n, one.clusters) == (0.5, 2, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(crossed_interval([1.0, 0.0], ["a", "b"], ["x", "x"], seed=0).low)
    assert math.isnan(clustered_interval([math.nan], ["a"], seed=0).estimate)


def test_a_difference_is_the_first_minus_the_second() -> None:
    """+1/4 where the first is right once more in four cases, and the mirror is -1/4."""
    a = table([("a", "x", 1), ("a", "y", 1), ("b", "x", 0), ("b", "y", 1)])
    b = table([("a", "x", 1), ("a", "y", 0), ("b", "x", 0), ("b", "y", 1)])
    there, back = paired_difference(a, b, seed=0), paired_difference(b, a, seed=0)
    assert (there.estimate, there.low, there.high) == (0.25, 0.0, 0.5)
    assert (back.estimate, back.low, back.high) == (-0.25, -0.5, 0.0)
    assert (there.n, there.clusters, there.dropped) == (4, 2, 0)


def test_pairs_are_matched_by_case_and_not_by_row() -> None:
    """Rows in another order are the same result: the difference to itself is exactly 0."""
    a = crossed_table(10, 6, seed=5)
    found = paired_difference(a, a.sample(frac=1, random_state=2), seed=0)
    assert (found.estimate, found.low, found.high) == (0, 0, 0)


def test_pairing_takes_out_what_both_share() -> None:
    """Where two arms fail on the same cases, their difference is surer than either."""
    a = crossed_table(40, 10, seed=1)
    b = a.assign(correct=a["correct"].where(a.index % 20 != 0, 0.0))
    alone = clustered_interval(a["correct"], a["respondent"], seed=0)
    gap = paired_difference(a, b, seed=0)
    assert gap.estimate == pytest.approx(a["correct"].mean() - b["correct"].mean())
    assert gap.high - gap.low < (alone.high - alone.low) / 2


def test_a_difference_is_the_interval_of_the_paired_gaps() -> None:
    """Clustered or crossed, it is the interval of the differences case by case."""
    a, b = crossed_table(9, 5, seed=1), crossed_table(9, 5, seed=2)
    gaps = a["correct"] - b["correct"]
    people = clustered_interval(gaps, a["respondent"], seed=3)
    crossed = crossed_interval(gaps, a["respondent"], a["question"], seed=3)
    assert paired_difference(a, b, seed=3) == people
    assert paired_difference(a, b, seed=3, crossed=True) == crossed
    assert (people.items, crossed.items) == (0, 5)


def test_a_pair_with_a_missing_side_is_dropped_and_counted() -> None:
    """Errors exist for answered cases only: pairs need both."""
    rows = [("a", "x", 0.0), ("b", "x", 0.0), ("c", "x", 0.0)]
    a = table(rows, error=[0.5, math.nan, 0.1])
    b = table(rows, error=[0.25, 0.5, math.nan])
    found = paired_difference(a, b, column="error", seed=0)
    assert (found.estimate, found.n, found.clusters, found.dropped) == (0.25, 1, 1, 2)


def test_results_on_other_cases_are_refused() -> None:
    """A case more, a case twice, another truth: nothing is paired."""
    a = table([("a", "x", 1), ("b", "x", 0)])
    with pytest.raises(ConfigError, match="1 only in the first, 0 only in the second"):
        paired_difference(a, a.iloc[:1], seed=0)
    with pytest.raises(ConfigError, match="twice"):
        paired_difference(pd.concat([a, a]), pd.concat([a, a]), seed=0)
    with pytest.raises(ConfigError, match="true answers"):
        same_cases(a, a.assign(truth=pd.array([1, 2], dtype="Int64")))


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"draws": 1999}, "draws"),
        ({"level": 1.0}, "level"),
        ({"level": 95}, "level"),
        ({"clusters": ["a"]}, "clusters"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any], key: str) -> None:
    """Fewer than 2,000 draws, a level that is no share and shapes that differ are errors."""
    given = {"values": [1.0, 0.0], "clusters": ["a", "b"], "seed": 0, **wrong}
    with pytest.raises(ConfigError) as error:
        clustered_interval(**given)
    assert error.value.key == key
