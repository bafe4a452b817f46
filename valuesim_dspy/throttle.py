"""Who may call now: calls in flight, calls and tokens a minute, and when an endpoint is dead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from valuesim_dspy.callscope import Shared, is_stopping
from valuesim_dspy.errors import ConfigError, ValueSimError
from valuesim_dspy.limits import Bucket, Limits

logger = logging.getLogger(__name__)

NAP = 1.0
"""Seconds after which a waiting call looks up whether its run was stopped."""
PATIENCE = 60.0
"""The most seconds that a server's retry-after is honoured."""
SLOW = 4.0
"""How many times slower than usual answers come when an endpoint counts as overloaded."""
SLOWEST = 1.0
"""Seconds that an answer may always take without counting as slow."""
FAILURES = 20
"""Failed attempts in a row, at least, after which an endpoint counts as dead."""
DENIALS = 3
"""Denials in a row after which the endpoint denies everything, and not one prompt."""


class StoppedError(ConfigError):
    """The run that a waiting call belongs to was stopped: nothing more is paid for it."""


@dataclass(eq=False)
class Slot:
    """The right to have one call under way.

    Attributes:
        tokens: What the call was expected to take when it started.
        since: When it started, by the throttle's clock, in seconds.
        told: Until when the endpoint asked it to wait, where it did.
    """

    tokens: int
    since: float
    told: float = 0.0


@dataclass(eq=False)
class _Waiter:
    tokens: int
    told: float
    wake: Callable[[], Any]
    since: float
    slot: Slot | None = None
    error: ValueSimError | None = None

    def granted(self) -> Slot:
        if self.error is not None:
            raise _twin(self.error)
        assert self.slot is not None
        return self.slot


class Throttle(Shared):
    """Lets calls start as the limits and the endpoint allow, first come, first served.

    Calls allowed at once are halved when the endpoint answers "too many requests" (once a round
    trip), reduced by a tenth when answers come far slower than usual, and grow back by one a
    round trip. Copies are the throttle itself, so that copies of an LM share it; safe to use
    from threads and event loops.

    Args:
        limits: The bounds.
        clock: Seconds that only grow.

    Attributes:
        peak: The most calls that were under way at once.
        waited: Seconds that calls waited for their turn, added up.
        refusals: How often the endpoint answered "too many requests", also where no retry came.
        retries: How often a failed call was tried again, after whatever failure.
        answers: Attempts that were answered.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.clock = limits, clock
        self.peak = self.under_way = self.refusals = self.retries = self.answers = 0
        self.waited = 0.0
        now = clock()
        self._allowed = float(limits.in_flight)
        self._changed, self._not_before = now - PATIENCE, now
        self._calls = Bucket(limits.calls_per_minute, now)
        self._tokens = Bucket(limits.tokens_per_minute, now)
        self._usual = self._recent = 0.0
        self._failures = self._denials = 0
        self._queue: deque[_Waiter] = deque()
        self._lock = threading.Lock()

    @property
    def limit(self) -> int:
        """Calls allowed at once now."""
        return max(1, int(self._allowed))

    @property
    def patience(self) -> int:
        """Failed attempts in a row that an endpoint is allowed: all under way may fail twice."""
        return max(FAILURES, 2 * min(self.limits.in_flight, self.peak))

    def delay(self, tokens: int = 0) -> float:
        """Return the seconds until a call could start; infinite while too many are under way."""
        with self._lock:
            return self._delay(tokens)

    def take(self, tokens: int = 0, told: float = 0.0) -> Slot:
        """Wait for the right to make one call; `give_back` must follow.

        Args:
            tokens: What the call will take, as far as known.
            told: Until when the endpoint asked this call to wait; it did.

        Raises:
            StoppedError: The run was stopped.
            ConfigError: The endpoint turned out dead while this call waited.
            MissingDataError: The key was refused while this call waited.
        """
        if not is_stopping() and (slot := self.offer(tokens, told)) is not None:
            return slot
        bell = threading.Event()
        waiter = self._join(tokens, told, bell.set)
        try:
            while (nap := self._nap(waiter)) is not None:
                bell.wait(nap)
                bell.clear()
        except BaseException:
            self._leave(waiter)
            raise
        return waiter.granted()

    def offer(self, tokens: int = 0, told: float = 0.0) -> Slot | None:
        """Give the right to make one call, where nobody has to wait for it; None otherwise."""
        with self._lock:
            free = not self._queue and self._delay(tokens, told) <= 0
            return self._start(tokens) if free else None

    async def atake(self, tokens: int = 0, told: float = 0.0) -> Slot:
        """Wait as `take` does, without blocking the event loop."""
        loop, bell = asyncio.get_running_loop(), asyncio.Event()
        waiter = self._join(tokens, told, lambda: loop.call_soon_threadsafe(bell.set))
        try:
            while (nap := self._nap(waiter)) is not None:
                # Not wait_for: before Python 3.12 it may swallow a cancellation.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(nap):
                        await bell.wait()
                bell.clear()
        except BaseException:
            self._leave(waiter)
            raise
        return waiter.granted()

    def give_back(self, slot: Slot, used: int | None = None, calls: int = 1) -> None:
        """End what took so many calls and tokens; None for tokens where it was not answered."""
        with self._lock:
            self.under_way -= 1
            self._calls.spend(calls - 1)
            if used is not None:
                self._tokens.spend(used - slot.tokens)
            self._hand_out()

    def succeeded(self, slot: Slot) -> None:
        """Learn that an attempt was answered."""
        with self._lock:
            now = self.clock()
            self._failures = self._denials = 0
            self._allowed = min(self.limits.in_flight, self._allowed + 1 / self._allowed)
            self._feel(now - slot.since, slot, now)
            self._hand_out()

    def refused(self, slot: Slot, retry_after: float | None) -> None:
        """Learn that an attempt was told "too many requests", and to wait so many seconds."""
        with self._lock:
            now = self.clock()
            self.refusals += 1
            self._reduce(0.5, slot, now)
            slot.told = now + min(max(0.0, retry_after or 0.0), PATIENCE)
            self._not_before = max(self._not_before, slot.told)

    def failed(self) -> bool:
        """Count a failed attempt; return whether the endpoint now counts as dead."""
        with self._lock:
            self._failures += 1
            return self._failures >= self.patience

    def denied(self) -> bool:
        """Count an attempt that was denied what others got; return whether all are by now."""
        with self._lock:
            self._denials += 1
            return self.answers == 0 or self._denials >= DENIALS

    def tried_again(self) -> None:
        """Count a retry."""
        with self._lock:
            self.retries += 1

    def stop(self, error: ValueSimError) -> None:
        """Let every waiting call fail with this error, since all of the run would."""
        with self._lock:
            for waiter in self._queue:
                waiter.error = error
                waiter.wake()
            self._queue.clear()

    def _join(self, tokens: int, told: float, wake: Callable[[], Any]) -> _Waiter:
        with self._lock:
            waiter = _Waiter(tokens, told, wake, self.clock())
            self._queue.append(waiter)
            self._hand_out()
        return waiter

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter.slot is not None:
                self.under_way -= 1
            elif waiter in self._queue:
                self._queue.remove(waiter)
            self._hand_out()

    def _nap(self, waiter: _Waiter) -> float | None:
        """Return how long a call may sleep before it looks again; None when it need not."""
        if is_stopping():
            raise StoppedError("the run was stopped before this call was made")
        with self._lock:
            self._hand_out(waiter)
            if waiter.slot is not None or waiter.error is not None:
                return None
            if self._queue[0] is not waiter:
                return NAP
            return min(NAP, max(self._delay(waiter.tokens, waiter.told), 0.0005))

    def _delay(self, tokens: int, told: float = 0.0) -> float:
        if self.under_way >= self.limit:
            return float("inf")
        now = self.clock()
        held = self._not_before - now if self._not_before > told else 0.0
        return max(0.0, held, self._calls.wait(1, now), self._tokens.wait(tokens, now))

    def _hand_out(self, asking: _Waiter | None = None) -> None:
        handed = False
        while self._queue:
            waiter = self._queue[0]
            if self._delay(waiter.tokens, waiter.told) > 0:
                break
            self._queue.popleft()
            waiter.slot = self._start(waiter.tokens)
            self.waited += waiter.slot.since - waiter.since
            waiter.wake()
            handed = True
        # Only the first in the queue watches the clock: who becomes it has to know.
        if handed and self._queue and self._queue[0] is not asking:
            self._queue[0].wake()

    def _start(self, tokens: int) -> Slot:
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        self._calls.spend(1)
        self._tokens.spend(tokens)
        return Slot(tokens, self.clock())

    def _feel(self, seconds: float, slot: Slot, now: float) -> None:
        """Compare how long answers take with how long they took over many more calls."""
        self.answers += 1
        self._recent += (seconds - self._recent) / min(self.answers, 8)
        self._usual += (seconds - self._usual) / min(self.answers, 256)
        if self.answers >= 32 and self._recent > max(SLOWEST, SLOW * self._usual):
            self._reduce(0.9, slot, now)

    def _reduce(self, factor: float, slot: Slot, now: float) -> None:
        # A call that started before the last change tells of what was allowed then.
        if slot.since >= self._changed:
            self._allowed = max(1.0, self._allowed * factor)
            self._changed = now
            logger.info("calls allowed at once: %d of %d", self.limit, self.limits.in_flight)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process asks by itself, and starts from what it was told.
        return Throttle, (self.limits,)


def _twin(error: ValueSimError) -> ValueSimError:
    """Return the same error again, for another thread to raise with a traceback of its own."""
    twin = type(error).__new__(type(error))
    twin.args = error.args
    twin.__dict__.update(vars(error))
    return twin
