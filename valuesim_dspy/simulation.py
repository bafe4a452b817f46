"""One simulation from its plan to its output: agreed to, run, taken up again, told."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from valuesim_dspy.answers_file import check_output, write_answers
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.config import JobConfig
from valuesim_dspy.ending import status_of
from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.estimating import (
    Fitting,
    check_context,
    estimate,
    longest_cases,
    money,
    prices,
    span,
)
from valuesim_dspy.journal import Journal, Shard
from valuesim_dspy.lm import MeteredLM, make_lm, preflight, require_consent
from valuesim_dspy.loop import STOPS
from valuesim_dspy.modules import asked_again
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.plan import Opened, Plan, compiled_on, open_plan
from valuesim_dspy.progress import Progress, traffic_of
from valuesim_dspy.sharding import check_beside, journal_path, left_line, status_lines
from valuesim_dspy.simulate import run_rows
from valuesim_dspy.store import cache_location
from valuesim_dspy.usage import Budget, Meter

if TYPE_CHECKING:
    from valuesim_dspy.ray_engine import Traffic

log = logging.getLogger(__name__)

AGAIN = ("failed", "invalid")
FEWER = "ask less, hide more (--hide), or choose a --program that reads less of a person"
RECENT = 100_000
"""Requests that the meter remembers, to tell one that comes again."""

Say = Callable[[str], object]


@dataclass(frozen=True)
class Simulation:
    """What is run, and how.

    Args:
        plan: What is asked of whom.
        out: Where answers are written.
        config: Limits, budget, hosts agreed to, and calls above which to ask.
        shard: The part of the people that is asked; None for all.
        ids: Whether the survey's interview numbers are written beside the answers.
        retry_failed: Whether rows without an answer are asked again.
        agreed: Whether more calls than `config.confirm_calls` were agreed to.
        workers: Of a Ray cluster, 0 for as many as it has; None runs here.
    """

    plan: Plan
    out: Path
    config: JobConfig
    shard: Shard | None = None
    ids: bool = False
    retry_failed: bool = False
    agreed: bool = False
    workers: int | None = None

    @property
    def journal(self) -> Path:
        """Where finished rows are kept."""
        return journal_path(self.out, self.shard)


def run_simulation(simulation: Simulation, *, say: Say = print) -> int:
    """Run, or go on with, a simulation; return an exit status: 0, 130 at Ctrl-C, 143 at SIGTERM.

    Args:
        simulation: What is run.
        say: Shows a line.

    Raises:
        BudgetExceededError: The budget is spent; the journal is kept.
        ConfigError: Something does not fit, or a large estimate was not agreed to.
        MissingDataError: A file, the program or a key is absent.
        ProgramStateError: The program does not fit this code, or was compiled for another model.
    """
    check_output(simulation.out, simulation.journal)
    check_beside(simulation.out, simulation.shard)
    opened = open_plan(simulation.plan)
    shard = simulation.shard
    at = [i for i in range(len(opened.positions)) if shard is None or shard.takes(i)]
    if not at:
        say(f"nobody is in part {shard}: nothing is asked, and merge wants no journal of it")
        return 0
    survey = opened.respondents
    require_consent(simulation.plan.lm, len(at), survey.synthetic, simulation.config.send_to)
    if require := getattr(opened.program, "require_model", None):
        require(simulation.plan.lm.model)
    if compiled_on(opened):
        log.warning("people who are simulated may be among those the program was compiled on")
    with _opened_journal(simulation, opened) as journal:
        work = _work(simulation, opened, journal, at)
        if work.rows:
            _agree(simulation, opened, work, say)
            if status := _ask(simulation, opened, journal, work, say):
                return status
        else:
            say(f"all {journal.count:,} rows are done: nothing is asked")
            for line in status_lines([journal]):
                say(line)
        return _finish(simulation, opened, journal, say)


@dataclass(frozen=True)
class _Work:
    """What is left to ask.

    Args:
        people: Places of the people who have rows left.
        rows: How many rows are left.
        again: Rows that are kept and asked again; they are kept until the work begins.
        done: Whether a row is not left.
    """

    people: Sequence[int]
    rows: int
    again: frozenset[int]
    done: Callable[[int], bool]


def _work(simulation: Simulation, opened: Opened, journal: Journal, at: Sequence[int]) -> _Work:
    again = journal.numbers(AGAIN) if simulation.retry_failed else frozenset()

    def done(number: int) -> bool:
        return journal.is_done(number) and number not in again

    return _Work(*opened.left(at, done), again, done)


@contextmanager
def _opened_journal(simulation: Simulation, opened: Opened) -> Iterator[Journal]:
    """Yield the journal; one that was begun and is empty at the end leaves no file behind."""
    is_new = not simulation.journal.exists()
    given = opened.arguments(), opened.total, simulation.shard, len(opened.questions)
    journal = Journal.open(simulation.journal, *given)
    try:
        yield journal
    finally:
        # While it is still locked: nobody else can have begun to write to it.
        for suffix in ("", "-wal", "-shm") if is_new and not journal.count else ():
            Path(f"{journal.path}{suffix}").unlink(missing_ok=True)
        journal.close()


def _agree(simulation: Simulation, opened: Opened, work: _Work, say: Say) -> None:
    role, limit = simulation.plan.lm, simulation.config.confirm_calls
    longest = longest_cases(opened, work.people, work.done)
    check_context(opened.program, longest, role, fewer=FEWER)
    cost = estimate(opened, work.people, work.rows, work.done)
    say(
        f"{work.rows:,} rows of {len(work.people):,} people to ask; about {span(cost.calls)} "
        f"calls, {span(cost.tokens)} tokens, {money(cost.usd(prices(role)))}, if nothing is cached"
    )
    limits, least = simulation.config.limits, (cost.calls[0], cost.tokens[0])
    for line in limits.notes(*least, in_process=role.in_process):
        say(line)
    if not (simulation.agreed or role.in_process) and cost.calls[1] > limit:
        raise ConfigError(
            f"up to {cost.calls[1]:,} calls may be needed, more than {limit:,}; "
            "pass --yes to agree",
            key="--confirm-calls",
        )


def _ask(simulation: Simulation, opened: Opened, journal: Journal, work: _Work, say: Say) -> int:
    """Ask what is left; say what it took, also where that ends early."""
    budget = Budget(**simulation.config.budget.model_dump())
    told, start = _Told(Meter("task_lm", budget=budget, recent=RECENT)), time.monotonic()
    stop: BaseException | None = None
    try:
        with Progress("simulating", work.rows, told.traffic) as progress:
            told.step = progress.step
            ask = _ask_here if simulation.workers is None else _ask_ray
            ask(simulation, opened, journal, work, told)
    except (KeyboardInterrupt, *STOPS) as error:
        if not told.rows and not isinstance(error, KeyboardInterrupt):
            raise
        stop = error
    earlier = " by this start" if journal.count > told.rows else ""
    for line in [*status_lines([journal]), *told.lines(time.monotonic() - start, earlier)]:
        say(line)
    if isinstance(stop, BudgetExceededError):
        # A budget is that of one start: no larger one is needed.
        raise BudgetExceededError(stop.what, stop.limit, stop.spent, left_line(journal)) from None
    if stop is None:
        return 0
    print(f"stopped: {left_line(journal)}", file=sys.stderr)  # noqa: T201
    if isinstance(stop, KeyboardInterrupt):
        return status_of(stop)
    raise stop


class _Told:
    """What a run takes, as it takes it."""

    def __init__(self, meter: Meter) -> None:
        self.meter, self.rows = meter, 0
        self.step: Callable[[], object] = lambda: None
        self.lm: MeteredLM | Traffic | None = None

    def outcome(self, _: Outcome) -> None:
        self.step()
        self.rows += 1

    def traffic(self) -> str:
        return traffic_of(self.lm if isinstance(self.lm, MeteredLM) else None)

    def lines(self, seconds: float, since: str = "") -> list[str]:
        """Return calls, tokens and money, how much of the prompts repeats, and the pace."""
        needed, paid = self.meter.needed, self.meter.paid
        price = money(None if paid.usd is None else (paid.usd, paid.usd))
        pace = f"{paid.calls / seconds:,.1f} calls a second" if seconds > 0 else ""
        lines = [
            f"needed{since}: {needed.calls:,} calls, {needed.tokens:,} tokens",
            f"paid{since}: {paid.calls:,} calls, {paid.tokens:,} tokens, {price}; {pace}",
        ]
        throttle, prefixes = (getattr(self.lm, name, None) for name in ("throttle", "prefixes"))
        if throttle is not None and (throttle.retries or throttle.refusals):
            limited = f"{throttle.refusals:,} times the server said that there were too many"
            lines.append(f"tried again: {throttle.retries:,} times; {limited}")
        if prefixes is not None and prefixes.characters:
            cached = prefixes.cached_tokens
            told = f"; the server says it had {cached:,} tokens cached" if cached else ""
            lines.append(f"{prefixes.share:.0%} of what was sent begins like an earlier one{told}")
        return lines


def _ask_here(
    simulation: Simulation, opened: Opened, journal: Journal, work: _Work, told: _Told
) -> None:
    limits = simulation.config.limits
    told.lm = make_lm(simulation.plan.lm, name="task_lm", meter=told.meter, limits=limits)
    with ResponseCache(cache_location()).installed():
        if any(not isinstance(row, Outcome) for _, row in opened.rows(work.people, work.done)):
            preflight(told.lm)
        if work.again:
            journal.drop(AGAIN)
        with asked_again(journal.retries):
            run_rows(Fitting(opened), journal, lm=told.lm, at=work.people, on_outcome=told.outcome)


def _ask_ray(
    simulation: Simulation, opened: Opened, journal: Journal, work: _Work, told: _Told
) -> None:
    from valuesim_dspy.ray_engine import Traffic, run_on_ray

    told.lm = traffic = Traffic()
    run_on_ray(
        simulation.plan,
        opened,
        journal,
        workers=simulation.workers or None,
        limits=simulation.config.limits,
        again=AGAIN if work.again else (),
        on_outcome=told.outcome,
        meter=told.meter,
        traffic=traffic,
    )


def _finish(simulation: Simulation, opened: Opened, journal: Journal, say: Say) -> int:
    """Write the output, always anew, or say how the parts are put together."""
    if lost := len(journal.numbers(AGAIN)):
        say(f"{lost:,} rows have no answer: --retry-failed asks them once more")
    if simulation.shard is not None:
        say(
            f"part {simulation.shard} is done and kept in {journal.path}; when all parts are: "
            f"valuesim merge --out {simulation.out}"
        )
        return 0
    respondents, width = opened.respondents, len(opened.questions)

    def interview(number: int) -> str:
        return respondents[opened.positions[number // width]].id

    ids = interview if simulation.ids else None
    write_answers([journal], simulation.out, codebook=respondents.codebook, interview=ids)
    say(f"{simulation.out}: {journal.count:,} rows, readable by you only")
    if simulation.plan.lm.offline:
        say("The embedded model answered: it shows that the machinery works, no more.")
    return 0
