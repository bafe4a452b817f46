"""Any embedding model of an endpoint: each text is paid for once, and counted on a meter."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.callscope import is_stopping
from valuesim_dspy.encodable import mend_error
from valuesim_dspy.errors import ConfigError, MissingDataError, PredictionError, ValueSimError
from valuesim_dspy.lm import QUIET
from valuesim_dspy.preflight import describe_error, hush, scrub
from valuesim_dspy.retrieval import Vectors
from valuesim_dspy.roles import EmbedderConfig, endpoint_identity
from valuesim_dspy.throttle import StoppedError
from valuesim_dspy.usage import Meter, Usage, estimate_tokens

BATCH = 128
TIMEOUT, RETRIES = 60.0, 3
PRICE = "input_cost_per_token"
SHORTEST = 4
"""Letters of a text below which an error may hold it by chance."""

_LETTER = re.compile(r"\w")

Fetch = Callable[[list[str]], Sequence[Sequence[float]]]


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
        self,
        config: EmbedderConfig,
        cache: ResponseCache | None,
        *,
        fetch: Fetch | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.name = config.model
        self.meter = meter or Meter("embedding")
        self.price = _price(config)
        self._counted: set[str] = set()
        self._config = config
        self._cache = ResponseCache() if cache is None else cache
        self._fetch = fetch or self._ask
        self._lock = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return one row for each text, float32 [n, d].

        Raises:
            ConfigError: The endpoint does not take the request at all, or the run was stopped.
            MissingDataError: The key is absent or refused.
            PredictionError: The endpoint failed this time, or its vectors cannot be used.
        """
        known = self._kept(texts)
        if len(known) < len(set(texts)):
            with self._lock:
                # Another thread may have paid for some of them by now.
                known |= self._kept([text for text in texts if text not in known])
                wanted = [text for text in dict.fromkeys(texts) if text not in known]
                self._count_kept(list(known))
                for start in range(0, len(wanted), BATCH):
                    known |= self._paid(wanted[start : start + BATCH])
        else:
            with self._lock:
                self._count_kept(list(known))
        if len({len(vector) for vector in known.values()}) > 1:
            raise PredictionError(
                f"the vectors of {self.name} differ in length; the endpoint has changed its "
                "model: empty the response cache"
            )
        return np.array([known[text] for text in texts], dtype=np.float32)

    def _kept(self, texts: Sequence[str]) -> dict[str, Sequence[float]]:
        found = {text: self._cache.get(self._request(text)) for text in dict.fromkeys(texts)}
        return {text: vector for text, vector in found.items() if vector is not None}

    def _count_kept(self, texts: list[str]) -> None:
        """Count what the cache answered as needed, each text once in a run."""
        fresh = [text for text in texts if text not in self._counted]
        for start in range(0, len(fresh), BATCH):
            self.meter.record(self._usage(fresh[start : start + BATCH]), paid=False)
        self._counted.update(fresh)

    def _usage(self, batch: list[str]) -> Usage:
        """Return what a request takes; its tokens are estimated, as DSPy does not tell them."""
        tokens = sum(map(estimate_tokens, batch))
        usd = None if self.price is None else tokens * self.price / 1e6
        return Usage(1, tokens, 0, usd, unpriced_calls=int(usd is None), estimated_calls=1)

    def _paid(self, batch: list[str]) -> dict[str, Sequence[float]]:
        if is_stopping():
            raise StoppedError("the run was stopped before these facts were embedded")
        planned = self._usage(batch)
        self.meter.reserve(planned)
        try:
            fetched = self._fetch(batch)
        except BaseException:
            self.meter.release(planned)
            self.meter.fail()
            raise
        self.meter.record(planned, paid=True, planned=planned)
        self._counted.update(batch)
        vectors = [[float(number) for number in vector] for vector in fetched]
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
        settings |= {"api_base": at} if (at := self._config.address) else {}
        model = dspy.Embedder(self.name, batch_size=BATCH, caching=False, **settings)
        try:
            return model(batch).tolist()
        except openai.OpenAIError as error:
            scrub(error, key)
            mend_error(error)
            raise self._explained(error, _reason(error, batch)) from error

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

    def _explained(self, error: Exception, reason: str) -> ValueSimError:
        import openai

        host = self._config.host
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


def _reason(error: Exception, batch: list[str]) -> str:
    """Describe an error without what it repeats of the texts: they may be facts of a person."""
    hush(error, "\n".join(batch))
    reason = describe_error(error)
    said = _letters(reason)
    if any(len(text) >= SHORTEST and text in said for text in map(_letters, batch)):
        # Texts of fewer words than `hush` compares.
        hush(error, reason)
        return f"{type(error).__name__}: its text repeats what was sent"
    return reason


def _letters(text: str) -> str:
    return "".join(_LETTER.findall(text.lower()))


def _price(config: EmbedderConfig) -> float | None:
    """Return US dollars per million tokens; None where unknown."""
    if config.local:
        return None
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    from dspy.clients.model_metadata import model_info, rate

    found = rate(model_info(config.provider, config.model.rpartition("/")[2]), PRICE)
    return None if found is None else found * 1e6
