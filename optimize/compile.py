"""One compile job, from a config to saved programs and a table: ten steps, one MLflow run."""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy

from evals.benchmark import Result
from evals.embedders import weak_baseline_note
from evals.estimate import check_context
from evals.job_facts import describe_job
from evals.metrics import SCORES
from evals.recording import arm_run, measure, result_metrics
from evals.report import comparison_table, describe_study
from evals.study import Study, build_arm, open_study
from evals.tracked_runs import JobRun
from evals.tracking import Tracker
from optimize.instruction_scan import instructions_of
from optimize.planning import (
    announce,
    arms_to_compile,
    check_sets,
    find_teleprompter,
    references,
)
from optimize.teleprompters import (
    Compilation,
    Compiled,
    Teleprompter,
    as_metric,
    compile_program,
)
from valuesim_dspy.case import Case
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import ConfigError, PredictionError, ProgramStateError
from valuesim_dspy.lm import preflight
from valuesim_dspy.loading import save_program
from valuesim_dspy.simulate import simulate
from valuesim_dspy.store import artifact_root, user_data

log = logging.getLogger(__name__)

RELOAD_CASES = 20
REFERENCE = "rag"


@dataclass(frozen=True, eq=False)
class Job:
    """What a finished job leaves.

    Attributes:
        run_id: The MLflow run.
        programs: Arm to the folder of its compiled program.
        results: The devset results, in the order of the table.
        table: The table as printed.
    """

    run_id: str
    programs: dict[str, Path]
    results: list[Result]
    table: str


def run_job(config: JobConfig, *, is_agreed: bool = False) -> Job:
    """Compile the config's variant and arms, measure them beside the baselines, keep it all.

    Killed and started again it goes on: answered calls come from the response cache, the MLflow
    run is continued.

    Args:
        config: The job.
        is_agreed: Whether an estimate above the config's limit needs no further consent.

    Raises:
        ConfigError: Something in the config cannot work; nothing was paid.
        BudgetExceededError: The budget is spent; what was answered is kept.
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
        announce(study, students, teleprompter, options, is_agreed=is_agreed)
        for lm in study.lms.values():
            if not lm.in_process:
                preflight(lm)
        tracker = Tracker(config.store, share_rows=config.share_rows)
        with tracker.job(describe_job(study, command="optimize", subject=config.variant)) as run:
            return _Steps(study, run, teleprompter, options).take(students)


@dataclass(eq=False)
class _Steps:
    """Steps 6 to 10 of a job: what needs the open study and its run."""

    study: Study
    run: JobRun
    teleprompter: Teleprompter
    options: Any
    results: list[Result] = field(default_factory=list)
    seeds: dict[str, Result] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    programs: dict[str, Path] = field(default_factory=dict)

    def take(self, students: dict[str, dspy.Module]) -> Job:
        """Measure everything uncompiled, RAG first, then compile and measure arm by arm."""
        uncompiled = [*references(self.study, students), *students]
        for name in sorted(uncompiled, key=lambda name: name != REFERENCE):
            self.seeds[name] = self.measure(name, build_arm(self.study, name), name)
        for name, student in students.items():
            compiled = self.compile(name, student)
            chosen = self.select(name, student, compiled)
            self.measure(name, chosen, f"{name} compiled", compiled=compiled)
        self.results.sort(key=lambda result: uncompiled.index(result.arm))
        table = self.table()
        self.run.log_text(table, "table.md")
        self.run.note(table)
        self.run.log_json(self.study.meter.as_dict(), "usage.json")
        return Job(self.run.run_id, self.programs, self.results, table)

    def measure(
        self, arm: str, program: dspy.Module, label: str, *, compiled: Compiled | None = None
    ) -> Result:
        """Score an arm on valset and devset and keep both in its run; return the valset's."""
        val = measure(self.study, arm, program, "val", label=label)
        dev = measure(self.study, arm, program, "dev", label=label)
        name = self.teleprompter.name if compiled else "none"
        rag = next((result for result in self.results if result.label == REFERENCE), None)
        with arm_run(self.run, self.study, dev, program, teleprompter=name) as child:
            child.log_metrics(result_metrics(dev, reference=rag))
            child.log_metrics(result_metrics(val), prefix="val")
            if compiled is not None:
                if compiled.candidates:
                    child.log_curve(
                        "candidate_val_accuracy", [c.score for c in compiled.candidates]
                    )
                folder = self.save(arm, label, program, {"val": val, "dev": dev})
                child.log_program(folder)
                self.programs[arm] = folder
        self.results.append(dev)
        return val

    def compile(self, arm: str, student: dspy.Module) -> Compiled:
        """Let the teleprompter work, its calls on a meter of their own."""
        meter = self.study.meter.child(f"compiling {arm}")
        lms = {name: lm.with_meter(meter) for name, lm in self.study.lms.items()}
        compilation = Compilation(
            student=student,
            trainset=self.study.examples("train"),
            valset=self.study.examples("val"),
            score=as_metric(SCORES["exact"]),
            seed=self.study.config.seed,
            task_lm=lms["task_lm"],
            options=self.options,
            prompt_lm=lms.get("prompt_lm"),
            teacher_lm=lms.get("teacher_lm"),
            threads=self.study.config.threads,
            demos=self.study.config.compile.demos,
            log=self.folder("logs") / f"{arm}.log",
        )
        print(f"compiling {arm} with {self.teleprompter.name} ...", flush=True)  # noqa: T201
        compiled = compile_program(self.teleprompter, compilation)
        self.notes += [f"{arm}: {note}" for note in compiled.notes]
        if compiled.chosen:
            self.notes.append(f"{arm}: the valset chose the candidate {compiled.chosen}")
        return compiled

    def select(self, arm: str, student: dspy.Module, compiled: Compiled) -> dspy.Module:
        """Return the compiled program, or the uncompiled one where the valset prefers it.

        A teleprompter that chooses by the valset has had the uncompiled program among its
        candidates; for the others the job compares the two itself.
        """
        if self.teleprompter.needs_valset:
            return compiled.program
        after = measure(self.study, arm, compiled.program, "val", label=f"{arm} compiled")
        if after.metrics["accuracy"] >= self.seeds[arm].metrics["accuracy"]:
            return compiled.program
        self.notes.append(f"{arm}: the valset prefers the uncompiled program, which is kept")
        return student.reset_copy()

    def save(self, arm: str, label: str, program: Any, results: dict[str, Result]) -> Path:
        """Save a program, load it again and demand the same predictions.

        Raises:
            ProgramStateError: The loaded program answers otherwise.
        """
        scores = {
            f"{role} {name}": result.metrics[name]
            for role, result in results.items()
            for name in ("accuracy", "nmae", "coverage")
            if result.metrics[name] == result.metrics[name]
        }
        manifest = self.study.manifest(
            program.kind, program.variant, teleprompter=self.teleprompter.name, scores=scores
        )
        if instructions_of(program) != instructions_of(build_arm(self.study, arm)):
            # Whatever wrote them has read training cases, as demos would have been.
            seen = {"instructions_saw_survey_data": manifest.demos_hold_survey_data}
            manifest = manifest.model_copy(update=seen)
        if not any(predictor.demos for predictor in program.predictors()):
            manifest = manifest.model_copy(update={"demos_hold_survey_data": False})
        place, codebook = self.folder("programs") / arm, self.study.codebook
        folder = save_program(program, place, manifest, codebook=codebook)
        check_reloaded(self.study, program, folder)
        return folder

    def folder(self, kind: str) -> Path:
        """Return the job's private folder of a kind, beside the runs."""
        root = artifact_root(self.study.config.store)
        base = root.parent if root is not None else user_data() / "valuesim"
        folder = base / kind / self.study.identity
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def table(self) -> str:
        """Return the table of the devset."""
        config = self.study.config
        labels = [result.label for result in self.results]
        return comparison_table(
            self.results,
            reference=REFERENCE if REFERENCE in labels else None,
            title=f"{config.name}: {config.variant} compiled with {self.teleprompter.name}",
            about=describe_study(self.study, date=datetime.date.today()),
            notes=[weak_baseline_note(self.study.retriever.embedder, self.study.offline)]
            + self.notes,
            offline=self.study.offline,
        )


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
    simulate(keep, study.examples("dev")[:RELOAD_CASES], lm=lm, threads=study.config.threads)
    return told
