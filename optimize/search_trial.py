"""One trial: the arm that a job names, compiled, and measured on growing parts of the valset."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dspy
import pandas as pd

from evals.benchmark import run_benchmark
from evals.embedders import make_embedder
from evals.estimate import check_context
from evals.metrics import METRICS, MIN_COVERAGE
from evals.study import Study, build_arm
from optimize.arm_compiling import compile_arm
from optimize.planning import find_teleprompter
from optimize.search_plan import UNCOMPILED
from optimize.synthetic_demos import synthetic_cases
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.lm import make_lm, require_consent
from valuesim_dspy.retrieval import Retriever
from valuesim_dspy.usage import Usage

ROOT, REASON, SAME, MEASURED = "root", "reason", "same_as", "metrics"
"""Attributes of a trial, as the storage keeps them."""
Report = Callable[[int, dict[str, float]], bool]
"""Takes the number of cases and the metrics so far; returns whether the trial is to be pruned."""


@dataclass(frozen=True, eq=False)
class Built:
    """The arm of a trial: its program, what compiling it needed, and notes on that."""

    program: dspy.Module
    compiling: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Measured:
    """What a trial came to.

    Attributes:
        arm: The arm, compiled or not.
        metrics: Every registered metric over what was measured of the valset, and `cost.tokens`,
            `cost.calls` and, where prices are known, `cost.usd` needed per case.
        cases: Cases measured.
        is_pruned: Whether it was ended before the whole valset was.
    """

    arm: Built
    metrics: dict[str, float]
    cases: int
    is_pruned: bool


@dataclass(frozen=True, eq=False)
class Asked:
    """A trial to be run.

    Attributes:
        number: Its number.
        root: That of the trial it takes up again; its own where it is none's.
        chosen: Key to value, of the keys that apply.
        trial: Optuna's.
    """

    number: int
    root: int
    chosen: dict[str, Any]
    trial: Any


@dataclass(frozen=True)
class Tried:
    """What became of a trial of any process.

    Attributes:
        number: Its number; one that was interrupted and taken up again keeps it.
        state: `waiting`, `running`, `complete`, `pruned` or `failed`.
        params: Key to value, lists as JSON.
        values: Objective to value, of a complete trial.
        metrics: What was measured; less than the whole valset where it was pruned.
        curve: Part of the valset, from 1, to the objective on it.
        reason: Why it failed.
        same_as: The number of an earlier trial with the same values, measured once.
    """

    number: int
    state: str
    params: dict[str, Any]
    values: dict[str, float]
    metrics: dict[str, float]
    curve: dict[int, float]
    reason: str = ""
    same_as: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self.state in ("complete", "pruned", "failed")


def tried_of(trial: Any, objectives: Sequence[str]) -> Tried:
    """Return what became of a trial, from Optuna's record of it."""
    attributes, state = trial.user_attrs, trial.state.name.lower()
    is_complete = state == "complete"
    return Tried(
        number=int(attributes.get(ROOT, trial.number)),
        state="failed" if state == "fail" else state,
        params=dict(trial.params),
        values=dict(zip(objectives, trial.values, strict=True)) if is_complete else {},
        metrics=dict(attributes.get(MEASURED, {})),
        curve=dict(trial.intermediate_values),
        reason=str(attributes.get(REASON, "")),
        same_as=attributes.get(SAME),
    )


def measure_trial(
    base: Study, config: JobConfig, *, subsets: Sequence[float], report: Report, log: Path | None
) -> Measured:
    """Compile the arm of a trial and put the valset to it, part by part.

    Args:
        base: The open study of the search; data, fold, split and cache are the trial's too.
        config: The trial's job.
        subsets: Growing shares of the valset's people, up to 1.
        report: Called after each part.
        log: A private file for what a teleprompter prints.

    Raises:
        ConfigError: The config cannot work.
        PredictionError: Too many cases failed for the trial to have a score.
        BudgetExceededError: The budget is spent; what was answered is in the response cache.
    """
    study = study_of(base, config)
    with dspy.context(lm=study.task_lm):
        return _measured(study, built(study, log=log), subsets, report)


def study_of(base: Study, config: JobConfig) -> Study:
    """Return a study with another config on the same data, with its own LMs and retriever.

    Raises:
        ConfigError: A model is unknown, or consent to send answers to it is missing.
    """
    for role in (*config.roles.values(), config.embedder):
        people = base.respondents
        require_consent(role, len(people), synthetic=people.synthetic, send_to=config.send_to)
    lms = {
        name: base.lms[name]
        if name in base.lms and role == base.config.roles[name]
        else make_lm(role, name=name, meter=base.meter, limits=config.limits)
        for name, role in config.roles.items()
    }
    retriever = base.retriever
    asked, known = (c.embedder.model_copy(update={"k": 1}) for c in (config, base.config))
    if asked != known or config.task_lm.offline != base.config.task_lm.offline:
        retriever = Retriever(
            make_embedder(
                config.embedder,
                offline=config.task_lm.offline,
                codebook=base.codebook,
                cache=base.cache,
                meter=base.meter,
            )
        )
    return replace(base, config=config, lms=lms, retriever=retriever)


def built(study: Study, *, log: Path | None) -> Built:
    """Return the arm of a study's config, compiled as it says.

    Args:
        study: The study of the trial.
        log: A private file for what a teleprompter prints; None throws it away.
    """
    config, student = study.config, build_arm(study, study.config.variant)
    cases = study.examples("val") + study.examples("dev")
    check_context(student, cases, config.task_lm)
    if config.compile.teleprompter == UNCOMPILED or not student.predictors():
        return Built(student)
    teleprompter = find_teleprompter(config)
    meter = study.meter.child("compiling")
    lms = {name: lm.with_meter(meter) for name, lm in study.lms.items()}
    compiled = compile_arm(
        study,
        config.variant,
        student,
        teleprompter,
        teleprompter.parse(config.compile.options),
        lms=lms,
        log=log,
        demo_cases=synthetic_cases(study),
    )
    return Built(compiled.program, meter.needed, tuple(compiled.notes))


def _measured(study: Study, arm: Built, subsets: Sequence[float], report: Report) -> Measured:
    # One meter for all parts, so that a request that comes again is needed once.
    meter = study.meter.child("measuring")
    measuring = replace(study, meter=meter)
    parts = in_parts(study.examples("val"), subsets, seed=study.config.protocol.seed)
    frames: list[pd.DataFrame] = []
    metrics: dict[str, float] = {}
    is_pruned = False
    for part in parts:
        result = run_benchmark(measuring, study.config.variant, arm.program, "val", examples=part)
        frames.append(result.frame)
        frame = pd.concat(frames, ignore_index=True)
        _check_coverage(frame, len(study.examples("val")))
        metrics = {name: metric.compute(frame) for name, metric in METRICS.items()}
        metrics |= costs(meter.needed, len(frame))
        # After the last part there is nothing left to save.
        is_pruned = report(len(frame), metrics) and part is not parts[-1]
        if is_pruned:
            break
    cases = sum(map(len, frames))
    return Measured(arm, metrics, cases, is_pruned)


def in_parts(
    examples: Sequence[dspy.Example], subsets: Sequence[float], *, seed: int
) -> list[list[dspy.Example]]:
    """Cut a set at growing shares of its people, who come in the order that a seed gives them.

    Args:
        examples: The set; one person's cases stay together.
        subsets: Growing shares, the last of them 1.
        seed: The same for all trials: they are compared on the same part.

    Returns:
        What each share adds to the one before; shares that add nobody are left out.
    """
    people = list(dict.fromkeys(example.case.profile.key for example in examples))
    random.Random(f"{seed}:subsets").shuffle(people)
    parts, done = [], 0
    for share in subsets:
        upto = math.ceil(share * len(people) - 1e-9)
        wanted = set(people[done:upto])
        if wanted:
            parts.append([ex for ex in examples if ex.case.profile.key in wanted])
        done = max(done, upto)
    return parts


def costs(needed: Usage, cases: int) -> dict[str, float]:
    """Return what a case needs with a cold cache, compiling left aside."""
    found: Mapping[str, Any] = {"tokens": needed.tokens, "calls": needed.calls, "usd": needed.usd}
    return {f"cost.{name}": value / cases for name, value in found.items() if value is not None}


def _check_coverage(frame: pd.DataFrame, cases: int) -> None:
    """Give up as soon as the whole valset could not reach the coverage that a score needs.

    Raises:
        PredictionError: Says how many cases failed.
    """
    lost = int((~frame["answered"]).sum())
    if (cases - lost) / cases < MIN_COVERAGE:
        raise PredictionError(
            f"{lost} of {len(frame)} cases were not answered, and a score needs "
            f"{MIN_COVERAGE:.0%} of the valset's {cases}"
        )
