"""The response cache: one SQLite file of JSON values, in place of ``dspy.cache`` during a job."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valuesim_dspy.cache_file import CacheFile
from valuesim_dspy.callscope import CallScope, Reported, current_call
from valuesim_dspy.prefixes import cached_tokens
from valuesim_dspy.records import is_empty, is_sound, plain, reported, restore, to_record
from valuesim_dspy.roles import endpoint_identity, is_secret_name

logger = logging.getLogger(__name__)

_IGNORED = frozenset({"api_key", "api_base", "base_url", "timeout", "num_retries", "prompt_cache"})
_MISSING = object()
UNFIT = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What reading a response raises whose form nobody foresaw."""


@dataclass(eq=False)
class _Block:
    """One stretch of code with a cache in place of DSPy's."""

    before: Any


_BLOCKS: list[_Block] = []
_INSTALLING = threading.Lock()


class InFlightError(Exception):
    """Another call is fetching the same answer; only calls that must not block get to see it.

    Args:
        flight: Done when the other call is over, whether it succeeded or failed.
    """

    def __init__(self, flight: Future[None]) -> None:
        self.flight = flight
        super().__init__("another call is fetching this answer")


class ResponseCache:
    """Responses by request, kept as JSON; a drop-in for ``dspy.cache`` (`get` and `put`).

    A key holds everything that decides an answer: model, messages, settings, rollout id and the
    identity of the endpoint; it holds no secrets, time limits or retries. Threads and processes
    may share a file. Within `valuesim_dspy.lm.MeteredLM` calls, one of several equal requests
    under way is sent and the others wait for its answer.

    Args:
        path: The database file, made with its folder where absent (0600 and 0700); a folder
            means ``responses.db`` in it; None keeps everything in memory.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path) if path is not None else None
        if self.path is not None and self.path.is_dir():
            self.path = self.path / "responses.db"
        self._lock = threading.RLock()
        self._flights: dict[str, Future[None]] = {}
        self._file = CacheFile(self.path)

    def get(
        self, request: Mapping[str, Any], ignored_args_for_cache_key: Sequence[str] | None = None
    ) -> Any:
        """Return the stored response in the shape DSPy expects, or None.

        Args:
            request: DSPy's description of the request.
            ignored_args_for_cache_key: Names left out of the key besides our own.

        Raises:
            BudgetExceededError: The answer is not there and may not be paid for.
            InFlightError: Another call is fetching it and this one must not block.
        """
        scope = current_call()
        key = self.key(request, ignored_args_for_cache_key or ())
        if scope is not None:
            scope.key = key
        while key is not None and not (scope is not None and scope.leads):
            record, flight = self._look(key, scope)
            if record is not None:
                if scope is not None:
                    scope.saw(reported(record), hit=True)
                return restore(record)
            if scope is None or flight is None or scope.patience == 0:
                break
            if not scope.waits:
                raise InFlightError(flight)
            scope.patience -= 1
            flight.result()
        if scope is not None:
            scope.before_paying()
        return None

    def put(
        self,
        request: Mapping[str, Any],
        value: Any,
        ignored_args_for_cache_key: Sequence[str] | None = None,
        enable_memory_cache: bool = True,
    ) -> None:
        """Keep a response; one that is empty or not JSON is not kept.

        No response is an error here: it is paid already.

        Args:
            request: DSPy's description of the request.
            value: The response: DSPy's own record, a LiteLLM response, or plain values.
            ignored_args_for_cache_key: As for `get`.
            enable_memory_cache: Accepted for DSPy's sake.
        """
        scope = current_call()
        key = scope.key if scope is not None else None
        key = key or self.key(request, ignored_args_for_cache_key or ())
        try:
            record = to_record(value)
            if scope is not None and scope.usd is not None and record.get("cost") is None:
                record = {**record, "cost": scope.usd}
            # In ASCII, since a model may cut an emoji in two, and no file takes half of one.
            text = json.dumps(record, default=plain)
            told, empty = _reported(record), is_empty(record)
        except UNFIT as error:
            logger.debug("a response is not JSON and is not cached (%s)", type(error).__name__)
            return
        if scope is not None:
            scope.saw(told, hit=False)
        if key is not None and not empty:
            insert = "INSERT OR REPLACE INTO responses VALUES (?, ?, ?)"
            self._file.run(insert, (key, text, time.time()))

    def key(self, request: Mapping[str, Any], ignored: Sequence[str] = ()) -> str | None:
        """Return the SHA-256 of everything that decides the answer; None where that is not JSON.

        Args:
            request: DSPy's description of the request.
            ignored: Names to leave out.
        """
        scope = current_call()
        base = request.get("api_base") or request.get("base_url")
        endpoint = endpoint_identity(base) if base else scope.endpoint if scope else ""
        left_out = _IGNORED.union(ignored)
        kept = {
            name: _without_secrets(value) if name.endswith("headers") else value
            for name, value in request.items()
            if name not in left_out and not is_secret_name(name)
        }
        try:
            text = json.dumps([endpoint, kept], sort_keys=True, default=plain)
        except (TypeError, ValueError) as error:
            logger.debug("a request is not JSON and is not cached (%s)", type(error).__name__)
            return None
        return hashlib.sha256(text.encode()).hexdigest()

    @contextmanager
    def installed(self) -> Iterator[ResponseCache]:
        """Stand in for ``dspy.cache``; what was there comes back after the last such block.

        DSPy's own cache is made on first use, on disk: it is not touched here.
        """
        import dspy

        with _INSTALLING:
            block = _Block(vars(dspy).get("cache", _MISSING))
            _BLOCKS.append(block)
            dspy.cache = self
        try:
            yield self
        finally:
            with _INSTALLING:
                place = _BLOCKS.index(block)
                del _BLOCKS[place]
                # Blocks of different threads may end in any order: what was there before this
                # one is then what the one above it leaves behind.
                if place < len(_BLOCKS):
                    _BLOCKS[place].before = block.before
                elif block.before is _MISSING:
                    vars(dspy).pop("cache", None)
                else:
                    dspy.cache = block.before

    @property
    def count(self) -> int:
        """The number of responses kept."""
        rows = self._file.run("SELECT count(*) FROM responses")
        return int(rows[0][0]) if rows else 0

    def close(self) -> None:
        """Close the file; the cache is not used afterwards."""
        self._file.close()

    def _look(self, key: str, scope: CallScope | None) -> tuple[Any, Future[None] | None]:
        """Return the record, or the flight to wait for; with neither, this call leads."""
        with self._lock:
            record = self._read(key)
            flight = self._flights.get(key)
            if record is None and flight is None and scope is not None:
                lead: Future[None] = Future()
                self._flights[key] = lead
                scope.leads = True
                scope.on_close.append(lambda: self._land(key, lead))
            return record, flight

    def _land(self, key: str, flight: Future[None]) -> None:
        with self._lock:
            del self._flights[key]
        flight.set_result(None)

    def _read(self, key: str) -> Any:
        rows = self._file.run("SELECT value FROM responses WHERE key = ?", (key,))
        if not rows:
            return None
        try:
            record = json.loads(rows[0][0])
            if not is_sound(record):
                raise ValueError("unknown form")
        except (TypeError, ValueError, RecursionError) as error:
            logger.warning("a damaged response in %s was dropped (%s)", self.path, error)
            self._file.run("DELETE FROM responses WHERE key = ?", (key,))
            return None
        return record


def _reported(record: Mapping[str, Any]) -> Reported:
    raw = record.get("raw")
    usage = record.get("usage") or (raw.get("usage") if isinstance(raw, Mapping) else None) or {}
    return reported(record)._replace(cached_tokens=cached_tokens(usage))


def _without_secrets(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: item for name, item in value.items() if not is_secret_name(str(name))}
