"""What failed calls say of an endpoint: when it is tried, by whom, and how long it is spared."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from valuesim_dspy.callscope import StoppedError, is_stopping
from valuesim_dspy.errors import ValueSimError

logger = logging.getLogger(__name__)

FAILURES = 20
"""Failed attempts in a row, at least, after which an endpoint may be dead."""
DENIALS = 3
"""Denials in a row after which an endpoint may deny everything, and not one prompt."""
GAP = 16.0
"""How many times longer a row is needed for another trial, at most, where others are answered."""
FORGETS = 0.99
"""What is left of that factor after each answer: about half of it after seventy."""
PATIENCE = 60.0
"""The most seconds that a server's retry-after is honoured."""
HINTS = 4
"""Waits in a row in which a server's retry-after is believed where it is shorter than ours."""
LONG = 6
"""Waits in a row after which it is told that calls are waiting."""
NAP = 1.0
"""Seconds after which whoever waits looks up whether its run was stopped."""


class Faults:
    """Counts what fails in a row, over all calls of an endpoint.

    A row may be one person's: their questions follow each other. So it decides nothing but when
    the endpoint is tried with a call that tells of nobody. Each trial that is answered makes the
    row for the next one twice as long, so that an endpoint that answers nothing but trials costs
    few of them; answers to others make it shorter again.
    """

    def __init__(self) -> None:
        self._failures = self._denials = 0
        self._gap = 1.0

    def answered(self) -> None:
        """Take down an answer."""
        self._failures = self._denials = 0
        if self._gap > 1:
            self._gap = max(1.0, FORGETS * min(self._gap, GAP))

    def failed(self, patience: int) -> bool:
        """Take down a failed attempt; return whether the endpoint is to be tried.

        Args:
            patience: So many in a row are none of the endpoint's, at least.
        """
        self._failures += 1
        return self._failures >= patience + FAILURES * (self._gap - 1)

    def denied(self, *, is_sure: bool) -> bool:
        """Take down a denial; return whether the endpoint is to be tried.

        Args:
            is_sure: Whether one is enough at first.
        """
        self._denials += 1
        return self._denials >= (1 if is_sure else DENIALS) * self._gap

    def refuted(self) -> None:
        """Take down that a trial was answered: what failed was not the endpoint."""
        self._failures = self._denials = 0
        self._gap *= 2


@dataclass
class Busy:
    """How long an endpoint is left alone that answers "too many requests", and how often it was.

    A quota is by the minute as a rule, so that five minutes without any answer are no such quota:
    one of the day, or a limit that nothing passes.

    Attributes:
        first: Seconds of the first wait; each one without an answer before it is twice as long.
        most: Seconds of the longest wait.
        patience: Seconds that it may go on without any answer in between.
        rounds: Waits since the last answer.
        lasted: Seconds that they were to take, together, before the one that began last.
        last: Seconds that this one is to take.
        since: When the first of them began.
        is_picky: Whether a trial was answered meanwhile: what is refused is what was asked.
    """

    first: float = 1.0
    most: float = 60.0
    patience: float = 300.0
    rounds: int = 0
    lasted: float = 0.0
    last: float = 0.0
    since: float = 0.0
    is_picky: bool = False

    def answered(self) -> None:
        """Take down an answer."""
        self.rounds, self.lasted, self.last, self.is_picky = 0, 0.0, 0.0, False

    def refuted(self) -> None:
        """Take down that a trial was answered, and what is asked is not."""
        self.rounds, self.lasted, self.last, self.is_picky = 0, 0.0, 0.0, True

    def wait(self, hint: float | None, chance: float, now: float) -> float:
        """Begin another wait and return its seconds.

        Args:
            hint: What the endpoint asks for, up to `PATIENCE`; for the first waits it is right.
            chance: A random number, 0 to 1: which wait from half to all of its length.
            now: The time.
        """
        if not self.rounds:
            self.since = now
        self.rounds += 1
        seconds = min(self.most, self.first * 2.0 ** min(self.rounds - 1, 30)) * (1 + chance) / 2
        if hint is not None and math.isfinite(hint) and hint >= 0:
            hint = min(hint, PATIENCE)
            seconds = hint if self.rounds <= HINTS else max(hint, seconds)
        self.lasted, self.last = self.lasted + self.last, seconds
        if self.rounds == LONG:
            told = 'waiting: "too many requests" and nothing else, for %.0f s of at most %.0f s'
            logger.warning(told, self.lasted, self.patience)
        return seconds

    def is_over(self, now: float) -> bool:
        """Whether it went on for too long; clocks of tests may stand still while they wait."""
        return bool(self.rounds) and max(self.lasted, now - self.since) >= self.patience


class Trials:
    """Lets one thread at a time try an endpoint, and tells those who waited what it found."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made = 0
        self._found: ValueSimError | None = None

    def verdict(
        self, make: Callable[[], ValueSimError | None], let_go: Callable[[], None]
    ) -> ValueSimError | None:
        """Return the error that ends the run, or None.

        Args:
            make: Makes a trial and judges it; called unless another thread has just done so.
            let_go: Called before it waits for another thread, which may need what this one has.

        Raises:
            StoppedError: The run was stopped meanwhile.
        """
        made = self._made
        if not self._lock.acquire(blocking=False):
            let_go()
            while not self._lock.acquire(timeout=NAP):
                _go_on()
        try:
            _go_on()
            if self._made == made:
                self._found = make()
                self._made += 1
            return None if self._found is None else twin(self._found)
        finally:
            self._lock.release()


def _go_on() -> None:
    """Raise where the run was stopped, as by the verdict of a trial before."""
    if is_stopping():
        raise StoppedError("the run was stopped while its endpoint was tried")


def twin(error: ValueSimError) -> ValueSimError:
    """Return the same error again, for another thread to raise with a traceback of its own."""
    made = type(error).__new__(type(error))
    made.args = error.args
    made.__dict__.update(vars(error))
    return made
