"""RAG: what it retrieves and asks, and that its binding stays out of saved state."""

import copy
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from people import case, person, prompt_of, reply, scripted

from evals.baselines import RAG, RAG10, RAG30
from valuesim_dspy.case import NOTHING_KNOWN, Case, HistoryItem
from valuesim_dspy.errors import MissingDataError
from valuesim_dspy.own import own_profile
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrieval import LexicalEmbedder, Retriever
from valuesim_dspy.survey.codebook import Question, load_codebook

SHAPE = {"answer", "analysis", "backstory", "views", "decision", "status"}


class FirstWords:
    """An embedder for tests: a text is near to those with the same topic word."""

    name, semantic = "first-words", True

    def __call__(self, texts: Any) -> Any:
        """Return one row for each text."""
        words = ("police", "family", "religion", "Japan")
        rows = [[float(word in text) for word in words] + [0.01] for text in texts]
        return np.asarray(rows, dtype=np.float32)


@pytest.fixture
def retriever() -> Retriever:
    """A retriever by shared words."""
    return Retriever(LexicalEmbedder(load_codebook()))


def test_rag_asks_once_with_the_nearest_facts_only(retriever: Retriever) -> None:
    """One call, k facts, no backstory; question and options are the program's."""
    rag = RAG(k=3).bind(retriever)
    with scripted([reply(2)]) as engine:
        found = rag(case=case("Q69"))
    prompt = prompt_of(engine.requests[0])
    facts = rag.inputs(case("Q69"))["facts"].splitlines()
    assert len(engine.requests) == 1 and found.answer == 2 and set(found.keys()) == SHAPE
    assert len(facts) == 3 and all(line in prompt for line in facts)
    left_out = [f.text for f in person().facts if f"- {f.text}" not in facts]
    assert left_out and not any(text in prompt for text in left_out)
    assert case("Q69").question_text in prompt and case("Q69").options_text in prompt


def test_rag_ranks_by_similarity_to_question_and_options() -> None:
    """The nearest fact comes first, and the country is a fact like any other."""
    rag = RAG(k=1).bind(Retriever(FirstWords()))
    abroad = Case(
        person({"Q1": 1, "Q65": 3}), Question(text="Is Japan home?", options=["Yes", "No"])
    )
    assert rag.inputs(abroad)["facts"] == "- You live in Japan."
    family = Case(person(), Question(text="Where to?", options=["to my family", "away"]))
    assert "amily" in rag.inputs(family)["facts"], "options count as part of the query"


def test_rag_reads_the_history_as_the_program_does(retriever: Retriever) -> None:
    """Later answers reach RAG directly, with the same text."""
    past = (HistoryItem(load_codebook()["Q70"], 1, "2024-01-01"),)
    asked = Case(person(), load_codebook()["Q69"], past)
    with scripted([reply(1)]) as engine:
        RAG().bind(retriever)(case=asked)
    assert asked.history_text in prompt_of(engine.requests[0])
    inputs = RAG().bind(retriever).inputs(asked)
    assert inputs | {"facts": ""} == asked.inputs() | {"facts": ""}


def test_rag_shares_signature_and_retries_with_the_single_answer(retriever: Retriever) -> None:
    """An invalid code is asked for again, by the same rule and the same signature."""
    with scripted([reply(77), reply(3)]) as engine:
        assert RAG().bind(retriever)(case=case()).answer == 3
    assert len(engine.requests) == 2
    single = ValueSim("single").direct.answer.signature
    assert RAG().direct.answer.signature.equals(single)


def test_a_person_without_facts_is_nothing_known(retriever: Retriever) -> None:
    """RAG over no facts says so in place of an empty field."""
    asked = Case(own_profile({}), load_codebook()["Q69"])
    assert RAG().bind(retriever).inputs(asked)["facts"] == NOTHING_KNOWN


def test_unbound_rag_says_what_to_do() -> None:
    """Calling it, or asking what it is bound to, names the call that is missing."""
    with scripted([]), pytest.raises(MissingDataError, match=r"rag\.bind\(retriever\)"):
        RAG()(case=case())
    with pytest.raises(MissingDataError):
        _ = RAG().binding


def test_a_binding_survives_copies_and_never_reaches_state(retriever: Retriever) -> None:
    """Teleprompters copy programs; the copies share the index, and state holds none of it."""
    rag = RAG(k=2)
    assert rag.bind(retriever) is rag and rag.binding == {"embedder": "lexical", "k": 2}
    for twin in (copy.deepcopy(rag), rag.deepcopy(), rag.reset_copy()):
        assert twin is not rag and twin._retriever is retriever and twin.binding == rag.binding
        assert twin.direct.answer is not rag.direct.answer
    assert list(rag.dump_state()) == ["direct.answer"]
    assert "lexical" not in json.dumps(rag.dump_state())
    assert rag.bind(retriever, k=5).binding["k"] == 5


def test_a_bigger_rag_keeps_its_number_of_facts(retriever: Retriever) -> None:
    """`rag-10` and `rag-30` read ten and thirty facts, whatever the config names for `rag`."""
    many = person({f"Q{number}": 1 for number in range(1, 46)})
    asked = Case(many, load_codebook()["Q69"])
    study: Any = SimpleNamespace(
        retriever=retriever, config=SimpleNamespace(embedder=SimpleNamespace(k=5))
    )
    for kind, k in ((RAG, 5), (RAG10, 10), (RAG30, 30)):
        rag = kind().bind_to(study)
        facts = rag.inputs(asked)["facts"].splitlines()
        assert len(facts) == k == rag.binding["k"]
    assert RAG10().direct.answer.signature.equals(RAG().direct.answer.signature)


def test_the_most_that_may_be_read_is_the_longest_facts(retriever: Retriever) -> None:
    """What must fit a context does not depend on which facts are near."""
    rag, asked = RAG(k=2).bind(retriever), case("Q69")
    lengths = sorted(len(fact.text) for fact in person().facts)
    lines = rag.most_inputs(asked)["facts"].splitlines()
    assert sorted(len(line) - 2 for line in lines) == lengths[-2:]
    assert rag.most_inputs(asked) | {"facts": ""} == rag.inputs(asked) | {"facts": ""}
