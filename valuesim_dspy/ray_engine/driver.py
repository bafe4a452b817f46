"""What runs on the driver: it hands people out to workers and keeps the rows that come back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import ceil
from typing import Any

from valuesim_dspy.errors import MissingDataError, ValueSimError, shown
from valuesim_dspy.journal import Journal
from valuesim_dspy.limits import Limits
from valuesim_dspy.lm import describe_error
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.plan import Opened, Plan
from valuesim_dspy.ray_engine.session import ray_session
from valuesim_dspy.ray_engine.work import LIVES, Chunk, Work
from valuesim_dspy.ray_engine.worker import Parcel, Told, Worker, divided, error_of, pack
from valuesim_dspy.roles import blank_secrets
from valuesim_dspy.usage import Meter, Usage

log = logging.getLogger(__name__)

ROWS_PER_CALL = 32
"""Rows of a chunk for each call in flight: so many that its begin and its end cost little."""

PATIENCE = 60.0
"""Seconds without anything from any worker after which the driver says that it waits."""


def run_on_ray(
    plan: Plan,
    opened: Opened,
    journal: Journal,
    *,
    workers: int | None = None,
    limits: Limits | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    meter: Meter | None = None,
) -> None:
    """Ask everything that is not done yet on a Ray cluster; keep each row as soon as it is there.

    The cluster is the one at `RAY_ADDRESS`, or the one the caller has initialised; without any,
    Ray is started on this machine and ended afterwards. A worker that dies is replaced and its
    people are given to another; what is in the journal is not asked again.

    Args:
        plan: What is asked; its survey must be readable on every machine.
        opened: The plan, opened.
        journal: Where outcomes are kept; any engine can go on with it.
        workers: Processes that ask; by default one for each processor of the cluster.
        limits: Of all workers together; each gets its part, at least one of everything.
        on_outcome: Called with each outcome as it comes.
        meter: Counts what workers needed and paid; where its budget is met, the run ends.

    Raises:
        BudgetExceededError: The meter's budget is spent; what was answered is in the journal.
        ConfigError: The run as a whole cannot work, or a worker has other files or packages.
        MissingDataError: Ray is not installed, or something is absent on a worker.
        ValueSimError: Anything else that ends a worker's part of the run.
    """
    people = ceil((journal.expected - journal.count) / len(opened.questions))
    if not people:
        return
    parcel = pack(plan, opened)
    with ray_session(workers) as ray:
        count = workers or int(ray.cluster_resources().get("CPU", 1)) or 1
        shares = divided(limits or Limits(), min(count, people))
        rows = ROWS_PER_CALL * (2 if plan.lm.in_process else shares[0].in_flight)
        work = Work(opened, journal, workers=len(shares), rows=rows)
        _Crew(ray, parcel, shares, work, _Kept(journal, on_outcome, meter)).run()


class _Kept:
    """Where rows that come back go: the journal, the caller, and the meter."""

    def __init__(
        self,
        journal: Journal,
        on_outcome: Callable[[Outcome], None] | None,
        meter: Meter | None,
    ) -> None:
        self._journal, self._on_outcome, self._meter = journal, on_outcome, meter

    def add(self, number: int, outcome: Outcome) -> None:
        if self._journal.is_done(number):
            return
        self._journal.add(number, outcome)
        if self._on_outcome is not None:
            self._on_outcome(outcome)

    def take(self, told: Told) -> None:
        """Keep the rows of a message; raise where it is an error, or where a budget is met."""
        if "stop" in told:
            raise error_of(told)
        for number, plain in told["rows"]:
            self.add(number, Outcome(**plain))
        if self._meter is None:
            return
        paid, cached = Usage(**told["paid"]), Usage(**told["cached"])
        if paid.calls:
            self._meter.record(paid, paid=True)
        if cached.calls:
            self._meter.record(cached, paid=False)
        if self._journal.count < self._journal.expected:
            self._meter.reserve(Usage())
            self._meter.release(Usage())


class _Crew:
    """The workers: one actor for each share of the limits, replaced when it dies."""

    def __init__(
        self, ray: Any, parcel: Parcel, shares: list[Limits], work: Work, kept: _Kept
    ) -> None:
        self._ray, self._parcel, self._shares = ray, parcel, shares
        self._work, self._kept = work, kept
        # A lost chunk is given out again here, where it is split and counted, never by Ray.
        settings = {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        self._actor = ray.remote(num_cpus=1, **settings)(Worker)
        self._actors: dict[int, Any] = {}
        self._idle: set[int] = set()
        self._under_way: dict[Any, tuple[int, Chunk | None]] = {}
        self._deaths = 0

    def run(self) -> None:
        """Work until nothing is left; end every worker, however this ends."""
        try:
            for slot in range(len(self._shares)):
                self._hire(slot)
            while not self._finished():
                ready, _ = self._ray.wait(list(self._under_way), num_returns=1, timeout=PATIENCE)
                if ready:
                    self._hear(ready[0])
                else:
                    log.warning("waiting for Ray: %s", self._waits())
        finally:
            for slot in list(self._actors):
                self._dismiss(slot)

    def _finished(self) -> bool:
        """Whether nothing is left: a worker found no work, and none is at work."""
        return bool(self._idle) and all(chunk is None for _, chunk in self._under_way.values())

    def _waits(self) -> str:
        opening = sum(chunk is None for _, chunk in self._under_way.values())
        return f"{opening} of {len(self._shares)} workers have not started, the others are asking"

    def _hire(self, slot: int) -> None:
        actor = self._actor.remote(self._parcel, self._shares[slot])
        self._actors[slot] = actor
        self._under_way[actor.open.remote()] = slot, None

    def _dismiss(self, slot: int) -> None:
        self._ray.kill(self._actors.pop(slot))

    def _hear(self, item: Any) -> None:
        """Take what a worker says; what it says next waits behind the others."""
        slot, chunk = self._under_way.pop(item)
        errors = self._ray.exceptions
        try:
            told = self._ray.get(item if chunk is None else next(item))
        except StopIteration:
            self._give(slot)
        except errors.RayTaskError as error:
            raise ValueSimError(f"a Ray worker failed: {describe_error(error.cause)}") from None
        except errors.RayError as error:
            self._lose(slot, chunk, error)
        else:
            self._kept.take(told)
            if chunk is None:
                log.debug("worker %d is process %d on %s", slot, told["pid"], told["host"])
                self._give(slot)
            else:
                self._deaths = 0
                self._under_way[item] = slot, chunk

    def _give(self, slot: int) -> None:
        chunk = self._work.next()
        if chunk is None:
            self._idle.add(slot)
            return
        answer = self._actors[slot].answer.options(num_returns="streaming")
        self._under_way[answer.remote(chunk.at, self._work.done_in(chunk))] = slot, chunk

    def _lose(self, slot: int, chunk: Chunk | None, error: Exception) -> None:
        """Replace a worker and put its people back."""
        self._dismiss(slot)
        self._deaths += 1
        for number, outcome in self._work.give_back(chunk) if chunk is not None else ():
            self._kept.add(number, outcome)
            self._deaths = 0
        reason = _death(error)
        if self._deaths > LIVES * len(self._shares):
            raise MissingDataError(
                f"{self._deaths} Ray workers in a row ended before they answered anything; "
                f"the last: {reason}",
                "see that valuesim-dspy is installed on every machine and that memory suffices, "
                "then run the same command again",
            )
        log.warning("a Ray worker ended, its people are given to others: %s", reason)
        self._hire(slot)
        for free in list(self._idle):
            self._idle.discard(free)
            self._give(free)


def _death(error: Exception) -> str:
    """Return why a worker ended: the last line of what Ray says, before it are tracebacks."""
    lines = [line for line in blank_secrets(str(error)).splitlines() if line.strip()]
    return shown(lines[-1].strip()) if lines else type(error).__name__
