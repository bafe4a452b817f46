"""What runs on the driver: it hands people out to workers and keeps the rows that come back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from math import ceil
from typing import Any

from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    MissingDataError,
    ValueSimError,
    shown,
)
from valuesim_dspy.journal import Journal
from valuesim_dspy.limits import Limits
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.plan import Opened, Plan
from valuesim_dspy.ray_engine.keeping import Kept, Traffic
from valuesim_dspy.ray_engine.session import ray_session
from valuesim_dspy.ray_engine.work import LIVES, Chunk, Work
from valuesim_dspy.ray_engine.worker import Parcel, Worker, divided, pack
from valuesim_dspy.roles import blank_secrets
from valuesim_dspy.usage import Meter

log = logging.getLogger(__name__)

ROWS_PER_CALL = 32
"""Rows of a chunk for each call in flight: so many that its begin and its end cost little."""

PATIENCE = 60.0
"""Seconds without anything from any worker after which the driver says that it waits."""

GRACE = 60.0
"""The most seconds that calls under way get when a run ends early; they are paid anyway."""

OPENING = 15.0
"""The most seconds of these for workers that have not begun to ask."""


def run_on_ray(
    plan: Plan,
    opened: Opened,
    journal: Journal,
    *,
    workers: int | None = None,
    limits: Limits | None = None,
    again: Collection[str] = (),
    on_outcome: Callable[[Outcome], None] | None = None,
    meter: Meter | None = None,
    traffic: Traffic | None = None,
) -> None:
    """Ask everything that is not done yet on a Ray cluster; keep each row as soon as it is there.

    The cluster is the one at `RAY_ADDRESS`, or the one the caller has initialised; without any,
    Ray is started on this machine and ended afterwards. A worker that dies is replaced and its
    people are given to another; what is in the journal is not asked again. Where the run ends
    early, calls under way get `GRACE` seconds, or the time limit of a call, to end and to be kept.

    Args:
        plan: What is asked; its survey must be readable on every machine.
        opened: The plan, opened.
        journal: Where outcomes are kept; any engine can go on with it.
        workers: Processes that ask, at most one for each processor of the cluster, and by
            default so many.
        limits: Of all workers together; each gets its part, at least one of everything.
        again: Statuses of rows that are asked anew; they are kept until a worker can ask.
        on_outcome: Called with each outcome as it comes.
        meter: Counts what workers needed and paid; where its budget is met, the run ends.
        traffic: Counts how prompts began and what was tried again.

    Raises:
        BudgetExceededError: The meter's budget is spent; what was answered is in the journal.
        ConfigError: The run as a whole cannot work, a worker has other files or packages, or
            fails.
        MissingDataError: Ray is not installed, or something is absent on a worker.
        ProgramStateError: A worker cannot load the program.
    """
    anew = len(journal.numbers(again))
    people = ceil((journal.expected - journal.count + anew) / len(opened.questions))
    if not people:
        return
    parcel = replace(pack(plan, opened), retries=journal.retries + bool(anew))
    with ray_session(workers) as ray:
        shares = divided(limits or Limits(), min(_crew_size(ray, workers), people))
        rows = ROWS_PER_CALL * (2 if plan.lm.in_process else shares[0].in_flight)
        work = Work(opened, journal, workers=len(shares), rows=rows)
        kept = Kept(journal, on_outcome, meter, traffic, again if anew else ())
        _Crew(ray, parcel, shares, work, kept, min(GRACE, plan.lm.timeout)).run()


def _crew_size(ray: Any, workers: int | None) -> int:
    """Return how many workers can run: those without a processor would only take limits away."""
    processors = max(1, int(ray.cluster_resources().get("CPU", 1)))
    if workers and workers > processors:
        log.warning("%d workers, not %d: so many processors are there", processors, workers)
    return min(workers or processors, processors)


class _Crew:
    """The workers: one actor for each share of the limits, replaced when it dies."""

    def __init__(
        self,
        ray: Any,
        parcel: Parcel,
        shares: list[Limits],
        work: Work,
        kept: Kept,
        grace: float,
    ) -> None:
        self._ray, self._parcel, self._shares = ray, parcel, shares
        self._work, self._kept, self._grace = work, kept, grace
        # A lost chunk is given out again here, where it is split and counted, never by Ray.
        settings = {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        # Two at once: `finish` has to be heard while `answer` runs.
        self._actor = ray.remote(num_cpus=1, max_concurrency=2, **settings)(Worker)
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
        except BudgetExceededError:
            self._drain()
            # Again, with what it came to; and not at all where the last rows have come.
            self._kept.check()
            if not self._kept.is_complete:
                raise
        except (KeyboardInterrupt, ValueSimError):
            self._drain()
            raise
        finally:
            for slot in list(self._actors):
                self._dismiss(slot)

    def _finished(self) -> bool:
        """Whether nothing is left: a worker found no work, and none is at work."""
        return bool(self._idle) and all(chunk is None for _, chunk in self._under_way.values())

    def _waits(self) -> str:
        opening = sum(chunk is None for _, chunk in self._under_way.values())
        return f"{opening} of {len(self._shares)} workers have not started, the others are asking"

    def _drain(self) -> None:
        """Let workers end the calls under way, which are paid, and keep what these bring."""
        asking = {item: slot for item, (slot, chunk) in self._under_way.items() if chunk}
        # A worker that opens may be making its trial call, which is paid, too.
        opening = {item for item, (_, chunk) in self._under_way.items() if not chunk}
        if not asking and not opening:
            return
        log.warning(
            "calls under way have %.0f s to end; a second Ctrl-C ends them now", self._grace
        )
        for actor in self._actors.values():
            actor.finish.remote()
        until = time.monotonic() + self._grace
        while (left := until - time.monotonic()) > 0 and (asking or opening):
            left = left if asking else min(left, OPENING)
            ready, _ = self._ray.wait([*asking, *opening], num_returns=1, timeout=left)
            if not ready:
                break
            item = ready[0]
            try:
                self._kept.keep(self._ray.get(item if item in opening else next(item)))
            except (StopIteration, self._ray.exceptions.RayError):
                asking.pop(item, None)
            opening.discard(item)
        if asking:
            log.warning("%d workers are ended in the middle of calls", len(asking))

    def _hire(self, slot: int) -> None:
        actor = self._actor.remote(self._parcel, self._shares[slot])
        self._actors[slot] = actor
        self._under_way[actor.open.remote()] = slot, None

    def _dismiss(self, slot: int) -> None:
        self._ray.kill(self._actors.pop(slot))

    def _hear(self, item: Any) -> None:
        """Take what a worker says; what it says next waits behind the others."""
        slot, chunk = self._under_way[item] = self._under_way.pop(item)
        errors = self._ray.exceptions
        try:
            told = self._ray.get(item if chunk is None else next(item))
        except StopIteration:
            del self._under_way[item]
            self._give(slot)
        except errors.RayTaskError as error:
            del self._under_way[item]
            # Its text may tell of a person.
            raise ConfigError(f"a Ray worker failed: {type(error.cause).__name__}") from None
        except errors.RayError as error:
            del self._under_way[item]
            self._lose(slot, chunk, error)
        else:
            if chunk is None:
                # Before it may end the run: what was heard is not heard again.
                del self._under_way[item]
            self._kept.take(told)
            if chunk is None:
                self._kept.begin()
                log.debug("worker %d is process %d on %s", slot, told["pid"], told["host"])
                self._give(slot)
            else:
                self._deaths = 0

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
