"""What a language model expects of anyone."""

from __future__ import annotations

import dspy

from evals.baselines.baseline import BaselineModule, result
from valuesim_dspy.case import Case, Profile
from valuesim_dspy.modules import DEMO_FACTS, Answerer
from valuesim_dspy.signatures import AnswerDirectly


class Blank(BaselineModule):
    """Answer with nothing known of the person, in one call.

    No facts, no history and no country: the question is worded as to someone of an unknown
    country. What is left is what the language model expects of anyone.

    Args:
        demo_facts: See `Answerer`.
    """

    kind = "blank"

    def __init__(self, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        self.direct = Answerer(AnswerDirectly, demo_facts=demo_facts)

    def inputs(self, case: Case) -> dict[str, str]:
        """What the predictor reads of a case: the question and the options alone."""
        nobody = Profile("nobody", {}, case.profile.codebook)
        return Case(nobody, case.question).inputs()

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        return result(self.direct(case=case, inputs=self.inputs(case)))
