"""How a search ends: its best trials on the devset, beside RAG and uncompiled; programs kept."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy

from evals.benchmark import Result
from evals.embedders import retrieval_notes
from evals.recording import arm_run, measure, result_metrics
from evals.registry import Registry
from evals.report import comparison_table, describe_study
from evals.study import Study, build_arm
from evals.trial_runs import SearchRun
from optimize.arm_compiling import save_arm
from optimize.instruction_scan import instructions_of
from optimize.search_plan import UNCOMPILED, Plan
from optimize.search_trial import Tried, built, study_of

REFERENCE = "rag"
HIGHER = {"accuracy": True, "nmae": False, "cost": False}
"""Objective to whether more of it is better."""


def best_trials(trials: Sequence[Tried], objectives: Sequence[str]) -> list[Tried]:
    """Return the complete trials that are best: all by their score, or the Pareto front.

    Args:
        trials: Of all processes.
        objectives: With one, trials come from the best on; with several, only those are
            returned that no other beats in one and equals in the rest, by the first objective.

    Returns:
        Each combination of values once; of equal trials first what needs fewer tokens a case.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.same_as is None]

    def worth(trial: Tried) -> tuple[float, ...]:
        return tuple(trial.values[name] * (1 if HIGHER[name] else -1) for name in objectives)

    def is_beaten(trial: Tried) -> bool:
        own = worth(trial)
        others = (worth(other) for other in complete)
        return any(o != own and all(a >= b for a, b in zip(o, own, strict=True)) for o in others)

    if len(objectives) > 1:
        complete = [trial for trial in complete if not is_beaten(trial)]

    def place(trial: Tried) -> tuple[object, ...]:
        tokens = trial.metrics.get("cost.tokens", 0.0)
        return tuple(-w for w in worth(trial)), tokens, trial.number

    return sorted(complete, key=place)


def devset_table(
    plan: Plan, study: Study, run: SearchRun, trials: Sequence[Tried], *, folder: Path
) -> str:
    """Put the best trials to the devset and return the table; "" where no trial is complete.

    They are compiled again, from the response cache, and their programs are kept: here and in
    the runs of their own, from where `promote` takes them.

    Args:
        plan: The search.
        study: Its open study.
        run: Its run.
        trials: Of all processes.
        folder: Where programs are saved.

    Raises:
        BudgetExceededError: The budget is spent.
    """
    finalists = best_trials(trials, plan.search.objectives)[: plan.search.finalists]
    if not finalists:
        return ""
    look = _look(study, run, finalists)
    results = _references(plan, study, run, finalists)
    notes = []
    for tried in finalists:
        result, note = _finalist(plan, study, run, tried, folder, results)
        results.append(result)
        notes.append(note)
    return comparison_table(
        results,
        reference=REFERENCE,
        title=f"{plan.job.name}: the best of {len(trials)} trials on the devset",
        about=describe_study(study, date=datetime.date.today()),
        notes=[
            *retrieval_notes(study.retriever.embedder, study.offline),
            f"look {look} at this devset; the valset chose these trials, and what is best of "
            "many is likelier so by chance: report the testset (python -m evals run)",
            *notes,
        ],
        offline=study.offline,
    )


def trial_name(plan: Plan, tried: Tried) -> str:
    """Return what tables call a trial: its number, arm and teleprompter."""
    config = plan.job_of(chosen_of(plan, tried))
    return f"trial {tried.number} ({config.variant}, {config.compile.teleprompter})"


def chosen_of(plan: Plan, tried: Tried) -> dict[str, Any]:
    """Return a trial's values as a job has them, lists no longer as JSON."""
    return {key: plan.search.space[key].value_of(kept) for key, kept in tried.params.items()}


def _references(
    plan: Plan, study: Study, run: SearchRun, finalists: Sequence[Tried]
) -> list[Result]:
    """Measure RAG and the finalists' arms uncompiled, all as the job has them."""
    arms = [plan.job_of(chosen_of(plan, tried)).variant for tried in finalists]
    results: list[Result] = []
    for arm in dict.fromkeys((REFERENCE, *arms)):
        program = build_arm(study, arm)
        result = measure(study, arm, program, "dev")
        with arm_run(run, study, result, program) as child:
            child.log_metrics(result_metrics(result, reference=_rag(results)))
        results.append(result)
    return results


def _finalist(
    plan: Plan,
    study: Study,
    run: SearchRun,
    tried: Tried,
    folder: Path,
    results: Sequence[Result],
) -> tuple[Result, str]:
    """Measure a trial on the devset; return the result, and what can be done with its program."""
    note = ""
    own = study_of(study, plan.job_of(chosen_of(plan, tried)))
    arm, teleprompter = own.config.variant, own.config.compile.teleprompter
    with dspy.context(lm=own.task_lm):
        done = built(own, log=None)
        label = trial_name(plan, tried)
        result = measure(own, arm, done.program, "dev", label=label)
        with arm_run(run, own, result, done.program, teleprompter=teleprompter) as child:
            child.log_metrics(result_metrics(result, reference=_rag(results)))
            child.log_metrics(tried.metrics, prefix="val")
            if teleprompter != UNCOMPILED and done.program.predictors():
                child.log_program(_saved(own, done.program, folder / str(tried.number), tried))
                note = f"{label}: python -m optimize promote {child.run_id}"
    return result, note


def _saved(study: Study, program: Any, folder: Path, tried: Tried) -> Path:
    config = study.config
    return save_arm(
        replace(study, meter=study.meter.child("checking")),
        program,
        folder,
        teleprompter=config.compile.teleprompter,
        scores={f"val {name}": value for name, value in tried.values.items()},
        defaults=instructions_of(build_arm(study, config.variant)),
    )


def _rag(results: Sequence[Result]) -> Result | None:
    return next((result for result in results if result.label == REFERENCE), None)


def _look(study: Study, run: SearchRun, finalists: Sequence[Tried]) -> int:
    """Count a look at the devset, once for the same finalists, and return how many there were."""
    key = f"{study.respondents.digest[:16]}-{study.fold.digest}-{study.split.digest}"
    shown = [[tried.number, sorted(tried.params.items())] for tried in finalists]
    digest = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]
    registry = Registry(run.tracker)
    tags: Mapping[str, str] = run.tracker.run(run.run_id).data.tags
    if tags.get("finalists") == digest:
        return registry.looks(key)
    with registry.alone():
        look = registry.count_look(key)
    run.set_tags({"finalists": digest})
    return look
