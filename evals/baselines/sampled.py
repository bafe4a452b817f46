"""Self-consistency: one direct answer, drawn several times and voted on."""

from __future__ import annotations

from typing import ClassVar

import dspy

from evals.baselines.baseline import BaselineModule, result
from valuesim_dspy.case import Case
from valuesim_dspy.distributions import RepeatedAnswerer
from valuesim_dspy.modules import DEMO_FACTS, Inputs
from valuesim_dspy.signatures import AnswerDirectly
from valuesim_dspy.voting import vote

SAMPLES = 3


class Sampler(RepeatedAnswerer):
    """Draw answers to one case, each at temperature 1 with a rollout of its own, and vote."""

    def forward(self, case: Case, inputs: Inputs) -> dspy.Prediction:
        """Return the first of the samples that give the voted answer.

        A sample that names no option is drawn again, at most `retries` times. The one that is
        returned is the one that is traced, so that a demo shows one call and no other.

        Args:
            case: The case; its question validates the answers.
            inputs: Field name to text; fields that the signature lacks are left out.

        Raises:
            InvalidAnswerError: No attempt at one of the samples gave an option.
        """
        wanted = {name: inputs[name] for name in self.answer.signature.input_fields}
        drawn = self.draw(case, wanted)
        codes = {str(number): int(sample.answer) for number, sample in enumerate(drawn)}
        chosen = vote(case.question, codes)
        winner = next(sample for sample in drawn if sample.answer == chosen)
        self._record(wanted, winner)
        return winner


class SelfConsistency(BaselineModule):
    """Answer three times from all facts, independently, and vote.

    The control for three perspectives: as many calls, the same facts, one way of reading. A tie
    goes where the program's vote puts it.

    Args:
        demo_facts: See `Answerer`.
    """

    kind = "self-consistency"
    calls_per_case: ClassVar[dict[str, int]] = {"direct.answer": SAMPLES}

    def __init__(self, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        self.direct = Sampler(AnswerDirectly, samples=SAMPLES, demo_facts=demo_facts)

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        return result(self.direct(case=case, inputs=case.inputs()))
