"""Who may call now: calls in flight, calls and tokens a minute, and when all have to wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from valuesim_dspy.callscope import Shared, is_stopping, is_trial
from valuesim_dspy.callscope import StoppedError as StoppedError
from valuesim_dspy.errors import ValueSimError
from valuesim_dspy.faults import FAILURES, NAP, Busy, Faults, Trials
from valuesim_dspy.faults import PATIENCE as PATIENCE
from valuesim_dspy.limits import Bucket, Limits
from valuesim_dspy.turns import Slot as Slot
from valuesim_dspy.turns import Waiter

logger = logging.getLogger(__name__)

SLOW = 4.0
"""How many times slower than usual answers come when an endpoint counts as overloaded."""
SLOWEST = 1.0
"""Seconds that an answer may always take without counting as slow."""


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
        busy: How long an endpoint is left alone that answers "too many requests".
        trials: Who tries an endpoint that may be dead.
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
        self.busy, self.trials, self._faults, self._barred = Busy(), Trials(), Faults(), False
        self._queue: deque[Waiter] = deque()
        self._lock = threading.Lock()

    @property
    def limit(self) -> int:
        """Calls allowed at once now."""
        return max(1, int(self._allowed))

    @property
    def patience(self) -> int:
        """Failed attempts in a row before a first trial: all under way may fail twice."""
        return max(FAILURES, 2 * min(self.limits.in_flight, self.peak))

    def delay(self, tokens: int = 0) -> float:
        """Return the seconds until a call could start; infinite while too many are under way."""
        with self._lock:
            return self._delay(tokens)

    def take(self, tokens: int = 0, told: float = 0.0) -> Slot:
        """Wait for the right to make one call; `give_back` must follow.

        Args:
            tokens: What the call will take, as far as known.
            told: Until when the endpoint asked this call to wait; it did. Infinite for a trial.

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
            now = self.clock()
            self.under_way -= 1
            if calls > 1:
                self._calls.spend(calls - 1, now)
            if used is not None and slot.spent is not None:
                self._tokens.correct(slot.spent, used, now)
            self._hand_out()

    def succeeded(self, slot: Slot) -> None:
        """Learn that an attempt was answered."""
        with self._lock:
            now = self.clock()
            if not is_trial():
                self._faults.answered()
                self.busy.answered()
            self._allowed = min(self.limits.in_flight, self._allowed + 1 / self._allowed)
            self._feel(now - slot.since, slot, now)
            self._hand_out()

    def refused(self, slot: Slot, retry_after: float | None, chance: float = 1.0) -> float:
        """Learn that an attempt was told "too many requests"; return the seconds until the next.

        Args:
            slot: Its turn.
            retry_after: Seconds that the endpoint asks for, if it says so; all calls wait.
            chance: A random number, 0 to 1.
        """
        with self._lock:
            now = self.clock()
            self.refusals += 1
            is_new = self._reduce(0.5, slot, now) or not self.busy.rounds
            hint = None if retry_after is None else min(max(0.0, retry_after), PATIENCE)
            waits = is_new and not is_trial()
            seconds = self.busy.wait(hint, chance, now) if waits else hint or 0.0
            slot.told = self._not_before = max(self._not_before, now + seconds)
            return slot.told - now

    def is_spent(self) -> bool:
        """Whether the endpoint answered nothing but "too many requests" for too long."""
        with self._lock:
            return self.busy.is_over(self.clock())

    def failed(self) -> bool:
        """Count a failed attempt; return whether the endpoint is to be tried."""
        with self._lock:
            return self._faults.failed(self.patience)

    def denied(self, *, is_sure: bool = False) -> bool:
        """Count an attempt that was denied what others may get; return whether to try that.

        Args:
            is_sure: Whether it is hardly ever one prompt that is denied this.
        """
        with self._lock:
            return self._faults.denied(is_sure=is_sure or self.answers == 0)

    def refuted(self) -> None:
        """Learn that a trial was answered: what failed or was refused is what was asked."""
        with self._lock:
            self._faults.refuted()
            self.busy.refuted()
            self._not_before = self.clock()

    @contextlib.contextmanager
    def barred(self) -> Iterator[None]:
        """Let no call start but a trial, so that few more are made of an endpoint that is dead."""
        self._barred = True
        try:
            yield
        finally:
            with self._lock:
                self._barred = False
                self._hand_out()

    def tried_again(self) -> None:
        """Count a retry."""
        with self._lock:
            self.retries += 1

    def stop(self, error: ValueSimError) -> None:
        """Let every waiting call fail with this error, since all of the run would."""
        with self._lock:
            for waiter in self._queue:
                waiter.error = error
                waiter.woken()
            self._queue.clear()

    def _join(self, tokens: int, told: float, wake: Callable[[], Any]) -> Waiter:
        with self._lock:
            waiter = Waiter(tokens, told, wake, self.clock())
            (self._queue.appendleft if is_trial() else self._queue.append)(waiter)
            self._hand_out()
        return waiter

    def _leave(self, waiter: Waiter) -> None:
        with self._lock:
            if waiter.slot is not None:
                self.under_way -= 1
            elif waiter in self._queue:
                self._queue.remove(waiter)
            self._hand_out()

    def _nap(self, waiter: Waiter) -> float | None:
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
            return inf
        if self._barred and told < inf:
            return inf
        now = self.clock()
        held = self._not_before - now if self._not_before > told else 0.0
        return max(0.0, held, self._calls.wait(1, now), self._tokens.wait(tokens, now))

    def _hand_out(self, asking: Waiter | None = None) -> None:
        handed = False
        while self._queue:
            waiter = self._queue[0]
            if self._delay(waiter.tokens, waiter.told) > 0:
                break
            self._queue.popleft()
            if waiter.woken():
                waiter.slot = self._start(waiter.tokens)
                self.waited += waiter.slot.since - waiter.since
                handed = True
        # Only the first in the queue watches the clock: who becomes it has to know.
        while handed and self._queue and self._queue[0] is not asking:
            if self._queue[0].woken():
                break
            self._queue.popleft()

    def _start(self, tokens: int) -> Slot:
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        now = self.clock()
        self._calls.spend(1, now)
        return Slot(tokens, now, spent=self._tokens.spend(tokens, now))

    def _feel(self, seconds: float, slot: Slot, now: float) -> None:
        """Compare how long answers take with how long they took over many more calls."""
        self.answers += 1
        self._recent += (seconds - self._recent) / min(self.answers, 8)
        self._usual += (seconds - self._usual) / min(self.answers, 256)
        if self.answers >= 32 and self._recent > max(SLOWEST, SLOW * self._usual):
            self._reduce(0.9, slot, now)

    def _reduce(self, factor: float, slot: Slot, now: float) -> bool:
        # A call that started before the last change tells of what was allowed then.
        is_new = slot.since >= self._changed
        if is_new:
            self._allowed = max(1.0, self._allowed * factor)
            self._changed = now
            logger.info("calls allowed at once: %d of %d", self.limit, self.limits.in_flight)
        return is_new

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process asks by itself, and starts from what it was told.
        return Throttle, (self.limits,)
