"""Teleprompters: what compiles demos into a program, by name; one builder and one line each."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import dspy
from dspy.teleprompt import BootstrapFewShot, BootstrapFewShotWithRandomSearch
from pydantic import Field, ValidationError

from optimize.compilation import Candidate, Compilation, Compiled, Metric, as_metric, own_answers
from optimize.demo_rendering import add_labeled_demos, check_demos, demo_counts, draw_cases
from optimize.watching import StopCompilingError, Watch, private_output, unwatched, watched
from valuesim_dspy.errors import ConfigError, PredictionError
from valuesim_dspy.roles import Settings

__all__ = [
    "TELEPROMPTERS",
    "Candidate",
    "Compilation",
    "Compiled",
    "Metric",
    "Teleprompter",
    "as_metric",
    "compile_program",
]

UNCOMPILED, IN_ORDER = "uncompiled", "in-order"


class LabeledOptions(Settings):
    """Options of `labeled-few-shot`."""

    k: int = Field(4, ge=1, le=64, description="training cases that become demos")


class BootstrapOptions(Settings):
    """Options of `bootstrap`."""

    max_demos: int = Field(4, ge=1, le=64, description="most demos of a predictor")
    max_rounds: int = Field(
        1, ge=1, le=10, description="attempts at a training case, each after the first sampled anew"
    )
    own_answer: bool = Field(
        True,
        description="a perspective's demo must have the right answer itself; with false, as in "
        "DSPy, it is enough that the program's answer is right",
    )


class RandomSearchOptions(BootstrapOptions):
    """Options of `bootstrap-random-search`."""

    candidates: int = Field(
        8, ge=1, le=128, description="shuffled candidates, beside uncompiled and in-order"
    )


@dataclass(frozen=True)
class Teleprompter:
    """One teleprompter, as jobs know it.

    Args:
        name: The key in `TELEPROMPTERS`.
        what: One line for tables and help.
        options: The model of its options: frozen, closed, every field described.
        build: Compiles.
        runs: From options, size of the trainset and of the valset to the least and the most
            runs of a program that it makes.
        needs_valset: Whether it selects among candidates by the valset itself.
    """

    name: str
    what: str
    options: type[Settings]
    build: Callable[[Compilation], Compiled]
    runs: Callable[[Any, int, int], tuple[int, int]]
    needs_valset: bool = False

    def parse(self, options: Mapping[str, Any]) -> Settings:
        """Validate the options of a job.

        Raises:
            ConfigError: An option is unknown or does not fit.
        """
        try:
            return self.options.model_validate(dict(options), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            fields = self.options.model_fields
            raise ConfigError(
                f"{first['msg']}, for the teleprompter {self.name}",
                key=f"compile.options.{name}",
                value=options.get(name),
                allowed=[f"{key} ({field.description})" for key, field in fields.items()],
            ) from None

    def estimate(
        self,
        options: Any,
        n_train: int,
        n_val: int,
        calls_per_case: float | tuple[float, float],
    ) -> tuple[int, int]:
        """Return the least and the most LM calls needed, retries and a warm cache left aside.

        Args:
            options: As `parse` returns them.
            n_train: Size of the trainset.
            n_val: Size of the valset.
            calls_per_case: LM calls of one run of the program, or the least and the most.
        """
        low, high = self.runs(options, n_train, n_val)
        least, most = calls_per_case if isinstance(calls_per_case, tuple) else (calls_per_case,) * 2
        return round(low * least), round(high * most)


def compile_program(teleprompter: Teleprompter, compilation: Compilation) -> Compiled:
    """Compile a student, and make sure that what came of it may be saved.

    Standard output and standard error of the whole process go to the compilation's log
    meanwhile, those of other threads too.

    Raises:
        ConfigError: The trainset is empty, or the valset where one is needed.
        BudgetExceededError: The budget is spent; what was answered is in the response cache.
        PredictionError: Every run of the program failed.
        ProgramStateError: A demo holds what no demo may hold.
    """
    if not compilation.trainset:
        raise ConfigError("the trainset is empty; take more respondents", key="protocol.train")
    if teleprompter.needs_valset and not compilation.valset:
        raise ConfigError(
            f"the valset is empty, and {teleprompter.name} selects by it", key="protocol.val"
        )
    watch = Watch()
    student = watched(compilation.student, watch)
    metric = _strict(compilation.score, watch)
    with dspy.context(lm=compilation.task_lm), private_output(compilation.log):
        try:
            compiled = teleprompter.build(replace(compilation, student=student, score=metric))
        except StopCompilingError as stop:
            raise stop.error from None
    if watch.runs and not watch.answered:
        where = compilation.log or "a log file, where one is given"
        raise PredictionError(f"all {watch.runs} runs of the program failed; see {where}")
    program = unwatched(compiled.program, type(compilation.student))
    check_demos(program, keys={ex.case.profile.key for ex in compilation.trainset})
    return replace(
        compiled,
        program=program,
        notes=(*compiled.notes, *_notes(program, watch)),
        runs=watch.runs,
        failed_runs=watch.failed,
    )


def _strict(score: Metric, watch: Watch) -> Metric:
    """Return the metric, refusing what would make a demo of every prediction."""

    def metric(example: Any, prediction: Any, trace: Any = None) -> float | bool:
        value = score(example, prediction, trace)
        if trace is not None and not isinstance(value, bool):
            message = "a metric must return a bool when a trace is given; see as_metric"
            raise watch.stop(ConfigError(message, key="score"))
        return value

    return metric


def _notes(program: dspy.Module, watch: Watch) -> list[str]:
    notes = []
    if not demo_counts(program):
        notes.append("no demos: the program is the uncompiled one")
    if watch.failed:
        notes.append(f"{watch.failed} of {watch.runs} runs of the program failed while compiling")
    return notes


def labeled_few_shot(compilation: Compilation) -> Compiled:
    """Render demos of training cases and their true codes; no call is made."""
    program = compilation.student.reset_copy()
    rng = random.Random(f"{compilation.seed}:labeled")
    add_labeled_demos(program, draw_cases(compilation.trainset, compilation.options.k, rng))
    return Compiled(program)


def bootstrap_few_shot(compilation: Compilation) -> Compiled:
    """Keep the traces of the first training cases, in shuffled order, that are answered right."""
    options, trainset = compilation.options, compilation.shuffled
    optimizer = BootstrapFewShot(**_bootstrapping(compilation, len(trainset) * options.max_rounds))
    return Compiled(optimizer.compile(compilation.student, trainset=trainset))


def bootstrap_random_search(compilation: Compilation) -> Compiled:
    """Bootstrap from several orders of the trainset; the valset chooses, ties to the earlier."""
    options, trainset = compilation.options, compilation.shuffled
    valset = list(compilation.valset)
    attempts = max(len(trainset) * options.max_rounds, len(valset))
    optimizer = BootstrapFewShotWithRandomSearch(
        **_bootstrapping(compilation, attempts),
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


def _bootstrapping(compilation: Compilation, attempts: int) -> dict[str, Any]:
    """Return what both of DSPy's bootstrapping teleprompters take.

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


def _bootstrap_runs(options: BootstrapOptions, n_train: int, n_val: int) -> tuple[int, int]:
    return min(options.max_demos, n_train), n_train * options.max_rounds


def _search_runs(options: RandomSearchOptions, n_train: int, n_val: int) -> tuple[int, int]:
    # DSPy draws the number of demos of shuffle-N from a generator seeded with N.
    sizes = [random.Random(n).randint(1, options.max_demos) for n in range(options.candidates)]
    low = sum(min(size, n_train) for size in (options.max_demos, *sizes))
    high = (options.candidates + 1) * n_train * options.max_rounds
    scored = (options.candidates + 2) * n_val
    return low + scored, high + scored


TELEPROMPTERS: dict[str, Teleprompter] = {
    teleprompter.name: teleprompter
    for teleprompter in (
        Teleprompter(
            "labeled-few-shot",
            "demos rendered from training cases with their true answers; no call",
            LabeledOptions,
            labeled_few_shot,
            lambda options, n_train, n_val: (0, 0),
        ),
        Teleprompter(
            "bootstrap",
            "demos from traces of the teacher's right answers",
            BootstrapOptions,
            bootstrap_few_shot,
            _bootstrap_runs,
        ),
        Teleprompter(
            "bootstrap-random-search",
            "the same from several orders of the trainset; the valset chooses",
            RandomSearchOptions,
            bootstrap_random_search,
            _search_runs,
            needs_valset=True,
        ),
    )
}
"""Name of a teleprompter, as typed, saved and logged, to what it is."""
