"""Running one teleprompter: watched, private, stopped where it must be, looked over at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from optimize.best_so_far import BestSoFar
from optimize.compilation import Compilation, Compiled, Metric
from optimize.compile_metrics import COMPILE_METRICS
from optimize.demo_rendering import check_demos, demo_counts
from optimize.instruction_scan import Finding, instructions_of, scan_instructions
from optimize.teleprompters.staging import build
from optimize.teleprompters.teleprompter import Teleprompter
from optimize.watching import (
    StopCompilingError,
    Watch,
    private_output,
    stopping,
    unwatched,
    watched,
)
from valuesim_dspy.ensemble import without_member
from valuesim_dspy.errors import BudgetExceededError, ConfigError, PredictionError
from valuesim_dspy.loop import STOPS
from valuesim_dspy.preflight import describe_error

MAX_ERRORS = 2**31
"""DSPy's teleprompters give up at ten errors; here the job's report says how many there were."""


def compile_program(teleprompter: Teleprompter, compilation: Compilation) -> Compiled:
    """Compile a student, and make sure that what came of it may be saved.

    Standard output and standard error of the whole process go to the compilation's log
    meanwhile, those of other threads too.

    Raises:
        ConfigError: The trainset is empty, or the valset where one is needed; or the
            teleprompter has nothing to do without demos.
        BudgetExceededError: The budget is spent; what was answered is in the response cache, and
            `compilation.on_stop` was given the best program so far.
        PredictionError: Every run of the program failed.
        ProgramStateError: A demo holds what no demo may hold.
    """
    _check(teleprompter, compilation)
    compared = compilation.valset if teleprompter.needs_valset else compilation.trainset
    watch = Watch(BestSoFar(compared), compilation.on_run)
    student = watched(compilation.student, watch)
    given = replace(
        compilation,
        student=student,
        score=_strict(_metric(compilation), watch),
        prompt_lm=stopping(compilation.prompt_lm or compilation.task_lm, watch),
    )
    settings = {"lm": compilation.task_lm, "max_errors": MAX_ERRORS}
    with dspy.context(**settings), private_output(compilation.log):
        try:
            compiled = build(teleprompter, given)
        except StopCompilingError as stop:
            if isinstance(stop.error, BudgetExceededError) and compilation.on_stop is not None:
                compilation.on_stop(_stopped(compilation, watch))
            raise stop.error from None
        except dspy.LMError as error:
            raise PredictionError(f"the prompt LM failed: {describe_error(error)}") from None
        except AdapterParseError as error:
            # The program's own replies are read, and failed, elsewhere: this one was to be an
            # instruction. What it says may hold rows, so it stays out of the message.
            logging.getLogger("dspy").error("%s", error)
            message = f"a reply of the prompt LM could not be read; see {_log(compilation)}"
            raise PredictionError(message) from None
    if watch.runs and not watch.answered:
        raise PredictionError(
            f"all {watch.runs} runs of the program failed; see {_log(compilation)}"
        )
    return _finished(compiled, compilation, watch)


def _log(compilation: Compilation) -> str:
    return str(compilation.log or "a log file, where one is given")


def _check(teleprompter: Teleprompter, compilation: Compilation) -> None:
    if not compilation.trainset:
        raise ConfigError("the trainset is empty; take more respondents", key="protocol.train")
    if teleprompter.needs_valset and not compilation.valset:
        raise ConfigError(
            f"the valset is empty, and {teleprompter.name} selects by it", key="protocol.val"
        )
    if compilation.demos == "none" and not teleprompter.writes:
        raise ConfigError(
            f"{teleprompter.name} compiles by demos, and none would be left",
            key="compile.demos",
            value="none",
        )
    if compilation.demos == "synthetic" and not compilation.demo_cases:
        raise ConfigError("there are no synthetic cases", key="compile.demos", value="synthetic")


def _metric(compilation: Compilation) -> Metric:
    name = getattr(compilation.options, "metric", "job")
    return compilation.score if name == "job" else COMPILE_METRICS[name]


def _strict(score: Metric, watch: Watch) -> Metric:
    """Return the metric, refusing what would make a demo of every prediction."""

    def metric(example: Any, prediction: Any, trace: Any = None) -> float | bool:
        try:
            value = score(example, prediction, trace)
        except STOPS as error:
            raise watch.stop(error) from error
        if trace is not None and not isinstance(value, bool):
            message = "a metric must return a bool when a trace is given; see as_metric"
            raise watch.stop(ConfigError(message, key="score"))
        if trace is None:
            watch.best.scored(prediction, float(value))
        return value

    return metric


def _stopped(compilation: Compilation, watch: Watch) -> Compiled:
    """Return the best candidate that was scored on the whole set, or the uncompiled program."""
    found = watch.best.best(compilation.student)
    if found is None:
        note = "stopped amid compiling: no candidate was known to be better than the uncompiled"
        return replace(Compiled(compilation.student.reset_copy()), notes=(note,), runs=watch.runs)
    program, score, before = found
    note = f"stopped amid compiling: kept is the best candidate so far ({score:.3f}, {before:.3f} "
    note += "uncompiled, on the set it was chosen by)"
    return _finished(Compiled(program, notes=(note,)), compilation, watch)


def _finished(compiled: Compiled, compilation: Compilation, watch: Watch) -> Compiled:
    program = unwatched(compiled.program, type(compilation.student))
    examples = (*compilation.trainset, *compilation.valset, *compilation.demo_cases)
    check_demos(program, keys={example.case.profile.key for example in examples})
    before, after = instructions_of(compilation.student), instructions_of(program)
    written = {name: text for name, text in after.items() if text != _before(before, name)}
    findings = scan_instructions(written, _facts(examples), watch.stories, known=before.values())
    notes = _notes(program, watch, written=bool(written), findings=findings)
    return replace(
        compiled,
        program=program,
        notes=(*compiled.notes, *notes),
        runs=watch.runs,
        failed_runs=watch.failed,
        instructions_written=bool(written),
        findings=findings,
    )


def _before(instructions: Mapping[str, str], name: str) -> str | None:
    """Return a predictor's instruction before compiling, of an ensemble's too."""
    return instructions.get(name, instructions.get(without_member(name)))


def _facts(examples: Iterable[dspy.Example]) -> Iterable[str]:
    for profile in dict.fromkeys(example.case.profile for example in examples):
        for fact in profile.facts:
            yield fact.text


def _notes(
    program: dspy.Module, watch: Watch, *, written: bool, findings: tuple[Finding, ...]
) -> list[str]:
    notes = []
    if not demo_counts(program) and not written:
        notes.append("no demos: the program is the uncompiled one")
    if watch.failed:
        notes.append(f"{watch.failed} of {watch.runs} runs of the program failed while compiling")
    if findings:
        who = ", ".join(dict.fromkeys(finding.predictor for finding in findings))
        notes.append(
            f"the written instructions of {who} quote {len(findings)} times six or more words in "
            "a row of a fact or a backstory: read them before they are passed on"
        )
    return notes
