"""The steps of a compile job: measure, compile, choose, save; end in order at a spent budget."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dspy

from evals.benchmark import Result
from evals.embedders import retrieval_notes
from evals.panel_report import members, panel_sentence
from evals.recording import arm_run, measure, result_metrics
from evals.report import comparison_table, describe_study
from evals.study import Study, build_arm
from evals.tracked_runs import JobRun
from optimize.arm_compiling import compile_arm, save_arm, select_arm
from optimize.best_so_far import state_of
from optimize.comparing_costs import costs_json, costs_table
from optimize.instruction_scan import instructions_of
from optimize.ledger import PhaseMeters
from optimize.planning import Plan, references
from optimize.teleprompters import Compiled, Teleprompter
from valuesim_dspy.errors import BudgetExceededError
from valuesim_dspy.store import artifact_root, user_data

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


def job_folder(study: Study, kind: str) -> Path:
    """Return a job's private folder of a kind, `programs` or `logs`, beside the runs."""
    root = artifact_root(study.config.store)
    base = root.parent if root is not None else user_data() / "valuesim"
    folder = base / kind / study.identity
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@dataclass(eq=False)
class Steps:
    """Steps 6 to 10 of a job: what needs the open study and its run.

    Args:
        study: The open study.
        run: The job's run in MLflow.
        teleprompter: What compiles.
        options: Its options.
        plan: What was predicted.
        meters: Where each phase is counted.
        demo_cases: Cases of made-up people that become demos, where they do.
    """

    study: Study
    run: JobRun
    teleprompter: Teleprompter
    options: Any
    plan: Plan
    meters: PhaseMeters
    demo_cases: Sequence[dspy.Example]
    results: list[Result] = field(default_factory=list)
    seeds: dict[str, Result] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    best: dict[str, dspy.Module] = field(default_factory=dict)
    programs: dict[str, Path] = field(default_factory=dict)

    def take(self, students: dict[str, dspy.Module]) -> Job:
        """Take all steps; where the budget ends them, keep what there is."""
        self.best = dict(students)
        uncompiled = [*references(self.study, students), *students]
        try:
            for name in sorted(uncompiled, key=lambda name: name != REFERENCE):
                self.seeds[name] = self.measure(name, build_arm(self.study, name), name)
            for name, student in students.items():
                compiled = self.compile(name, student)
                self.best[name] = self.select(name, student, compiled)
                self.measure(name, self.best[name], f"{name} compiled", compiled=compiled)
        except BudgetExceededError as error:
            self.stop(students, error)
            job = self.end(uncompiled)
            print(job.table, flush=True)  # noqa: T201
            for arm, folder in job.programs.items():
                print(f"{arm}, the best so far: {folder}", flush=True)  # noqa: T201
            raise
        return self.end(uncompiled)

    def end(self, order: list[str]) -> Job:
        """Keep the table, and costs predicted and actual."""
        self.results.sort(key=lambda result: order.index(result.arm))
        costs = costs_json(self.plan, self.meters.spent(), self.meters.whole())
        table = f"{self.table().rstrip()}\n\n{costs_table(costs)}\n"
        self.run.log_text(table, "table.md")
        self.run.note(table)
        self.run.log_json(self.study.meter.as_dict(), "usage.json")
        self.run.log_json(costs, "costs.json")
        return Job(self.run.run_id, self.programs, self.results, table)

    def stop(self, students: dict[str, dspy.Module], error: BudgetExceededError) -> None:
        """Save the best program so far of every arm that is not done, without a call."""
        self.notes.append(f"stopped: {error}")
        for arm, student in students.items():
            if arm not in self.programs:
                is_compiled = state_of(self.best[arm]) != state_of(student)
                name = self.teleprompter.name if is_compiled else "none"
                self.programs[arm] = self.save(arm, self.best[arm], {}, name, may_ask=False)
                state = "compiled, not measured" if is_compiled else "uncompiled"
                self.notes.append(f"{arm}: the best program so far is kept ({state})")

    def measure(
        self, arm: str, program: dspy.Module, label: str, *, compiled: Compiled | None = None
    ) -> Result:
        """Score an arm on valset and devset and keep both in its run; return the valset's."""
        val, dev = (self.score(arm, program, label, role) for role in ("val", "dev"))
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
                scores = {
                    f"{result.role} {name}": result.metrics[name]
                    for result in (val, dev)
                    for name in ("accuracy", "nmae", "coverage")
                    if result.metrics[name] == result.metrics[name]
                }
                folder = self.save(arm, program, scores, self.teleprompter.name)
                child.log_program(folder)
                self.programs[arm] = folder
        self.results.append(dev)
        names = members(val.frame)
        if len(names) > 1 and set(names) == set(members(dev.frame)):
            self.notes.append(f"{label}: {panel_sentence(val.frame, dev.frame, 'dev')}")
        return val

    def score(self, arm: str, program: dspy.Module, label: str, role: str) -> Result:
        """Measure an arm on a set; paid is what all processes of the job paid for it."""
        phase = f"measuring {label}"
        result = measure(self.meters.study(phase, role), arm, program, role, label=label)
        return replace(result, paid=result.paid + self.meters.paid_earlier(phase, role))

    def compile(self, arm: str, student: dspy.Module) -> Compiled:
        """Let the teleprompter work, its calls and the prompt LM's on meters of their own."""
        meter = self.meters.meter(f"compiling {arm}")
        lms = {name: lm.with_meter(meter) for name, lm in self.study.lms.items()}
        if self.teleprompter.can_write(dict(self.options)):
            writer = self.study.lms.get("prompt_lm", self.study.task_lm)
            lms["prompt_lm"] = writer.with_meter(self.meters.meter(f"prompts for {arm}"))
        print(f"compiling {arm} with {self.teleprompter.name} ...", flush=True)  # noqa: T201

        def keep(compiled: Compiled) -> None:
            self.best[arm] = compiled.program
            self.notes.extend(f"{arm}: {note}" for note in compiled.notes)

        compiled = compile_arm(
            self.study,
            arm,
            student,
            self.teleprompter,
            self.options,
            lms=lms,
            log=job_folder(self.study, "logs") / f"{arm}.log",
            demo_cases=self.demo_cases,
            on_stop=keep,
        )
        self.notes += [f"{arm}: {note}" for note in compiled.notes]
        if compiled.chosen:
            self.notes.append(f"{arm}: the valset chose the candidate {compiled.chosen}")
        self.keep_findings(arm, compiled)
        return compiled

    def keep_findings(self, arm: str, compiled: Compiled) -> None:
        """Write what instructions quote of people where only their owner reads it."""
        if not compiled.findings:
            return
        path = job_folder(self.study, "logs") / f"{arm}.findings.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(vars(finding)) + "\n" for finding in compiled.findings)
        self.notes.append(f"{arm}: the quotes are in {path.name}, in the job's folder of logs")

    def select(self, arm: str, student: dspy.Module, compiled: Compiled) -> dspy.Module:
        """Return what the valset prefers: the compiled program or the uncompiled one."""
        self.best[arm] = compiled.program
        study = self.meters.study(f"measuring {arm} compiled", "select")
        before = self.seeds[arm]
        program, notes = select_arm(study, arm, student, compiled, self.teleprompter, before=before)
        self.notes += [f"{arm}: {note}" for note in notes]
        return program

    def save(
        self,
        arm: str,
        program: Any,
        scores: dict[str, float],
        teleprompter: str,
        *,
        may_ask: bool = True,
    ) -> Path:
        """Save a program with its scores, and demand the same of what is loaded."""
        study = self.meters.study(f"measuring {arm} compiled", "check") if may_ask else self.study
        return save_arm(
            study,
            program,
            job_folder(self.study, "programs") / arm,
            teleprompter=teleprompter,
            scores=scores,
            defaults=instructions_of(build_arm(self.study, arm)),
            may_ask=may_ask,
        )

    def table(self) -> str:
        """Return the table of the devset, or what there is to say where nothing was measured."""
        config, embedder = self.study.config, self.study.retriever.embedder
        title = f"{config.name}: {config.variant} compiled with {self.teleprompter.name}"
        if not self.results:
            return "\n\n".join([f"## {title}", "Nothing was measured.", *self.notes])
        labels = [result.label for result in self.results]
        return comparison_table(
            self.results,
            reference=REFERENCE if REFERENCE in labels else None,
            title=title,
            about=describe_study(self.study, date=datetime.date.today()),
            notes=[*retrieval_notes(embedder, self.study.offline), *self.notes],
            offline=self.study.offline,
        )
