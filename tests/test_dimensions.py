"""The latent side of the synthetic population."""

import numpy as np
import pytest

from valuesim_dspy.survey.dimensions import (
    draw_people,
    expand,
    load_population,
    normal_cdf,
    normal_quantile,
    read_population,
    spread_evenly,
)

POPULATION = load_population()


def drawn(n=40_000, seed=1, country=0):
    """People of one country."""
    return draw_people(POPULATION, np.full(n, country), np.random.default_rng(seed))


def test_normal_functions_invert_each_other():
    """Quantile and distribution function agree, and hold known values."""
    values = np.array([-2.0, -0.5, 0.0, 1.0, 2.5])
    assert normal_quantile(normal_cdf(values)) == pytest.approx(values, abs=1e-4)
    assert normal_cdf(np.array([1.959964]))[0] == pytest.approx(0.975, abs=1e-5)


def test_normal_quantiles_are_cut_at_the_ends():
    """Shares of 0 and 1 give finite ends instead of infinity."""
    assert normal_quantile(np.array([0.0, 1.0])) == pytest.approx([-8.0, 8.0], abs=2.0)
    assert np.isfinite(normal_quantile(np.array([0.0, 1.0]))).all()


@pytest.mark.parametrize(
    ("ranges", "ids"),
    [
        ("Q1-Q3", ("Q1", "Q2", "Q3")),
        ("Q7", ("Q7",)),
        ("Q1-Q2,Q9", ("Q1", "Q2", "Q9")),
        (["Q4", "Q6-Q7"], ("Q4", "Q6", "Q7")),
        ((), ()),
    ],
)
def test_ranges_expand_in_order(ranges, ids):
    """Ranges and lists of ranges name each question once, in order."""
    assert expand(ranges) == ids


def test_covariance_is_a_correlation_matrix():
    """Every dimension and trait has variance 1, and the matrix can be drawn from."""
    assert np.diag(POPULATION.covariance) == pytest.approx(1.0)
    assert np.allclose(POPULATION.covariance, POPULATION.covariance.T)
    assert np.linalg.eigvalsh(POPULATION.covariance).min() > 0.0


def test_there_are_a_dozen_dimensions_and_more():
    """At least twelve value dimensions, each moved by some trait or correlated with another."""
    spec = POPULATION.spec
    assert len(spec["dimensions"]) >= 12
    linked = set(spec["correlations"]) | {n for row in spec["correlations"].values() for n in row}
    assert set(spec["dimensions"]) == linked | {n for n, row in spec["dimensions"].items() if row}


def test_drawn_people_have_the_declared_correlations():
    """The correlations of many drawn people are those of the covariance."""
    reached = np.corrcoef(drawn().latent.T)
    assert np.abs(reached - POPULATION.covariance).max() < 0.03


def test_drawn_scores_are_standard():
    """Within a country latent scores have mean 0 and variance 1."""
    latent = drawn().latent
    assert np.abs(latent.mean(axis=0)).max() < 0.03
    assert np.abs(latent.std(axis=0) - 1.0).max() < 0.03


def test_sex_is_one_of_two():
    """The trait female takes two values, each for half of the people."""
    female = drawn().latent[:, POPULATION.names.index("female")]
    assert sorted(set(female.tolist())) == [-1.0, 1.0]
    assert abs(female.mean()) < 0.02


def test_the_same_seed_draws_the_same_people():
    """People depend on the generator given and on nothing else."""
    one, two, other = drawn(50), drawn(50), drawn(50, seed=2)
    assert (one.latent == two.latent).all() and (one.unsure == two.unsure).all()
    assert (one.latent != other.latent).any()


def test_styles_are_bounded():
    """Stretching is positive and around 1, midpoint answers are a chance."""
    people = drawn()
    assert people.stretch.min() > 0.0
    assert np.median(people.stretch) == pytest.approx(np.exp(-0.1), abs=0.02)
    assert people.midpoint.min() >= 0.0 and people.midpoint.max() <= 0.6
    assert people.midpoint.mean() == pytest.approx(0.05, abs=0.01)


def test_extreme_people_avoid_the_middle():
    """Stretching and the midpoint style are negatively related."""
    people = drawn()
    assert np.corrcoef(np.log(people.stretch), np.log(people.midpoint))[0, 1] < -0.3


def test_interest_makes_people_surer():
    """Those more interested in politics are less often without an answer."""
    people = drawn()
    politics = people.latent[:, POPULATION.names.index("politics")]
    assert np.corrcoef(people.unsure, politics)[0, 1] < -0.3


def test_country_styles_show():
    """A country's mean style moves its people."""
    names = list(POPULATION.countries)
    calm, strong = drawn(country=names.index("JPN")), drawn(country=names.index("EGY"))
    assert np.log(strong.stretch).mean() - np.log(calm.stretch).mean() == pytest.approx(
        0.6, abs=0.05
    )


@pytest.mark.parametrize(("n", "sizes"), [(10, [2, 2, 2, 2, 2]), (7, [2, 2, 1, 1, 1]), (1, [1])])
def test_people_are_spread_evenly(n, sizes):
    """Countries come in blocks whose sizes differ by at most one."""
    country = spread_evenly(n, 5)
    assert (np.diff(country) >= 0).all()
    assert np.bincount(country).tolist() == sizes


def test_unknown_loadings_are_refused():
    """A misspelt dimension is a KeyError, not a zero."""
    with pytest.raises(KeyError, match="fate"):
        POPULATION.vector({"fate": 0.5})


def test_vector_places_loadings_by_name():
    """Loadings land on their own dimension and nowhere else."""
    vector = POPULATION.vector({"trust": 0.4})
    assert vector[POPULATION.names.index("trust")] == 0.4
    assert np.count_nonzero(vector) == 1


def test_country_means_name_known_dimensions():
    """No country's mean is given for something that does not exist."""
    known = {*POPULATION.names, "extremity", "unsure"}
    for country, data in POPULATION.countries.items():
        assert set(data["means"]) <= known, country


@pytest.mark.parametrize("name", ["wvs7", "wvs7_questions", "wvs7_shares"])
def test_packaged_files_say_where_they_come_from(name):
    """Each file opens with a comment on its source and parses to a mapping."""
    from importlib import resources

    text = (resources.files("valuesim_dspy.survey") / "population" / f"{name}.yaml").read_text()
    opening = " ".join(line for line in text.splitlines()[:6] if line.startswith("#"))
    assert ("made up" in opening) or ("Published country shares" in opening)
    assert read_population(name)
