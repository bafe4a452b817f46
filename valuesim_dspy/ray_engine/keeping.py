"""What the driver does with what workers tell: rows are kept, calls counted, budgets held."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from valuesim_dspy.journal import Journal
from valuesim_dspy.limits import Limits
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.prefixes import Prefixes
from valuesim_dspy.ray_engine.worker import COUNTED, Told, error_of
from valuesim_dspy.throttle import Throttle
from valuesim_dspy.usage import Meter, Usage


class Traffic:
    """What the language models of all workers saw, to be read as that of one.

    Attributes:
        prefixes: How prompts began.
        throttle: What was tried again, and how often there were too many requests.
    """

    def __init__(self) -> None:
        self.prefixes, self.throttle = Prefixes(), Throttle(Limits())

    def add(self, counted: Mapping[str, int]) -> None:
        """Add what a worker tells."""
        for part, names in COUNTED.items():
            total = getattr(self, part)
            for name in names:
                setattr(total, name, getattr(total, name) + counted.get(name, 0))


class Kept:
    """Where rows that come back go: the journal, the caller, and what counts.

    Args:
        journal: Keeps each row once.
        on_outcome: Called with each row that is new.
        meter: Counts what was needed and paid, and holds the budget.
        traffic: Counts how prompts began and what was tried again.
        again: Statuses of rows that are dropped when the work begins.
    """

    def __init__(
        self,
        journal: Journal,
        on_outcome: Callable[[Outcome], None] | None,
        meter: Meter | None,
        traffic: Traffic | None,
        again: Collection[str] = (),
    ) -> None:
        self._journal, self._on_outcome, self._again = journal, on_outcome, again
        self._meter, self._traffic = meter or Meter(), traffic or Traffic()

    def begin(self) -> None:
        """Drop the rows that are asked anew, once: there is somebody who can ask."""
        again, self._again = self._again, ()
        if again:
            self._journal.drop(again)

    @property
    def is_complete(self) -> bool:
        """Whether no row is left."""
        return self._journal.count >= self._journal.expected

    def add(self, number: int, outcome: Outcome) -> None:
        """Keep a row, unless it is there."""
        if self._journal.is_done(number):
            return
        self._journal.add(number, outcome)
        if self._on_outcome is not None:
            self._on_outcome(outcome)

    def keep(self, told: Told) -> None:
        """Count what a message took, and keep its rows."""
        paid, cached = (Usage(**told.get(name, {})) for name in ("paid", "cached"))
        if paid.calls:
            self._meter.record(paid, paid=True)
        if cached.calls:
            self._meter.record(cached, paid=False)
        self._traffic.add(told.get("counted", {}))
        for number, plain in told.get("rows", ()):
            self.add(number, Outcome(**plain))

    def take(self, told: Told) -> None:
        """Keep a message.

        Raises:
            BudgetExceededError: With it, the budget is met.
            ConfigError: It says that the worker cannot go on; so do the others.
            MissingDataError: Something is absent on the worker.
            ProgramStateError: The worker cannot load the program.
        """
        self.keep(told)
        if "stop" in told:
            raise error_of(told)
        self.check()

    def check(self) -> None:
        """Go on only while the budget allows it, or no row is left.

        Raises:
            BudgetExceededError: It is met.
        """
        if not self.is_complete:
            self._meter.reserve(Usage())
            self._meter.release(Usage())
