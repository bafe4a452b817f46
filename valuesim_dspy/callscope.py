"""One language model call, as seen by the response cache and the engine that serve it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self
from weakref import WeakKeyDictionary

from valuesim_dspy.errors import ConfigError


class StoppedError(ConfigError):
    """The run that a waiting call belongs to was stopped: nothing more is paid for it."""


class Shared:
    """Something that copies of an LM have together: its copies are the thing itself."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class Reported(NamedTuple):
    """What a response says it took; None where it does not say."""

    calls: int = 1
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    usd: float | None = None
    cached_tokens: int = 0


@dataclass
class CallScope:
    """One LM call, as the response cache and the engine below it see it.

    Attributes:
        endpoint: The endpoint's identity, part of the cache key.
        waits: Whether this call may block its thread until another one, which asks the same,
            has the answer; an event loop must not.
        patience: How many such others it waits for before it asks by itself.
        key: The cache key of the request, once the cache has been asked.
        before_paying: Called by the cache when the answer is not there; may refuse.
        hit: Whether the cache answered.
        reported: What the answer took.
        leads: Whether this call is the one that fetches the answer for others that ask the same.
        seconds: The most time one attempt may take; None leaves it to the endpoint's client.
        usd: What the samples fetched so far cost, where the engine knows it.
        samples: Those fetched so far, which another attempt need not pay for again.
        at: The number of the sample the engine is asked for next.
        received: Called by an engine that keeps samples when it has read one, before anything
            is made of it: the endpoint is free for another call.
    """

    endpoint: str = ""
    waits: bool = True
    patience: int = 2
    key: str | None = None
    before_paying: Callable[[], None] = lambda: None
    hit: bool = False
    reported: Reported | None = None
    leads: bool = False
    seconds: float | None = None
    usd: float | None = None
    samples: list[Any] = field(default_factory=list)
    at: int = 0
    received: Callable[[], None] = lambda: None
    on_close: list[Callable[[], None]] = field(default_factory=list)

    def saw(self, reported: Reported, *, hit: bool) -> None:
        """Take down what the answer took and where it came from."""
        self.reported, self.hit = reported, hit


_names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_SCOPE: ContextVar[CallScope | None] = ContextVar("valuesim_call", default=None)
_STOPPING: ContextVar[threading.Event | None] = ContextVar("valuesim_stopping", default=None)
_TRIAL: ContextVar[bool] = ContextVar("valuesim_trial", default=False)


def current_call() -> CallScope | None:
    """Return the LM call this code runs under, if any."""
    return _SCOPE.get()


@contextmanager
def call_scope(scope: CallScope) -> Iterator[CallScope]:
    """Run one LM call under its scope; whatever it holds is let go at the end."""
    token = _SCOPE.set(scope)
    try:
        yield scope
    finally:
        _SCOPE.reset(token)
        # All of them, also after one that fails: a place that is not given back is lost for good.
        with ExitStack() as closing:
            for close in reversed(scope.on_close):
                closing.callback(close)


@contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """Let an event stop what runs inside, and in contexts copied from there.

    Once it is set, calls that wait for their turn or sleep before another attempt give up, and
    no further one is paid.
    """
    token = _STOPPING.set(event)
    try:
        yield
    finally:
        _STOPPING.reset(token)


def is_stopping() -> bool:
    """Whether the run this code belongs to was told to stop."""
    event = _STOPPING.get()
    return event is not None and event.is_set()


def stop_event() -> threading.Event | None:
    """Return what stops the run this code belongs to, if anything does."""
    return _STOPPING.get()


@contextmanager
def on_trial() -> Iterator[None]:
    """Tell that the calls inside try the endpoint: what becomes of them is not counted as a row."""
    token = _TRIAL.set(True)
    try:
        yield
    finally:
        _TRIAL.reset(token)


def is_trial() -> bool:
    """Whether this code makes a call that tries the endpoint."""
    return _TRIAL.get()


def predictor_name() -> str | None:
    """Return the name, within its program, of the DSPy predictor that is asking, if any."""
    from dspy import settings

    # DSPy tells the calling predictor itself when streaming only; as a module it is the last.
    modules = settings.caller_modules or []
    predictor = modules[-1] if modules else None
    if predictor is None or not hasattr(predictor, "signature"):
        return None
    if predictor not in _names:
        # The walk through a program costs more than a call: once for each predictor.
        for path, each in modules[0].named_predictors():
            _names[each] = path
    # A predictor that is frozen while others are compiled is not walked to, and named later.
    return _names.get(predictor) or str(predictor.signature.__name__)
