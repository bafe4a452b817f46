"""Embedders: which one a config names, what is paid for, and what is said when it fails."""

import importlib.machinery
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from embedding import REMOTE, Fetch

from evals.embedders import (
    LOCAL_DEFAULT,
    LocalEmbedder,
    RemoteEmbedder,
    make_embedder,
    retrieval_notes,
    weak_baseline_note,
)
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.retrieval import LexicalEmbedder
from valuesim_dspy.roles import EmbedderConfig
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.usage import Budget, Meter


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


def test_a_limit_in_dollars_needs_the_price_of_the_embedder() -> None:
    """One that is known is reckoned with; one that is not is refused before any call."""
    study = Meter(budget=Budget(usd=1.0))
    made: Any = {"offline": False, "codebook": load_codebook(), "cache": None, "meter": study}
    with pytest.raises(ConfigError, match=r"budget\.usd.*price of openai/embed-1"):
        make_embedder(REMOTE, **made)
    known = make_embedder(EmbedderConfig(model="openai/text-embedding-3-small"), **made)
    assert isinstance(known, RemoteEmbedder) and known.price is not None and 0 < known.price < 1


def test_a_table_says_what_embedding_took() -> None:
    """Beside what it says of a weak baseline; nothing where nothing was embedded."""
    cache, fetch = ResponseCache(), Fetch()
    embedder = RemoteEmbedder(REMOTE, cache, fetch=fetch)
    assert retrieval_notes(embedder, offline=False) == [""]
    embedder(["abcdefgh"])
    (_, note) = retrieval_notes(embedder, offline=False)
    assert "openai/embed-1" in note and "1 / 1 calls, ~2 tokens needed, price unknown" in note
    again = RemoteEmbedder(REMOTE, cache, fetch=fetch)
    again(["abcdefgh"])
    assert "1 / 0 calls" in retrieval_notes(again, offline=False)[1]
