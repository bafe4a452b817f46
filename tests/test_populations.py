"""Simulated populations: quantiles by hand, shares kept, and what one draw a person does."""

import numpy as np
import pandas as pd
import pytest
from test_probabilistic import CODEBOOK, scored

from evals.distributional import (
    alpha_deviation,
    inter_item_deviation,
    variance_ratio,
    wasserstein,
)
from evals.metrics import score_frame
from evals.populations import at_quantile, draw_population
from valuesim_dspy.outcomes import Outcome

ITEMS = ("Q69", "Q70", "Q71", "Q72")
CODES = (1, 2, 3, 4)
PLACES = {4: 0.0, 3: 1 / 3, 2: 2 / 3, 1: 1.0}


def crowd(people: int = 300, *, seed: int = 3) -> pd.DataFrame:
    """Return people of one trait on four items, told the same honest distribution for all.

    What is left open is the person's, not the question's: items go together, as the trait does.
    """
    rng = np.random.default_rng(seed)
    outcomes = []
    shares = dict(zip(CODES, (0.1, 0.4, 0.4, 0.1), strict=True))
    for person in range(people):
        trait = rng.normal()
        for item in ITEMS:
            level = trait + 0.5 * rng.normal()
            code = 1 + int(np.searchsorted([-1.4, 0.0, 1.4], level))
            told = {"probabilities": shares}
            outcomes.append(Outcome(f"p{person}", item, code, 2, "answered", **told))
    return score_frame(outcomes, CODEBOOK)


@pytest.mark.parametrize(
    ("quantile", "code"),
    [(0.0, 4), (0.09, 4), (0.11, 3), (0.49, 3), (0.51, 2), (0.89, 2), (0.91, 1), (0.999999, 1)],
)
def test_a_quantile_is_read_in_the_order_of_the_scale(quantile: float, code: int) -> None:
    """Cumulated from the least: 4 is least on this scale, though the largest code."""
    assert at_quantile({1: 0.1, 2: 0.4, 3: 0.4, 4: 0.1}, PLACES, quantile) == code


def test_codes_off_the_scale_come_last_and_codes_without_chance_never() -> None:
    """0 is off the scale; rounding at the end gives the last code that has a chance."""
    places = {1: 0.0, 2: 1.0}
    assert at_quantile({0: 0.5, 1: 0.25, 2: 0.25}, places, 0.4) == 2
    assert at_quantile({0: 0.5, 1: 0.25, 2: 0.25}, places, 0.6) == 0
    assert at_quantile({1: 0.0, 2: 1.0}, places, 0.0) == 2
    assert at_quantile({1: 1.0, 2: 0.0}, places, 1 - 1e-18) == 1
    assert [at_quantile({1: 0.5, 2: 0.5}, {}, u) for u in (0.49, 0.5)] == [1, 2]


@pytest.mark.parametrize("one_draw", [True, False])
def test_drawn_answers_have_the_shares_that_were_told(one_draw: bool) -> None:
    """Over many people, on every question, within what chance allows."""
    population = draw_population(crowd(2000), seed=1, one_draw=one_draw)
    for _, cases in population.groupby("question"):
        shares = cases["answer"].value_counts(normalize=True)
        for code, share in zip(CODES, (0.1, 0.4, 0.4, 0.1), strict=True):
            assert shares[code] == pytest.approx(share, abs=0.04)


def test_one_draw_is_one_quantile_a_person() -> None:
    """Equal distributions give a person equal answers; independent draws do not."""
    frame = crowd()
    same = draw_population(frame, seed=1).groupby("respondent")["answer"].nunique()
    assert (same == 1).all()
    apart = draw_population(frame, seed=1, one_draw=False)
    assert (apart.groupby("respondent")["answer"].nunique() > 1).mean() > 0.8


def test_draws_restore_the_variance_and_one_draw_what_questions_share() -> None:
    """Point answers have no variance, independent draws no correlation, one draw all of it."""
    frame = crowd(1000)
    apart = draw_population(frame, seed=1, one_draw=False)
    one = draw_population(frame, seed=1)
    assert variance_ratio(frame) == 0
    assert variance_ratio(apart) == pytest.approx(1, abs=0.25)
    assert variance_ratio(one) == pytest.approx(1, abs=0.25)
    assert wasserstein(apart) < wasserstein(frame) / 2 > wasserstein(one)
    # truths correlate at about 0.75: 0 is further from it than 1
    assert inter_item_deviation(one) < inter_item_deviation(apart)
    assert alpha_deviation(one) > 0 > -0.5 > alpha_deviation(apart)


def test_questions_without_an_order_are_drawn_by_themselves() -> None:
    """A quantile means nothing where options have no order: one draw changes nothing there."""
    halves = {1: 0.5, 2: 0.5}
    outcomes = [
        Outcome(f"p{n}", question, 1, 1, "answered", probabilities=halves)
        for n in range(60)
        for question in ("Q7", "Q8", "Q9")
    ]
    frame = score_frame(outcomes, CODEBOOK)
    one, apart = (draw_population(frame, 1, one_draw=flag) for flag in (True, False))
    assert one["answer"].tolist() == apart["answer"].tolist()
    assert (one.groupby("respondent")["answer"].nunique() == 2).any()


def test_what_is_known_of_the_answer_is_that_of_the_code_drawn() -> None:
    """Right or wrong, place and error are of the draw; truths stay; nothing is put into the old."""
    frame = crowd(20)
    before = frame.copy(deep=True)
    drawn = draw_population(frame, seed=5)
    pd.testing.assert_frame_equal(frame, before)
    assert drawn["truth"].tolist() == frame["truth"].tolist()
    for row in drawn.itertuples():
        assert row.correct == float(row.answer == row.truth)
        assert row.answer_place == pytest.approx(PLACES[row.answer])
        assert row.error == pytest.approx(abs(PLACES[row.answer] - PLACES[row.truth]))


def test_a_code_off_the_scale_has_neither_place_nor_error() -> None:
    """Q119's 0 may be drawn; it is right or wrong, and nowhere on the scale."""
    frame = scored(("Q119", 1, {0: 1.0, 1: 0.0, 2: 0.0, 3: 0.0, 4: 0.0}))
    drawn = draw_population(frame, seed=1)
    assert drawn["answer"].tolist() == [0]
    assert drawn[["answer_place", "error"]].isna().all(axis=None)


@pytest.mark.parametrize("one_draw", [True, False])
def test_the_same_seed_draws_the_same_whatever_the_order(one_draw: bool) -> None:
    """Rows in another order get the same answers; another seed gives others."""
    frame = crowd(50)
    first = draw_population(frame, seed=1, one_draw=one_draw)
    turned = draw_population(frame.iloc[::-1], seed=1, one_draw=one_draw)
    assert turned.iloc[::-1]["answer"].tolist() == first["answer"].tolist()
    other = draw_population(frame, seed=2, one_draw=one_draw)
    assert other["answer"].tolist() != first["answer"].tolist()


def test_failed_cases_are_not_in_a_population() -> None:
    """Who gave no distribution gives no draw."""
    told = {1: 0.5, 2: 0.5, 3: 0.0, 4: 0.0}
    population = draw_population(scored(("Q69", 1, told), ("Q70", 1, None)), seed=1)
    assert population["question"].tolist() == ["Q69"]
