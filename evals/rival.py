"""RAG outside of a study: what an interview compares its program with."""

from __future__ import annotations

from evals.baselines import RAG
from evals.embedders import make_embedder
from valuesim_dspy.retrieval import Retriever
from valuesim_dspy.roles import EmbedderConfig, LMRole
from valuesim_dspy.survey.codebook import Codebook


def build_rag(codebook: Codebook, role: LMRole) -> RAG:
    """Return RAG as is, with the embedder that `auto` means; nothing it embeds is kept.

    Args:
        codebook: The questions that are asked.
        role: The language model that answers: lexical retrieval goes with the embedded one.
    """
    embedder = make_embedder(EmbedderConfig(), offline=role.offline, codebook=codebook, cache=None)
    return RAG().bind(Retriever(embedder))
