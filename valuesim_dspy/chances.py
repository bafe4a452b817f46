"""A distribution in words: the signature that asks for it, and how the reply is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

import dspy

from valuesim_dspy.errors import InvalidAnswerError
from valuesim_dspy.signatures import AnswerDirectly
from valuesim_dspy.survey.codebook import Question

PROBABILITIES = (
    "chances in 100 for each option: a JSON object from every code offered, in quotes, to a "
    'number, such as {"1": 15, "2": 85}; together they make 100'
)

_CODE = re.compile(r"-?\d+")


class ForeseeDistribution(
    AnswerDirectly.delete("answer").append(  # type: ignore[misc]
        "probabilities", dspy.OutputField(desc=PROBABILITIES), dict[str, float]
    )
):
    """Foresee how likely this person is to give each of the answers offered.

    Find the facts that bear on the question and weigh them. Then think of a hundred people of
    whom all of this is known, and say for each option how many of them choose it. Leave no
    option out; give 0 only to one that nobody like this person would choose, and 100 only where
    the facts settle the matter. Where they say little, spread the chances as widely as such
    people differ.
    """


def read_chances(question: Question, told: object) -> dict[int, float]:
    """Return what a reply says as probabilities.

    Args:
        question: Its codes are the keys.
        told: Code, as a number or its text, to a number of 0 or more; a code that is left out
            has 0. The sum may be any: it becomes 1.

    Returns:
        Code to probability in [0, 1], in the order of the question's codes; they sum to 1.

    Raises:
        InvalidAnswerError: A code is no option, a number is negative or no number, or all are 0.
    """
    refusal = InvalidAnswerError(question.id, told, question.codes)
    if not isinstance(told, Mapping):
        raise refusal
    shares = dict.fromkeys(question.codes, 0.0)
    for key, value in told.items():
        name = str(key).strip()
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and _CODE.fullmatch(name) and int(name) in shares):
            raise refusal
        if not (math.isfinite(value) and value >= 0):
            raise refusal
        shares[int(name)] += float(value)
    total = math.fsum(shares.values())
    if not (total > 0 and math.isfinite(total)):
        raise refusal
    return {code: share / total for code, share in shares.items()}


def chances_text(probabilities: Mapping[int, float]) -> str:
    """Return probabilities as the text that a demo shows: chances in 100 by code."""
    return json.dumps({str(code): round(100 * share) for code, share in probabilities.items()})
