"""Several answers made one without a call."""

import pytest

from valuesim_dspy.survey.codebook import Question, load_codebook
from valuesim_dspy.variants import CAPS
from valuesim_dspy.voting import mean_answer, vote

TRUST = load_codebook()["Q69"]


@pytest.mark.parametrize(
    ("codes", "chosen"),
    [((1, 1, 4), 1), ((4, 1, 4), 4), ((1, 2, 4), 2), ((4, 1, 2), 2), ((3, 3, 3), 3)],
)
def test_a_vote_takes_the_plurality_else_the_middle(codes: tuple[int, ...], chosen: int) -> None:
    """Two of three win; three different answers on an ordered scale give the median."""
    assert vote(TRUST, dict(zip(CAPS, codes, strict=True))) == chosen


def test_a_tied_vote_without_order_takes_the_first() -> None:
    """Nominal options have no middle: the first perspective in canonical order decides."""
    nominal = Question(text="Which?", options=["a", "b", "c"], scale_kind="nominal", order=())
    assert vote(nominal, {"cognitive": 3, "affective": 1, "behavioral": 2}) == 3


@pytest.mark.parametrize(
    ("codes", "mean"),
    [((1, 1, 4), 2), ((1, 2, 2), 2), ((1, 1, 2), 2), ((4, 4, 4), 4), ((2, 3, 4), 3), ((1, 4), 3)],
)
def test_a_mean_is_rounded_up(codes: tuple[int, ...], mean: int) -> None:
    """As published: the mean place on the scale, and the next one where it lies between."""
    assert mean_answer(TRUST, dict(zip(CAPS, codes, strict=False))) == mean


def test_a_mean_goes_by_places_and_not_by_codes() -> None:
    """Q56 runs 1, 3, 2: between the first and the last stands 3."""
    assert mean_answer(load_codebook()["Q56"], {"cognitive": 1, "affective": 2}) == 3


def test_what_is_off_the_scale_has_no_mean() -> None:
    """Nominal options are voted on."""
    nominal = Question(text="Which?", options=["a", "b", "c"], scale_kind="nominal", order=())
    assert mean_answer(nominal, {"cognitive": 3, "affective": 1, "behavioral": 1}) == 1


@pytest.mark.parametrize("codes", [(1, 1, 4, 4, 3), (1, 1, 2, 2, 4), (2, 2, 3, 3, 4, 4, 1)])
def test_only_the_tied_stand_in_the_middle(codes: tuple[int, ...]) -> None:
    """With more than three voices an answer given once is never taken for a compromise."""
    named = {f"member_{number}": code for number, code in enumerate(codes)}
    assert codes.count(vote(TRUST, named)) == 2


def test_three_tied_pairs_give_their_middle() -> None:
    """Of 2, 3 and 4, given twice each, 3 stands in the middle."""
    named = {f"member_{number}": code for number, code in enumerate((2, 2, 3, 3, 4, 4, 1))}
    assert vote(TRUST, named) == 3
