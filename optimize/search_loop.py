"""The trials of a search in this process: run one after the other, tracked, told, kept."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evals.job_facts import describe_job
from evals.study import Study, code_digest
from evals.tracking import Tracker
from evals.trial_runs import SearchRun, TrialRun
from optimize.ledger import Ledger
from optimize.search_ending import devset_table
from optimize.search_plan import Plan
from optimize.search_report import search_text
from optimize.search_storage import storage_address, taking_turns
from optimize.search_trial import MEASURED, SAME, Asked, Measured, Tried, measure_trial
from optimize.search_workers import BEAT, Heartbeat
from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    MissingDataError,
    PredictionError,
    ProgramStateError,
)
from valuesim_dspy.roles import blank_secrets
from valuesim_dspy.store import artifact_root, user_data

if TYPE_CHECKING:
    from optimize.search import Board

FAILURES = (ConfigError, MissingDataError, PredictionError, ProgramStateError)
"""Errors that fail one trial; what else is raised ends the search."""
MOST_UNANSWERED = 3
SHOWN = ("accuracy", "nmae", "coverage", "fidelity", "disagreement")
NOT_IDENTITY = {"study", "job", "trials", "finalists", "storage"}


def identity_parts(plan: Plan, study: Study) -> dict[str, str]:
    """Return digests of what decides the results of a search, part by part."""
    search = plan.search.model_dump(mode="json", exclude=NOT_IDENTITY)
    parts = {
        "search and space": json.dumps(search, sort_keys=True),
        "job": plan.job.digest,
        "data": study.respondents.digest + study.codebook.digest,
        "code": code_digest(),
    }
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in parts.items()}


@dataclass(eq=False)
class SearchJob:
    """A search under way in this process.

    Args:
        plan: The search.
        study: The open study of its job.
        board: The trials, shared with other processes.
        draw: Returns the pictures, file name to content.
    """

    plan: Plan
    study: Study
    board: Board
    draw: Callable[[Sequence[Tried]], Mapping[str, bytes]]
    unanswered: int = field(default=0)

    @property
    def identity(self) -> str:
        """16 hex digits of name, search, job, data and code."""
        parts = [self.plan.search.study, identity_parts(self.plan, self.study)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def run(self, tracker: Tracker, *, most: int | None) -> str:
        """Run trials, then put the best to the devset if all are done; keep and return the text.

        Args:
            tracker: Where the runs are kept.
            most: The most trials; None for all that are left.

        Raises:
            BudgetExceededError: The budget is spent; the text was printed.
        """
        facts = describe_job(
            self.study,
            command="optimize",
            subject=self.plan.job.variant,
            identity=self.identity,
            search=self.plan.search.model_dump(mode="json", exclude={"storage"}),
        )
        # The budget holds over all processes that follow each other here.
        ledger = Ledger(self._folder("logs") / "paid.jsonl")
        self.study.meter.earlier = ledger.earlier()
        self.study.meter.on_paid = ledger.writer("search", "")
        address, _ = storage_address(self.plan.search, self.plan.job.store)
        # Of two machines that begin at once, the second finds the run that the first began.
        with taking_turns(address):
            begun = SearchRun.start(tracker, facts)
        with begun as run:
            return self._run(run, most)

    def _run(self, run: SearchRun, most: int | None) -> str:
        table = ""
        try:
            self._run_trials(run, most)
            if self.is_over:
                folder, trials = self._folder("programs"), self.board.trials()
                table = devset_table(self.plan, self.study, run, trials, folder=folder)
        except BudgetExceededError:
            print(self._keep(run, table), flush=True)  # noqa: T201
            raise
        return self._keep(run, table)

    @property
    def is_over(self) -> bool:
        """Whether all trials of all processes are done."""
        trials = self.board.trials()
        return len(trials) >= self.plan.search.trials and all(trial.is_done for trial in trials)

    def _run_trials(self, run: SearchRun, most: int | None) -> None:
        done = 0
        while most is None or done < most:
            asked = self.board.ask()
            if asked is None:
                return
            self._run_trial(run, asked)
            done += 1

    def _run_trial(self, run: SearchRun, asked: Asked) -> None:
        """Run one trial; interrupted, it is given back to be run again."""
        try:
            with Heartbeat(lambda now: self.board.mark(asked.number, BEAT, now)):
                self._tracked(run, asked)
        except FAILURES as error:
            if isinstance(error, ConfigError) and error.key == "budget.usd":
                self.board.give_back(asked.number, "interrupted")
                raise
            self.board.fail(asked, _reason(error))
            self._check_endpoint(error)
        except BaseException:
            self.board.give_back(asked.number, "interrupted")
            raise
        else:
            self.unanswered = 0
        self._say(asked)

    def _check_endpoint(self, error: Exception) -> None:
        """Stop where trial after trial is not answered: the rest would be used up for nothing."""
        self.unanswered = self.unanswered + 1 if isinstance(error, PredictionError) else 0
        if self.unanswered >= MOST_UNANSWERED:
            raise PredictionError(
                f"{self.unanswered} trials in a row failed ({_reason(error)}); see to the "
                "endpoint and run the search again, it goes on with the trials that are left"
            ) from error

    def _tracked(self, run: SearchRun, asked: Asked) -> None:
        tags = {"trial": str(asked.root)}
        with run.trial(asked.root, f"trial {asked.root}", asked.chosen, tags) as child:
            earlier = self._earlier(asked)
            if earlier is not None:
                self._repeat(asked, earlier, child)
                return
            try:
                measured = self._measure(asked, child)
                values = self._values(measured)
            except FAILURES as error:
                child.state("failed", _reason(error))
                raise
            self._tell(asked, child, measured, values)

    def _measure(self, asked: Asked, child: TrialRun) -> Measured:
        config = self.plan.job_of(asked.chosen)
        compiling = config.compile.teleprompter
        child.set_tags({"variant": config.variant, "teleprompter": compiling})
        steps = iter(range(1, len(self.plan.search.subsets) + 1))

        def report(cases: int, metrics: Mapping[str, float]) -> bool:
            first = self.plan.search.objectives[0]
            step = next(steps)
            child.log_metrics({first: metrics[first]}, prefix="growing", step=cases)
            return self.board.report(asked, metrics[first], step)

        return measure_trial(
            self.study,
            config,
            subsets=self.plan.search.subsets,
            report=report,
            log=self._folder("logs") / f"trial-{asked.root}.log",
        )

    def _values(self, measured: Measured) -> list[float]:
        """Return the objectives' values.

        Raises:
            PredictionError: One is unknown for this trial.
        """
        search = self.plan.search
        names = {"cost": f"cost.{search.cost}"}
        found = {o: measured.metrics.get(names.get(o, o)) for o in search.objectives}
        for name, value in found.items():
            if value is None or value != value:
                raise PredictionError(f"{name} is unknown for this trial")
        return [float(value) for value in found.values() if value is not None]

    def _tell(self, asked: Asked, child: TrialRun, measured: Measured, values: list[float]) -> None:
        known = {name: measured.metrics[name] for name in measured.metrics if name in SHOWN}
        known |= {name: v for name, v in measured.metrics.items() if name.startswith("cost.")}
        known |= {"cases": measured.cases, "compile_calls": measured.arm.compiling.calls}
        known = {name: value for name, value in known.items() if value == value}
        self.board.mark(asked.number, MEASURED, known)
        child.log_metrics(known, prefix="val")
        if measured.arm.notes:
            child.note("\n".join(measured.arm.notes))
        self.board.complete(asked, None if measured.is_pruned else values)
        child.state("pruned" if measured.is_pruned else "complete")

    def _earlier(self, asked: Asked) -> Tried | None:
        """Return a trial with the same values that was measured to its end."""
        params = dict(asked.trial.params)
        for tried in self.board.trials():
            if tried.state == "complete" and tried.params == params:
                return tried
        return None

    def _repeat(self, asked: Asked, earlier: Tried, child: TrialRun) -> None:
        """Take over what an earlier trial with the same values came to."""
        self.board.mark(asked.number, MEASURED, earlier.metrics)
        self.board.mark(asked.number, SAME, earlier.number)
        for step, value in earlier.curve.items():
            self.board.report(asked, value, step)
        self.board.complete(asked, [earlier.values[name] for name in self.plan.search.objectives])
        child.log_metrics(earlier.metrics, prefix="val")
        child.state("complete", f"the same as trial {earlier.number}")

    def _keep(self, run: SearchRun, table: str) -> str:
        """Leave text, pictures and usage in the run; return the text."""
        trials = self.board.trials()
        text = search_text(self.plan, self.study, trials, table, run_id=run.run_id)
        run.log_text(text, "search.md")
        run.note(text)
        run.log_json(self.study.meter.as_dict(), "usage.json")
        run.log_pictures(self.draw(trials))
        states = [trial.state for trial in trials]
        run.log_metrics({f"trials_{s}": states.count(s) for s in ("complete", "pruned", "failed")})
        return text

    def _say(self, asked: Asked) -> None:
        tried = next(t for t in self.board.trials() if t.number == asked.root)
        shown = ", ".join(f"{key}={value}" for key, value in tried.params.items())
        numbers = " ".join(f"{name} {value:.4g}" for name, value in tried.values.items())
        if tried.state == "pruned":
            numbers = f"after {tried.metrics.get('cases', 0):.0f} cases"
        came_to = numbers or textwrap.shorten(tried.reason, 160, placeholder=" ...")
        print(f"trial {tried.number} {tried.state} {came_to} ({shown})", flush=True)  # noqa: T201

    def _folder(self, kind: str) -> Path:
        """Return the search's private folder of a kind, beside the runs."""
        root = artifact_root(self.plan.job.store)
        base = root.parent if root is not None else user_data() / "valuesim"
        folder = base / kind / self.identity
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder


def _reason(error: Exception) -> str:
    return blank_secrets(" ".join(str(error).split()))[:300]
