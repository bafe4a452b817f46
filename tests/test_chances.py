"""Distributions in words: what may be read of a reply, what may not, and the prompt."""

import json
import math

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuesim_dspy.chances import ForeseeDistribution, chances_text, read_chances
from valuesim_dspy.errors import InvalidAnswerError
from valuesim_dspy.signatures import AnswerDirectly
from valuesim_dspy.survey.codebook import load_codebook

FOUR = load_codebook()["Q69"]
TEN = load_codebook()["Q164"]


@pytest.mark.parametrize(
    ("told", "shares"),
    [
        ({"1": 10, "2": 20, "3": 30, "4": 40}, [0.1, 0.2, 0.3, 0.4]),
        ({"4": 0.5, "1": 0.5}, [0.5, 0, 0, 0.5]),  # what is left out has none
        ({1: 30, 2: 30}, [0.5, 0.5, 0, 0]),  # any sum, codes as numbers
        ({" 3 ": 7}, [0, 0, 1, 0]),
        ({"2": 0, "3": 1e-3}, [0, 0, 1, 0]),
    ],
)
def test_chances_become_probabilities(told: object, shares: list[float]) -> None:
    """Over all codes, in their order, brought to a sum of 1."""
    found = read_chances(FOUR, told)
    assert tuple(found) == FOUR.codes
    assert list(found.values()) == pytest.approx(shares)


@pytest.mark.parametrize(
    "told",
    [
        {"5": 100},
        {"1": 50, "A good deal": 50},
        {"1.0": 100},
        {"1": -5, "2": 105},
        {"1": math.nan},
        {"1": math.inf},
        {"1": 0, "2": 0},
        {"1": True},
        {"1": "60"},
        {},
        [25, 25, 25, 25],
        "1: 100",
        None,
    ],
)
def test_anything_else_is_no_distribution(told: object) -> None:
    """No code that is not offered, no negative or missing number, and not nothing at all."""
    with pytest.raises(InvalidAnswerError, match="Q69"):
        read_chances(FOUR, told)


@given(st.lists(st.floats(0, 1e6), min_size=10, max_size=10).filter(lambda told: sum(told) > 0))
def test_whatever_is_read_sums_to_one_and_keeps_proportions(told: list[float]) -> None:
    """Whatever the numbers: each over their sum."""
    found = read_chances(TEN, dict(zip(TEN.codes, told, strict=True)))
    assert math.fsum(found.values()) == pytest.approx(1)
    for share, number in zip(found.values(), told, strict=True):
        assert share == pytest.approx(number / math.fsum(told))


def test_a_demo_s_text_reads_back() -> None:
    """Demos hold text; read as JSON it gives the same distribution, in whole chances."""
    text = chances_text({1: 0.1, 2: 0.25, 3: 0.65, 4: 0})
    assert text == '{"1": 10, "2": 25, "3": 65, "4": 0}'
    assert read_chances(FOUR, json.loads(text)) == pytest.approx({1: 0.1, 2: 0.25, 3: 0.65, 4: 0})


def test_the_signature_reads_what_a_direct_answer_reads() -> None:
    """The same inputs in the same order, an analysis, then chances in place of an answer."""
    assert list(ForeseeDistribution.input_fields) == list(AnswerDirectly.input_fields)
    assert list(ForeseeDistribution.output_fields) == ["analysis", "probabilities"]
    assert ForeseeDistribution.output_fields["probabilities"].annotation == dict[str, float]
    assert ForeseeDistribution.instructions != AnswerDirectly.instructions


def test_the_prompt_shows_a_demo_s_chances_as_they_are() -> None:
    """A demo's text is shown as the model is to write it, not quoted once more."""
    demo = dspy.Example(
        facts="f", history="h", question="q", options="o", analysis="a", probabilities='{"1": 100}'
    )
    inputs = dict.fromkeys(ForeseeDistribution.input_fields, "x")
    messages = dspy.ChatAdapter().format(ForeseeDistribution, [demo], inputs)
    [told] = [m["content"] for m in messages if m["role"] == "assistant"]
    assert '[[ ## probabilities ## ]]\n{"1": 100}\n' in told
