"""How several answers become one without a call: a plurality, a mean."""

from __future__ import annotations

from collections.abc import Mapping

from valuesim_dspy.survey.codebook import Question


def vote(question: Question, answers: Mapping[str, int]) -> int:
    """Return the plurality; a tie goes to the middle of ordered options, else to the first.

    Args:
        question: The question, for the order of its options.
        answers: Perspective to code, in canonical order.
    """
    codes = list(answers.values())
    most = max(codes.count(code) for code in codes)
    tied = [code for code in dict.fromkeys(codes) if codes.count(code) == most]
    ranked = sorted((code for code in codes if code in question.order), key=question.order.index)
    if len(tied) > 1 and len(ranked) == len(codes):
        return ranked[(len(ranked) - 1) // 2]
    return tied[0]


def mean_answer(question: Question, answers: Mapping[str, int]) -> int:
    """Return the mean place on the scale, rounded up to the end with the higher code.

    As in the published ablation, but for places: options stand as the codebook orders them, so
    that a middle coded last counts as the middle. Where an answer is off the scale, or there is
    none, the plurality decides.

    Args:
        question: The question, for the order of its options.
        answers: Perspective to code, in canonical order.
    """
    codes, scale = list(answers.values()), question.order
    if not all(code in scale for code in codes):
        return vote(question, answers)
    upwards = scale if scale[0] < scale[-1] else scale[::-1]
    places = [upwards.index(code) for code in codes]
    return upwards[-(-sum(places) // len(places))]
