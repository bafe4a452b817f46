"""Retrieval-augmented generation: the answer from the facts nearest to the question."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import dspy

from evals.baselines.baseline import BaselineModule, result
from valuesim_dspy.case import Case, facts_text
from valuesim_dspy.errors import MissingDataError
from valuesim_dspy.modules import DEMO_FACTS, Answerer
from valuesim_dspy.signatures import AnswerDirectly

if TYPE_CHECKING:
    from evals.study import Study
    from valuesim_dspy.retrieval import Retriever

NEAREST_FACTS = 3


def query_of(case: Case) -> str:
    """Return what facts are compared with: the question and its options."""
    return f"{case.question_text}\n{case.options_text}"


class RAG(BaselineModule):
    """Answer from the facts nearest to the question and options, in one call.

    History, question, options, parsing and retries are the program's, and so is the signature of
    its variant `single`; only the facts are fewer, the nearest first. Compilable: its predictor
    is `direct.answer`.

    Args:
        k: How many facts are retrieved, by default `default_k`; the country is a fact like the
            others.
        demo_facts: See `Answerer`.
    """

    kind = "rag"
    default_k: ClassVar[int] = NEAREST_FACTS

    def __init__(self, k: int | None = None, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        self.k = self.default_k if k is None else k
        self.direct = Answerer(AnswerDirectly, demo_facts=demo_facts)
        self._retriever: Retriever | None = None

    def bind_to(self, study: Study) -> Self:
        """Bind the study's retriever, and take the config's number of facts."""
        return self.bind(study.retriever, k=study.config.embedder.k)

    def bind(self, retriever: Retriever, *, k: int | None = None) -> Self:
        """Bind the retriever, which copies of the module share and no saved state holds.

        Args:
            retriever: Finds the nearest facts.
            k: Another number of facts; None leaves it.

        Returns:
            The module itself.
        """
        self._retriever = retriever
        self.k = self.k if k is None else k
        return self

    @property
    def binding(self) -> dict[str, str | int]:
        """What the module is bound to, for manifests and tables: `embedder` and `k`.

        Raises:
            MissingDataError: It is bound to nothing.
        """
        return {"embedder": self._bound().embedder.name, "k": self.k}

    def inputs(self, case: Case) -> dict[str, str]:
        """What the predictor reads of a case: as `Case.inputs`, with the nearest facts only.

        Raises:
            MissingDataError: The module is not bound to a retriever.
        """
        nearest = self._bound().nearest(case.profile.facts, query_of(case), self.k)
        return case.inputs() | {"facts": facts_text(nearest)}

    def most_inputs(self, case: Case) -> dict[str, str]:
        """The inputs, were the longest facts the nearest: what must fit a context."""
        longest = sorted(case.profile.facts, key=lambda fact: len(fact.text))[-self.k :]
        return self.inputs(case) | {"facts": facts_text(longest)}

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        return result(self.direct(case=case, inputs=self.inputs(case)))

    def _bound(self) -> Retriever:
        if self._retriever is None:
            raise MissingDataError(
                "RAG is not bound to a retriever", "call rag.bind(retriever) before it answers"
            )
        return self._retriever


class RAG10(RAG):
    """RAG over the ten nearest facts, whatever number the config names."""

    kind = "rag-10"
    default_k = 10

    def bind_to(self, study: Study) -> Self:
        """Bind the study's retriever."""
        return self.bind(study.retriever)


class RAG30(RAG10):
    """RAG over the thirty nearest facts, whatever number the config names."""

    kind = "rag-30"
    default_k = 30
