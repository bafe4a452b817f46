"""What a language model makes of who a person is, without anything they think."""

from __future__ import annotations

import dspy

from evals.baselines.baseline import BaselineModule, result
from valuesim_dspy.case import Case, facts_text
from valuesim_dspy.modules import DEMO_FACTS, Answerer
from valuesim_dspy.signatures import AnswerDirectly
from valuesim_dspy.survey.facts import COUNTRY, Fact

DEMOGRAPHIC = "demographic"


class Demographics(BaselineModule):
    """Answer from country and demographic answers alone, in one call.

    What a persona of sex, age, education and the like is worth; of the history, too, only
    demographic answers are read.

    Args:
        demo_facts: See `Answerer`.
    """

    kind = "demographics"

    def __init__(self, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        self.direct = Answerer(AnswerDirectly, demo_facts=demo_facts)

    def inputs(self, case: Case) -> dict[str, str]:
        """What the predictor reads of a case: as `Case.inputs`, demographic facts only."""
        profile = case.profile
        facts = (f for f in profile.facts if f.question == COUNTRY or _is_demographic(f, case))
        later = tuple(item for item in case.history if item.question.kind == DEMOGRAPHIC)
        asked = Case(profile, case.question, later)
        return asked.inputs() | {"facts": facts_text(facts)}

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        return result(self.direct(case=case, inputs=self.inputs(case)))


def _is_demographic(fact: Fact, case: Case) -> bool:
    codebook = case.profile.codebook
    return fact.question in codebook and codebook[fact.question].kind == DEMOGRAPHIC
