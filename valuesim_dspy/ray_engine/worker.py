"""What runs on a worker: it opens the plan it was sent and answers people of it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dspy

from valuesim_dspy.asked import Row
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    MissingDataError,
    ProgramStateError,
    ValueSimError,
    shown,
)
from valuesim_dspy.estimating import Fitting
from valuesim_dspy.finding import opened_program
from valuesim_dspy.limits import Limits
from valuesim_dspy.lm import make_lm, preflight
from valuesim_dspy.loading import read_files
from valuesim_dspy.loop import stream_cases, threads_for
from valuesim_dspy.manifest import versions
from valuesim_dspy.modules import asked_again
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.plan import TOGETHER, Opened, Plan, open_plan
from valuesim_dspy.program import VARIANTS
from valuesim_dspy.roles import endpoint_identity
from valuesim_dspy.store import cache_location
from valuesim_dspy.survey.codebook import packaged_codebooks
from valuesim_dspy.usage import Budget, Meter, Usage

RECENT = 100_000
"""Requests that a worker remembers, to tell one that comes again."""

COUNTED = {
    "prefixes": ("characters", "repeated", "cached_tokens"),
    "throttle": ("retries", "refusals"),
}
"""Attributes of a language model, and what of them is told."""

Told = dict[str, Any]


@dataclass(frozen=True)
class Parcel:
    """All that a worker is sent: plain values, and nothing secret.

    Args:
        plan: The plan as JSON; its files are named by absolute paths.
        program: The files of a saved program by name; none where the plan names a variant.
        arguments: What the driver's plan comes to, which the worker's must equal.
        versions: Of the packages that decide what is asked.
        retries: How often what had no answer was asked again.
    """

    plan: str
    program: Mapping[str, str]
    arguments: Mapping[str, Any]
    versions: Mapping[str, str]
    retries: int = 0


def pack(plan: Plan, opened: Opened) -> Parcel:
    """Return what workers are sent.

    Raises:
        MissingDataError: The program is not there any more.
        ProgramStateError: It cannot be read any more.
    """
    program: dict[str, str] = {}
    if plan.program not in (*VARIANTS, TOGETHER):
        with opened_program(plan.program) as folder:
            program = read_files(folder)
    named = {name: getattr(plan, name) for name in ("survey", "codebook", "wording")}
    if plan.codebook in packaged_codebooks():
        del named["codebook"]
    files = {
        name: str(Path(at).absolute()) for name, at in named.items() if at and Path(at).exists()
    }
    return Parcel(
        plan=plan.model_copy(update=files).model_dump_json(),
        program=program,
        arguments=_decisive(opened),
        versions=versions(),
    )


def divided(limits: Limits, workers: int) -> list[Limits]:
    """Return each worker's part of the limits: together the whole, but at least one each.

    Args:
        limits: Of the whole run.
        workers: Among how many they are divided.
    """

    bounds: dict[str, int] = limits.model_dump(exclude_none=True)
    return [
        Limits(**{name: max(1, (bound + i) // workers) for name, bound in bounds.items()})
        for i in range(workers)
    ]


class Worker:
    """Answers chunks of a plan in one process; Ray makes it, and it does not know of Ray.

    Args:
        parcel: What is asked.
        limits: Its part of the limits.
    """

    def __init__(self, parcel: Parcel, limits: Limits) -> None:
        self._parcel, self._limits = parcel, limits
        self._needed, self._paid = Usage(), Usage()
        self._counted: dict[str, int] = {}
        self._finishing = threading.Event()

    def open(self) -> Told:
        """Open the plan and try the model; return who this is, or the error that ends the run."""
        try:
            _check("packages", versions(), self._parcel.versions, "install the same versions")
            self._opened = _open_parcel(self._parcel)
            role = self._opened.plan.lm
            _check("things to ask", _decisive(self._opened), self._parcel.arguments, _SAME)
            meter = Meter("task_lm", recent=RECENT)
            self._lm = make_lm(role, name="task_lm", meter=meter, limits=self._limits)
            self._cache = ResponseCache(cache_location())
            if not self._finishing.is_set():
                with self._asking():
                    preflight(self._lm)
        except ValueSimError as error:
            return stop_of(error)
        return self._tell([]) | {"pid": os.getpid(), "host": socket.gethostname()}

    def answer(self, at: Sequence[int], done: Sequence[int]) -> Iterator[Told]:
        """Answer the rows of some people.

        Args:
            at: Places in the plan's positions.
            done: Numbers of the rows that are not asked.

        Yields:
            Rows with what they took as soon as they are there, or an error that ends the run.
        """
        lm, skipped = self._lm, list[tuple[int, Outcome]]()
        threads = threads_for(lm)
        rows = self._opened.rows(at, frozenset(done).__contains__, threads=threads)
        asked = _asked(rows, skipped, self._finishing)
        try:
            stream = stream_cases(Fitting(self._opened).program, asked, lm=lm, threads=threads)
            with self._asking(), asked_again(self._parcel.retries), closing(stream):
                for number, outcome in stream:
                    yield self._tell([(number, outcome)])
            yield self._tell(skipped)
        except ValueSimError as error:
            # With what was paid by cases that did not come to their end.
            yield self._tell([]) | stop_of(error)

    def finish(self) -> None:
        """Let calls under way end, and start none; called in another thread."""
        self._finishing.set()
        if not hasattr(self, "_lm"):
            return
        meter, throttle = self._lm.meter, self._lm.throttle
        meter.budget = Budget(calls=0)
        if throttle is not None:
            throttle.stop(BudgetExceededError("calls", 0, meter.paid.calls))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._cache.installed(), dspy.context(lm=self._lm, disable_history=True):
            yield

    def _tell(self, rows: Sequence[tuple[int, Outcome]]) -> Told:
        """Return rows as plain values, with what was paid and found since the last ones."""
        meter = self._lm.meter
        needed, paid = _since(self._needed, meter.needed), _since(self._paid, meter.paid)
        self._needed, self._paid = self._needed + needed, self._paid + paid
        return {
            "rows": [(number, asdict(outcome)) for number, outcome in rows],
            "paid": paid.as_dict(),
            "cached": _since(paid, needed).as_dict(),
            "counted": self._count(),
        }

    def _count(self) -> dict[str, int]:
        """Return how prompts began and what was tried again, since it was last told."""
        parts = [(getattr(self._lm, part), names) for part, names in COUNTED.items()]
        now = {n: getattr(part, n) for part, names in parts if part is not None for n in names}
        before, self._counted = self._counted, now
        return {name: count - before.get(name, 0) for name, count in now.items()}


_SAME = (
    "survey, codebook and program must be the same files on every machine, and the model's "
    "address the same in every environment"
)


def _check(what: str, here: Mapping[str, Any], wanted: Mapping[str, Any], advice: str) -> None:
    differ = [
        f"{name} is {shown(here.get(name))!r} and not {shown(wanted.get(name))!r}"
        for name in dict.fromkeys((*wanted, *here))
        if here.get(name) != wanted.get(name)
    ]
    if differ:
        raise ConfigError(
            f"a worker has other {what} than the driver: {'; '.join(differ)}; {advice}"
        )


def _decisive(opened: Opened) -> dict[str, Any]:
    """Return what must be the same on every machine: what is agreed to is sent to one address."""
    return {**opened.arguments(), "endpoint": endpoint_identity(opened.plan.lm.address)}


def _open_parcel(parcel: Parcel) -> Opened:
    # Its program is never written to this machine: demos may be answers of people.
    return open_plan(Plan.model_validate_json(parcel.plan), parcel.program)


def _asked(
    rows: Iterator[Row], skipped: list[tuple[int, Outcome]], finishing: threading.Event
) -> Iterator[tuple[int, dspy.Example]]:
    """Yield the rows to be asked, until it is to finish, and put the others aside."""
    for number, row in rows:
        if finishing.is_set():
            return
        if isinstance(row, Outcome):
            skipped.append((number, row))
        else:
            yield number, row


def _since(before: Usage, now: Usage) -> Usage:
    known = before.usd is not None and now.usd is not None
    usd = (now.usd or 0.0) - (before.usd or 0.0) if known else None
    counts = {n: v - vars(before)[n] for n, v in vars(now).items() if n != "usd"}
    return Usage(**counts, usd=usd)


def stop_of(error: ValueSimError) -> Told:
    """Return an error as plain values that `error_of` reads, with the machine it came from.

    What is neither absent nor a program's state crosses as a `ConfigError`: whatever ends a
    worker's part concerns the whole run.
    """
    where = f"(on the Ray worker {socket.gethostname()})"
    if isinstance(error, MissingDataError):
        return {"stop": "missing", "told": [error.what, f"{error.how} {where}"]}
    kind = "state" if isinstance(error, ProgramStateError) else "config"
    return {"stop": kind, "told": [f"{error} {where}"]}


def error_of(told: Told) -> ValueSimError:
    """Return the error that a worker told."""
    kinds = {"missing": MissingDataError, "config": ConfigError, "state": ProgramStateError}
    return kinds[told["stop"]](*told["told"])
