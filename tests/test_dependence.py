"""Dependence between questions: Cramer's V by hand, what chance gives, and who is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import comb, prod, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuesim_dspy.config import ProtocolConfig
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.dependence import (
    DEFAULT_THRESHOLD,
    MIN_CODE,
    MIN_PEOPLE,
    MOST_PEOPLE,
    cramers_v,
    dependent_pairs,
    measure_dependence,
)
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.synthetic import synthesize

BOOK = load_codebook()


def people(table: Sequence[Sequence[int]]) -> np.ndarray:
    """Two columns of codes with so many people in each cell."""
    counts = np.array(table)
    return np.repeat(np.argwhere(counts >= 0), counts.ravel(), axis=0)


def v_of(table: Sequence[Sequence[int]]) -> float:
    """V of the two columns of a table."""
    return float(cramers_v(people(table))[0][0, 1])


@lru_cache(maxsize=1)
def synthetic() -> Respondents:
    """Synthetic people, in no order of countries."""
    everyone = synthesize(3000, seed=5)
    return everyone.take(np.random.default_rng(0).permutation(3000))


# --- the formula, by hand ------------------------------------------------------------------------


def test_v_of_two_by_two_by_hand() -> None:
    """15, 5, 5, 15: phi2 is 200^2 / 20^4 = 1/4, less 1/39, over 1 - 1/39."""
    assert v_of([[15, 5], [5, 15]]) == pytest.approx(sqrt((1 / 4 - 1 / 39) / (1 - 1 / 39)))
    assert v_of([[15, 5], [5, 15]]) == pytest.approx(0.479857, abs=1e-6)


def test_v_of_three_by_two_by_hand() -> None:
    """10, 0, 5, 5, 0, 10: phi2 is 250/150 - 1 = 2/3, less 2/29, over 1 - 1/29."""
    assert v_of([[10, 0], [5, 5], [0, 10]]) == pytest.approx(0.786796, abs=1e-6)


def test_v_of_three_by_four_by_hand() -> None:
    """Each step of the formula, for a table of uneven margins, the shorter side deciding."""
    table = np.array([[12, 3, 5, 0], [2, 9, 4, 5], [1, 4, 6, 19]])
    n = 70
    phi2 = (table**2 / np.outer(table.sum(axis=1), table.sum(axis=0))).sum() - 1
    rows, columns = 3 - 2**2 / (n - 1), 4 - 3**2 / (n - 1)
    assert rows < columns
    assert v_of(table.tolist()) == pytest.approx(sqrt((phi2 - 2 * 3 / (n - 1)) / (rows - 1)))


@pytest.mark.parametrize(("size", "times"), [(2, 10), (3, 10), (4, 25), (10, 6)])
def test_what_determines_each_other_has_v_of_one(size: int, times: int) -> None:
    """Where every answer goes with one other answer, V is 1 whatever the number of options."""
    assert v_of((np.eye(size, dtype=int) * times).tolist()) == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (4, 5)])
def test_what_is_independent_has_v_of_zero(shape: tuple[int, int]) -> None:
    """Equal cells, or fewer than chance would make unequal, are 0 and never below."""
    assert v_of(np.full(shape, 8).tolist()) == 0.0


def test_the_bias_is_taken_off() -> None:
    """Where nothing depends on anything V is near 0; the plain V would be far from it."""
    rng = np.random.default_rng(1)
    found, plain = [], []
    for _ in range(200):
        codes = rng.integers(0, 4, (60, 2))
        found.append(cramers_v(codes)[0][0, 1] ** 2)
        table = np.zeros((4, 4))
        np.add.at(table, (codes[:, 0], codes[:, 1]), 1)
        margins = np.outer(table.sum(axis=1), table.sum(axis=0))
        plain.append(((table**2 / margins).sum() - 1) / 3)
    assert np.mean(plain) > 0.045
    assert np.mean(found) < 0.015


columns_of_codes = st.integers(0, 10_000).map(
    lambda seed: np.random.default_rng(seed).integers(-1, 4, (60, 4))
)


@settings(max_examples=40, deadline=None)
@given(columns_of_codes, st.integers(0, 10_000))
def test_v_asks_for_no_order(codes: np.ndarray, seed: int) -> None:
    """V is symmetric, in [0, 1], and the same under other names for the codes."""
    rng = np.random.default_rng(seed)
    v, surprise = cramers_v(codes)
    assert np.array_equal(v, v.T, equal_nan=True)
    off = v[~np.eye(4, dtype=bool)]
    assert ((off >= 0) & (off <= 1)).all()
    assert np.isnan(np.diag(v)).all() and np.isnan(np.diag(surprise)).all()
    named = np.where(codes < 0, -1, rng.permutation(50)[codes])
    assert np.allclose(cramers_v(named)[0], v, equal_nan=True)
    assert np.allclose(cramers_v(named[rng.permutation(60)])[1], surprise, equal_nan=True)


def test_missing_answers_leave_their_pair_only() -> None:
    """People without one of two answers are left out of that pair, and of no other."""
    whole = people([[15, 5], [5, 15]])
    third = np.tile([0, 1], 20)
    missing = np.array([[0, -1, 0], [-2, 1, 1], [1, -5, 0], [-4, 0, 1]] * 3)
    codes = np.vstack([np.column_stack([whole, third]), missing])
    assert cramers_v(codes)[0][0, 1] == pytest.approx(v_of([[15, 5], [5, 15]]))
    alone = cramers_v(codes[codes[:, 0] >= 0][:, [0, 2]])[0][0, 1]
    assert cramers_v(codes)[0][0, 2] == pytest.approx(alone)


def test_the_matrix_is_that_of_every_pair() -> None:
    """Measuring many columns at once gives what each pair gives alone."""
    codes = np.random.default_rng(4).integers(-1, 5, (90, 6))
    codes[:, 5] = codes[:, 0] % 3 - (codes[:, 0] < 0)
    v, surprise = cramers_v(codes)
    for one, other in product(range(6), repeat=2):
        if one != other:
            alone = cramers_v(codes[:, [one, other]])
            assert v[one, other] == pytest.approx(alone[0][0, 1])
            assert surprise[one, other] == pytest.approx(alone[1][0, 1])


# --- where nothing can be said -------------------------------------------------------------------


def test_too_few_people_say_nothing() -> None:
    """Below the least number of people who gave both answers V is unknown, not 0."""
    enough = people([[MIN_PEOPLE // 2, 0], [0, MIN_PEOPLE // 2]])
    assert cramers_v(enough)[0][0, 1] == pytest.approx(1.0)
    assert np.isnan(cramers_v(enough[1:])[0]).all()
    half = np.vstack([enough, [[-1, 0], [1, -1]] * 40])[1:]
    assert np.isnan(cramers_v(half)[0][0, 1])


def test_constant_answers_say_nothing() -> None:
    """A question that everyone answered alike, or nobody answered, depends on nothing known."""
    codes = np.column_stack([np.tile([1, 2], 20), np.full(40, 3), np.full(40, -4)])
    v, surprise = cramers_v(codes)
    assert np.isnan(v).all() and np.isnan(surprise).all()


def test_lone_answers_that_meet_are_no_dependence() -> None:
    """A code of fewer people than `MIN_CODE` never makes a pair of questions dependent alone."""
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 2, (200, 2))
    codes[:2] = 9  # the same two people gave an answer that nobody else gave
    v, surprise = cramers_v(codes)
    assert v[0, 1] < 0.2 and surprise[0, 1] < 3
    without = cramers_v(codes[2:])
    assert (v[0, 1], surprise[0, 1]) == (without[0][0, 1], without[1][0, 1])
    codes[: MIN_CODE * 2] = 9
    assert cramers_v(codes)[0][0, 1] > 0.6


def test_rare_codes_are_one_code_together() -> None:
    """Six rare codes that all go with one answer are seen, as one."""
    common = np.array([[0, 0], [1, 0]] * 40)
    rare = np.array([[10 + at, 1] for at in range(6) for _ in range(2)])
    codes = np.vstack([common, rare])
    as_one = np.where(codes >= 10, 10, codes)
    assert cramers_v(codes)[0][0, 1] == cramers_v(as_one)[0][0, 1] == pytest.approx(1.0, abs=0.02)


# --- what chance gives ---------------------------------------------------------------------------


def chances(rows: Sequence[int], columns: Sequence[int]) -> dict[tuple[int, ...], float]:
    """The chance of every table of these margins (3 x 2 at most) when answers are dealt out."""
    n, first = sum(rows), columns[0]
    assert len(columns) == 2
    found = {}
    for cells in product(*(range(row + 1) for row in rows)):
        if sum(cells) == first:
            ways = prod(comb(row, cell) for row, cell in zip(rows, cells, strict=True))
            found[cells] = ways / comb(n, first)
    assert sum(found.values()) == pytest.approx(1.0)
    return found


@pytest.mark.parametrize(
    ("rows", "columns"), [((8, 12), (6, 14)), ((5, 6, 13), (11, 13)), ((9, 9, 9), (7, 20))]
)
def test_chance_is_that_of_all_permutations(rows: Sequence[int], columns: Sequence[int]) -> None:
    """The score uses the mean and variance of phi2 over every way to deal the answers out."""

    def phi2(cells: Sequence[int]) -> float:
        table = np.array([[cell, row - cell] for cell, row in zip(cells, rows, strict=True)])
        return float((table**2 / np.outer(rows, columns)).sum() - 1)

    dealt = chances(rows, columns)
    mean = sum(chance * phi2(cells) for cells, chance in dealt.items())
    variance = sum(chance * (phi2(cells) - mean) ** 2 for cells, chance in dealt.items())
    narrow = variance / (9 * mean**2)
    for cells in list(dealt)[:: max(1, len(dealt) // 5)]:
        table = [[cell, row - cell] for cell, row in zip(cells, rows, strict=True)]
        expected = (np.cbrt(phi2(cells) / mean) - 1 + narrow) / sqrt(narrow)
        assert cramers_v(people(table))[1][0, 1] == pytest.approx(expected, abs=1e-9)


def test_scores_of_chance_are_standard_normal() -> None:
    """Where answers are dealt out at random, a twentieth of the scores is above 1.645."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 5, (150, 60))
    scores = cramers_v(codes)[1][np.triu_indices(60, 1)]
    assert abs(scores.mean()) < 0.1 and abs(scores.std() - 1) < 0.1
    assert 0.03 < (scores > 1.645).mean() < 0.07


@pytest.mark.parametrize("n", [30, 100, 400])
def test_chance_makes_next_to_no_pair(n: int) -> None:
    """Of 40,000 pairs dealt out at random about one is taken for dependent, at any size."""
    found = [
        measure_dependence(synthetic(), range(n), shuffled=seed).pairs(0.01, BOOK)
        for seed in range(4)
    ]
    assert sum(map(len, found)) <= 4 * 6
    real = len(dependent_pairs(synthetic(), range(n), 0.01))
    assert real > 10 * sum(map(len, found)) / 4


# --- questions of a survey -----------------------------------------------------------------------


def test_pairs_are_of_different_batteries_and_above_the_threshold() -> None:
    """Pairs come in codebook order, each once, with V of the threshold or more."""
    found = measure_dependence(synthetic(), range(2000))
    order = list(BOOK.questions)
    for threshold in (0.2, DEFAULT_THRESHOLD, 0.5):
        pairs = found.pairs(threshold, BOOK)
        assert len(set(pairs)) == len(pairs) > 20
        for one, other in pairs:
            assert BOOK[one].battery != BOOK[other].battery
            assert order.index(one) < order.index(other)
            assert found.between(one, other) == found.between(other, one) >= threshold
    assert set(found.pairs(0.5, BOOK)) < set(found.pairs(0.2, BOOK))


def test_questions_that_repeat_each_other_are_found() -> None:
    """Nobody has to name what the data show: happiness and satisfaction, religion and God."""
    pairs = dependent_pairs(synthetic(), range(2500))
    assert {("Q46", "Q49"), ("Q6", "Q164"), ("Q22", "Q36"), ("Q15", "Q164")} <= set(pairs)
    assert ("Q57", "Q106") not in pairs


def test_only_training_people_are_looked_at() -> None:
    """Other answers of other people change nothing."""
    everyone = synthetic()
    half = everyone.take(list(range(500)))
    assert dependent_pairs(everyone, range(500)) == dependent_pairs(half, range(500))
    other = dependent_pairs(everyone, range(500, 1000))
    assert dependent_pairs(everyone, range(500)) != other


def test_of_many_people_the_first_are_enough() -> None:
    """More people than `MOST_PEOPLE` are not looked at: the first of a split stand for all."""
    places = [*range(3000)] * 2
    assert measure_dependence(synthetic(), places).people == MOST_PEOPLE
    few = measure_dependence(synthetic(), range(12))
    assert few.people == 12 and few.pairs(0.01, BOOK) == ()


def test_the_nearest_question_is_the_one_of_the_largest_v() -> None:
    """Among those given and never itself; nothing where nothing is known."""
    found = measure_dependence(synthetic(), range(2000), questions={"Q46", "Q49", "Q57", "Q164"})
    assert found.questions == ("Q46", "Q49", "Q57", "Q164")
    name, v = found.nearest("Q46", ["Q46", "Q57", "Q164", "Q49"]) or ("", 0.0)
    assert (name, v) == ("Q49", found.between("Q46", "Q49"))
    assert found.nearest("Q46", ["Q46"]) is None
    assert measure_dependence(synthetic(), range(5)).nearest("Q46", ["Q57"]) is None


def test_shuffled_answers_are_the_same_answers() -> None:
    """Dealing out anew is seeded, and keeps every question's answers as they are."""
    names = {"Q46", "Q49"}
    one, two, other = (
        measure_dependence(synthetic(), range(400), questions=names, shuffled=seed)
        for seed in (1, 1, 2)
    )
    assert one.between("Q46", "Q49") == two.between("Q46", "Q49")
    assert one.surprise[0, 1] != other.surprise[0, 1]
    assert one.between("Q46", "Q49") < 0.2


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.01, float("nan")])
def test_a_threshold_outside_the_range_is_refused(threshold: float) -> None:
    """V is never below 0, so a threshold of 0 would call everything dependent."""
    with pytest.raises(ConfigError, match="dependence: V is in"):
        dependent_pairs(synthetic(), range(50), threshold)


def test_the_default_threshold_is_that_of_a_job() -> None:
    """The config and the survey layer state one default."""
    assert ProtocolConfig().dependence == DEFAULT_THRESHOLD
