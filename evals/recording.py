"""What an arm's run in MLflow holds: the same numbers for every arm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import dspy

from evals.benchmark import Result, run_benchmark
from evals.intervals import paired_difference
from evals.job_facts import arm_params, usage_metrics
from evals.study import Study
from evals.tracked_runs import ArmRun, JobRun
from valuesim_dspy.progress import Progress, traffic_of


def measure(
    study: Study, arm: str, program: dspy.Module, role: str, *, label: str | None = None
) -> Result:
    """Run a benchmark with its progress shown; see `evals.benchmark.run_benchmark`."""
    label = label or arm
    traffic, cases = partial(traffic_of, study.task_lm), len(study.examples(role))
    with Progress(f"{label}, {role}set", cases, traffic) as progress:
        return run_benchmark(study, arm, program, role, label=label, on_outcome=progress.step)


@contextmanager
def arm_run(
    run: JobRun, study: Study, result: Result, program: Any, *, teleprompter: str = "none"
) -> Iterator[ArmRun]:
    """Open the run of an arm and keep the result's predictions in it."""
    params = arm_params(
        study,
        result.role,
        kind=getattr(program, "kind", result.arm),
        variant=getattr(program, "variant", result.arm),
        teleprompter=teleprompter,
        knows=result.knows,
    )
    with run.arm(result.label, params) as child:
        child.log_predictions(result.frame)
        yield child


def result_metrics(result: Result, *, reference: Result | None = None) -> dict[str, float]:
    """Return a result's numbers for MLflow: metrics, interval, costs, difference to RAG."""
    numbers = dict(result.metrics)
    if not result.is_valid:
        # Too few answered: a score would mislead, so none is shown beside the others.
        numbers = {name: numbers[name] for name in ("coverage", "invalid_rate", "failed_rate")}
    else:
        numbers |= {"accuracy_low": result.accuracy.low, "accuracy_high": result.accuracy.high}
    numbers |= usage_metrics(result.needed, result.paid) | {"seconds": result.seconds}
    numbers["failed_calls"] = float(result.failed_calls)
    if result.needed.estimated_calls:
        numbers["calls_estimated"] = float(result.needed.estimated_calls)
    if reference is not None and comparable(result, reference):
        gap = paired_difference(result.frame, reference.frame, seed=0)
        numbers |= {
            "accuracy_minus_rag": gap.estimate,
            "accuracy_minus_rag_low": gap.low,
            "accuracy_minus_rag_high": gap.high,
        }
    return numbers


def comparable(result: Result, reference: Result) -> bool:
    """Whether a difference may be taken: both valid, and cold and warm never mixed."""
    return result.is_valid and reference.is_valid and result.knows == reference.knows
