"""Agreement and correlation, against numbers worked out by hand and against other libraries."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from evals.individual import (
    INDIVIDUAL,
    country_centred_correlation,
    kappa,
    person_correlation,
    rank_correlation,
)
from evals.metrics import METRICS


def table(truths: object, answers: object, **more: object) -> pd.DataFrame:
    """Return a table of one question, places in [0, 1], a person a row."""
    size = len(truths)  # type: ignore[arg-type]
    known = {
        "respondent": [f"p{n}" for n in range(size)],
        "question": ["Q1"] * size,
        "truth_place": np.asarray(truths, float),
        "answer_place": np.asarray(answers, float),
        **more,
    }
    return pd.DataFrame(known)


def random_table(seed: int, size: int = 60) -> pd.DataFrame:
    """Return answers on five points that lean towards the truths."""
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, 5, size)
    answers = np.where(rng.random(size) < 0.5, truths, rng.integers(0, 5, size))
    return table(truths / 4, answers / 4)


def test_kappa_by_hand() -> None:
    """Half at each end and one in ten wrong: 1 less 0.1 over 0.5."""
    truths = [0.0] * 5 + [1.0] * 5
    answers = [0.0] * 5 + [1.0] * 4 + [0.0]
    # var 0.25 and 0.24, means 0.5 and 0.4: expected 0.25 + 0.24 + 0.01.
    assert kappa(table(truths, answers)) == pytest.approx(1 - 0.1 / 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn(seed: int) -> None:
    """The mean over one question is the quadratic-weighted kappa of its codes."""
    frame = random_table(seed)
    codes = [(frame[name] * 4).round().astype(int) for name in ("truth_place", "answer_place")]
    expected = cohen_kappa_score(*codes, weights="quadratic", labels=range(5))
    assert kappa(frame) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_is_that_of_scipy(seed: int) -> None:
    """Ties take the mean of their ranks."""
    frame = random_table(seed)
    expected = spearmanr(frame["truth_place"], frame["answer_place"]).statistic
    assert rank_correlation(frame) == pytest.approx(expected)


def test_means_are_over_questions_that_are_large_enough() -> None:
    """A question of nine cases has no kappa; failures are in neither."""
    large, small = random_table(1), random_table(2, 9).assign(question="Q2")
    both = pd.concat([large, small])
    assert kappa(both) == pytest.approx(kappa(large))
    failed = pd.concat([large, table([0.5], [np.nan])])
    assert rank_correlation(failed) == pytest.approx(rank_correlation(large))


def test_a_constant_answer_agrees_as_chance_does_and_correlates_with_nothing() -> None:
    """The mode of everybody tells nobody apart."""
    frame = random_table(3).assign(answer_place=0.5)
    assert kappa(frame) == pytest.approx(
        1
        - ((frame["truth_place"] - 0.5) ** 2).mean()
        / (frame["truth_place"].var(ddof=0) + (frame["truth_place"].mean() - 0.5) ** 2)
    )
    assert kappa(frame) == pytest.approx(0)
    assert np.isnan(rank_correlation(frame))


def test_a_person_is_correlated_on_what_sets_them_apart() -> None:
    """Answering every question's mean gives a person no correlation, however questions differ."""
    rng = np.random.default_rng(4)
    levels = np.linspace(0.1, 0.9, 12)
    rows = []
    for person in range(30):
        traits = rng.normal(0, 0.05, 12)
        rows += [
            (f"p{person}", f"Q{item}", levels[item] + traits[item], levels[item] + noise)
            for item, noise in enumerate(rng.normal(0, 0.05, 12))
        ]
    frame = pd.DataFrame(rows, columns=["respondent", "question", "truth_place", "answer_place"])
    assert abs(person_correlation(frame)) < 0.15
    assert frame["truth_place"].corr(frame["answer_place"]) > 0.9
    right = frame.assign(answer_place=frame["truth_place"])
    assert person_correlation(right) == pytest.approx(1)


def test_how_widely_a_question_spreads_gives_it_no_more_weight() -> None:
    """Shrinking one question's places tenfold leaves every person's correlation as it was."""
    rng = np.random.default_rng(8)
    rows = [(f"p{person}", f"Q{item}", *rng.random(2)) for person in range(20) for item in range(8)]
    frame = pd.DataFrame(rows, columns=["respondent", "question", "truth_place", "answer_place"])
    shrunk = frame.copy()
    shrunk.loc[frame["question"] == "Q0", ["truth_place", "answer_place"]] *= 0.1
    assert person_correlation(shrunk) == pytest.approx(person_correlation(frame))
    assert abs(person_correlation(frame)) > 1e-3


def test_within_countries_nationality_counts_for_nothing() -> None:
    """Answers that know the country alone correlate at 0 around its means."""
    rng = np.random.default_rng(5)
    homes = np.repeat(["JPN", "MEX"], 200)
    level = np.where(homes == "JPN", 0.2, 0.8)
    noise = rng.normal(0, 0.1, (2, 400))
    frame = table(level + noise[0], level + noise[1], country=homes)
    assert abs(country_centred_correlation(frame)) < 0.15
    assert frame["truth_place"].corr(frame["answer_place"]) > 0.8
    told = frame.assign(answer_place=level + noise[0] / 2)
    assert country_centred_correlation(told) == pytest.approx(1)


def test_centring_by_hand() -> None:
    """Two countries, two people each: deviations (-.1, .1, -.2, .2) and (-.1, .1, .2, -.2)."""
    frame = table([0.1, 0.3, 0.5, 0.9], [0.4, 0.6, 0.9, 0.5], country=["JPN", "JPN", "MEX", "MEX"])
    assert country_centred_correlation(frame) == pytest.approx((0.02 - 0.08) / 0.1)


def test_without_countries_or_cases_there_is_no_number() -> None:
    """What cannot be computed is NaN and no score."""
    frame = random_table(6)
    assert np.isnan(country_centred_correlation(frame))
    assert np.isnan(country_centred_correlation(frame.assign(country="")))
    assert all(np.isnan(metric.compute(frame.iloc[:0])) for metric in INDIVIDUAL)


def test_the_metrics_are_registered() -> None:
    """Every benchmark reports them."""
    assert {"kappa", "rank_correlation", "person_correlation"} <= set(METRICS)
