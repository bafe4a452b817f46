"""One compile job, from a config to saved programs and a table: ten steps, one MLflow run."""

from __future__ import annotations

from evals.estimate import check_context
from evals.job_facts import describe_job
from evals.study import build_arm, open_study
from evals.tracking import Tracker
from optimize.dry_run import dry_run
from optimize.job_steps import Job, Steps, job_folder
from optimize.ledger import Ledger, PhaseMeters
from optimize.planning import (
    announce,
    arms_to_compile,
    check_sets,
    find_teleprompter,
    make_plan,
)
from optimize.synthetic_demos import check_demos, synthetic_cases
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.lm import preflight

__all__ = ["Job", "dry_run", "run_job"]


def run_job(config: JobConfig, *, is_agreed: bool = False) -> Job:
    """Compile the config's variant and arms, measure them beside the baselines, keep it all.

    Killed and started again it goes on: answered calls come from the response cache, the MLflow
    run is continued. A spent budget, which holds over all processes of a job, ends it in order:
    the best program so far of each arm is saved, what was measured is printed and kept.

    Args:
        config: The job.
        is_agreed: Whether an estimate above the config's limit needs no further consent.

    Raises:
        ConfigError: Something in the config cannot work; nothing was paid.
        BudgetExceededError: The budget is spent; what was done is kept.
    """
    teleprompter = find_teleprompter(config)
    options = teleprompter.parse(config.compile.options)
    with open_study(config) as study:
        check_sets(study)
        students = {name: build_arm(study, name) for name in arms_to_compile(config)}
        cases = study.examples("val") + study.examples("dev")
        for name, program in students.items():
            if not program.predictors():
                raise ConfigError("has no predictor to compile", key="compile.arms", value=name)
            check_context(program, cases, config.task_lm)
            check_demos(study, name, program)
        demo_cases = synthetic_cases(study)
        plan = make_plan(study, students, teleprompter, options, demo_cases=demo_cases)
        announce(study, plan, is_agreed=is_agreed)
        meters = PhaseMeters(study, Ledger(job_folder(study, "logs") / "paid.jsonl"))
        for role, lm in study.lms.items():
            if not lm.in_process:
                preflight(lm.with_meter(meters.meter("trial calls", role)))
        tracker = Tracker(config.store, share_rows=config.share_rows)
        with tracker.job(describe_job(study, command="optimize", subject=config.variant)) as run:
            steps = Steps(study, run, teleprompter, options, plan, meters, demo_cases)
            return steps.take(students)
