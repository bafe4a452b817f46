"""Teleprompters that make demos: from labels, from traces, and by searching over them."""

from __future__ import annotations

import random
from typing import Any

from dspy.teleprompt import BootstrapFewShot, BootstrapFewShotWithRandomSearch
from pydantic import Field

from optimize.compilation import Candidate, Compilation, Compiled, own_answers
from optimize.demo_rendering import add_labeled_demos, demo_counts, draw_cases
from optimize.demo_search import demo_sets, search_sets
from optimize.teleprompters.options import BootstrapOptions, CommonOptions
from optimize.teleprompters.scoring import evaluate

UNCOMPILED, IN_ORDER = "uncompiled", "in-order"


class LabeledOptions(CommonOptions):
    """Options of `labeled-few-shot`."""

    k: int = Field(4, ge=1, le=64, description="training cases that become demos")


class RandomSearchOptions(BootstrapOptions):
    """Options of `bootstrap-random-search`."""

    candidates: int = Field(
        8, ge=1, le=128, description="shuffled candidates, beside uncompiled and in-order"
    )


class OptunaOptions(BootstrapOptions):
    """Options of `bootstrap-optuna`."""

    pool: int = Field(16, ge=1, le=256, description="demos of a predictor that sets are drawn from")
    sets: int = Field(
        6, ge=2, le=64, description="sets of demos of each predictor, none and the first included"
    )
    trials: int = Field(
        16, ge=2, le=1024, description="combinations of sets tried on the valset, seeded TPE"
    )


def labeled_few_shot(compilation: Compilation) -> Compiled:
    """Render demos of training cases and their true codes; no call is made."""
    program = compilation.student.reset_copy()
    rng = random.Random(f"{compilation.seed}:labeled")
    add_labeled_demos(program, draw_cases(compilation.demo_source, compilation.options.k, rng))
    return Compiled(program)


def bootstrap_few_shot(compilation: Compilation) -> Compiled:
    """Keep the traces of the first training cases, in shuffled order, that are answered right."""
    return Compiled(bootstrapped(compilation, compilation.options.max_demos))


def bootstrapped(compilation: Compilation, max_demos: int) -> Any:
    """Return the student with the demos that the first right answers left."""
    options, trainset = compilation.options, compilation.shuffled
    arguments = bootstrapping(compilation, len(trainset) * options.max_rounds)
    arguments["max_bootstrapped_demos"] = max_demos
    return BootstrapFewShot(**arguments).compile(compilation.student, trainset=trainset)


def bootstrap_random_search(compilation: Compilation) -> Compiled:
    """Bootstrap from several orders of the trainset; the valset chooses, ties to the earlier."""
    options, trainset = compilation.options, compilation.shuffled
    valset = list(compilation.valset)
    attempts = max(len(trainset) * options.max_rounds, len(valset))
    optimizer = BootstrapFewShotWithRandomSearch(
        **bootstrapping(compilation, attempts),
        num_candidate_programs=options.candidates,
        num_threads=compilation.workers,
    )
    best = optimizer.compile(
        compilation.student,
        trainset=trainset,
        valset=valset,
        # Left out is -2, raw examples as demos, of which max_labeled_demos=0 leaves none.
        restrict=[-3, -1, *range(options.candidates)],
    )
    names = {-3: UNCOMPILED, -1: IN_ORDER}
    tried = sorted(best.candidate_programs, key=lambda entry: entry["seed"])
    candidates = [
        Candidate(
            step,
            names.get(entry["seed"], f"shuffle-{entry['seed']}"),
            sum(map(float, entry["subscores"])) / len(valset),
            sum(demo_counts(entry["program"]).values()),
        )
        for step, entry in enumerate(tried)
    ]
    chosen = next(step for step, entry in enumerate(tried) if entry["program"] is best)
    return Compiled(best, tuple(candidates), candidates[chosen].name)


def bootstrap_optuna(compilation: Compilation) -> Compiled:
    """Bootstrap a pool of demos, then search over sets of them for each predictor at once.

    DSPy's teleprompter of that kind draws from no seed, gives every predictor one demo and
    fails where a predictor was never asked; here such a predictor stays as it is.
    """
    options = compilation.options
    rng = random.Random(f"{compilation.seed}:sets")
    pool = bootstrapped(compilation, options.pool)
    sets = {
        name: demo_sets(predictor.demos, options.sets, options.max_demos, rng)
        for name, predictor in pool.named_predictors()
        if predictor.demos
    }

    def build(choice: dict[str, int]) -> Any:
        program = compilation.student.reset_copy()
        for name, predictor in program.named_predictors():
            predictor.demos = list(sets[name][choice[name]]) if name in choice else []
        return program

    def score(choice: dict[str, int]) -> float:
        return evaluate(build(choice), compilation.valset, compilation)

    tried = search_sets(sets, score, options.trials, compilation.derived("tpe"))
    candidates = tuple(
        Candidate(step, _name(step, trial.choice), trial.score, trial.demos(sets))
        for step, trial in enumerate(tried)
    )
    best = max(range(len(tried)), key=lambda step: (tried[step].score, -step))
    return Compiled(build(tried[best].choice), candidates, candidates[best].name)


def _name(step: int, choice: dict[str, int]) -> str:
    if not any(choice.values()):
        return UNCOMPILED
    return IN_ORDER if set(choice.values()) == {1} else f"sets-{step}"


def bootstrapping(compilation: Compilation, attempts: int) -> dict[str, Any]:
    """Return what all of DSPy's bootstrapping teleprompters take.

    Args:
        compilation: What is compiled.
        attempts: As many errors as there can be; DSPy gives up at `max_errors` of them.
    """
    options = compilation.options
    return {
        "metric": own_answers(compilation.score) if options.own_answer else compilation.score,
        "teacher_settings": compilation.teacher_settings,
        "max_bootstrapped_demos": options.max_demos,
        "max_labeled_demos": 0,
        "max_rounds": options.max_rounds,
        "max_errors": attempts + 1,
    }


def bootstrap_runs(
    options: BootstrapOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least runs, where every case is answered right, and the most."""
    return min(options.max_demos, n_train), n_train * options.max_rounds


def search_runs(
    options: RandomSearchOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least and the most runs of the random search."""
    # DSPy draws the number of demos of shuffle-N from a generator seeded with N.
    sizes = [random.Random(n).randint(1, options.max_demos) for n in range(options.candidates)]
    low = sum(min(size, n_train) for size in (options.max_demos, *sizes))
    high = (options.candidates + 1) * n_train * options.max_rounds
    scored = (options.candidates + 2) * n_val
    return low + scored, high + scored


def optuna_runs(
    options: OptunaOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least and the most runs: a combination that comes again is not run again."""
    low = min(options.pool, n_train)
    return low + n_val, n_train * options.max_rounds + options.trials * n_val
