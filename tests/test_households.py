"""Demographic answers that fit together."""

import numpy as np
import pytest

from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.dimensions import draw_people, load_population, spread_evenly
from valuesim_dspy.survey.households import NOT_APPLICABLE, Households

BOOK, POPULATION = load_codebook(), load_population()
N = 10_000
COUNTRY = spread_evenly(N, len(POPULATION.countries))
PLACES = list(POPULATION.countries.values())
WIDE = {"Q223", "Q261", "Q262", "Q266", "Q267", "Q268", "Q272", "Q290"}


@pytest.fixture(scope="module")
def answers():
    """The demographic answers of 10,000 people, before gaps."""
    people = draw_people(POPULATION, COUNTRY, np.random.default_rng(1))
    return Households(POPULATION, people, np.random.default_rng(2)).answers()


def test_all_demographic_questions_are_answered(answers):
    """Q260 to Q290 and the party are there, one code for everybody."""
    assert set(answers) == {"Q223", *(f"Q{number}" for number in range(260, 291))}
    assert {len(codes) for codes in answers.values()} == {N}


def test_codes_are_those_of_the_codebook(answers):
    """Apart from "not applicable" every code is an option."""
    for question, codes in answers.items():
        if question not in WIDE:
            assert set(codes.tolist()) <= {*BOOK[question].codes, NOT_APPLICABLE}, question


def test_year_of_birth_fits_the_age(answers):
    """Year of interview minus age is the year of birth, or the one after it."""
    year = np.array([place["year"] for place in PLACES])[COUNTRY]
    assert set((year - answers["Q262"] - answers["Q261"]).tolist()) == {0, 1}


def test_ages_are_those_of_adults(answers):
    """Nobody is under 18 or over 98, and the mean is the country's."""
    assert answers["Q262"].min() >= 18 and answers["Q262"].max() <= 98
    for index, place in enumerate(PLACES):
        assert answers["Q262"][index == COUNTRY].mean() == pytest.approx(place["age"][0], abs=1.5)


def test_spouse_questions_apply_to_couples_only(answers):
    """Schooling, work and occupation of a spouse are asked of those who have one."""
    couple = answers["Q273"] <= 2
    for question in ("Q276", "Q280", "Q282"):
        assert (answers[question][~couple] == NOT_APPLICABLE).all()
        assert (answers[question][couple] >= 0).all()


def test_sector_applies_to_those_who_ever_worked(answers):
    """Who never had a job has no sector of employment."""
    never = answers["Q281"] == 0
    assert ((answers["Q284"] == NOT_APPLICABLE) == never).all()
    assert never.any()


def test_occupation_of_the_father_is_an_occupation(answers):
    """Fathers are not among those who never had a job."""
    assert answers["Q283"].min() >= 1


def test_household_holds_its_people(answers):
    """Spouse and parents living there are counted in its size."""
    size, couple = answers["Q270"], answers["Q273"] <= 2
    with_parents = answers["Q271"] > 1
    assert (size[couple] >= 2).all()
    assert (size[couple & with_parents] >= 3).all()
    assert (size[with_parents] >= 2).all()


def test_parents_in_law_come_with_a_spouse(answers):
    """Only couples live with parents in law."""
    assert (answers["Q273"][answers["Q271"] >= 3] <= 2).all()


def test_the_single_are_young_and_the_widowed_old(answers):
    """Marital status follows age."""
    age, marital = answers["Q262"], answers["Q273"]
    assert age[marital == 6].mean() + 10 < age[marital == 1].mean()
    assert age[marital == 5].min() > 50


def test_children_come_with_age(answers):
    """The youngest have next to none; older couples have some."""
    age, children = answers["Q262"], answers["Q274"]
    assert children[age <= 20].mean() < 0.2
    assert children[(age > 40) & (answers["Q273"] == 1)].mean() > 1.0
    assert children.max() <= 7


def test_degrees_take_their_time(answers):
    """Nobody under 21 has a degree and nobody under 26 a doctorate."""
    age, schooling = answers["Q262"], answers["Q275"]
    assert schooling[age < 21].max() <= 4
    assert schooling[age < 26].max() <= 7


def test_schooling_runs_in_families(answers):
    """Respondent, spouse and parents have related schooling; parents have less."""
    couple = answers["Q276"] >= 0
    assert np.corrcoef(answers["Q275"][couple], answers["Q276"][couple])[0, 1] > 0.4
    assert np.corrcoef(answers["Q275"], answers["Q278"])[0, 1] > 0.2
    assert answers["Q277"].mean() < answers["Q275"].mean() - 0.5


def test_work_fits_age_and_sex(answers):
    """Students are young, pensioners old, and those keeping house women."""
    age, work = answers["Q262"], answers["Q279"]
    assert age[work == 6].max() < 27
    assert age[work == 4].min() >= 60
    assert (answers["Q260"][work == 5] == 2).all()


def test_living_alone_means_earning_for_oneself(answers):
    """Who lives alone is the chief earner."""
    assert (answers["Q285"][answers["Q270"] == 1] == 1).all()


def test_birthplaces_fit_migration(answers):
    """Natives were born in the country, immigrants elsewhere; likewise parents."""
    here = np.array([place["numeric"] for place in PLACES])[COUNTRY]
    for migrant, place in (("Q263", "Q266"), ("Q264", "Q267"), ("Q265", "Q268")):
        assert ((answers[migrant] == 1) == (answers[place] == here)).all()
    assert (answers["Q263"] == 2).any()


def test_natives_are_citizens(answers):
    """Only immigrants may lack citizenship."""
    assert (answers["Q263"][answers["Q269"] == 2] == 2).all()


def test_children_of_immigrants_are_commoner_among_immigrants(answers):
    """Immigrants mostly have immigrant parents, natives mostly have not."""
    moved = answers["Q263"] == 2
    assert (answers["Q264"][moved] == 2).mean() > 0.8
    assert (answers["Q264"][~moved] == 2).mean() < 0.1


def test_country_codes_are_made_up_and_of_the_country(answers):
    """Party and group codes are the country's number and a counter."""
    here = np.array([place["numeric"] for place in PLACES])[COUNTRY]
    for question in ("Q223", "Q290"):
        assert (answers[question] // 1000 == here).all()
        assert (answers[question] % 1000 >= 1).all() and (answers[question] % 1000 <= 9).all()


def test_money_follows_income_and_schooling(answers):
    """Income steps rise with schooling, and class (1 is the highest) with income."""
    steps = answers["Q288"]
    assert np.corrcoef(steps, answers["Q275"])[0, 1] > 0.25
    assert np.corrcoef(steps, answers["Q287"])[0, 1] < -0.3
    assert np.corrcoef(steps, answers["Q286"])[0, 1] < -0.2


def test_denominations_have_their_shares():
    """The less faith the likelier none, and the country's share of none is kept."""
    people = draw_people(POPULATION, np.full(N, 4), np.random.default_rng(1))
    given = Households(POPULATION, people, np.random.default_rng(2)).answers()["Q289"]
    faith = people.latent[:, POPULATION.names.index("faith")]
    assert (given == 0).mean() == pytest.approx(PLACES[4]["faiths"][0] / 100, abs=0.03)
    assert faith[given == 0].mean() < faith[given != 0].mean() - 0.5


def test_everybody_has_a_denomination_where_there_is_no_none():
    """A country without a share of none has none without a denomination."""
    egypt = list(POPULATION.countries).index("EGY")
    people = draw_people(POPULATION, np.full(500, egypt), np.random.default_rng(1))
    given = Households(POPULATION, people, np.random.default_rng(2)).answers()["Q289"]
    assert set(given.tolist()) == {3, 5}
