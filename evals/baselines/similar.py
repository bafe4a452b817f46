"""The controls of similar people: RAG that reads them too, and their answer without any model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from evals.baselines.nearest import NearestRespondents
from evals.baselines.retrieved import RAG
from valuesim_dspy.errors import MissingDataError
from valuesim_dspy.modules import DEMO_FACTS, Answerer
from valuesim_dspy.peers import PEERS
from valuesim_dspy.signatures import AnswerDirectly, with_peers

if TYPE_CHECKING:
    from evals.study import Study
    from valuesim_dspy.case import Case
    from valuesim_dspy.peers import PeerIndex
    from valuesim_dspy.retrieval import Retriever


class RAGWithPeers(RAG):
    """RAG that also reads what similar people answered, in the program's own words.

    What the program's variant `peers` has more than this, it has from the person's other facts
    and from its perspectives. Warm. Compilable: its predictor is `direct.answer`.

    Args:
        k: How many facts are retrieved; see `RAG`.
        demo_facts: See `Answerer`.
    """

    kind = "rag-peers"
    knows = "warm"

    def __init__(self, k: int | None = None, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__(k, demo_facts=demo_facts)
        self.direct = Answerer(with_peers(AnswerDirectly), demo_facts=demo_facts)
        self._peers: PeerIndex | None = None

    def bind_to(self, study: Study) -> Self:
        """Bind the study's retriever and its index of similar people."""
        return self.bind(study.retriever, k=study.config.embedder.k, peers=study.peers)

    def bind(
        self, retriever: Retriever, *, k: int | None = None, peers: PeerIndex | None = None
    ) -> Self:
        """Bind what copies of the module share and no saved state holds.

        Args:
            retriever: Finds the nearest facts.
            k: Another number of facts; None leaves it.
            peers: Finds similar training respondents; None leaves those that are bound.

        Returns:
            The module itself.
        """
        self._peers = self._peers if peers is None else peers
        return super().bind(retriever, k=k)

    @property
    def bindings(self) -> dict[str, dict[str, str | int]]:
        """What the module is bound to, for manifests: `retriever` and `peers`; {} for nothing."""
        retriever = {} if self._retriever is None else {"retriever": self.binding}
        return retriever | ({} if self._peers is None else {"peers": self._peers.describe()})

    def inputs(self, case: Case) -> dict[str, str]:
        """What the predictor reads of a case: as `RAG.inputs`, and what similar people answered.

        Raises:
            MissingDataError: The module is not bound to a retriever or to peers.
        """
        return super().inputs(case) | {"peers": self._bound_peers().text(case)}

    def _bound_peers(self) -> PeerIndex:
        if self._peers is None:
            raise MissingDataError(
                "RAG with peers is not bound to similar respondents",
                "call rag.bind(retriever, peers=PeerIndex.of(...)) before it answers",
            )
        return self._peers


class PeersMode(NearestRespondents):
    """Answer what weighs most among the very people that the program is told of.

    The evidence of similar people alone, without a language model. Warm.

    Args:
        index: Finds them.
    """

    kind = "peers-mode"
    knows = "warm"
    why = "What weighs most among the answers of the most similar people."

    def __init__(self, index: PeerIndex) -> None:
        super().__init__(index, PEERS)
