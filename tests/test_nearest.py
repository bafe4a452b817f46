"""Nearest respondents: found by the profile, voted by likeness, never the person themself."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from crowds import SALT, case_of, crowd, fold, target

from evals.baselines import BASELINES, Mode, Modes, NearestRespondents
from valuesim_dspy.case import make_cases
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.peers import PeerIndex
from valuesim_dspy.survey.respondents import Respondents

TRAIN, TOLD = range(100), range(100, 140)


@pytest.fixture(scope="module")
def people() -> Respondents:
    """Two camps."""
    return crowd(140)


@pytest.fixture(scope="module")
def index(people: Respondents) -> PeerIndex:
    """An index of the first hundred."""
    return PeerIndex.of(people, TRAIN, salt=SALT)


def accuracy(arm: Any, people: Respondents) -> float:
    """The share of the told people whose answer to the target is foreseen."""
    asked = [(at, people[at].answer(target().id)) for at in TOLD]
    right = [arm.code(case_of(people, at, target())) == code for at, code in asked if code]
    return float(np.mean(right))


def test_neighbours_know_the_camp_and_the_mode_does_not(
    people: Respondents, index: PeerIndex
) -> None:
    """With noise of a fifth the camp is right eight times in ten; the mode half of the time."""
    mode = accuracy(Mode(Modes.of(people.take(TRAIN))), people)
    assert mode < 0.65 < accuracy(NearestRespondents(index, 20), people)


def test_one_neighbour_is_the_nearest_s_own_answer(people: Respondents, index: PeerIndex) -> None:
    """With one to count its code is the answer."""
    for at in (101, 110):
        asked = case_of(people, at, target())
        nearest = index.nearest(asked, 1).codes.tolist()
        assert [NearestRespondents(index, 1).code(asked)] == nearest


def test_nobody_to_count_is_a_failed_prediction(people: Respondents, index: PeerIndex) -> None:
    """A question that nobody was asked fails its case."""
    with pytest.raises(PredictionError, match="nobody"):
        NearestRespondents(index).code(case_of(people, 101, target("test")))


def test_how_many_count_is_chosen_on_the_valset(people: Respondents, index: PeerIndex) -> None:
    """The study's valset decides; without one it is ten."""
    valset = make_cases(people, range(100, 120), fold(), "val", max_targets=4)
    for given in ([], valset):
        study: Any = SimpleNamespace(examples=lambda role, g=given: g, peers=index)
        arm: Any = BASELINES["nearest-respondents"].build(study)
        if not given:
            assert arm.count == 10
            continue
        right = {
            n: sum(NearestRespondents(index, n).code(e.case) == e.answer for e in given)
            for n in (3, 5, 10, 20, 40, 80)
        }
        assert right[arm.count] == max(right.values())
