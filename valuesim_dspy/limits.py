"""How fast a language model may be asked."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

from pydantic import Field

from valuesim_dspy.roles import Settings

__all__ = ["Bucket", "Entry", "Limits"]

MINUTE = 60.0
TICK = 1e-9


class Limits(Settings):
    """Bounds on the calls of one LM that goes over the network; None is no bound.

    They change when a call is sent and never what it says. One model in the process runs one
    call after another and has none of them.

    Attributes:
        in_flight: Calls under way at once, 1 to 4096. Fewer are allowed for a while when the
            endpoint answers "too many requests" or becomes slow.
        calls_per_minute: Calls started in any 60 seconds.
        tokens_per_minute: Tokens in both directions, in any 60 seconds: those of the prompt when
            a call starts, corrected by what it took when it is answered.
    """

    in_flight: int = Field(default=64, ge=1, le=4096)
    calls_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)

    def minutes(self, calls: int, tokens: int) -> float:
        """Return how long so many calls and tokens take at least, in minutes."""
        return max(calls / (self.calls_per_minute or inf), tokens / (self.tokens_per_minute or inf))

    def notes(self, calls: int, tokens: int, *, in_process: bool) -> list[str]:
        """Return what is worth knowing of them before a run, a line each.

        Args:
            calls: The calls that the run makes at least.
            tokens: The tokens that they take at least.
            in_process: Whether the model runs in this process.
        """
        if in_process:
            told = "limits do not apply: this model runs here, one call after another"
            return [told] if self.model_fields_set else []
        minutes = self.minutes(calls, tokens)
        lasts = f"{minutes / 60:,.1f} hours" if minutes >= 100 else f"{minutes:,.0f} minutes"
        return [f"at these limits that takes at least {lasts}"] if minutes >= 1.5 else []


@dataclass(slots=True)
class Entry:
    """What was spent at one moment; it counts for a minute.

    Attributes:
        at: The time, in seconds.
        amount: How much.
    """

    at: float
    amount: float


class Bucket:
    """Something of which at most so much is spent in any 60 seconds, evenly as far as it can be.

    What is small is spread: what a second brings may be saved up, no more. What is larger than
    that waits until the last minute has room for it, and what is larger than the limit until
    nothing was spent for a minute.

    Args:
        a_minute: How much; None is no bound.
        now: The time, in seconds.
    """

    def __init__(self, a_minute: int | None, now: float) -> None:
        self.limit = inf if a_minute is None else float(a_minute)
        # What is saved up is taken off the rest of the minute.
        self.size = max(1.0, (a_minute or 0) / 60)
        self.rate = ((a_minute or 0) - self.size + 1) / 60
        self.bounded, self.level, self.at = a_minute is not None, self.size, now
        self._entries: deque[Entry] = deque()
        self._spent = 0.0

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until so much may be spent."""
        if not self.bounded:
            return 0.0
        self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        short = (min(amount, self.size) - self.level) / self.rate
        seconds = max(short, self._room(amount, now))
        # Rounding could leave a wait too short for any clock to pass.
        return seconds if seconds > TICK else 0.0

    def spend(self, amount: float, now: float) -> Entry:
        """Spend so much now, also more than there is: what follows waits for it."""
        entry = Entry(now, amount)
        if self.bounded:
            self.level -= amount
            self._entries.append(entry)
            self._spent += amount
        return entry

    def correct(self, entry: Entry, amount: float, now: float) -> None:
        """Take down that what was spent was another amount: less of it then, or the rest now."""
        more = amount - entry.amount
        if more > 0:
            self.spend(more, now)
        elif self.bounded:
            self.level -= more
            if self._entries and entry.at >= self._entries[0].at:
                self._spent += more
                entry.amount = amount

    def _room(self, amount: float, now: float) -> float:
        """Return the seconds until the last minute has room for so much."""
        while self._entries and self._entries[0].at <= now - MINUTE + TICK:
            self._spent -= self._entries.popleft().amount
        if not self._entries:
            self._spent = 0.0
        over, last = self._spent + min(amount, self.limit) - self.limit, now - MINUTE
        for entry in self._entries:
            if over <= TICK:
                break
            over, last = over - entry.amount, entry.at
        return last + MINUTE - now
