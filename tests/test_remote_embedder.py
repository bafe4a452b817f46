"""The embedder of an endpoint: what is paid for and counted, and what is said when it fails."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding import REMOTE, Fetch
from loopback import LoopbackServer

from evals.embedders import make_embedder
from evals.remote_embedder import BATCH, RemoteEmbedder
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    MissingDataError,
    PredictionError,
)
from valuesim_dspy.retrieval import Retriever
from valuesim_dspy.roles import EmbedderConfig
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.facts import make_facts
from valuesim_dspy.usage import Budget, Meter

SECRET = "test-only-value-0123456789"


def test_each_text_is_paid_for_once() -> None:
    """Repeats, later calls and other embedders on the same cache cost nothing."""
    cache, fetch = ResponseCache(), Fetch()
    first = RemoteEmbedder(REMOTE, cache, fetch=fetch)
    made = first(["a b", "c", "a b"])
    assert made.shape == (3, 3) and made.dtype == np.float32 and (made[0] == made[2]).all()
    assert fetch.batches == [["a b", "c"]]
    again = RemoteEmbedder(REMOTE, cache, fetch=fetch)(["c", "new", "a b"])
    assert fetch.batches[1:] == [["new"]] and (again[2] == made[0]).all()


def test_vectors_outlive_the_process(tmp_path: Path) -> None:
    """They are kept in the response cache's file, exactly."""
    fetch, path = Fetch(), tmp_path / "responses.db"
    cache = ResponseCache(path)
    made = RemoteEmbedder(REMOTE, cache, fetch=fetch)(["one third"])
    cache.close()
    again = RemoteEmbedder(REMOTE, ResponseCache(path), fetch=fetch)(["one third"])
    assert len(fetch.batches) == 1 and (made == again).all()


def test_vectors_belong_to_a_model_at_an_endpoint() -> None:
    """Another model, or the same at another address, is paid for anew."""
    cache, fetch = ResponseCache(), Fetch()
    other_model = EmbedderConfig(model="openai/embed-2", api_base=REMOTE.api_base)
    other_place = EmbedderConfig(model=REMOTE.model, api_base="http://127.0.0.1:10/v1")
    for config in (REMOTE, other_model, other_place, REMOTE):
        RemoteEmbedder(config, cache, fetch=fetch)(["same"])
    assert len(fetch.batches) == 3


def test_many_texts_go_in_batches() -> None:
    """No request is longer than BATCH texts, and rows keep their order."""
    fetch = Fetch()
    texts = ["x" * n for n in range(1, 2 * BATCH + 10)]
    made = RemoteEmbedder(REMOTE, None, fetch=fetch)(texts)
    assert [len(batch) for batch in fetch.batches] == [BATCH, BATCH, 9]
    assert made[:, 0].tolist() == [float(len(text)) for text in texts]


def test_threads_do_not_pay_twice() -> None:
    """Those that miss at the same time wait for the one that asks."""
    fetch, barrier = Fetch(), threading.Barrier(4)
    embedder = RemoteEmbedder(REMOTE, None, fetch=fetch)

    def ask(_: int) -> Any:
        barrier.wait(timeout=30)
        return embedder(["a", "b c"]).tolist()

    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(ask, range(4)))
    assert len(fetch.batches) == 1 and all(row == rows[0] for row in rows)


def test_what_embedding_takes_is_counted() -> None:
    """Each text is needed once; what the cache answers is needed and not paid."""
    cache, meter = ResponseCache(), Meter()
    embedder = RemoteEmbedder(REMOTE, cache, fetch=Fetch(), meter=meter)
    embedder(["abcdefgh", "abcd"])
    embedder(["abcd", "abcdefgh"])
    for used in (meter.needed, meter.paid):
        assert (used.calls, used.prompt_tokens, used.estimated_calls) == (1, 3, 1)
        assert used.usd is None and used.unpriced_calls == 1
    later = Meter()
    again = RemoteEmbedder(REMOTE, cache, fetch=Fetch(), meter=later)
    for _ in range(2):
        again(["abcd", "new", "abcdefgh"])
    assert (later.needed.calls, later.needed.tokens) == (2, 4)
    assert (later.paid.calls, later.paid.tokens) == (1, 1)


def test_a_request_that_fails_is_counted_as_failed() -> None:
    """It is neither needed nor paid, and holds nothing of the budget."""
    meter = Meter(budget=Budget(calls=1))
    replies: list[Any] = [PredictionError("away"), [[1.0]]]

    def fetch(batch: list[str]) -> list[list[float]]:
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return list(reply)

    embedder = RemoteEmbedder(REMOTE, None, fetch=fetch, meter=meter)
    with pytest.raises(PredictionError, match="away"):
        embedder(["a"])
    assert (meter.failed, meter.needed.calls, meter.paid.calls) == (1, 0, 0)
    assert embedder(["a"]).tolist() == [[1.0]] and meter.paid.calls == 1


def test_embedding_counts_against_the_budget() -> None:
    """Of calls and of tokens, on the study's meter; nothing is asked beyond it."""
    fetch, texts = Fetch(), ["x" * n for n in range(1, 2 * BATCH)]
    with LoopbackServer() as server:
        config = EmbedderConfig(model="openai/embed-1", api_base=server.url)
        study = Meter(budget=Budget(calls=1))
        made = make_embedder(
            config, offline=False, codebook=load_codebook(), cache=None, meter=study
        )
        with pytest.raises(BudgetExceededError, match="budget of 1 calls"):
            made(texts)
        assert len(server.requests) == 1 and study.paid.calls == 1
    few = RemoteEmbedder(REMOTE, None, fetch=fetch, meter=Meter(budget=Budget(tokens=2)))
    few(["12345678"])
    with pytest.raises(BudgetExceededError, match="tokens"):
        few(["more"])
    assert fetch.batches == [["12345678"]]


@pytest.mark.parametrize("vectors", [[[1.0]], [[1.0], []], [[1.0], [float("nan")]]])
def test_unusable_vectors_fail_and_are_not_kept(vectors: list[list[float]]) -> None:
    """Too few, empty or not finite: nothing of it is stored."""
    cache = ResponseCache()
    with pytest.raises(PredictionError, match="is an embedding model"):
        RemoteEmbedder(REMOTE, cache, fetch=lambda batch: vectors)(["a", "b"])
    assert cache.count == 0


def test_vectors_of_two_lengths_are_refused() -> None:
    """The endpoint changed its model under the same name: the message says what to empty."""
    cache = ResponseCache()
    RemoteEmbedder(REMOTE, cache, fetch=Fetch())(["old"])
    changed = RemoteEmbedder(REMOTE, cache, fetch=lambda batch: [[1.0]] * len(batch))
    with pytest.raises(PredictionError, match="empty the response cache"):
        changed(["old", "new"])


def test_retrieval_by_a_remote_embedder() -> None:
    """It serves the retriever like any other: the text nearest in length comes first."""
    facts = make_facts({"Q1": 1, "Q57": 2, "Q65": 3}, load_codebook())
    retriever = Retriever(RemoteEmbedder(REMOTE, None, fetch=Fetch()))
    assert retriever.nearest(facts, facts[1].text, 1) == (facts[1],)


@pytest.mark.slow
def test_an_endpoint_is_asked_with_the_key_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is read when a call is made, sent to the address given, and never kept."""
    with LoopbackServer(key=SECRET) as server:
        config = EmbedderConfig(model="openai/embed-1", api_base=server.url, api_key_env="MY_PASS")
        cache = ResponseCache()
        embedder = make_embedder(config, offline=False, codebook=load_codebook(), cache=cache)
        assert isinstance(embedder, RemoteEmbedder)
        with pytest.raises(MissingDataError, match="MY_PASS"):
            embedder(["hello"])
        assert not server.requests
        monkeypatch.setenv("MY_PASS", SECRET)
        assert embedder(["hello", "you"]).tolist() == [[5.0, 1.0], [3.0, 1.0]]
        assert embedder(["you"]).tolist() == [[3.0, 1.0]]
        assert len(server.requests) == 1 and server.requests[0]["input"] == ["hello", "you"]
        assert SECRET not in str(vars(embedder)) and cache.count == 2
        monkeypatch.setenv("MY_PASS", "wrong-value-9876543210")
        with pytest.raises(MissingDataError, match="refused the key") as caught:
            embedder(["other"])
        assert "wrong-value" not in str(caught.value)


@pytest.mark.slow
def test_no_key_of_another_provider_reaches_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an address and no key named, the provider's own key stays at home."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with LoopbackServer() as server:
        config = EmbedderConfig(model="openai/embed-1", api_base=server.url)
        RemoteEmbedder(config, None)(["hello"])
        assert server.keys and SECRET not in "".join(server.keys)


@pytest.mark.slow
def test_an_unknown_model_ends_the_run_and_a_dead_server_one_case() -> None:
    """A wrong name will never work; a server that is away may be back for the next case."""
    with LoopbackServer(model="other") as server:
        config = EmbedderConfig(model="openai/embed-1", api_base=server.url)
        with pytest.raises(ConfigError, match=r"does not embed with openai/embed-1.*/v1"):
            RemoteEmbedder(config, None)(["hello"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = EmbedderConfig(model="openai/embed-1", api_base=f"http://127.0.0.1:{port}/v1")
    with pytest.raises(PredictionError, match=f"openai/embed-1 at 127.0.0.1:{port}"):
        RemoteEmbedder(gone, None)(["hello"])
