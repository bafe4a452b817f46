"""`evals ablate`: the grid of factors on folds of each strength, one factor at a time."""

from __future__ import annotations

import datetime
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dspy

from evals.ablation_table import factor_table
from evals.arms import build_arm
from evals.baselines import BASELINES
from evals.benchmark import Result, run_benchmark
from evals.estimate import Cost, agree, benchmark_cost
from evals.factors import COMPILED, SHUFFLED, grid_arms
from evals.job_facts import describe_job
from evals.past_runs import count_reading
from evals.recording import arm_run, result_metrics
from evals.report import MACHINERY, comparison_table, describe_study
from evals.study import Study, open_study
from evals.tracked_runs import JobRun
from evals.tracking import Tracker
from valuesim_dspy.config import BudgetConfig, JobConfig
from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.lm import preflight
from valuesim_dspy.usage import Usage
from valuesim_dspy.variants import VARIANTS

STRENGTHS = ("question", "battery", "topic")
TARGETS = 12
PROCESSES, LEAST_CASES = 2, 5000
"""Processes, and the cases over all arms from which on starting them pays."""

REFERENCE = "rag"
Maker = Callable[[Study, str], dspy.Module]


@dataclass(frozen=True)
class Part:
    """One fold of one strength: what it is called and the job that draws it."""

    name: str
    config: JobConfig


def run_ablation(
    config: JobConfig,
    arms: Sequence[str],
    role: str,
    *,
    strengths: Sequence[str] = (),
    full: bool = False,
    make: Maker = build_arm,
    is_agreed: bool = False,
) -> str:
    """Measure the grid, or some of its arms, and return the tables.

    By default on the job's fold of each strength and at most `TARGETS` targets a person. Where
    the LM runs in the process, arms are spread over processes; results do not depend on it.

    Args:
        config: The job.
        arms: Arms to take; empty for the whole grid.
        role: `dev` or `test`.
        strengths: How much is unseen, such as battery; empty for `STRENGTHS`, or for the published
            folds where the job has those.
        full: All five folds of each strength and all targets.
        make: Makes an arm of a study by its name; one that ends in `COMPILED` is compiled.
        is_agreed: Whether an estimate above the config's limit needs no further consent.

    Raises:
        ConfigError: An arm is unknown, or what is estimated needs consent.
        BudgetExceededError: The budget is spent; what was measured is in the store.
    """
    names = _checked(grid_arms(tuple(arms)), is_made=make is not build_arm)
    parts = ablation_parts(config, strengths, full=full)
    tracker = Tracker(config.store, share_rows=config.share_rows)
    with open_study(parts[0].config) as study:
        _announce(study, names, role, len(parts), is_agreed=is_agreed)
        identity = _identity(study, [part.name for part in parts], names, role)
        facts = describe_job(study, command="evals", subject="ablation", identity=identity)
    with tracker.job(facts) as run:
        return _take(run, parts, names, role, make)


def ablation_parts(config: JobConfig, strengths: Sequence[str] = (), *, full: bool) -> list[Part]:
    """Return the folds that are measured, weakest strength first."""
    protocol, seen = config.protocol, []
    own = ("paper",) if protocol.folds == "paper" else STRENGTHS
    for strength in strengths or own:
        for fold in range(1, 6) if full else (protocol.fold,):
            drawn: dict[str, Any] = {"folds": strength, "fold": fold}
            if not full and protocol.targets is None:
                drawn["targets"] = TARGETS
            changed = protocol.model_copy(update=drawn)
            known = config.model_copy(update={"protocol": changed})
            seen.append(Part(f"{strength} {fold}", known))
    return seen


def _checked(names: list[str], *, is_made: bool) -> list[str]:
    for name in names:
        bare = name.removesuffix(COMPILED).removesuffix(SHUFFLED)
        if bare not in VARIANTS and bare not in BASELINES:
            raise ConfigError(
                f"{name!r} is no arm of the grid", key="arm", allowed=[*VARIANTS, *BASELINES]
            )
        if name.endswith(SHUFFLED) and not (bare in VARIANTS and VARIANTS[bare].learns):
            raise ConfigError(f"{bare} learns no records that could be shuffled", key="arm")
    return [name for name in names if is_made or not name.endswith((COMPILED, SHUFFLED))]


def _announce(
    study: Study, names: Sequence[str], role: str, parts: int, *, is_agreed: bool
) -> None:
    examples = study.examples(role)
    phases: dict[str, Cost] = {}
    for name in names:
        bare = name.removesuffix(COMPILED).removesuffix(SHUFFLED)
        cost = benchmark_cost(build_arm(study, bare), examples)
        phases[name] = cost.scaled(parts, parts)
    if any(name.endswith((COMPILED, SHUFFLED)) for name in names):
        print("what compiling takes is not in this estimate: see a compile job's --dry-run")  # noqa: T201
    agree(study, phases, is_agreed=is_agreed)
    if not study.task_lm.in_process:
        preflight(study.task_lm)


def _identity(study: Study, parts: list[str], names: list[str], role: str) -> str:
    whole = json.dumps([study.identity, "ablation", parts, names, role])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _take(run: JobRun, parts: Sequence[Part], names: list[str], role: str, make: Maker) -> str:
    """Measure part after part and return the tables; a spent budget leaves those there are."""
    blocks: list[str] = []
    paid = Usage()
    for part in parts:
        results: dict[str, Result] = {}
        # One budget over all parts, each of which opens a study with a meter of its own.
        budget = _left(part.config.budget, paid)
        with open_study(part.config.model_copy(update={"budget": budget})) as study:
            notes = [f"reading {count_reading(study)} of this testset"] if role == "test" else []
            try:
                _measure_part(study, run, part, names, role, make, results)
            except BudgetExceededError as error:
                notes.append(f"stopped: {error}")
                _keep(run, blocks, study, part, names, results, role, notes)
                print("\n".join(blocks), flush=True)  # noqa: T201
                raise
            _keep(run, blocks, study, part, names, results, role, notes)
            paid += study.meter.paid
    return "\n".join(blocks)


def _left(budget: BudgetConfig, paid: Usage) -> BudgetConfig:
    """Return what is left of a budget; a limit that is met leaves 0."""
    spent = {"calls": paid.calls, "tokens": paid.tokens, "usd": paid.usd or 0.0}
    limits = {name: limit for name, limit in vars(budget).items() if limit is not None}
    left = {name: max(0, limit - spent[name]) for name, limit in limits.items()}
    return budget.model_copy(update=left)


def _keep(
    run: JobRun,
    blocks: list[str],
    study: Study,
    part: Part,
    names: Sequence[str],
    results: Mapping[str, Result],
    role: str,
    notes: Sequence[str],
) -> None:
    """Add the tables of what was measured of a part, in the grid's order, and keep them."""
    if results:
        done = [results[name] for name in names if name in results]
        blocks.append(_block(study, part, done, role, notes))
        run.log_text("\n".join(blocks), "table.md")
        run.note(blocks[0])


def _measure_part(
    study: Study,
    run: JobRun,
    part: Part,
    names: Sequence[str],
    role: str,
    make: Maker,
    results: dict[str, Result],
) -> None:
    """Measure all arms of a part, the reference first, and keep each as soon as it is done.

    Raises:
        BudgetExceededError: The budget is spent; `results` and the runs hold what was measured.
    """
    order = sorted(names, key=lambda name: name != REFERENCE)
    measured = _in_order(study, part, order, role, make)
    for done, (name, result, kind, variant) in enumerate(measured, 1):
        print(f"{part.name} [{done}/{len(names)}] {name}", flush=True)  # noqa: T201
        results[name] = result
        is_compiled = name.endswith((COMPILED, SHUFFLED))
        teleprompter = study.config.compile.teleprompter if is_compiled else "none"
        labelled = replace(result, label=f"{part.name}: {name}")
        described = _Described(kind, variant)
        with arm_run(run, study, labelled, described, teleprompter=teleprompter) as child:
            child.log_metrics(result_metrics(result, reference=results.get(REFERENCE)))


@dataclass(frozen=True)
class _Described:
    """What a run's params say of a program that another process made."""

    kind: str
    variant: str


Measured = tuple[str, Result, str, str]


def _in_order(
    study: Study, part: Part, names: list[str], role: str, make: Maker
) -> Iterator[Measured]:
    """Yield results in the order of the names; several processes where the LM is in them."""
    one = partial(_measure_in, part.config, role, make)
    budgeted = any(limit is not None for limit in vars(study.config.budget).values())
    workers = min(PROCESSES, os.cpu_count() or 1, len(names))
    workers = workers if len(names) * len(study.examples(role)) >= LEAST_CASES else 1
    if not study.task_lm.in_process or budgeted or workers < 2:
        for name in names:
            yield _measure(study, role, make, name)
        return
    # Spawned: a fork would copy locks and database handles in whatever state they are in.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_close) as pool:
        yield from pool.map(one, names)


_open: dict[str, Any] = {}


def _close() -> None:
    _open.clear()


def _measure_in(config: JobConfig, role: str, make: Maker, name: str) -> Measured:
    """Measure one arm in a worker, which opens the study once."""
    if "study" not in _open:
        _open["stack"] = ExitStack()
        _open["study"] = _open["stack"].enter_context(open_study(config))
    return _measure(_open["study"], role, make, name)


def _measure(study: Study, role: str, make: Maker, name: str) -> Measured:
    program: Any = make(study, name)
    bare = name.removesuffix(COMPILED).removesuffix(SHUFFLED)
    result = run_benchmark(study, bare, program, role, label=name)
    kind, variant = getattr(program, "kind", name), getattr(program, "variant", name)
    return name, result, str(kind), str(variant)


def _block(study: Study, part: Part, results: list[Result], role: str, notes: Sequence[str]) -> str:
    """Return the tables of one fold: all arms, then factor by factor."""
    machinery = [MACHINERY] if study.offline and not study.respondents.synthetic else []
    by_name: Mapping[str, Result] = {result.label: result for result in results}
    # What an arm alone has to say, such as tokens by predictor, would drown forty arms.
    table = comparison_table(
        [replace(result, notes=()) for result in results],
        reference=REFERENCE if REFERENCE in by_name else None,
        title=f"{study.config.name}: {part.name}, {role}set",
        about=describe_study(study, date=datetime.date.today()),
        notes=[*machinery, *notes],
    )
    return f"{table}\n{factor_table(by_name)}"
