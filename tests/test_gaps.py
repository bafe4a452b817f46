"""Missing answers by kind, and answers off the scale."""

import numpy as np
import pytest

from valuesim_dspy.survey import synthetic
from valuesim_dspy.survey.dimensions import draw_people, expand, load_population, read_population
from valuesim_dspy.survey.gaps import add_exceptions, leave_gaps, unsure_shares
from valuesim_dspy.survey.households import NOT_APPLICABLE
from valuesim_dspy.survey.responses import published_shares

POPULATION, SPEC = load_population(), read_population("wvs7_questions")


@pytest.fixture(scope="module")
def columns():
    """All columns of the file of a population of 5,000."""
    return synthetic._columns(5000, 1)


def gapped(question, code, n=5000, country=4):
    """One question that everybody answered alike, after the gaps."""
    people = draw_people(POPULATION, np.full(n, country), np.random.default_rng(1))
    answers = {"Q42": np.ones(n, int), "Q152": np.ones(n, int), "Q153": np.full(n, 2)}
    answers |= {"Q154": np.ones(n, int), "Q155": np.full(n, 2)}
    answers |= {"Q156": np.ones(n, int), "Q157": np.full(n, 2), question: np.full(n, code)}
    answers |= {name: np.ones(n, int) for name in SPEC["choices"] if name not in answers}
    answers |= {name: np.ones(n, int) for name in asked_somewhere_only() if name not in answers}
    leave_gaps(answers, people, POPULATION, SPEC, np.random.default_rng(2))
    return answers[question]


def asked_somewhere_only():
    """Questions that some country was not asked."""
    return {name for rows in POPULATION.spec["not_asked"].values() for name in expand(rows)}


def test_missing_answers_have_the_kinds_of_the_file():
    """Don't know, no answer, not applicable, not asked and missing all occur."""
    kinds = synthetic.synthesize(2000, seed=1).report.missing
    assert {"dont-know", "no-answer", "not-applicable", "not-asked", "missing"} <= set(kinds)
    assert kinds["no-internet"] > 40


def test_whole_questions_are_not_asked_in_a_country(columns):
    """Where a question is not asked, nobody of that country answers it, and others do."""
    for country, ranges in load_population().spec["not_asked"].items():
        here = columns["B_COUNTRY_ALPHA"] == country
        for question in expand(ranges):
            assert (columns[question][here] == -4).all()
            assert (columns[question][~here] > 0).mean() > 0.5
    assert not set(published_shares()["CHN"]) & set(
        expand(load_population().spec["not_asked"]["CHN"])
    )


def test_those_without_internet_have_none_for_all_four_questions(columns):
    """No internet goes for Q217 to Q220 alike and is likelier among the old."""
    none = np.array([columns[f"Q{number}"] == -5 for number in range(217, 221)])
    offline = none.sum(axis=0) == 4
    assert 0.03 < offline.mean() < 0.3
    assert (none.any(axis=0) & ~offline).mean() < 0.01
    assert columns["Q262"][offline].mean() > columns["Q262"][~offline].mean() + 5


def test_dont_know_depends_on_question_and_person(columns):
    """Hard questions and little schooling mean more "don't know"."""
    hard, easy = (columns[name] == -1 for name in ("Q85", "Q1"))
    assert hard.mean() > 3 * easy.mean()
    schooled = columns["Q275"] >= 6
    assert hard[~schooled].mean() > hard[schooled].mean()


def test_codes_off_the_scale_occur_where_they_exist(columns):
    """Hard to say, against democracy, not allowed to vote and not a national are given."""
    for question, code in [("Q119", 0), ("Q243", 0), ("Q222", 4), ("Q254", 5)]:
        assert 0 < (columns[question] == code).mean() < 0.2
    assert (columns["Q269"][columns["Q222"] == 4] != 1).all()


def test_age_and_sex_are_always_known():
    """Nobody lacks what everything else hangs on."""
    for question in ("Q260", "Q261", "Q262"):
        assert (gapped(question, 2) == 2).all()


def test_not_applicable_stays_so():
    """A question that does not apply is not also unknown."""
    assert (gapped("Q276", NOT_APPLICABLE) == NOT_APPLICABLE).all()


def test_income_is_refused_more_than_it_is_unknown():
    """Refusing is commoner than not knowing for income, and the other way round for courts."""
    income, court = gapped("Q288", 5), gapped("Q85", 2)
    assert (income == -2).sum() > (income == -1).sum()
    assert (court == -1).sum() > (court == -2).sum()


def test_most_answers_stay():
    """On an easy question nearly everybody answers."""
    assert 0.95 < (gapped("Q1", 1) == 1).mean() < 1.0


def test_unsure_shares_are_small_and_cover_second_choices():
    """Shares of "don't know" are chances, and a second choice has that of its first."""
    shares = unsure_shares(SPEC)
    assert all(0.0 < share < 0.2 for share in shares.values())
    assert shares["Q153"] == shares["Q152"] == SPEC["choices"]["Q152"]["unsure"]
    assert shares["Q240"] > shares["Q1"]


def test_citizens_keep_their_vote():
    """Only those without citizenship are not allowed to vote or not of the nationality."""
    n = 1000
    answers = {name: np.ones(n, int) for name in ("Q119", "Q221", "Q222", "Q254")}
    answers |= {f"Q{number}": np.ones(n, int) for number in range(241, 250)}
    answers["Q269"] = np.where(np.arange(n) < 100, 2, 1)
    add_exceptions(answers, POPULATION, np.random.default_rng(1))
    assert (answers["Q222"][:100] == 4).all() and (answers["Q222"][100:] == 1).all()
    assert (answers["Q254"][100:] == 1).all() and (answers["Q254"][:100] == 5).mean() > 0.5
    assert 0 < (answers["Q241"] == 0).mean() < 0.05
