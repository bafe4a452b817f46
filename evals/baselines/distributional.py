"""All facts in one prompt, answered as a distribution: from samples, words or tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import dspy

from evals.baselines.baseline import BaselineModule, result
from valuesim_dspy.case import Case
from valuesim_dspy.distributions import (
    SAMPLES,
    SampledDistribution,
    TokenDistribution,
    VerbalisedDistribution,
)
from valuesim_dspy.modules import DEMO_FACTS
from valuesim_dspy.token_chances import no_logprobs

if TYPE_CHECKING:
    from evals.study import Study


class Distributional(BaselineModule):
    """Base of the arms whose predictions carry `probabilities`, code to probability.

    They read what the variant `single` reads. Each asks with the options in order and reversed,
    and takes the mean.
    """

    gives_probabilities: ClassVar[bool] = True
    direct: Any

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        reply = self.direct(case=case, inputs=case.inputs())
        return dspy.Prediction(**result(reply), probabilities=reply.probabilities)


class SingleSamples(Distributional):
    """Answer with the smoothed shares of five samples in each order of the options.

    Args:
        demo_facts: See `Answerer`.
    """

    kind = "single-samples"
    calls_per_case: ClassVar[dict[str, int]] = {"direct.answer": 2 * SAMPLES}

    def __init__(self, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        self.direct = SampledDistribution(demo_facts=demo_facts)


class SingleVerbalised(Distributional):
    """Answer with the chances that the model says each option has.

    Args:
        demo_facts: See `Answerer`.
    """

    kind = "single-verbalised"
    calls_per_case: ClassVar[dict[str, int]] = {"direct.probabilities": 2}

    def __init__(self, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        self.direct = VerbalisedDistribution(demo_facts=demo_facts)


class SingleLogprobs(Distributional):
    """Answer with the probabilities of the tokens that spell the options' codes.

    Args:
        demo_facts: See `Answerer`.
    """

    kind = "single-logprobs"
    calls_per_case: ClassVar[dict[str, int]] = {"direct.answer": 2}

    def __init__(self, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        self.direct = TokenDistribution(demo_facts=demo_facts)

    def bind_to(self, study: Study) -> Self:
        """Refuse a model that is known to give no log-probabilities; bind nothing.

        Raises:
            ConfigError: The embedded model would answer.
        """
        if study.offline:
            raise no_logprobs()
        return self
