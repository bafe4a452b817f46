"""Embedders: which one a config names, what is paid for, and what is said when it fails."""

import importlib.machinery
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from loopback import LoopbackServer

from evals.embedders import (
    BATCH,
    LOCAL_DEFAULT,
    LocalEmbedder,
    RemoteEmbedder,
    make_embedder,
    weak_baseline_note,
)
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import ConfigError, MissingDataError, PredictionError
from valuesim_dspy.retrieval import LexicalEmbedder, Retriever
from valuesim_dspy.roles import EmbedderConfig
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.facts import make_facts

REMOTE = EmbedderConfig(model="openai/embed-1", api_base="http://127.0.0.1:9/v1")
SECRET = "test-only-value-0123456789"


class Fetch:
    """Count what would be paid for: a text's vector is its length and its number of spaces."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, batch: list[str]) -> list[list[float]]:
        """Return the vectors of a batch."""
        self.batches.append(batch)
        return [[float(len(text)), float(text.count(" ")), 0.1] for text in batch]


class FakeModel:
    """Stands in for a sentence-transformers model."""

    def __init__(self, where: str, *, device: str, local_files_only: bool) -> None:
        self.where, self.device, self.local_files_only = where, device, local_files_only
        if "absent" in where:
            raise OSError(f"{where} is not in the cache")

    def encode(self, texts: list[str], **_: Any) -> Any:
        """Return vectors with the noise of a batch."""
        # The noise of a batch: the same text differs in the seventh digit.
        noise = 1e-7 * len(texts)
        return np.array([[len(text) / 3 + noise, 1.0] for text in texts], dtype=np.float64)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a library of sentence models importable."""
    module = SimpleNamespace(
        SentenceTransformer=FakeModel,
        __spec__=importlib.machinery.ModuleSpec("sentence_transformers", None),
    )
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)  # type: ignore[arg-type]
    yield


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sure that no library of sentence models is found."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def make(model: str, *, offline: bool = False, cache: ResponseCache | None = None) -> Any:
    """Make the embedder of a model's name."""
    config = EmbedderConfig(model=model)
    return make_embedder(config, offline=offline, codebook=load_codebook(), cache=cache)


def test_auto_is_lexical_where_the_embedded_model_answers(library: None) -> None:
    """Even with a sentence model at hand: offline results need no further package."""
    assert isinstance(make("auto", offline=True), LexicalEmbedder)
    assert isinstance(make("lexical"), LexicalEmbedder)


def test_auto_takes_a_local_sentence_model_where_a_real_one_answers(library: None) -> None:
    """The default model, from this machine, on the CPU; nothing is downloaded."""
    made = make("auto")
    assert isinstance(made, LocalEmbedder) and made.name == LOCAL_DEFAULT and made.semantic
    assert made._model.local_files_only and made._model.device == "cpu"


def test_auto_falls_back_to_words_and_says_so(
    no_library: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the package: lexical, a warning, and a note for the table."""
    with caplog.at_level(logging.WARNING):
        made = make("auto")
    assert isinstance(made, LexicalEmbedder)
    assert "shared words only" in caplog.text and "valuesim-dspy[semantic]" in caplog.text


def test_the_note_on_a_weak_baseline_depends_on_both() -> None:
    """Only a lexical embedder beside a real model is a straw man."""
    lexical = LexicalEmbedder(load_codebook())
    remote = RemoteEmbedder(REMOTE, None, fetch=Fetch())
    assert weak_baseline_note(lexical, True) == "" == weak_baseline_note(remote, False)
    note = weak_baseline_note(lexical, False)
    assert "RAG baseline is weak" in note and "lexical" in note and "embedder.model" in note


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("sentence-transformers/maker/model-1", "maker/model-1"),
        ("sentence-transformers//some/folder", "/some/folder"),
    ],
)
def test_a_sentence_model_is_found_by_name_or_folder(library: None, model: str, where: str) -> None:
    """The prefix names the library, and the maker where the name gives none."""
    made = make(model)
    assert made._model.where == where and made.name == model


def test_a_sentence_model_is_independent_of_the_batch(library: None) -> None:
    """A text has one vector, float32, whatever it was embedded with."""
    made = make("sentence-transformers/x")
    alone, together = made(["one fact"]), made(["one fact", "two", "three"])
    assert alone.dtype == np.float32 and together.shape == (3, 2)
    assert (alone[0] == together[0]).all()


def test_a_missing_package_or_model_says_how_to_get_it(library: None) -> None:
    """A named model that is not here is an error, never a silent other one."""
    with pytest.raises(ConfigError, match=r"download.*folder") as caught:
        make("sentence-transformers/absent")
    assert caught.value.key == "embedder.model"


def test_a_missing_package_says_how_to_get_it(no_library: None) -> None:
    """The extra is named."""
    with pytest.raises(ConfigError, match=r"pip install 'valuesim-dspy\[semantic\]'"):
        make("sentence-transformers/x", offline=True)


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
