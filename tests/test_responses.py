"""Graded answers of the synthetic population."""

import numpy as np
import pytest

from valuesim_dspy.survey.codebook import UnknownQuestionError, load_codebook
from valuesim_dspy.survey.dimensions import (
    draw_people,
    expand,
    load_population,
    normal_cdf,
    normal_quantile,
    read_population,
)
from valuesim_dspy.survey.responses import (
    GradedModel,
    Item,
    graded_items,
    published_shares,
)

BOOK, POPULATION = load_codebook(), load_population()
SPEC = read_population("wvs7_questions")
ITEMS = graded_items(BOOK, POPULATION, SPEC)
MODEL = GradedModel(ITEMS, POPULATION, published_shares(), SPEC["echoes"])
COUNTRIES = list(POPULATION.countries)


def item(id="Q1", order=(4, 3, 2, 1), loads=None, **changed):
    """A graded question that hangs on nothing but chance, unless told otherwise."""
    loads = POPULATION.vector(loads or {})
    rest = 1.0 - loads @ POPULATION.covariance @ loads
    middle = len(order) // 2 if len(order) % 2 else None
    values = {"group": 0, "factor": 0.0, "agreeing": 0.0, "level": 0.0, "width": 1.0}
    values |= {"noise": float(np.sqrt(rest)), "middle": middle} | changed
    return Item(id=id, order=order, loads=loads, **values)


def people(n=20_000, country="USA", seed=3):
    """People of one country."""
    index = COUNTRIES.index(country)
    return draw_people(POPULATION, np.full(n, index), np.random.default_rng(seed))


def shares(model, who, id, codes):
    """Shares of codes among answers."""
    answers = model.answer(who, np.random.default_rng(5))[id]
    return [float((answers == code).mean()) for code in codes]


def test_every_question_outside_the_demographics_has_an_entry():
    """Graded, chosen and picked questions together are the codebook's, each once."""
    chosen = [*SPEC["choices"], *(c["second"] for c in SPEC["choices"].values() if "second" in c)]
    listed = [*(entry.id for entry in ITEMS), *chosen, *expand(SPEC["picks"]["questions"])]
    asked = {q.id for q in BOOK if q.section != "demographics" and q.scale_kind != "open"}
    assert len(listed) == len(set(listed))
    assert set(listed) == asked


def test_loadings_leave_room_for_chance():
    """Each item keeps at least a tenth of its variance, and its parts add up to 1."""
    for entry in ITEMS:
        explained = entry.loads @ POPULATION.covariance @ entry.loads
        whole = explained + entry.factor**2 + entry.agreeing**2 + entry.noise**2
        assert whole == pytest.approx(1.0), entry.id
        assert entry.noise**2 > 0.1, entry.id


def test_too_much_explained_is_refused():
    """Loadings that leave nothing to chance are a ValueError that names the question."""
    spec = {"graded": [{"questions": "Q1", "levels": [0], "loads": {"trust": 1.0}}]}
    with pytest.raises(ValueError, match="Q1"):
        graded_items(BOOK, POPULATION, spec)


def test_question_unknown_to_the_codebook_is_refused():
    """An entry for a question that does not exist is an error."""
    spec = {"graded": [{"questions": "Q999", "levels": [0]}]}
    with pytest.raises(UnknownQuestionError, match="Q999"):
        graded_items(BOOK, POPULATION, spec)


def test_levels_must_fit_the_questions():
    """A list of levels of another length than the questions is an error."""
    spec = {"graded": [{"questions": "Q1-Q3", "levels": [0, 0]}]}
    with pytest.raises(ValueError, match="zip"):
        graded_items(BOOK, POPULATION, spec)


def test_reversed_questions_load_the_other_way():
    """Questions worded against their group have a negative factor."""
    signs = {entry.id: np.sign(entry.factor) for entry in ITEMS}
    assert signs["Q122"] == 1 and signs["Q124"] == -1
    assert signs["Q36"] == -1 and signs["Q33"] == 1


def test_answers_follow_published_shares_whatever_the_styles():
    """Styles and loadings do not move a calibrated question from its shares."""
    published = {"USA": {"Q1": {1: 0.5, 2: 0.3, 3: 0.15, 4: 0.05}}}
    model = GradedModel([item(agreeing=0.0)], POPULATION, published)
    assert shares(model, people(), "Q1", (1, 2, 3, 4)) == pytest.approx(
        [0.5, 0.3, 0.15, 0.05], abs=0.015
    )


def test_middle_answers_keep_their_published_share():
    """On a scale with a middle the midpoint style is part of the share, not added to it."""
    published = {"USA": {"Q1": {1: 0.1, 2: 0.2, 3: 0.4, 4: 0.2, 5: 0.1}}}
    model = GradedModel([item(order=(5, 4, 3, 2, 1))], POPULATION, published)
    reached = shares(model, people(), "Q1", (1, 2, 3, 4, 5))
    assert reached == pytest.approx([0.1, 0.2, 0.4, 0.2, 0.1], abs=0.015)


def test_nobody_in_the_middle_stays_nobody():
    """Where no one answers in the middle, the midpoint style does not put them there."""
    published = {"USA": {"Q1": {1: 0.4, 2: 0.4, 3: 0.0, 4: 0.15, 5: 0.05}}}
    model = GradedModel([item(order=(5, 4, 3, 2, 1))], POPULATION, published)
    assert shares(model, people(), "Q1", (3,))[0] < 0.01


def test_higher_scores_mean_more():
    """People high on what a question loads on answer nearer to the order's end."""
    model = GradedModel([item(loads={"trust": 0.7})], POPULATION, {})
    who = people()
    answers = model.answer(who, np.random.default_rng(1))["Q1"]
    trust = who.latent[:, POPULATION.names.index("trust")]
    assert answers[trust > 1].mean() < answers[trust < -1].mean() - 0.8


def test_country_means_move_uncalibrated_questions():
    """Without published shares a country answers by its mean on the dimensions."""
    model = GradedModel([item(loads={"faith": 0.7})], POPULATION, {})
    faithful = shares(model, people(country="EGY"), "Q1", (1, 2))
    worldly = shares(model, people(country="CHN"), "Q1", (1, 2))
    assert sum(faithful) > sum(worldly) + 0.3


def test_other_countries_lean_on_the_published_ones():
    """A question published in one country stands near that in the others."""
    published = {"USA": {"Q1": {1: 0.97, 2: 0.01, 3: 0.01, 4: 0.01}}}
    lone, lent = (GradedModel([item()], POPULATION, given) for given in ({}, published))
    who = people(country="DEU")
    assert shares(lent, who, "Q1", (1,))[0] > shares(lone, who, "Q1", (1,))[0] + 0.2


def test_factor_ties_items_of_a_group():
    """Items of one group share its factor, items of another do not."""
    entries = [
        item("Q1", factor=0.7, noise=0.714),
        item("Q2", factor=0.7, noise=0.714),
        item("Q3", factor=0.7, noise=0.714, group=1),
    ]
    answers = GradedModel(entries, POPULATION, {}).answer(people(), np.random.default_rng(1))
    assert np.corrcoef(answers["Q1"], answers["Q2"])[0, 1] > 0.35
    assert abs(np.corrcoef(answers["Q1"], answers["Q3"])[0, 1]) < 0.15


def test_echoes_share_chance_with_their_sign():
    """Echoing questions correlate beyond the factors; a minus turns one round."""
    entries = [item("Q1"), item("Q2"), item("Q3")]
    model = GradedModel(entries, POPULATION, {}, [["Q1", "-Q2"]])
    answers = model.answer(people(), np.random.default_rng(1))
    assert np.corrcoef(answers["Q1"], answers["Q2"])[0, 1] < -0.3
    assert abs(np.corrcoef(answers["Q1"], answers["Q3"])[0, 1]) < 0.05


def test_thresholds_ascend_in_every_country():
    """No question has thresholds out of order, so every option can be reached."""
    for entry, lines in zip(MODEL.items, MODEL.thresholds, strict=True):
        assert lines.shape == (len(COUNTRIES), len(entry.order) - 1)
        assert (np.diff(lines, axis=1) >= 0).all(), entry.id


def test_middle_of_a_ten_point_scale_is_five():
    """Those who like the middle answer 5, whichever way the scale runs."""
    middles = {entry.id: entry.order[entry.middle] for entry in ITEMS if len(entry.order) == 10}
    assert set(middles.values()) == {5}
    assert {"Q176", "Q177"} <= set(middles)


def test_published_shares_sum_to_one():
    """Shares are of those who answered."""
    for country, questions in published_shares().items():
        assert country in COUNTRIES
        for question, row in questions.items():
            assert sum(row.values()) == pytest.approx(1.0)
            assert set(row) <= set(BOOK[question].codes)


def test_knowing_the_person_predicts_better_than_the_country():
    """Who knew dimensions, factors and styles would be right clearly more often than the mode."""
    n = 1000
    who = people(n)
    rng = np.random.default_rng(7)
    tendency = MODEL.tendency(who, MODEL.factors(n, rng))
    known, mode = [], []
    for place, entry in enumerate(MODEL.items):
        if BOOK[entry.id].kind not in ("value", "attitude"):
            continue
        centre = MODEL.centres[place][who.country][:, None]
        cut = centre + (MODEL.thresholds[place][who.country] - centre) / who.stretch[:, None]
        leaning = tendency[:, place][:, None]
        chances = np.diff(normal_cdf((cut - leaning) / entry.noise), prepend=0.0, append=1.0)
        felt = leaning + entry.noise * rng.standard_normal((n, 1))
        given = (felt >= cut).sum(axis=1)
        known.append((chances.argmax(axis=1) == given).mean())
        mode.append(np.bincount(given).max() / n)
    assert np.mean(known) > np.mean(mode) + 0.08
    assert np.mean(known) < 0.75


def test_quantiles_and_plain_thresholds_agree():
    """With no style of stretching and no middle a threshold is the plain normal quantile."""
    published = {name: {"Q1": {1: 0.3, 2: 0.7}} for name in COUNTRIES}
    model = GradedModel([item(order=(2, 1), width=0.0)], POPULATION, published)
    expected = normal_quantile(np.array([0.7]))[0]
    assert model.thresholds[0][:, 0] == pytest.approx(expected, abs=0.01)
