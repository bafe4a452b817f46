"""What a baseline is: a module called as the program is, and its line in the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import dspy

from valuesim_dspy.case import Case
from valuesim_dspy.errors import PredictionError

if TYPE_CHECKING:
    from evals.study import Study


class BaselineModule(dspy.Module):
    """Base of the baselines: called with a `Case`, gives what `ValueSim` gives.

    Attributes:
        kind: The name that manifests, tables and `BASELINES` use.
        calls_per_case: Predictor to its calls for one case, where that is not one.
    """

    kind: ClassVar[str]
    calls_per_case: ClassVar[Mapping[str, int]] = {}

    @property
    def variant(self) -> str:
        """A baseline is its own only variant."""
        return self.kind

    def predict(self, case: Case) -> dspy.Prediction:
        """Answer a case; the same as calling the baseline.

        Raises:
            PredictionError: There is no answer to give.
        """
        return self(case=case)

    def bind_to(self, study: Study) -> Self:
        """Bind what the baseline needs of a study and no saved state holds; return itself.

        Called for a baseline that is built and for one that is loaded.
        """
        return self


class Guesser(BaselineModule):
    """Base of the baselines that ask no language model.

    Attributes:
        why: Where the answer comes from, in a sentence: the analysis of every prediction.
    """

    why: ClassVar[str]

    def code(self, case: Case) -> int:
        """Return the code that is answered.

        Raises:
            PredictionError: There is no answer to give.
        """
        raise NotImplementedError

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class.

        Raises:
            PredictionError: There is no answer to give.
        """
        return result(dspy.Prediction(answer=self.code(case), analysis=self.why))


@dataclass(frozen=True)
class Baseline:
    """One baseline, as benchmarks know it.

    Args:
        name: The key in `BASELINES`.
        what: One line for tables and help.
        knows: `cold`: has seen nobody's answer to a target question; `warm`: other people's.
        uses_lm: Whether it asks the task LM.
        build: Makes it for a study.
    """

    name: str
    what: str
    knows: Literal["cold", "warm"]
    uses_lm: bool
    build: Callable[[Study], dspy.Module]


def result(reply: dspy.Prediction) -> dspy.Prediction:
    """Return a reply in the shape of the program's predictions."""
    return dspy.Prediction(
        answer=int(reply.answer),
        analysis=str(reply.analysis),
        backstory="",
        views={},
        decision="direct",
        status="answered",
    )


def nobody_answered(case: Case) -> PredictionError:
    """Return the error of a question that nobody of the trainset answered."""
    return PredictionError(
        f"{case.question.id}: no respondent of the trainset answered this question"
    )
