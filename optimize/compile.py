"""One compile job, from a config to a saved program and a table: ten steps, one MLflow run."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dspy

from evals.benchmark import Result, run_benchmark
from evals.embedders import weak_baseline_note
from evals.estimate import Cost, benchmark_cost, check_context, cost_lines
from evals.progress import Progress
from evals.report import comparison_table
from evals.study import Study, build_arm, open_study
from evals.tracking import JobRun, Tracker
from optimize.teleprompters import TELEPROMPTERS, Compilation, Compiled
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import ConfigError, ProgramStateError
from valuesim_dspy.lm import preflight
from valuesim_dspy.loading import save_program
from valuesim_dspy.program import VARIANTS
from valuesim_dspy.store import store_folder

log = logging.getLogger(__name__)

RELOAD_CASES = 20
REFERENCES = ("rag", "blank", "mode", "country-mode")


@dataclass(frozen=True, eq=False)
class Job:
    """What a finished job leaves.

    Attributes:
        run_id: The MLflow run.
        programs: Arm to the folder of its compiled program.
        results: The devset results, in the order of the table.
        table: The table as printed.
    """

    run_id: str
    programs: dict[str, Path]
    results: list[Result]
    table: str


def run_job(config: JobConfig, *, is_agreed: bool = False) -> Job:
    """Compile the config's variant and arms, measure them beside the baselines, keep it all.

    Killed and started again it goes on: answered calls come from the response cache, the MLflow
    run is continued.

    Args:
        config: The job.
        is_agreed: Whether an estimate above the config's limits needs no further consent.

    Raises:
        ConfigError: Something in the config cannot work; nothing was paid.
        BudgetExceededError: The budget is spent; what was answered is kept.
    """
    teleprompter = TELEPROMPTERS.get(config.compile.teleprompter)
    if teleprompter is None:
        raise ConfigError(
            "no such teleprompter",
            key="compile.teleprompter",
            value=config.compile.teleprompter,
            allowed=TELEPROMPTERS,
        )
    options = teleprompter.parse(config.compile.options)
    with open_study(config) as study:
        students = {name: build_arm(study, name) for name in arms_to_compile(config)}
        _check_sets(study)
        for program in students.values():
            check_context(program, study.examples("val") + study.examples("dev"), config.task_lm)
        _announce(study, students, options, is_agreed=is_agreed)
        for lm in study.lms.values():
            if not lm.in_process:
                preflight(lm)
        with Tracker(config).job(study) as run:
            return _Steps(study, run, students, options).all()


def arms_to_compile(config: JobConfig) -> list[str]:
    """Return the variant and the arms compiled beside it, each once."""
    return list(dict.fromkeys((*config.compile.arms, config.variant)))


def _check_sets(study: Study) -> None:
    for role in ("train", "val", "dev"):
        if not study.examples(role):
            raise ConfigError(
                f"the {role}set is empty: no respondent of it answered a {role} target",
                key=f"protocol.{role}",
            )


def _announce(
    study: Study, students: dict[str, dspy.Module], options: Any, *, is_agreed: bool
) -> None:
    """Print the estimate; stop where it is above what the config lets pass unasked."""
    phases = {}
    teleprompter = TELEPROMPTERS[study.config.compile.teleprompter]
    for name in REFERENCES[:2]:
        phases[f"{name}, val and dev"] = _sets_cost(study, build_arm(study, name))
    for name, program in students.items():
        phases[f"{name}, val and dev, twice"] = _sets_cost(study, program).scaled(2, 2)
        one = benchmark_cost(program, study.examples("train")[:1])
        times = teleprompter.runs(options, len(study.examples("train")), len(study.examples("val")))
        phases[f"{name}, compiling"] = one.scaled(*times)
    prices = study.task_lm.prices
    print(f"estimate before the cache ({study.config.task_lm.model}):")
    print("\n".join(cost_lines(phases, prices)))
    total = sum(phases.values(), Cost())
    limit = study.config.confirm_calls
    if not study.offline and not is_agreed and total.calls[1] > limit:
        raise ConfigError(
            f"up to {total.calls[1]:,} calls are more than {limit:,}; pass --yes to agree, or "
            "make the job smaller",
            key="confirm_calls",
        )


def _sets_cost(study: Study, program: dspy.Module) -> Cost:
    return benchmark_cost(program, study.examples("val")) + benchmark_cost(
        program, study.examples("dev")
    )


@dataclass(frozen=True, eq=False)
class _Steps:
    """The steps of a job that need the open study and its run."""

    study: Study
    run: JobRun
    students: dict[str, dspy.Module]
    options: Any

    def all(self) -> Job:
        references = [name for name in REFERENCES if name not in self.students]
        results = [self.measure(name, build_arm(self.study, name), name) for name in references]
        programs = {}
        for name, student in self.students.items():
            seed = self.measure(name, student, name, is_logged=False)
            compiled, seed_val = self.compile(name, student)
            after = self.measure(name, compiled.program, f"{name} compiled", compiled=compiled)
            programs[name] = self.keep(name, compiled, after)
            self.log(seed, val=seed_val)
            results += [seed, after]
        table = self.table(results)
        self.run.finish(table)
        return Job(self.run.run_id, programs, results, table)
