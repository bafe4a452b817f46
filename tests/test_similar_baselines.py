"""The controls of similar people: what they read, what they answer, and that bindings stay out."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from people import case, example, prompt_of, reply, scripted

from evals.baselines import BASELINES, RAG, SAVED, PeersMode, RAGWithPeers, build_baseline
from valuesim_dspy.errors import MissingDataError, PredictionError
from valuesim_dspy.loading import load_program, save_program
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.peers import PEERS, PeerIndex
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrieval import LexicalEmbedder, Retriever
from valuesim_dspy.signatures import AnswerDirectly, with_peers
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.respondents import Respondents


@pytest.fixture
def retriever() -> Retriever:
    """A retriever by shared words."""
    return Retriever(LexicalEmbedder(load_codebook()))


@pytest.fixture
def peers() -> PeerIndex:
    """Two in Japan who are like the tests' person and answer 3 on Q69, two in Brazil who do not."""
    people = Respondents.from_columns(
        questions={
            "Q69": np.array([3, 3, 1, 1]),
            "Q70": np.array([2, -1, 2, 1]),
            "Q1": np.array([1, 1, 4, 4]),
            "Q6": np.array([4, 4, 1, 1]),
        },
        attributes={"B_COUNTRY_ALPHA": np.array(["JPN", "JPN", "BRA", "BRA"])},
    )
    return PeerIndex.of(people, range(4), salt=people.digest)


def test_rag_with_peers_reads_the_nearest_facts_and_the_peers(
    retriever: Retriever, peers: PeerIndex
) -> None:
    """One call; beyond what RAG reads, only what similar people answered."""
    rag, plain = RAGWithPeers().bind(retriever, peers=peers), RAG().bind(retriever)
    inputs = rag.inputs(case())
    assert inputs == plain.inputs(case()) | {"peers": peers.text(case())}
    with scripted([reply(2)]) as engine:
        assert rag(case=case()).answer == 2
    prompt = prompt_of(engine.requests[0])
    assert len(engine.requests) == 1 and inputs["peers"] in prompt
    assert '"Not very much": 2 of 4, a share of 100%' in prompt and inputs["facts"] in prompt


def test_rag_with_peers_reads_them_as_the_program_does(
    retriever: Retriever, peers: PeerIndex
) -> None:
    """The same signature as the variant of one direct answer, and the same words."""
    rag = RAGWithPeers().bind(retriever, peers=peers)
    program = ValueSim("single-peers").bind(peers=peers)
    assert rag.direct.answer.signature.equals(program.direct.answer.signature)
    assert rag.direct.answer.signature.equals(with_peers(AnswerDirectly))
    assert rag.inputs(case())["peers"] == program.inputs(case())["peers"]
    names = list(rag.direct.answer.signature.input_fields)
    assert names == ["facts", "history", "peers", "question", "options"]


def test_what_is_not_bound_says_what_to_do(retriever: Retriever, peers: PeerIndex) -> None:
    """Each of the two bindings is missed by name."""
    with scripted([]), pytest.raises(MissingDataError, match=r"peers=PeerIndex\.of"):
        RAGWithPeers().bind(retriever)(case=case())
    only_peers = RAGWithPeers()
    only_peers._peers = peers
    with pytest.raises(MissingDataError, match="retriever"):
        only_peers.inputs(case())
    assert RAGWithPeers().bindings == {}


def test_bindings_are_shared_by_copies_and_told_of_in_manifests(
    retriever: Retriever, peers: PeerIndex
) -> None:
    """Copies share the index, a second bind keeps it, and state holds none of it."""
    rag = RAGWithPeers(k=2).bind(retriever, peers=peers)
    assert rag.bind(retriever, k=5) is rag and rag.k == 5
    for twin in (copy.deepcopy(rag), rag.deepcopy(), rag.reset_copy()):
        assert twin._peers is peers and twin.bindings == rag.bindings
    assert rag.bindings == {
        "retriever": {"embedder": "lexical", "k": 5},
        "peers": {"digest": peers.digest, "people": 4, "seed": 0},
    }
    assert peers.digest not in json.dumps(rag.dump_state())


def test_a_saved_rag_with_peers_loads_unbound(
    tmp_path: Path, retriever: Retriever, peers: PeerIndex
) -> None:
    """Demos come back, the manifest says whose answers stood behind it, and none are in it."""
    rag = RAGWithPeers().bind(retriever, peers=peers)
    rag.direct.answer.demos = [{"facts": "- You rest.", "peers": "(nobody)", "answer": 1}]
    manifest = Manifest(kind=rag.kind, variant=rag.variant, codebook={"id": "wvs7", "version": 1})
    folder = save_program(rag, tmp_path / "saved", manifest)
    loaded = load_program(folder, build=build_baseline)
    assert type(loaded) is RAGWithPeers and loaded.manifest.bindings == rag.bindings
    assert loaded.direct.answer.demos == rag.direct.answer.demos
    with pytest.raises(MissingDataError):
        loaded.inputs(case())
    assert loaded.bind(retriever, peers=peers).inputs(case()) == rag.inputs(case())


def test_the_mode_of_peers_is_what_the_text_says_most(peers: PeerIndex) -> None:
    """No model is asked; those who are alike weigh, the others do not."""
    mode = PeersMode(peers)
    found = mode(case=case())
    assert found.answer == 3 == peers.nearest(case(), PEERS).mode
    assert found.decision == "direct" and not mode.named_predictors()
    assert (mode.count, mode.index) == (PEERS, peers)


def test_the_mode_of_nobody_is_a_failed_prediction(peers: PeerIndex) -> None:
    """A question that nobody answered fails its case and no other."""
    with pytest.raises(PredictionError, match="Q57"):
        PeersMode(peers)(case=case("Q57"))
    outcomes = answer_cases(PeersMode(peers), [example("Q57", 1), example("Q69", 3)])
    assert [outcome.status for outcome in outcomes] == ["failed", "answered"]
    assert outcomes[1].answer == 3


def test_both_are_warm_and_say_so(peers: PeerIndex) -> None:
    """They stand in the tables of arms that saw others' answers, saved or not."""
    for kind in (RAGWithPeers, PeersMode):
        assert BASELINES[kind.kind].knows == kind.knows == "warm"
    assert BASELINES["rag-peers"].uses_lm and not BASELINES["peers-mode"].uses_lm
    assert SAVED["rag-peers"] is RAGWithPeers and "peers-mode" not in SAVED
