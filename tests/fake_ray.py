"""A Ray that runs in the process, for tests of the driver: it can be told when workers die.

    ray = FakeRay(deaths=lambda number, method, said: method == "answer" and said == 2)

What a worker says is fetched one message at a time, as over a stream; nothing runs at once. As a
process of its own would, each worker has its own `dspy.cache` and its own context variables.
"""

from __future__ import annotations

import contextvars
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import dspy
import pytest

ABSENT = object()


@pytest.fixture(autouse=True)
def cache_as_before() -> Iterator[None]:
    """Hold that a test leaves DSPy's cache as it was; for every module that imports it."""
    before = vars(dspy).get("cache")
    yield
    assert vars(dspy).get("cache") is before


class FakeRayError(Exception):
    """Base of what Ray raises."""


class FakeActorError(FakeRayError):
    """A worker is dead."""


class FakeTaskError(FakeRayError):
    """A worker's code raised; `cause` is what."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        super().__init__(f"a traceback of many lines\n{cause}")


class FakeRay:
    """The part of Ray that the driver uses.

    Args:
        deaths: Whether a worker dies: by its number, the method, and how many messages of it
            came before; asked before each message.
        slots: How many workers can be placed; further ones never start.
        cpus: Processors of the cluster.

    Attributes:
        sent: Everything given to workers, as it would go over the wire.
        asked: Arguments of every `answer`, with the worker's number.
        alive: Numbers of the workers that are there.
        made: How many there were.
        finished: Numbers of the workers that were told to finish.
    """

    exceptions = SimpleNamespace(RayError=FakeRayError, RayTaskError=FakeTaskError)

    def __init__(
        self,
        deaths: Callable[[int, str, int], bool] = lambda number, method, said: False,
        *,
        slots: int = 99,
        cpus: float = 3.0,
    ) -> None:
        self.deaths, self.slots, self.cpus = deaths, slots, cpus
        self.sent: list[Any] = []
        self.asked: list[tuple[int, tuple[int, ...]]] = []
        self.alive: set[int] = set()
        self.made = 0
        self.finished: list[int] = []
        self.settings: dict[str, Any] = {}

    def cluster_resources(self) -> dict[str, float]:
        """Return what there is."""
        return {"CPU": self.cpus}

    def remote(self, **settings: Any) -> Callable[[type], Any]:
        """Make a class whose instances would live elsewhere."""
        self.settings = settings

        def decorated(kind: type) -> Any:
            return SimpleNamespace(remote=lambda *sent: _Actor(self, kind, sent))

        return decorated

    def wait(self, items: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], Any]:
        """Return the first item whose worker has been placed."""
        placed = [item for item in items if item.actor.number < self.slots]
        return placed[:num_returns], []

    def get(self, item: Any) -> Any:
        """Return a value, or raise what became of the worker."""
        value = item.value() if isinstance(item, _Call) else item
        if isinstance(value, Exception):
            raise value
        return value

    def kill(self, actor: Any) -> None:
        """End a worker, and what it was in the middle of."""
        self.alive.discard(actor.number)
        actor.end()

    @contextmanager
    def session(self, workers: int | None) -> Iterator[FakeRay]:
        """Stand in for `ray_session`."""
        yield self


class _Actor:
    def __init__(self, ray: FakeRay, kind: type, sent: tuple[Any, ...]) -> None:
        self.ray, self.number, self._of = ray, ray.made, kind(*sent)
        self._context, self._cache = contextvars.copy_context(), vars(dspy).get("cache", ABSENT)
        self.streams: list[Any] = []
        ray.made += 1
        ray.alive.add(self.number)
        ray.sent += sent
        self.open = SimpleNamespace(remote=lambda: _Call(self, "open", self._of.open))
        self.answer = SimpleNamespace(options=self._streaming)
        self.finish = SimpleNamespace(remote=self._finish)

    def _streaming(self, *, num_returns: str) -> Any:
        assert num_returns == "streaming"

        def answer(at: tuple[int, ...], done: tuple[int, ...]) -> _Call:
            self.ray.asked.append((self.number, at))
            self.ray.sent += [at, done]
            return _Call(self, "answer", lambda: self._of.answer(at, done))

        return SimpleNamespace(remote=answer)

    def _finish(self) -> None:
        self.ray.finished.append(self.number)
        self.run(self._of.finish)

    def run(self, act: Callable[[], Any]) -> Any:
        """Run something where this worker's cache and settings are in force."""
        here = vars(dspy).get("cache", ABSENT)
        _set_cache(self._cache)
        try:
            return self._context.run(act)
        finally:
            self._cache = vars(dspy).get("cache", ABSENT)
            _set_cache(here)

    def end(self) -> None:
        """Close what is half said, as the end of a process does."""
        for stream in self.streams:
            self.run(stream.close)
        self.streams.clear()

    def dies(self, method: str, said: int) -> bool:
        """Whether it is dead, or dies now."""
        if self.number in self.ray.alive and self.ray.deaths(self.number, method, said):
            self.ray.alive.discard(self.number)
        return self.number not in self.ray.alive


def _set_cache(cache: Any) -> None:
    if cache is ABSENT:
        vars(dspy).pop("cache", None)
    else:
        dspy.cache = cache


class _Call:
    """What a method returns: one value, or an iterator of values."""

    def __init__(self, actor: _Actor, method: str, run: Callable[[], Any]) -> None:
        self.actor, self._method, self._run = actor, method, run
        self._counted = itertools.count()
        self._stream: Iterator[Any] | None = None

    def value(self) -> Any:
        """Return the one value."""
        return self._guarded(self._run)

    def __next__(self) -> Any:
        stream = self._stream
        if stream is None:
            stream = self._stream = self._run()
            self.actor.streams.append(stream)
        return self._guarded(lambda: next(stream))

    def _guarded(self, run: Callable[[], Any]) -> Any:
        if self.actor.dies(self._method, next(self._counted)):
            return FakeActorError("a traceback\n  of many lines\n\nthe actor died\n")
        try:
            return self.actor.run(run)
        except (RuntimeError, OSError) as error:
            return FakeTaskError(error)
