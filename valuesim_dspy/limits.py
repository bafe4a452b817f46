"""How fast a language model may be asked."""

from __future__ import annotations

from math import inf

from pydantic import Field

from valuesim_dspy.roles import Settings

__all__ = ["Bucket", "Limits"]


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


class Bucket:
    """Something of which at most so much is spent in any 60 seconds.

    Args:
        a_minute: How much; None is no bound.
        now: The time, in seconds.
    """

    def __init__(self, a_minute: int | None, now: float) -> None:
        # What a second brings may be saved up; it is taken off the rest of the minute.
        self.size = max(1.0, (a_minute or 0) / 60)
        self.rate = ((a_minute or 0) - self.size + 1) / 60
        self.bounded, self.level, self.at = a_minute is not None, self.size, now

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until so much may be spent; more than it holds waits for all."""
        if not self.bounded:
            return 0.0
        self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        # Without the tolerance, rounding could leave a wait too short for any clock to pass.
        return max(0.0, (min(amount, self.size) - self.level - 1e-9) / self.rate)

    def spend(self, amount: float) -> None:
        """Spend so much now, also more than there is: what follows waits for it."""
        self.level -= amount
