"""Gradient boosting: learns what goes together, keeps its models, and fails where it must."""

import copy

import numpy as np
import pytest
from crowds import case_of, crowd, target, training

from evals.baselines import GradientBoosting, Mode, Modes
from valuesim_dspy.case import Case
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.own import own_profile
from valuesim_dspy.survey.respondents import Respondents

TRAIN, TOLD = range(100), range(100, 160)


@pytest.fixture(scope="module")
def people() -> Respondents:
    """Two camps."""
    return crowd(160)


def codes(arm: GradientBoosting | Mode, people: Respondents) -> list[int]:
    """What the arm foresees of everyone told."""
    return [arm.code(case_of(people, at, target())) for at in TOLD]


def test_trees_know_the_camp_and_the_mode_does_not(people: Respondents) -> None:
    """With noise of a fifth the camp is right eight times in ten; the mode half of the time."""
    truth = [people[at].answer(target().id) for at in TOLD]
    known = [place for place, code in enumerate(truth) if code is not None]

    def right(given: list[int]) -> float:
        return float(np.mean([given[place] == truth[place] for place in known]))

    arm = GradientBoosting(training(people.take(TRAIN)))
    mode = Mode(Modes.of(people.take(TRAIN)))
    assert right(codes(mode, people)) < 0.65 < right(codes(arm, people))


def test_the_same_people_give_the_same_answers(people: Respondents) -> None:
    """Fitted anew on the same people it foresees the same, a copy too."""
    arm = GradientBoosting(training(people.take(TRAIN)))
    first = codes(arm, people)
    assert first == codes(GradientBoosting(training(people.take(TRAIN))), people)
    assert first == codes(copy.deepcopy(arm), people)


def test_a_model_is_fitted_once_for_a_question(people: Respondents) -> None:
    """The second case of a question meets the first one's model."""
    arm = GradientBoosting(training(people.take(TRAIN)))
    arm.code(case_of(people, 120, target()))
    fitted = arm._fitted[target().id]
    arm.code(case_of(people, 121, target()))
    assert arm._fitted == {target().id: fitted}


def test_one_answer_of_all_is_the_answer() -> None:
    """Where everybody gave the same code nothing is fitted."""
    asked = target()
    same = Respondents.from_columns(
        questions={asked.id: np.full(30, asked.order[1])},
        attributes={"B_COUNTRY_ALPHA": np.array(["JPN"] * 30)},
    )
    assert GradientBoosting(training(same)).code(case_of(crowd(4), 0, asked)) == asked.order[1]


def test_nobody_to_learn_from_is_a_failed_prediction(people: Respondents) -> None:
    """A question that nobody answered fails its case."""
    with pytest.raises(PredictionError, match=target("test").id):
        GradientBoosting(training(people.take(TRAIN))).code(case_of(people, 1, target("test")))


def test_of_a_person_unknown_the_answer_is_one_of_the_options(people: Respondents) -> None:
    """Neither answers nor country, nor one that nobody of the trainset lives in."""
    arm = GradientBoosting(training(people.take(TRAIN)))
    for home in (None, "DEU"):
        assert arm.code(Case(own_profile({}, country=home), target())) in target().codes


def test_people_who_answered_nothing_else_give_their_mode() -> None:
    """With no profile to split by the commonest answer is given."""
    order = target().order
    bare = Respondents.from_columns(questions={target().id: np.array([order[0], order[-1]] * 9 + [order[-1]])})  # fmt: skip # noqa: E501
    assert GradientBoosting(training(bare)).code(case_of(crowd(4), 0, target())) == order[-1]
