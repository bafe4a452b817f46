"""Tests of the weights: what outweighs what, as the scoring needs it."""

from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from valuesim_dspy.lexical.parsing import Field, Option, Prompt, Task
from valuesim_dspy.lexical.scoring import choose
from valuesim_dspy.lexical.weights import WEIGHTS, Weights

OPTIONS = tuple(
    Option(str(code), label)
    for code, label in enumerate(("Strongly agree", "Agree", "Disagree", "Strongly disagree"), 1)
)


def ask(facts: str, weights: Weights = WEIGHTS) -> tuple[float, ...]:
    """Return the support of the options for one question."""
    task = Task((Field("facts"),), (), "Answer.", "chat")
    question = "Do you agree that tea tastes good?"
    prompt = Prompt(task, {}, (), OPTIONS, question, (("facts", facts),))
    return choose(prompt, weights=weights).support


def test_no_weight_is_negative() -> None:
    """A negative weight would turn evidence round."""
    assert min(asdict(WEIGHTS).values()) >= 0


def test_weights_cannot_be_changed_in_place() -> None:
    """Memoised readings would outlive such a change."""
    with pytest.raises(FrozenInstanceError):
        WEIGHTS.strong = 2.0  # type: ignore[misc]


def test_what_is_bounded_weighs_no_more_than_the_prior() -> None:
    """Vague statements, demos and a person's style are each at most as heavy as the prior of 1."""
    assert max(WEIGHTS.vague, WEIGHTS.style, WEIGHTS.demo) <= 1
    assert WEIGHTS.strong > 1 + WEIGHTS.vague + WEIGHTS.style + WEIGHTS.demo


def test_shares_lie_between_0_and_1() -> None:
    """What is a part of something is at most all of it."""
    shares = (WEIGHTS.moderate, WEIGHTS.lean, WEIGHTS.unnamed, WEIGHTS.demo_form, WEIGHTS.elsewhere)
    assert all(0 <= share <= 1 for share in shares)
    assert 0.5 <= WEIGHTS.polarity <= 1
    assert WEIGHTS.narrow <= WEIGHTS.wide


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("strong", "You strongly disagree that tea tastes good."),
        ("vague", "Tea never tastes good to you."),
        ("style", "You strongly disagree that rain is wet.\nYou strongly disagree that ice melts."),
    ],
)
def test_each_kind_of_evidence_moves_the_support(name: str, facts: str) -> None:
    """Without its weight, the evidence of a kind points less to the end it speaks for."""
    assert ask(facts)[3] > ask(facts, replace(WEIGHTS, **{name: 0.0}))[3]
