"""RAG that first asks the language model what to look for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dspy
from dspy.utils.exceptions import AdapterParseError

from evals.baselines.baseline import result
from evals.baselines.retrieved import RAG, query_of
from valuesim_dspy.case import Case, facts_text, plain_text
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.modules import DEMO_FACTS

if TYPE_CHECKING:
    from valuesim_dspy.survey.facts import Fact

QUERIES = 4


class RewriteQuestion(dspy.Signature):
    """Say what to look for among a person's survey answers to foresee a further answer.

    Write three short search queries, one a line. Each describes, in the words of a survey,
    something the person may have answered that would bear on the question: a near question, a
    belief or feeling behind it, a circumstance or habit of theirs. Do not answer the question.
    """

    question: str = dspy.InputField(desc="the question that will be put to the person")
    options: str = dspy.InputField(desc="the options they may choose from, each behind its code")
    queries: str = dspy.OutputField(desc="three search queries, one a line, nothing else")


class Rewriter(dspy.Module):
    """Turn a question into search queries; nothing of the person is read."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = dspy.Predict(RewriteQuestion)

    def forward(self, case: Case) -> tuple[str, ...]:
        """Return the queries, at most `QUERIES` of them.

        Raises:
            PredictionError: The reply holds none.
        """
        adapter = dspy.settings.adapter or dspy.ChatAdapter(use_json_adapter_fallback=False)
        try:
            with dspy.context(adapter=adapter):
                reply = self.queries(question=case.question_text, options=case.options_text)
        except AdapterParseError as error:
            raise PredictionError("the reply to the request for queries holds none") from error
        lines = (plain_text(line).strip('-*" ') for line in str(reply.queries).splitlines())
        queries = tuple(line for line in lines if line)[:QUERIES]
        if not queries:
            raise PredictionError("the reply to the request for queries is empty")
        return queries


class QueryRAG(RAG):
    """Answer from the facts nearest to the question and to queries that the LM makes of it.

    Two calls a case, the first of which is shared by all people who are asked the question. The
    nearest to the question comes first, then the nearest to each query in turn.
    """

    kind = "rag-query"

    def __init__(self, k: int | None = None, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__(k, demo_facts=demo_facts)
        self.rewriter = Rewriter()

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        facts = self.nearest(case, self.rewriter(case=case))
        inputs = self.inputs(case) | {"facts": facts_text(facts)}
        return result(self.direct(case=case, inputs=inputs))

    def nearest(self, case: Case, queries: tuple[str, ...]) -> list[Fact]:
        """Return k facts, taken in turn from those nearest to the question and to each query.

        Raises:
            MissingDataError: The module is not bound to a retriever.
        """
        retriever, known = self._bound(), case.profile.facts
        ranked = [retriever.nearest(known, query, self.k) for query in (query_of(case), *queries)]
        in_turn = (fact for rank in zip(*ranked, strict=True) for fact in rank)
        return list(dict.fromkeys(in_turn))[: self.k]
