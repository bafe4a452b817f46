"""Embedders for retrieval: words, a local sentence model, or any embedding model of an endpoint."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evals.remote_embedder import BATCH, RemoteEmbedder
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.preflight import describe_error
from valuesim_dspy.retrieval import Embedder, LexicalEmbedder, Vectors
from valuesim_dspy.roles import EmbedderConfig
from valuesim_dspy.usage import Meter

if TYPE_CHECKING:
    from valuesim_dspy.survey.codebook import Codebook

log = logging.getLogger(__name__)

LOCAL = "sentence-transformers"
LOCAL_DEFAULT = f"{LOCAL}/all-MiniLM-L6-v2"
DECIMALS = 5


def make_embedder(
    config: EmbedderConfig,
    *,
    offline: bool,
    codebook: Codebook,
    cache: ResponseCache | None,
    meter: Meter | None = None,
) -> Embedder:
    """Return the embedder that a config names.

    Args:
        config: The embedder's config. "auto" is lexical where the embedded model answers; where
            a real one does, a sentence model if one is installed and on this machine, else
            lexical (see `weak_baseline_note`).
        offline: Whether the embedded offline model answers.
        codebook: The questions whose words the lexical embedder weighs.
        cache: Keeps vectors that were paid for; None keeps them in memory.
        meter: Its budget holds for embedding too, on a child of it.

    Raises:
        ConfigError: The sentence model named is not on this machine, or there is a limit in
            dollars and the price of an endpoint's model is unknown.
    """
    if config.model == "lexical" or (config.model == "auto" and offline):
        return LexicalEmbedder(codebook)
    if config.model == "auto":
        try:
            return LocalEmbedder(LOCAL_DEFAULT)
        except ConfigError as error:
            log.warning("retrieval goes by shared words only: %s", error)
            return LexicalEmbedder(codebook)
    if config.provider == LOCAL:
        return LocalEmbedder(config.model)
    if meter is None:
        return RemoteEmbedder(config, cache)
    embedder = RemoteEmbedder(config, cache, meter=meter.child("embedding"))
    if embedder.price is None and meter.budget is not None and meter.budget.usd is not None:
        raise ConfigError(
            f"a limit in dollars cannot be held, the price of {config.model} is unknown; limit "
            "calls or tokens",
            key="budget.usd",
        )
    return embedder


def retrieval_notes(embedder: Embedder, offline: bool) -> list[str]:
    """Return what a table says of retrieval: that RAG is weak, and what embedding took."""
    notes = [weak_baseline_note(embedder, offline)]
    if isinstance(embedder, RemoteEmbedder) and embedder.meter.needed.calls:
        needed, paid = embedder.meter.needed, embedder.meter.paid
        usd = "price unknown" if needed.usd is None else f"${needed.usd:,.2f}"
        notes.append(
            f"embedding by {embedder.name}, shared by all arms and in no arm's calls: "
            f"{needed.calls:,} / {paid.calls:,} calls, ~{needed.tokens:,} tokens needed, {usd}"
        )
    return notes


def weak_baseline_note(embedder: Embedder, offline: bool) -> str:
    """Return the sentence that tables carry where RAG is a straw man; "" where it is not."""
    if offline or embedder.semantic:
        return ""
    return (
        f"The RAG baseline is weak here: its embedder ({embedder.name}) sees shared words only, "
        "while a real model answers; set embedder.model to a semantic one."
    )


class LocalEmbedder:
    """A sentence-transformers model that is already on this machine; nothing is downloaded.

    Runs on the CPU, and rounds to `DECIMALS`, so that the company a text has in its batch does
    not decide which of two facts is nearer.

    Args:
        name: `sentence-transformers/NAME`, NAME being a model in the local cache or a folder.

    Raises:
        ConfigError: The package or the model is not there.
    """

    semantic = True

    def __init__(self, name: str) -> None:
        self.name = name
        if importlib.util.find_spec("sentence_transformers") is None:
            raise ConfigError(
                f"{name} needs the package sentence-transformers: "
                "pip install 'valuesim-dspy[semantic]'",
                key="embedder.model",
            )
        library = importlib.import_module("sentence_transformers")
        model = name.removeprefix(f"{LOCAL}/")
        where = model if "/" in model else name
        try:
            self._model: Any = library.SentenceTransformer(
                where, device="cpu", local_files_only=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"{where} cannot be loaded from this machine ({describe_error(error)}); download "
                "it once with the library's own tools, or give the folder that holds it as "
                f"{LOCAL}//path/to/folder",
                key="embedder.model",
            ) from error

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return one row for each text, float32 [n, d]."""
        made = self._model.encode(
            list(texts), batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(np.round(made, DECIMALS), dtype=np.float32)
