"""Embedders for retrieval: words, a local sentence model, or any embedding model of an endpoint."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import ConfigError, MissingDataError, PredictionError, ValueSimError
from valuesim_dspy.lm import QUIET
from valuesim_dspy.preflight import describe_error, scrub
from valuesim_dspy.retrieval import Embedder, LexicalEmbedder, Vectors
from valuesim_dspy.roles import EmbedderConfig, endpoint_identity

if TYPE_CHECKING:
    from valuesim_dspy.survey.codebook import Codebook

log = logging.getLogger(__name__)

LOCAL = "sentence-transformers"
LOCAL_DEFAULT = f"{LOCAL}/all-MiniLM-L6-v2"
BATCH = 128
DECIMALS = 5
TIMEOUT, RETRIES = 60.0, 3

Fetch = Callable[[list[str]], Sequence[Sequence[float]]]


def make_embedder(
    config: EmbedderConfig, *, offline: bool, codebook: Codebook, cache: ResponseCache | None
) -> Embedder:
    """Return the embedder that a config names.

    Args:
        config: The embedder's config. "auto" is lexical where the embedded model answers; where
            a real one does, a sentence model if one is installed and on this machine, else
            lexical (see `weak_baseline_note`).
        offline: Whether the embedded offline model answers.
        codebook: The questions whose words the lexical embedder weighs.
        cache: Keeps vectors that were paid for; None keeps them in memory.

    Raises:
        ConfigError: The sentence model named is not on this machine.
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
    return RemoteEmbedder(config, cache)


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


class RemoteEmbedder:
    """An embedding model of an endpoint, through LiteLLM; each text is paid for once.

    Vectors are kept in the response cache, and threads that miss wait for each other: facts are
    shared between people, so that most of what one asks for the next one needs too.

    Args:
        config: Model, address and the name of the variable that holds the key.
        cache: Where vectors are kept; None keeps them in memory.
        fetch: Gets the vectors of a batch; by default from the endpoint.
    """

    semantic = True

    def __init__(
        self, config: EmbedderConfig, cache: ResponseCache | None, *, fetch: Fetch | None = None
    ) -> None:
        self.name = config.model
        self._config = config
        self._cache = ResponseCache() if cache is None else cache
        self._fetch = fetch or self._ask
        self._lock = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return one row for each text, float32 [n, d].

        Raises:
            ConfigError: The endpoint does not take the request at all.
            MissingDataError: The key is absent or refused.
            PredictionError: The endpoint failed this time, or its vectors cannot be used.
        """
        known = self._kept(texts)
        if len(known) < len(set(texts)):
            with self._lock:
                # Another thread may have paid for some of them by now.
                known |= self._kept([text for text in texts if text not in known])
                wanted = [text for text in dict.fromkeys(texts) if text not in known]
                for start in range(0, len(wanted), BATCH):
                    known |= self._paid(wanted[start : start + BATCH])
        if len({len(vector) for vector in known.values()}) > 1:
            raise PredictionError(
                f"the vectors of {self.name} differ in length; the endpoint has changed its "
                "model: empty the response cache"
            )
        return np.array([known[text] for text in texts], dtype=np.float32)

    def _kept(self, texts: Sequence[str]) -> dict[str, Sequence[float]]:
        found = {text: self._cache.get(self._request(text)) for text in dict.fromkeys(texts)}
        return {text: vector for text, vector in found.items() if vector is not None}

    def _paid(self, batch: list[str]) -> dict[str, Sequence[float]]:
        vectors = [[float(number) for number in vector] for vector in self._fetch(batch)]
        sound = all(vector and np.isfinite(vector).all() for vector in vectors)
        if len(vectors) != len(batch) or not sound:
            raise PredictionError(
                f"{self.name} gave {len(vectors)} vectors for {len(batch)} texts, or empty or "
                "infinite ones; check that embedder.model is an embedding model"
            )
        for text, vector in zip(batch, vectors, strict=True):
            self._cache.put(self._request(text), vector)
        return dict(zip(batch, vectors, strict=True))

    def _request(self, text: str) -> dict[str, str]:
        endpoint = endpoint_identity(self._config.address)
        return {"embedder": self.name, "endpoint": endpoint, "text": text}

    def _ask(self, batch: list[str]) -> Sequence[Sequence[float]]:
        for variable, value in QUIET.items():
            os.environ.setdefault(variable, value)
        import dspy
        import openai

        settings: dict[str, Any] = {"timeout": TIMEOUT, "max_retries": RETRIES}
        key = self._key()
        settings |= {"api_key": key} if key else {}
        settings |= {"api_base": self._config.api_base} if self._config.api_base else {}
        model = dspy.Embedder(self.name, batch_size=BATCH, caching=False, **settings)
        try:
            return model(batch).tolist()
        except openai.OpenAIError as error:
            scrub(error, key)
            raise self._explained(error) from error

    def _key(self) -> str | None:
        variable = self._config.api_key_env
        if variable is None:
            # Without this, a key meant for the provider would be sent to any address given.
            return "none" if self._config.api_base else None
        key = os.environ.get(variable)
        if not key:
            raise MissingDataError(
                f"embedder: the environment variable {variable} is not set",
                f"set it to the key for {self._config.host}",
            )
        return key

    def _explained(self, error: Exception) -> ValueSimError:
        import openai

        host, reason = self._config.host, describe_error(error)
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            variable = self._config.api_key_env or "the provider's key variable"
            return MissingDataError(
                f"embedder: {host} refused the key ({reason})", f"check the value of {variable}"
            )
        if isinstance(error, openai.NotFoundError | openai.BadRequestError):
            return ConfigError(
                f"{host} does not embed with {self.name} ({reason}); check the model's name, and "
                "that api_base ends where the server expects, often in /v1",
                key="embedder.model",
            )
        return PredictionError(f"the embedder {self.name} at {host} failed: {reason}")
