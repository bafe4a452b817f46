"""RAG by rewritten queries: what the rewriter reads, and how facts are taken in turn."""

from typing import Any

import dspy
import numpy as np
import pytest
from people import case, person, prompt_of, reply, scripted

from evals.baselines import QueryRAG
from evals.baselines.rewritten import QUERIES, Rewriter
from valuesim_dspy.case import Case
from valuesim_dspy.errors import MissingDataError, PredictionError
from valuesim_dspy.retrieval import LexicalEmbedder, Retriever
from valuesim_dspy.survey.codebook import load_codebook

WORDS = ("family", "police", "religion", "happy")


class ByTopic:
    """An embedder for tests: a text is near to those with the same topic word."""

    name, semantic = "by-topic", True

    def __call__(self, texts: Any) -> Any:
        """Return one row for each text."""
        rows = [[float(word in text.lower()) for word in WORDS] + [0.01] for text in texts]
        return np.asarray(rows, dtype=np.float32)


def queries(text: str) -> dict[str, str]:
    """The fields of a rewriter's reply."""
    return {"queries": text}


def test_two_calls_the_first_of_which_knows_nothing_of_the_person() -> None:
    """The rewriter reads question and options; the answer is given from the facts found."""
    rag = QueryRAG(k=2).bind(Retriever(LexicalEmbedder(load_codebook())))
    with scripted([queries("importance of family\ntrust in neighbours"), reply(2)]) as engine:
        found = rag(case=case("Q69"))
    first, second = map(prompt_of, engine.requests)
    assert found.answer == 2 and len(engine.requests) == 2
    assert case("Q69").question_text in first and case("Q69").options_text in first
    assert not any(fact.text in first for fact in person().facts) and "Japan" not in first
    assert sum(fact.text in second for fact in person().facts) == 2


def test_two_people_share_the_call_that_rewrites_a_question() -> None:
    """The same question is rewritten once."""
    rag = QueryRAG().bind(Retriever(LexicalEmbedder(load_codebook())))
    with scripted([queries("family"), reply(1), reply(1)]) as engine:
        rag(case=case("Q69"))
        rag(case=Case(person({"Q1": 4, "Q65": 3}), load_codebook()["Q69"]))
    assert len(engine.requests) == 3


def test_facts_are_taken_in_turn_each_once() -> None:
    """First the nearest to the question, then the nearest to each query, until k are found."""
    rag = QueryRAG(k=3).bind(Retriever(ByTopic()))
    asked = Case(person({"Q1": 1, "Q69": 2, "Q46": 1, "Q6": 2}), load_codebook()["Q70"])
    found = [fact.question for fact in rag.nearest(asked, ("my family", "the police", "police"))]
    nearest = rag._bound().nearest(asked.profile.facts, asked.question_text, 1)[0].question
    assert found == list(dict.fromkeys([nearest, "Q1", "Q69"])) and len(set(found)) == 3
    everything = QueryRAG(k=99).bind(Retriever(ByTopic())).nearest(asked, ("family",))
    assert sorted(f.text for f in everything) == sorted(f.text for f in asked.profile.facts)


def test_queries_are_lines_without_their_marks() -> None:
    """Bullets and quotes are dropped, empty lines left out, and no more than a few are used."""
    text = '- family ties\n\n* "trust"\n' + "\n".join(f"more {n}" for n in range(9))
    with scripted([queries(text)]):
        found = Rewriter()(case=case())
    assert found[:3] == ("family ties", "trust", "more 0") and len(found) == QUERIES


@pytest.mark.parametrize("given", ["no marks at all", queries("  \n - ")])
def test_a_reply_without_queries_fails_the_case(given: Any) -> None:
    """It is never replaced by something else."""
    with scripted([given]), pytest.raises(PredictionError, match="queries"):
        Rewriter()(case=case())


def test_unbound_it_says_what_to_do() -> None:
    """As every RAG."""
    with scripted([queries("family")]), pytest.raises(MissingDataError, match="bind"):
        QueryRAG()(case=case())


def test_both_predictors_can_be_compiled() -> None:
    """They have names, leave traces in order, and the rewriter's demo holds nobody's facts."""
    rag, trace = QueryRAG().bind(Retriever(ByTopic())), []  # type: ignore[var-annotated]
    assert {name for name, _ in rag.named_predictors()} == {"direct.answer", "rewriter.queries"}
    with scripted([queries("family"), reply(1)]), dspy.context(trace=trace):
        rag(case=case())
    assert [step[0] for step in trace] == [rag.rewriter.queries, rag.direct.answer]
    assert set(trace[0][1]) == {"question", "options"}
