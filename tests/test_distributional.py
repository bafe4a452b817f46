"""Populations compared: variance, entropy, distances, correlations, alphas."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy, wasserstein_distance

from evals.distributional import (
    DISTRIBUTIONAL,
    alpha_deviation,
    distance,
    entropy_deviation,
    inter_item_deviation,
    variance_ratio,
    wasserstein,
    wasserstein_by_country,
)


def population(
    people: int = 40, items: int = 4, *, seed: int = 1, shared: float = 0.7
) -> pd.DataFrame:
    """Return people on a battery of five-point items; answers are the truths."""
    rng = np.random.default_rng(seed)
    trait = rng.normal(size=(people, 1))
    values = shared * trait + (1 - shared) * rng.normal(size=(people, items))
    codes = np.clip(np.round(values * 1.5 + 2), 0, 4).astype(int)
    rows = [
        (f"p{person}", f"Q{item}", "b", codes[person, item] + 1, codes[person, item] / 4)
        for person in range(people)
        for item in range(items)
    ]
    names = ["respondent", "question", "battery", "truth", "truth_place"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(
        answer=frame["truth"], answer_place=frame["truth_place"], answered=True, n_options=5
    )


def answering(frame: pd.DataFrame, places: object) -> pd.DataFrame:
    """Return the table with other answers, given as places."""
    told = pd.Series(places, index=frame.index) if not np.isscalar(places) else places
    changed = frame.assign(answer_place=told)
    return changed.assign(answer=(changed["answer_place"] * 4).round().astype(int) + 1)


def test_the_population_itself_deviates_in_nothing() -> None:
    """Answers that are the truths: ratio 1, every distance 0."""
    frame = population().assign(country="JPN")
    assert variance_ratio(frame) == pytest.approx(1)
    for compute in (entropy_deviation, wasserstein, wasserstein_by_country):
        assert compute(frame) == pytest.approx(0)
    assert inter_item_deviation(frame) == pytest.approx(0)
    assert alpha_deviation(frame) == pytest.approx(0)


def test_variance_by_hand() -> None:
    """Halving every deviation quarters the variance; one answer for all has none."""
    frame = population()
    means = frame.groupby("question")["truth_place"].transform("mean")
    half = frame.assign(answer_place=means + (frame["truth_place"] - means) / 2)
    assert variance_ratio(half) == pytest.approx(0.25)
    assert variance_ratio(answering(frame, 0.5)) == 0


def test_entropy_is_that_of_scipy_over_uniform() -> None:
    """The difference of the entropies of codes, in units of log 5."""
    frame = population(items=1)
    told = answering(frame, np.clip(frame["truth_place"], 0.25, 0.75))
    shares = [told[name].value_counts(normalize=True) for name in ("answer", "truth")]
    expected = (entropy(shares[0]) - entropy(shares[1])) / np.log(5)
    assert entropy_deviation(told) == pytest.approx(expected)
    assert expected < 0


@pytest.mark.parametrize("seed", range(4))
def test_the_distance_is_that_of_scipy(seed: int) -> None:
    """Wasserstein-1 of two samples of one size."""
    one, other = np.random.default_rng(seed).random((2, 31))
    assert distance(one, other) == pytest.approx(wasserstein_distance(one, other))


def test_a_shift_of_everybody_is_the_distance() -> None:
    """Truths at 0 answered by 0.25: a quarter of the scale, whoever is whom."""
    frame = population(items=1).assign(truth_place=0.0)
    assert wasserstein(answering(frame, 0.25)) == pytest.approx(0.25)
    mixed = population(items=1)
    shuffled = answering(mixed, mixed["truth_place"].sample(frac=1, random_state=1).to_numpy())
    assert wasserstein(shuffled) == pytest.approx(0)


def test_countries_may_differ_where_the_whole_does_not() -> None:
    """Two countries with each other's answers: no distance together, a whole scale apart."""
    frame = population(items=1).assign(truth_place=[0.0] * 20 + [1.0] * 20)
    frame = frame.assign(country=["JPN"] * 20 + ["MEX"] * 20)
    swapped = answering(frame, 1 - frame["truth_place"])
    assert wasserstein(swapped) == pytest.approx(0)
    assert wasserstein_by_country(swapped) == pytest.approx(1)


def test_correlations_die_where_draws_are_independent() -> None:
    """Answers shuffled within questions keep every marginal and lose every correlation."""
    frame = population(people=200, shared=0.9)
    rng = np.random.default_rng(7)
    shuffled = frame.groupby("question")["truth_place"].transform(
        lambda places: rng.permutation(places.to_numpy())
    )
    lost = answering(frame, shuffled)
    truths = frame.pivot(index="respondent", columns="question", values="truth_place").corr()
    upper = truths.to_numpy()[np.triu_indices(4, 1)]
    assert inter_item_deviation(lost) == pytest.approx(upper.mean(), abs=0.1)
    assert alpha_deviation(lost) < -0.5 and wasserstein(lost) == pytest.approx(0)


def test_alpha_by_hand() -> None:
    """Equal items have alpha 1; the deviation is 1 less the alpha of the truths."""
    frame = population(shared=0.5)
    first = frame[frame["question"] == "Q0"].set_index("respondent")["truth_place"]
    same = answering(frame, frame["respondent"].map(first).to_numpy())
    wide = frame.pivot(index="respondent", columns="question", values="truth_place")
    total = wide.sum(axis=1).var(ddof=0)
    alpha = 4 / 3 * (1 - wide.var(ddof=0).sum() / total)
    assert alpha_deviation(same) == pytest.approx(1 - alpha)


def test_too_few_cases_have_no_number() -> None:
    """Nine people are no population; NaN is no score."""
    small = population(people=9).assign(country="JPN")
    for compute in (
        entropy_deviation,
        wasserstein,
        wasserstein_by_country,
        inter_item_deviation,
        alpha_deviation,
    ):
        assert np.isnan(compute(small))
    assert all(np.isnan(metric.compute(small.iloc[:0])) for metric in DISTRIBUTIONAL)


def test_a_failed_case_is_in_neither_distribution() -> None:
    """Both distributions are of the same people."""
    frame = population().assign(country="JPN")
    broken = frame.copy()
    broken.loc[broken.index[:20], ["answer_place"]] = np.nan
    broken.loc[broken.index[:20], "answered"] = False
    for compute in (variance_ratio, entropy_deviation, wasserstein):
        assert compute(broken) == pytest.approx(compute(frame))
