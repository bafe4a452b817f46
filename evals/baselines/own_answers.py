"""What a person's own answers to like questions say, without others and without a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Self

from evals.baselines.baseline import Guesser
from evals.baselines.guesses import drawn_code
from valuesim_dspy.case import Case

if TYPE_CHECKING:
    from evals.study import Study
    from valuesim_dspy.survey.codebook import Question


def known_answers(case: Case) -> dict[str, int]:
    """Return what may be known of a person as codes: what the facts tell, and later answers.

    The newest answer to a question rules. Left out: the question itself, private questions,
    open ones, and questions that the codebook does not have.
    """
    codebook = case.profile.codebook
    known = dict(case.profile.answers)
    known |= {i.question.id: i.code for i in case.history if i.question.id in codebook}
    return {
        id: code
        for id, code in known.items()
        if id != case.question.id and not codebook[id].private and codebook[id].has_code(code)
    }


def nearest_code(question: Question, position: float) -> int:
    """Return the on-scale code nearest to a position between least (0.0) and most (1.0).

    Args:
        question: A question with an order.
        position: Where on the scale; beyond its ends is its end. A tie goes to the lesser code.
    """
    last = len(question.order) - 1
    # Rounded, or the last bit of a division would break ties.
    away = [round(abs(place / last - position), 9) for place in range(last + 1)]
    return question.order[away.index(min(away))]


Alike = Callable[["Question", "Question"], bool]

LIKENESS: tuple[Alike, ...] = (
    lambda one, other: one.battery == other.battery and one.options == other.options,
    lambda one, other: one.options == other.options and one.order == other.order,
    lambda one, other: len(one.order) == len(other.order),
    lambda one, other: one.scale_kind == other.scale_kind,
)
"""Ways to be a like question, the nearest first: the first that finds any is used."""


class BatteryMean(Guesser):
    """Answer the person's own mean: of the battery, else of questions on the same scale.

    Where neither is known, of questions with as many places, else of all questions of the same
    kind of scale. Positions between least and most are averaged and mapped to the nearest
    option. A nominal question takes the person's commonest answer to like ones with the same
    options; where there is none, an option drawn as by `uniform`.

    Args:
        seed: Seed of those draws.
    """

    kind = "battery-mean"
    why = "The mean of the person's own answers to like questions."

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def bind_to(self, study: Study) -> Self:
        """Take the study's seed."""
        self.seed = study.config.seed
        return self

    def code(self, case: Case) -> int:
        """Return the option nearest to the person's mean, or the fallback."""
        question, codebook, known = case.question, case.profile.codebook, known_answers(case)
        for alike in LIKENESS if question.order else LIKENESS[:2]:
            own = {id: code for id, code in known.items() if alike(codebook[id], question)}
            if question.order:
                own_positions = positions(codebook.questions, own)
                if own_positions:
                    return nearest_code(question, fmean(own_positions.values()))
            elif own:
                counts = Counter(own.values())
                return min(counts, key=lambda code: (-counts[code], code))
        return drawn_code(case, self.seed)


def positions(questions: Mapping[str, Question], answers: Mapping[str, int]) -> dict[str, float]:
    """Return where answers stand between least (0.0) and most (1.0); off-scale ones are left out.

    Args:
        questions: Question by id.
        answers: Question id to a code of the question.
    """
    found = {id: questions[id].position(code) for id, code in answers.items()}
    return {id: place for id, place in found.items() if place is not None}
