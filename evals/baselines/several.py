"""All facts and a whole battery in one call: what it saves, and what it costs in accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import dspy

from evals.baselines.baseline import BaselineModule, result
from valuesim_dspy.case import Case
from valuesim_dspy.modules import DEMO_FACTS
from valuesim_dspy.several import SeveralAnswerer, asked_together, questions_text


class SingleBattery(BaselineModule):
    """Answer from all facts, the questions of a battery that are not known yet in one call.

    The variant `single` asks them one by one; here a person's cases of one battery share one
    request, which is paid once.

    Args:
        demo_facts: See `Answerer`.
    """

    kind = "single-battery"

    def __init__(self, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        self.direct = SeveralAnswerer(demo_facts=demo_facts)

    def inputs(self, case: Case) -> dict[str, str]:
        """What the predictor reads of a case, the questions asked with it included."""
        shown = questions_text(asked_together(case), case.profile.country)
        return case.inputs() | {"questions": shown}

    def requests(self, cases: Sequence[Case]) -> int:
        """Return how many different requests these cases make."""
        return len({(case.profile, self.inputs(case)["questions"]) for case in cases})

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        return result(self.direct(case=case, inputs=case.inputs()))
