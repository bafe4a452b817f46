"""Low rank: components with gaps against the library without, and what they foresee."""

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from crowds import case_of, crowd, fold, target, training
from sklearn.decomposition import PCA

from evals.baselines import BASELINES, LowRank, Mode, Modes
from evals.baselines.low_rank import RANKS, Space, spread_out
from valuesim_dspy.case import Case, make_cases
from valuesim_dspy.config import parse_job
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.own import own_profile
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.respondents import Respondents

TRAIN, TOLD = range(100), range(100, 160)
BOOK = load_codebook()


@pytest.fixture(scope="module")
def people() -> Respondents:
    """Two camps."""
    return crowd(160)


def drawn(n: int = 200, d: int = 12, seed: int = 0) -> np.ndarray:
    """Answers that two numbers explain but for noise."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + 0.3 * rng.normal(size=(n, d))


def test_without_gaps_the_space_is_the_library_s() -> None:
    """Loadings times loadings, and noise, give the covariance that scikit-learn's PCA gives."""
    columns = drawn()
    space = Space.of(columns, 2, seed=0)
    whole = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    found = PCA(2, svd_solver="full").fit(whole)
    made = space.loadings @ space.loadings.T + space.noise * np.eye(12)
    np.testing.assert_allclose(made, found.get_covariance(), atol=1e-8)


def test_a_place_is_the_posterior_mean() -> None:
    """It equals the conditional mean of the joint normal distribution, computed the long way."""
    space = Space.of(drawn(), 2, seed=0)
    row = drawn(1, seed=5)[0]
    row[[1, 4, 5]] = np.nan
    known = ~np.isnan(row)
    loadings = space.loadings[known]
    covariance = loadings @ loadings.T + space.noise * np.eye(known.sum())
    given = (row[known] - space.mean[known]) / space.scale[known]
    expected = loadings.T @ np.linalg.inv(covariance) @ given
    np.testing.assert_allclose(space.place(row), expected, atol=1e-10)
    assert np.allclose(space.place(np.full(12, np.nan)), 0), "of nobody known: the middle"


def test_gaps_are_filled_by_what_goes_with_them() -> None:
    """With a third of the answers gone, held-out answers are nearer than the mean by far."""
    whole = drawn(300)
    gone = np.random.default_rng(9).random(whole.shape) < 0.33
    gappy = np.where(gone, np.nan, whole)
    space = Space.of(gappy, 2, seed=0)
    told = np.array([space.place(row) for row in gappy]) @ space.loadings.T
    told = told * space.scale + space.mean
    error, spread = (told - whole)[gone].std(), (whole - np.nanmean(gappy, axis=0))[gone].std()
    assert error < 0.4 * spread


def test_nominal_answers_become_a_column_for_each_option() -> None:
    """An ordered column stays; a gap is a gap in all columns of its question."""
    questions = [BOOK["Q1"], BOOK["Q149"]]
    matrix = np.array([[3, 1, 0], [0, np.nan, 1]])
    made = spread_out(matrix, questions, 2)
    nan = np.nan
    np.testing.assert_array_equal(made, [[3, 0, 1, 1, 0], [0, nan, nan, 0, 1]])


def test_components_know_the_camp_and_the_mode_does_not(people: Respondents) -> None:
    """With noise of a fifth the camp is right eight times in ten; the mode half of the time."""
    arm, mode = LowRank(training(people.take(TRAIN))), Mode(Modes.of(people.take(TRAIN)))
    asked = [(at, code) for at in TOLD if (code := people[at].answer(target().id)) is not None]
    right = {
        made.kind: np.mean([made.code(case_of(people, at, target())) == code for at, code in asked])
        for made in (arm, mode)
    }
    assert right["mode"] < 0.65 < right["low-rank"]
    twin = copy.deepcopy(arm)
    assert all(
        twin.code(asked) == arm.code(asked)
        for asked in (case_of(people, at, target()) for at in TOLD)
    )


def test_one_answer_of_all_and_no_answer_at_all(people: Respondents) -> None:
    """The first is the answer, the second fails its case."""
    asked = target()
    same = Respondents.from_columns(questions={asked.id: np.full(30, asked.order[1])})
    assert LowRank(training(same)).code(case_of(people, 0, asked)) == asked.order[1]
    with pytest.raises(PredictionError, match=target("test").id):
        LowRank(training(people)).code(case_of(people, 0, target("test")))


def test_the_rank_is_chosen_on_the_valset(people: Respondents) -> None:
    """The rank taken is the smallest of those that answer most of the valset right."""
    valset = make_cases(people, range(100, 106), fold(), "val", max_targets=1)
    study: Any = SimpleNamespace(
        examples=lambda role: valset,
        respondents=people,
        split=SimpleNamespace(train=range(40)),
        fold=fold(),
        config=parse_job({}),
    )
    made: Any = BASELINES["low-rank"].build(study)
    right = {
        rank: sum(LowRank(made.training, rank).code(e.case) == e.answer for e in valset)
        for rank in RANKS
    }
    assert right[made.rank] == max(right.values()) > 0
    assert all(right[rank] < right[made.rank] for rank in right if rank < made.rank)


def test_there_are_never_more_components_than_people_allow() -> None:
    """Of four people at most three numbers are made, whatever is asked for."""
    assert Space.of(drawn(4), 16, seed=0).loadings.shape == (12, 3)
    assert Space.of(drawn(50), 16, seed=0).loadings.shape == (12, 11)


def test_columns_that_nobody_answered_weigh_nothing() -> None:
    """They change no place, and no warning is given."""
    columns = drawn(80)
    empty = np.column_stack([columns, np.full(80, np.nan)])
    one, other = Space.of(columns, 2, seed=0), Space.of(empty, 2, seed=0)
    assert np.allclose(other.loadings[-1], 0)
    row = np.append(columns[3], np.nan)
    np.testing.assert_allclose(np.abs(other.place(row)), np.abs(one.place(columns[3])), rtol=1e-2)


def test_of_a_person_unknown_the_answer_is_one_of_the_options(people: Respondents) -> None:
    """No answer and no country are known: the middle of the space has an answer too."""
    nobody = Case(own_profile({}), target())
    assert LowRank(training(people.take(TRAIN))).code(nobody) in target().codes
