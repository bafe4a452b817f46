"""One arm: compiled by a teleprompter, held against the uncompiled one, saved and read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy

from evals.benchmark import Result
from evals.metrics import SCORES
from evals.recording import measure
from evals.study import Study, build_arm
from optimize.instruction_scan import instructions_of
from optimize.learning_trust import learns_trust, with_trust
from optimize.synthetic_demos import check_demos
from optimize.teleprompters import (
    Compilation,
    Compiled,
    Teleprompter,
    as_metric,
    compile_program,
)
from optimize.teleprompters.choosing import chosen_predictors
from valuesim_dspy.case import Case
from valuesim_dspy.errors import BudgetExceededError, PredictionError, ProgramStateError
from valuesim_dspy.loading import save_program
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.progress import Progress

RELOAD_CASES = 20


def compile_arm(
    study: Study,
    arm: str,
    student: dspy.Module,
    teleprompter: Teleprompter,
    options: Any,
    *,
    lms: Mapping[str, Any],
    log: Path | None,
    seed: int | None = None,
    demo_cases: Sequence[dspy.Example] = (),
    on_stop: Callable[[Compiled], object] | None = None,
) -> Compiled:
    """Let a teleprompter work on one arm of a study, and learn whom of its panel to believe.

    Args:
        study: Supplies the sets, the threads and how demos are made.
        arm: The arm's name.
        student: The arm as it was built; never changed.
        teleprompter: What compiles.
        options: As `Teleprompter.parse` returns them.
        lms: LM role to the LM that fills it; give them a meter of their own to know the cost.
        log: A private file for what teleprompters print; None throws it away.
        seed: By default the job's.
        demo_cases: Cases of synthetic people, read where `compile.demos` is `synthetic`.
        on_stop: Called with the best program so far where the budget ends the work.

    Raises:
        ConfigError: The teleprompter cannot work with this arm or these sets.
        BudgetExceededError: The budget is spent; what was answered is in the response cache.
        PredictionError: Every run of the program failed.
    """
    check_demos(study, arm, student)
    _trust(study, student := student.deepcopy(), lms, seed, training=True)
    compilation = Compilation(
        student=student,
        trainset=study.examples("train"),
        valset=study.examples("val"),
        score=as_metric(SCORES["exact"]),
        seed=study.config.seed if seed is None else seed,
        task_lm=lms["task_lm"],
        options=options,
        prompt_lm=lms.get("prompt_lm"),
        teacher_lm=lms.get("teacher_lm"),
        threads=study.config.threads,
        demos=study.config.compile.demos,
        demo_cases=demo_cases,
        log=log,
        on_stop=lambda stopped: on_stop and on_stop(_unbound(stopped)),
    )
    compiled = _with_progress(arm, teleprompter, compilation)
    # Other demos and instructions make other readers, of whom other records are to be kept.
    try:
        notes = _trust(study, compiled.program, lms, seed)
    except BudgetExceededError:
        if on_stop is not None:
            told = "stopped before records of the compiled perspectives were learned"
            on_stop(_unbound(replace(compiled, notes=(*compiled.notes, told))))
        raise
    return replace(compiled, notes=(*compiled.notes, *notes))


def _with_progress(arm: str, teleprompter: Teleprompter, compilation: Compilation) -> Compiled:
    options, learned = compilation.options, compilation.demo_cases or compilation.trainset
    chosen = chosen_predictors(compilation.student, getattr(options, "predictors", "all"))
    _, most = teleprompter.runs(options, len(learned), len(compilation.valset), len(chosen))
    with Progress(f"compiling {arm}, at most", most) as progress:
        return compile_program(teleprompter, replace(compilation, on_run=progress.step))


def _trust(
    study: Study,
    program: Any,
    lms: Mapping[str, Any],
    seed: int | None,
    *,
    training: bool = False,
) -> list[str]:
    shuffle = study.config.compile.trust == "shuffled"
    task_lm = lms["task_lm"]
    return with_trust(study, program, lm=task_lm, training=training, shuffle=shuffle, seed=seed)


def _unbound(compiled: Compiled) -> Compiled:
    """Return what was stopped with the records that a saved program has."""
    if learns_trust(compiled.program):
        compiled.program.unbind_learned()
    return compiled


def select_arm(
    study: Study,
    arm: str,
    student: dspy.Module,
    compiled: Compiled,
    teleprompter: Teleprompter,
    *,
    before: Result | None = None,
) -> tuple[dspy.Module, list[str]]:
    """Return the compiled program, or the uncompiled one where the valset prefers it; and notes.

    A teleprompter that chooses by the valset has had the uncompiled program among its
    candidates; for the others the two are compared here, and a tie goes to the compiled one.

    Args:
        study: The open study.
        arm: The arm's name.
        student: The arm as it was built.
        compiled: What came of it.
        teleprompter: What compiled.
        before: The uncompiled arm's valset result; measured here where it is not given.
    """
    if teleprompter.needs_valset:
        return compiled.program, []
    if before is None:
        before = measure(study, arm, student, "val")
    after = measure(study, arm, compiled.program, "val", label=f"{arm} compiled")
    if after.metrics["accuracy"] >= before.metrics["accuracy"]:
        return compiled.program, []
    kept = student.reset_copy()
    notes = ["the valset prefers the uncompiled program, which is kept"]
    if learns_trust(kept):
        # Whom to believe is learned all the same; these calls were answered before compiling.
        notes += _trust(study, kept, study.lms, None)
    return kept, notes


def save_arm(
    study: Study,
    program: Any,
    folder: Path,
    *,
    teleprompter: str,
    scores: Mapping[str, float],
    defaults: Mapping[str, str],
    may_ask: bool = True,
) -> Path:
    """Save a program with what its manifest must say of it, load it and demand equal answers.

    Args:
        study: Where the program comes from.
        program: The program.
        folder: Where to; replaced where it exists.
        teleprompter: The name of what compiled it, or `none`.
        scores: What it reached, such as `dev accuracy`.
        defaults: The uncompiled arm's instructions, as `instructions_of` returns them.
        may_ask: False where nothing more may be paid: only what was saved is compared.

    Raises:
        PredictionError: No case was answered, so that there is nothing to compare.
        ProgramStateError: The loaded program answers otherwise.
    """
    real = not study.respondents.synthetic
    has_demos = any(predictor.demos for predictor in program.predictors())
    manifest = study.manifest(
        program.kind,
        program.variant,
        teleprompter=teleprompter,
        scores=dict(scores),
        demos_hold_survey_data=real and has_demos and study.config.compile.demos == "data",
        # Whatever wrote them has read training cases, as demos would have been.
        instructions_saw_survey_data=real and instructions_of(program) != dict(defaults),
    )
    saved = save_program(program, folder, manifest, codebook=study.codebook)
    if may_ask:
        check_reloaded(study, program, saved)
    elif _state(build_arm(study, str(saved))) != _state(program):
        raise ProgramStateError("the program that was saved is another one", path=saved)
    return saved


def _state(program: dspy.Module) -> str:
    return json.dumps(program.dump_state(), sort_keys=True)


def check_reloaded(study: Study, program: dspy.Module, folder: Path) -> None:
    """Load a saved program and compare its predictions with the original's.

    Raises:
        PredictionError: Not one case was answered, so that there is nothing to compare.
        ProgramStateError: They differ.
    """
    loaded = build_arm(study, str(folder))
    before, after = _told(study, program), _told(study, loaded)
    if before != after:
        # A call that failed is in no cache: asked once more it may have been answered.
        before = _told(study, program)
    answered = [case for case in before if case in after]
    if not answered:
        raise PredictionError(
            f"no case was answered, so that {folder} could not be checked; run the job again "
            "when the endpoint answers, it goes on where it was"
        )
    for case in answered:
        if before[case] != after[case]:
            raise ProgramStateError(
                f"the reloaded program answers {case.question.id} differently", path=folder
            )


def _told(study: Study, program: dspy.Module) -> dict[Case, dict[str, Any]]:
    """Return whole predictions; cases that fail, as some do on a real endpoint, are left out."""
    told: dict[Case, dict[str, Any]] = {}

    def keep(case: Case) -> dspy.Prediction:
        prediction = program(case=case)
        told[case] = dict(prediction)
        return prediction

    lm = study.task_lm.with_meter(study.meter.child("reloading"))
    answer_cases(keep, study.examples("dev")[:RELOAD_CASES], lm=lm, threads=study.config.threads)
    return told
