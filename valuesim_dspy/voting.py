"""How several answers become one, or a distribution, without a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from valuesim_dspy.survey.codebook import Question

PSEUDO_VOTES = 1.0
"""Votes spread evenly over a question's options before any other is counted."""

SAME = 1e-9
"""Probabilities that are no further apart than this are a tie."""


def vote(question: Question, answers: Mapping[str, int]) -> int:
    """Return the plurality; a tie goes to the middle of the tied options, else to the first.

    Args:
        question: The question, for the order of its options.
        answers: Perspective to code, in canonical order.
    """
    codes = list(answers.values())
    most = max(codes.count(code) for code in codes)
    tied = [code for code in dict.fromkeys(codes) if codes.count(code) == most]
    ranked = sorted((code for code in tied if code in question.order), key=question.order.index)
    if len(tied) > 1 and len(ranked) == len(tied):
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


def vote_shares(question: Question, answers: Iterable[int]) -> dict[int, float]:
    """Return each code's share of the votes, smoothed as Laplace did, so that none is 0.

    One pseudo-vote is spread evenly over the question's K options, (votes + 1/K) / (n + 1): a
    whole one for each option, as in Laplace's own rule, would drown a few votes where options
    are many (Perks 1947, J. Inst. Actuaries 73, for 1/K). The shares are of answers of one
    model and no calibrated probabilities.

    Args:
        question: Its codes are the keys.
        answers: The votes; none gives every option the same.

    Returns:
        Code to share in (0, 1), in the order of the question's codes; they sum to 1.
    """
    votes = list(answers)
    prior = PSEUDO_VOTES / len(question.codes)
    return {
        code: (votes.count(code) + prior) / (len(votes) + PSEUDO_VOTES) for code in question.codes
    }


def most_probable(question: Question, probabilities: Mapping[int, float]) -> int:
    """Return the code with the highest probability; a tie goes where `vote` puts it.

    Args:
        question: The question, for the order of its options.
        probabilities: Code to probability, in the order of the question's codes.
    """
    most = max(probabilities.values())
    tied = [code for code, share in probabilities.items() if share >= most - SAME]
    return vote(question, {str(code): code for code in tied})
