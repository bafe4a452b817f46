"""RAG outside of a study."""

from __future__ import annotations

from typing import Any

from people import case

from evals.rival import build_rag
from valuesim_dspy.retrieval import LexicalEmbedder
from valuesim_dspy.roles import LMRole
from valuesim_dspy.survey.codebook import load_codebook


def test_it_answers_any_case_at_once(offline: Any) -> None:
    """Bound already, to the lexical embedder where the embedded model answers."""
    rag = build_rag(load_codebook(), LMRole())
    assert rag.binding == {"embedder": LexicalEmbedder.name, "k": 3}
    assert rag.predict(case("Q69")).answer in load_codebook()["Q69"].codes
