"""A benchmark: one arm, one set, simulated and scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import dspy
import pandas as pd

from evals.baselines import BASELINES
from evals.intervals import Interval, clustered_interval
from evals.metrics import METRICS, MIN_COVERAGE, score_frame
from evals.study import Study
from evals.subgroups import with_people
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.usage import Meter, Usage


@dataclass(frozen=True, eq=False)
class Result:
    """What one arm did on one set.

    Attributes:
        arm: The arm's registry name, or what it was loaded from.
        label: What tables and runs call it.
        role: The set: train, val, dev or test.
        knows: `cold`: nothing fitted saw a target question; `warm`: other people's answers to it.
        frame: One row a case, as `evals.metrics.score_frame` makes it.
        needed: Calls, tokens and money that a cold cache would have had to pay.
        paid: What was paid in this run.
        failed_calls: Calls that ended in an error of the endpoint.
        seconds: Wall-clock time.
        evidence: `survey` or `synthetic-machinery`.
        notes: What a reader must know to read the numbers.
    """

    arm: str
    label: str
    role: str
    knows: str
    frame: pd.DataFrame
    needed: Usage
    paid: Usage
    failed_calls: int
    seconds: float
    evidence: str
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Every registered metric by name; NaN where it does not apply."""
        return {name: metric.compute(self.frame) for name, metric in METRICS.items()}

    @property
    def is_valid(self) -> bool:
        """Whether enough cases were answered for the result to be reported as a score."""
        return self.metrics["coverage"] >= MIN_COVERAGE

    @cached_property
    def accuracy(self) -> Interval:
        """Top-1 accuracy, failures counted as wrong, with its 95 % interval by respondent."""
        return clustered_interval(
            self.frame["correct"].to_numpy(), self.frame["respondent"].to_numpy(), seed=0
        )


def run_benchmark(
    study: Study,
    arm: str,
    program: dspy.Module,
    role: str,
    *,
    label: str | None = None,
    examples: Sequence[dspy.Example] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> Result:
    """Put a set to one arm.

    Args:
        study: The open study.
        arm: The registry name; decides whether the arm is cold or warm.
        program: The arm.
        role: The set.
        label: What to call the result; by default the arm's name.
        examples: A part of the set; by default all of it.
        on_outcome: Called as outcomes come in, for progress.

    Raises:
        BudgetExceededError: The budget is spent.
    """
    label = label or arm
    meter = study.meter.child(f"{label} {role}")
    baseline = BASELINES.get(arm)
    uses_lm = baseline is None or baseline.uses_lm
    start = time.perf_counter()
    outcomes = answer_cases(
        program,
        study.examples(role) if examples is None else examples,
        lm=study.task_lm.with_meter(meter) if uses_lm else None,
        threads=study.config.threads,
        on_outcome=on_outcome,
    )
    return Result(
        arm=arm,
        label=label,
        role=role,
        knows=baseline.knows if baseline else getattr(program, "knows", "cold"),
        frame=with_people(
            score_frame(outcomes, study.codebook), study.respondents, study.split.people(role)
        ),
        needed=meter.needed,
        paid=meter.paid,
        failed_calls=meter.failed,
        seconds=time.perf_counter() - start,
        evidence=study.evidence,
        notes=_tokens_by_predictor(meter, len(outcomes)),
    )


def _tokens_by_predictor(meter: Meter, cases: int) -> tuple[str, ...]:
    """Say where the tokens of an arm with several predictors go."""
    used = meter.by_predictor
    if len(used) < 2 or not cases:
        return ()
    parts = [f"{name} {usage.tokens / cases:,.0f}" for name, usage in used.items()]
    return (f"tokens a case by predictor: {', '.join(parts)}",)
