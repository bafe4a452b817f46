"""Trying again: how often, after how long, and what is said about it."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import dspy

from valuesim_dspy.callscope import is_stopping, stop_event
from valuesim_dspy.throttle import PATIENCE, StoppedError

logger = logging.getLogger(__name__)

SLICE = 0.5
"""Seconds after which an awaited pause looks up whether its run was stopped."""


def pause(error: Exception, attempt: int, chance: float) -> float:
    """Return the seconds to wait before another attempt.

    Args:
        error: What the last attempt ended in; its ``retry_after`` is honoured up to `PATIENCE`.
        attempt: The number of that attempt, from 0; without a hint the wait is anything up to
            2 to this power, in seconds ("full jitter"), up to `PATIENCE`.
        chance: A random number, 0 to 1.
    """
    hint = getattr(error, "retry_after", None)
    if isinstance(hint, int | float) and math.isfinite(hint) and hint >= 0:
        return min(float(hint), PATIENCE)
    return chance * min(2.0 ** min(attempt, 10), PATIENCE)


def describe_kind(error: BaseException) -> str:
    """Name an error's type and HTTP status; its text may repeat what was sent."""
    status = getattr(error, "status", None)
    return f"{type(error).__name__} {status}" if status else type(error).__name__


@dataclass
class Pauses:
    """What waits between attempts, and chooses how long; tests put their own in.

    Attributes:
        sleep: Sleeps so many seconds; by default it ends early when the run is stopped.
        asleep: The same for event loops.
        chance: Where waits are drawn from; of its own, so that results do not depend on it.
    """

    sleep: Callable[[float], None] = field(default_factory=lambda: sleep)
    asleep: Callable[[float], Awaitable[None]] = field(default_factory=lambda: asleep)
    chance: random.Random = field(default_factory=random.Random)


@dataclass
class Attempts:
    """The attempts at one call.

    Args:
        name: Who is called, for the log.
        bound: How often a failed attempt may be followed by another.
        pauses: Draws the waits.

    Attributes:
        failed: Attempts that failed since the call last got anywhere.
    """

    name: str
    bound: int
    pauses: Pauses
    failed: int = 0

    def again(self, error: Exception) -> float | None:
        """Return the seconds to wait before another attempt; None when this was the last."""
        attempt, self.failed = self.failed, self.failed + 1
        if attempt >= self.bound or not dspy.is_retryable_lm_error(error):
            return None
        seconds = pause(error, attempt, self.pauses.chance.random())
        logger.info(
            "%s: attempt %d of %d failed, the next one in %.1f s (%s)",
            self.name,
            attempt + 1,
            self.bound + 1,
            seconds,
            describe_kind(error),
        )
        return seconds

    def put_off(self, seconds: float) -> float:
        """Log that a call waits, which is none of its attempts, and return the seconds."""
        logger.info("%s: too many requests, the next attempt in %.1f s", self.name, seconds)
        return seconds


def sleep(seconds: float) -> None:
    """Sleep, unless the run is stopped.

    Raises:
        StoppedError: It is.
    """
    event = stop_event()
    if event is None:
        time.sleep(seconds)
    elif event.wait(seconds):
        raise StoppedError("the run was stopped before another attempt")


async def asleep(seconds: float) -> None:
    """Sleep on an event loop, unless the run is stopped.

    Raises:
        StoppedError: It is.
    """
    while seconds > 0:
        if is_stopping():
            raise StoppedError("the run was stopped before another attempt")
        await asyncio.sleep(min(seconds, SLICE))
        seconds -= SLICE
