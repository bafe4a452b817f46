"""A turn to call an endpoint, and who waits for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from valuesim_dspy.errors import ValueSimError
from valuesim_dspy.faults import twin
from valuesim_dspy.limits import Entry


@dataclass(eq=False)
class Slot:
    """The right to have one call under way.

    Attributes:
        tokens: What the call was expected to take when it started.
        since: When it started, by the throttle's clock, in seconds.
        told: Until when the endpoint asked it to wait, where it did.
        spent: What it took of a minute's tokens.
    """

    tokens: int
    since: float
    told: float = 0.0
    spent: Entry | None = None


@dataclass(eq=False)
class Waiter:
    """A call that waits for its turn.

    Attributes:
        tokens: What it will take.
        told: Until when the endpoint asked it to wait.
        wake: Wakes it, to look for what it got.
        since: When it began to wait.
        slot: Its turn, once it has it.
        error: What ends its run.
    """

    tokens: int
    told: float
    wake: Callable[[], Any]
    since: float
    slot: Slot | None = None
    error: ValueSimError | None = None

    def granted(self) -> Slot:
        """Return what it waited for, or raise what ended its run."""
        if self.error is not None:
            raise twin(self.error)
        assert self.slot is not None
        return self.slot

    def woken(self) -> bool:
        """Wake who waits; False where nobody does any more, since their event loop is closed."""
        try:
            self.wake()
        except RuntimeError:
            return False
        return True
