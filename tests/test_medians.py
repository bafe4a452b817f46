"""The weighted median: by hand, against a definition, and weights that are nought."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people import case

from evals.baselines import WeightedMedian
from evals.baselines.medians import middle_code
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.respondents import Respondents

BOOK = load_codebook()


def middle(question: str, codes: list[int], weights: list[float] | None = None) -> int:
    """The middle code of answers."""
    given = np.ones(len(codes)) if weights is None else np.array(weights)
    return middle_code(BOOK[question], np.array(codes), given)


def test_the_median_by_hand() -> None:
    """Q1 runs 4, 3, 2, 1 from least to most; half of the weight decides, ties go to the lesser."""
    assert middle("Q1", [1, 1, 4]) == 1
    assert middle("Q1", [1, 4]) == 4
    assert middle("Q1", [1, 2, 3, 4]) == 3
    assert middle("Q1", [1, 4], [3, 1]) == 1
    assert middle("Q1", [1, 1, 1, 4, 4], [1, 1, 1, 2, 2]) == 4


def test_nominal_answers_have_a_weighted_mode() -> None:
    """The heaviest code wins, the lowest of equals."""
    codes = BOOK["Q254"].codes
    assert not BOOK["Q149"].order
    assert middle("Q149", [2, 2, 1], [1, 1, 3]) == 1
    assert middle("Q149", [2, 1]) == 1
    assert len(codes) > 2


def test_off_scale_answers_are_no_part_of_a_median() -> None:
    """Code 5 of Q254 is off its scale, and counts only where there is nothing else."""
    off = next(code for code in BOOK["Q254"].codes if code not in BOOK["Q254"].order)
    on = BOOK["Q254"].order
    assert middle("Q254", [off, off, off, on[0]]) == on[0]
    assert middle("Q254", [off, off]) == off


def test_weights_of_nought_count_as_all_equal() -> None:
    """Where nobody has weight everybody has the same."""
    assert middle("Q1", [1, 1, 4], [0, 0, 0]) == 1


@given(st.lists(st.tuples(st.integers(1, 10), st.integers(1, 9)), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_median_minimises_the_weighted_distance(answers: list[tuple[int, int]]) -> None:
    """No other code is nearer to all answers together: the definition of a median."""
    codes, weights = [a for a, _ in answers], [float(w) for _, w in answers]
    found = middle("Q164", codes, weights)
    distance = {
        code: sum(w * abs(code - answer) for answer, w in zip(codes, weights, strict=True))
        for code in BOOK["Q164"].codes
    }
    assert distance[found] == min(distance.values())


def test_people_weigh_as_the_file_says() -> None:
    """One of three outweighs the others by W_WEIGHT x S018; gaps are left out."""
    people = Respondents.from_columns(
        questions={"Q1": np.array([1, 4, 4, -1]), "Q2": np.array([-1, -1, -2, -2])},
        attributes={
            "W_WEIGHT": np.array([2.0, 1.0, 1.0, 9.0]),
            "S018": np.array([2.0, 1.0, 1.0, 9.0]),
        },
    )
    arm = WeightedMedian.of(people)
    assert arm(case=case("Q1")).answer == 1 and "Q2" not in arm.middles
    with pytest.raises(PredictionError, match="Q2"):
        arm.code(case("Q2"))
    plain = Respondents.from_columns(questions={"Q1": np.array([1, 4, 4, -1])})
    assert WeightedMedian.of(plain).code(case("Q1")) == 4
