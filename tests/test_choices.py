"""Choices of one, of two in order, and of up to five."""

import numpy as np
import pytest

from valuesim_dspy.survey.choices import (
    fit_choice,
    fit_picks,
    picks_per_person,
    reference_latent,
    top,
)
from valuesim_dspy.survey.dimensions import draw_people, load_population

POPULATION = load_population()
COUNTRIES = list(POPULATION.countries)
NAMES = ("Q7", "Q8", "Q9", "Q10")


def people(country="USA", n=20_000):
    """People of one country."""
    index = COUNTRIES.index(country)
    return draw_people(POPULATION, np.full(n, index), np.random.default_rng(2))


def test_first_choices_have_the_published_shares():
    """Intercepts are fitted so that loadings do not move the country's shares."""
    published = {"USA": {1: 0.6, 2: 0.3, 3: 0.1}}
    loads = {1: {"faith": 1.5}, 3: {"trust": -1.0}}
    model = fit_choice(POPULATION, {1: 20, 2: 40, 3: 40}, loads, published)
    first = model.ranked(people(), np.random.default_rng(1))[:, 0]
    reached = [(first == code).mean() for code in (1, 2, 3)]
    assert reached == pytest.approx([0.6, 0.3, 0.1], abs=0.02)


def test_without_published_shares_the_country_mean_counts():
    """An option that loads on faith is commoner where faith is."""
    model = fit_choice(POPULATION, {1: 50, 2: 50}, {1: {"faith": 1.0}}, {})
    share = {
        name: (model.ranked(people(name), np.random.default_rng(1))[:, 0] == 1).mean()
        for name in ("EGY", "CHN")
    }
    assert share["EGY"] > share["CHN"] + 0.3


def test_ranking_is_a_permutation():
    """First, second and further choices are all options, each once."""
    model = fit_choice(POPULATION, {1: 25, 2: 25, 5: 50}, {}, {})
    ranked = model.ranked(people(n=200), np.random.default_rng(1))
    assert (np.sort(ranked, axis=1) == [1, 2, 5]).all()


def test_likely_options_come_first_or_second():
    """The second choice favours what is popular but was not first."""
    model = fit_choice(POPULATION, {1: 70, 2: 25, 3: 5}, {}, {})
    ranked = model.ranked(people(), np.random.default_rng(1))
    second = ranked[ranked[:, 0] == 1, 1]
    assert (second == 2).mean() == pytest.approx(25 / 30, abs=0.03)


def test_picks_reach_the_published_shares():
    """Shares of picked questions are the published ones where they can be."""
    shares = dict(zip(NAMES, (0.8, 0.5, 0.4, 0.2), strict=True))
    published = {"USA": {name: {1: share, 2: 1 - share} for name, share in shares.items()}}
    spec = {"most": 2, "loads": {"Q7": {"faith": 1.0}}}
    model, counts = fit_picks(POPULATION, NAMES, spec, published)
    who, rng = people(), np.random.default_rng(3)
    number = picks_per_person(counts[who.country], 2, rng)
    reached = top(model.utilities(who, rng), number).mean(axis=0)
    assert counts[COUNTRIES.index("USA")] == pytest.approx(1.9)
    assert reached == pytest.approx(list(shares.values()), abs=0.03)


def test_more_than_can_be_picked_is_scaled_down():
    """Published shares that add up to more than the limit are brought down to it."""
    published = {"USA": {name: {1: 0.75, 2: 0.25} for name in NAMES}}
    model, counts = fit_picks(POPULATION, NAMES, {"most": 2, "loads": {}}, published)
    who, rng = people(), np.random.default_rng(3)
    chosen = top(model.utilities(who, rng), picks_per_person(counts[who.country], 2, rng))
    assert counts[COUNTRIES.index("USA")] == 2.0
    assert (chosen.sum(axis=1) == 2).all()
    assert chosen.mean(axis=0) == pytest.approx(0.5, abs=0.03)


def test_countries_without_shares_borrow_the_average():
    """What is popular where it is published is popular elsewhere too."""
    shares = dict(zip(NAMES, (0.9, 0.5, 0.3, 0.2), strict=True))
    published = {"USA": {name: {1: share, 2: 1 - share} for name, share in shares.items()}}
    model, _ = fit_picks(POPULATION, NAMES, {"most": 2, "loads": {}}, published)
    assert np.argmax(model.base[COUNTRIES.index("DEU")]) == 0
    assert model.base[COUNTRIES.index("DEU")] == pytest.approx(model.base[COUNTRIES.index("USA")])


def test_number_of_picks_has_its_mean_and_limit():
    """Nobody picks more than the limit, and the mean is the one asked for."""
    number = picks_per_person(np.full(20_000, 4.6), 5, np.random.default_rng(1))
    assert number.max() == 5 and number.min() >= 0
    assert number.mean() == pytest.approx(4.6, abs=0.03)


def test_top_marks_the_largest():
    """The given number of largest utilities is marked, ties by place."""
    utilities = np.array([[0.1, 3.0, 2.0], [1.0, 1.0, 1.0]])
    assert top(utilities, np.array([2, 1])).tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    assert top(utilities, np.array([0, 3])).sum(axis=1).tolist() == [0.0, 3.0]


def test_reference_draw_is_fixed():
    """Fitting never depends on the population's seed."""
    one, two = reference_latent(POPULATION), reference_latent(POPULATION)
    assert (one == two).all()
    assert np.abs(np.corrcoef(one.T) - POPULATION.covariance).max() < 0.1
