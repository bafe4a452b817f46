"""A Ray that runs in the process, for tests of the driver: it can be told when workers die.

    ray = FakeRay(deaths=lambda number, method, said: method == "answer" and said == 2)

What a worker says is fetched one message at a time, as over a stream; nothing runs at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any


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

    Attributes:
        sent: Everything given to workers, as it would go over the wire.
        asked: Arguments of every `answer`, with the worker's number.
        alive: Numbers of the workers that are there.
        made: How many there were.
    """

    exceptions = SimpleNamespace(RayError=FakeRayError, RayTaskError=FakeTaskError)

    def __init__(
        self,
        deaths: Callable[[int, str, int], bool] = lambda number, method, said: False,
        *,
        slots: int = 99,
    ) -> None:
        self.deaths, self.slots = deaths, slots
        self.sent: list[Any] = []
        self.asked: list[tuple[int, tuple[int, ...]]] = []
        self.alive: set[int] = set()
        self.made = 0
        self.settings: dict[str, Any] = {}

    def cluster_resources(self) -> dict[str, float]:
        """Return what there is: three processors."""
        return {"CPU": 3.0}

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
        """End a worker."""
        self.alive.discard(actor.number)

    @contextmanager
    def session(self, workers: int | None) -> Iterator[FakeRay]:
        """Stand in for `ray_session`."""
        yield self


class _Actor:
    def __init__(self, ray: FakeRay, kind: type, sent: tuple[Any, ...]) -> None:
        self.ray, self.number, self._of = ray, ray.made, kind(*sent)
        ray.made += 1
        ray.alive.add(self.number)
        ray.sent += sent
        self.open = SimpleNamespace(remote=lambda: _Call(self, "open", self._of.open))
        self.answer = SimpleNamespace(options=self._streaming)

    def _streaming(self, *, num_returns: str) -> Any:
        assert num_returns == "streaming"

        def answer(at: tuple[int, ...], done: tuple[int, ...]) -> _Call:
            self.ray.asked.append((self.number, at))
            self.ray.sent += [at, done]
            return _Call(self, "answer", lambda: self._of.answer(at, done))

        return SimpleNamespace(remote=answer)

    def dies(self, method: str, said: int) -> bool:
        """Whether it is dead, or dies now."""
        if self.number in self.ray.alive and self.ray.deaths(self.number, method, said):
            self.ray.alive.discard(self.number)
        return self.number not in self.ray.alive


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
        if self._stream is None:
            self._stream = self._run()
        return self._guarded(lambda: next(self._stream))  # type: ignore[call-overload]

    def _guarded(self, run: Callable[[], Any]) -> Any:
        if self.actor.dies(self._method, next(self._counted)):
            return FakeActorError("a traceback\n  of many lines\n\nthe actor died\n")
        try:
            return run()
        except (RuntimeError, OSError) as error:
            return FakeTaskError(error)
