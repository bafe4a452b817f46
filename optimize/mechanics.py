"""Every teleprompter once, on one job: what it takes, and whether a seed gives the same twice."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dspy

from evals.benchmark import Result
from evals.estimate import Cost, benchmark_cost, check_context, cost_lines, prices
from evals.intervals import paired_difference
from evals.job_facts import JobFacts, describe_job
from evals.recording import arm_run, comparable, measure, result_metrics
from evals.report import describe_study
from evals.study import Study, build_arm, open_study
from evals.tracked_runs import LEVEL, JobRun
from evals.tracking import Tracker
from optimize.arm_compiling import compile_arm
from optimize.mechanics_table import (
    COSTS,
    LEVEL_HERE,
    VIEW,
    Mechanics,
    mechanics_table,
    view_tag,
)
from optimize.planning import PROMPT_COST, check_sets
from optimize.synthetic_demos import synthetic_cases
from optimize.teleprompters import TELEPROMPTERS, Compiled, Teleprompter
from optimize.teleprompters.choosing import chosen_predictors
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import BudgetExceededError, ConfigError, PredictionError
from valuesim_dspy.lm import preflight
from valuesim_dspy.usage import Meter

SMALL: Mapping[str, Mapping[str, Any]] = {
    "labeled-few-shot": {"k": 3},
    "bootstrap": {"max_demos": 3},
    "bootstrap-random-search": {"max_demos": 3, "candidates": 4},
    "bootstrap-optuna": {"max_demos": 3, "pool": 8, "sets": 4, "trials": 6},
    "mipro-v2": {"max_demos": 3, "auto": "explicit", "candidates": 3, "trials": 5},
    "gepa": {"auto": "explicit", "runs": 600},
    "simba": {"batch": 32, "candidates": 3, "steps": 3, "max_demos": 3},
    "copro": {"breadth": 3, "depth": 1},
    "infer-rules": {"max_demos": 3, "candidates": 2, "rules": 5},
    "ensemble": {"of": "bootstrap", "max_demos": 3, "size": 3},
}
"""Options by teleprompter that keep the whole to minutes; those not named here use defaults."""
UNCOMPILED = "uncompiled"


def run_mechanics(config: JobConfig, only: Sequence[str] = (), *, is_agreed: bool = False) -> str:
    """Compile the job's variant with every teleprompter, twice, and return the table.

    The job's own teleprompter and options are left aside. The second compilation starts from an
    empty response cache, so that whatever it shares with the first was computed again; a model
    that costs money is paid for both.

    Args:
        config: The job: data, protocol, models and variant.
        only: Keys of `TELEPROMPTERS`; empty for all of them.
        is_agreed: Whether an estimate above the config's limit needs no further consent.

    Raises:
        ConfigError: Something in the config cannot work; nothing was paid.
        BudgetExceededError: The budget is spent; the rows that were finished are in the run.
    """
    for name in only:
        if name not in TELEPROMPTERS:
            raise ConfigError(
                "no such teleprompter", key="--only", value=name, allowed=TELEPROMPTERS
            )
    chosen = {name: TELEPROMPTERS[name] for name in TELEPROMPTERS if not only or name in only}
    # What a user's cache holds from earlier jobs would make the column of paid calls chance.
    cache = ResponseCache() if config.task_lm.offline else None
    with open_study(config, cache=cache) as study:
        check_sets(study)
        student = build_arm(study, config.variant)
        if not student.predictors():
            raise ConfigError("has no predictor to compile", key="variant", value=config.variant)
        check_context(student, study.examples("val") + study.examples("dev"), config.task_lm)
        demo_cases = synthetic_cases(study)
        _announce(study, chosen, is_agreed=is_agreed)
        for lm in study.lms.values():
            if not lm.in_process:
                preflight(lm)
        tracker = Tracker(config.store, share_rows=config.share_rows)
        with tracker.job(_facts(study, list(only))) as run:
            tracker.set_experiment_tag(*view_tag(run.run_id))
            return _Steps(study, run, demo_cases, chosen).take()


def small_options(teleprompter: Teleprompter) -> Mapping[str, Any]:
    """Return the options that this command gives a teleprompter; {} for its defaults."""
    return SMALL.get(teleprompter.name, {})


def state_of(program: Any) -> str:
    """Return as JSON what saving keeps of a program: predictors, and what is learned."""
    return json.dumps([program.dump_state(), getattr(program, "learned", {})], sort_keys=True)


def found_by(compiled: Compiled) -> str:
    """Return as JSON all that must come again with the same seed: candidates, runs, program."""
    tried = [dataclasses.asdict(candidate) for candidate in compiled.candidates]
    return json.dumps([tried, compiled.chosen, compiled.runs, state_of(compiled.program)])


@dataclass(eq=False)
class _Steps:
    """What needs the open study and its run."""

    study: Study
    run: JobRun
    demo_cases: Sequence[dspy.Example] = ()
    chosen: Mapping[str, Teleprompter] = field(default_factory=lambda: TELEPROMPTERS)
    rows: list[Mechanics] = field(default_factory=list)

    def take(self) -> str:
        """Take all steps; where the budget ends them, print what there is."""
        try:
            return self._take()
        except BudgetExceededError:
            if self.rows:
                print(self.table(), flush=True)  # noqa: T201
            raise

    def _take(self) -> str:
        """Measure the uncompiled program, then one teleprompter after the other."""
        arm = self.study.config.variant
        program = build_arm(self.study, arm)
        before = measure(self.study, arm, program, "dev", label=UNCOMPILED)
        with arm_run(self.run, self.study, before, program) as child:
            child.set_tags({LEVEL: LEVEL_HERE})
            # Charts open with a metric that all runs have, which is to be calls and not accuracy.
            child.log_metrics(dict.fromkeys((*COSTS, "demos"), 0.0))
            child.log_metrics(result_metrics(before), prefix="dev")
        for teleprompter in self.chosen.values():
            print(f"compiling {arm} with {teleprompter.name}, twice ...", flush=True)  # noqa: T201
            self.rows.append(self.row(teleprompter, before))
            table = self.table()
            self.run.log_text(table, "table.md")
            self.run.note(table)
        self.run.log_metrics(_sums(self.rows))
        self.run.log_json(self.study.meter.as_dict(), "usage.json")
        return f"{table}\nMLflow run {self.run.run_id}; in the UI (make ui) {_link(self.run)}\n"

    def row(self, teleprompter: Teleprompter, before: Result) -> Mechanics:
        """Compile twice, measure once, and keep it all in a run of its own."""
        given = small_options(teleprompter)
        meter = self.study.meter.child(f"compiling with {teleprompter.name}")
        try:
            first = self.compiled(teleprompter, given, meter)
            start = time.perf_counter()
            with ResponseCache().installed():
                again = self.compiled(teleprompter, given, self.study.meter.child("again"))
            seconds = time.perf_counter() - start
        except (ConfigError, PredictionError) as error:
            if isinstance(error, ConfigError) and error.key == "budget.usd":
                # Nothing can be paid in this job: no fault of one teleprompter.
                raise
            # One that cannot work in this job, as those of demos where there are none, is said so.
            return Mechanics(teleprompter.name, given, refusal=str(error))
        arm, program = self.study.config.variant, first.program
        dev = measure(self.study, arm, program, "dev", label=teleprompter.name)
        found = Mechanics(
            teleprompter.name,
            given,
            needed=meter.needed,
            paid=meter.paid,
            seconds=seconds,
            demos=sum(first.demos.values()),
            has_written=first.instructions_written,
            identical=found_by(first) == found_by(again),
            gap=_gap(dev, before),
            notes=_notes(first),
        )
        with arm_run(self.run, self.study, dev, program, teleprompter=found.name) as child:
            child.set_tags({LEVEL: LEVEL_HERE, **found.tags()})
            child.log_metrics(found.metrics())
            child.log_metrics(result_metrics(dev), prefix="dev")
            if first.candidates:
                scores = [candidate.score for candidate in first.candidates]
                child.log_curve("candidate_val_accuracy", scores)
        return found

    def compiled(
        self, teleprompter: Teleprompter, given: Mapping[str, Any], meter: Meter
    ) -> Compiled:
        """Compile from the start, the calls on a meter of their own."""
        arm = self.study.config.variant
        return compile_arm(
            self.study,
            arm,
            build_arm(self.study, arm),
            teleprompter,
            teleprompter.parse(given),
            lms={name: lm.with_meter(meter) for name, lm in self.study.lms.items()},
            log=None,
            demo_cases=self.demo_cases,
        )

    def table(self) -> str:
        """Return the table of the rows there are."""
        about = describe_study(self.study, date=datetime.date.today())
        config = self.study.config
        return mechanics_table(
            self.rows,
            about={"job": config.name, "variant": config.variant, **about},
            machinery=self.study.offline or self.study.respondents.synthetic,
        )


def _sums(rows: list[Mechanics]) -> dict[str, float]:
    done = [row.metrics() for row in rows if not row.refusal]
    sums = {name: sum(row[name] for row in done) for name in (*COSTS, "identical")}
    return sums | {"teleprompters": float(len(done))}


def _notes(compiled: Compiled) -> tuple[str, ...]:
    if not compiled.chosen:
        return compiled.notes
    count = len(compiled.candidates)
    return (f"the valset chose {compiled.chosen}, of {count} tried", *compiled.notes)


def _gap(dev: Result, before: Result) -> Any:
    if not comparable(dev, before):
        return None
    return paired_difference(dev.frame, before.frame, seed=0)


def _facts(study: Study, only: list[str]) -> JobFacts:
    """Describe the job; it is about all teleprompters and is no compile job's continuation."""
    content = [study.identity, "mechanics", SMALL, *only]
    identity = hashlib.sha256(json.dumps(content, default=dict).encode()).hexdigest()[:16]
    facts = describe_job(study, command="optimize", subject=study.config.variant, identity=identity)
    sizes = {f"{role}set": len(study.examples(role)) for role in ("train", "val", "dev")}
    return replace(
        facts,
        name=f"{facts.name}-teleprompters",
        params={"variant": study.config.variant, "task_lm": study.task_lm.model, **sizes},
        tags={**facts.tags, "teleprompter": "all"},
    )


def _link(run: JobRun) -> str:
    shown = f"runs?workflowType=machine_learning&viewStateShareKey={VIEW}"
    return f"#/experiments/{run.tracker.experiment_id}/{shown}"


def _announce(study: Study, chosen: Mapping[str, Teleprompter], *, is_agreed: bool) -> None:
    """Print the estimate, teleprompter by teleprompter.

    Raises:
        ConfigError: It is above what the config lets pass without consent.
    """
    student = build_arm(study, study.config.variant)
    one_run = benchmark_cost(student, study.examples("train")[:1])
    sizes = (len(study.examples("train")), len(study.examples("val")))
    phases = {"measuring": benchmark_cost(student, study.examples("dev"))}
    phases["measuring"] = phases["measuring"].scaled(len(chosen) + 1, len(chosen) + 1)
    for name, teleprompter in chosen.items():
        options = teleprompter.parse(small_options(teleprompter))
        count = len(chosen_predictors(student, getattr(options, "predictors", "all")))
        once = one_run.scaled(*teleprompter.runs(options, *sizes, count))
        once += PROMPT_COST.scaled(*teleprompter.prompts(options, *sizes, count))
        phases[f"{name}, twice"] = once.scaled(2, 2)
    model = study.task_lm.model
    print(f"estimate, nothing of it cached ({model}):", flush=True)  # noqa: T201
    print("\n".join(cost_lines(phases, prices(study.config.task_lm))), flush=True)  # noqa: T201
    most, limit = sum(phases.values(), Cost()).calls[1], study.config.confirm_calls
    if not study.offline and not is_agreed and most > limit:
        raise ConfigError(
            f"up to {most:,} calls of {model} may be needed, more than {limit:,}; pass --yes to "
            "agree, or make the job smaller",
            key="confirm_calls",
        )
