"""What a teleprompter is given, and what comes of it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import dspy

from optimize.demo_rendering import demo_counts
from optimize.instruction_scan import Finding
from valuesim_dspy.survey.codebook import Question


class Metric(Protocol):
    """A score in [0, 1] of one prediction; with a trace, whether the trace may become demos."""

    def __call__(self, example: Any, prediction: Any, trace: Any = None) -> float | bool:
        """Return the score, or a bool when a trace is given."""
        ...


def as_metric(
    score: Callable[[Question, int, int | None], float], *, threshold: float = 1.0
) -> Metric:
    """Make the metric that teleprompters call from a score of `evals.metrics.SCORES`.

    Args:
        score: Of question, true code and predicted code, in [0, 1]; higher is better.
        threshold: The least score of a prediction whose trace becomes demos. DSPy takes any
            truthy score for a success, 0.01 too.
    """

    def metric(example: Any, prediction: Any, trace: Any = None) -> float | bool:
        value = float(score(example.case.question, int(example.answer), int(prediction.answer)))
        return value if trace is None else value >= threshold

    return metric


def own_answers(score: Metric) -> Metric:
    """Return the metric, taking from an accepted trace the steps whose own answer is wrong."""

    def metric(example: Any, prediction: Any, trace: Any = None) -> float | bool:
        value = score(example, prediction, trace)
        if trace is not None and value:
            trace[:] = [step for step in trace if score(example, step[2], trace)]
        return value

    return metric


@dataclass(frozen=True, eq=False)
class Compilation:
    """What a teleprompter is given.

    Args:
        student: The uncompiled program; never changed.
        trainset: Examples of the train respondents' train targets.
        valset: Those of the val respondents' val targets; empty where nothing selects by it.
        score: See `Metric`.
        seed: The job's seed; the trainset is shuffled by it.
        task_lm: Answers.
        options: As `Teleprompter.parse` returns them.
        prompt_lm: Writes instructions; the task LM where None, which a builder finds here.
        teacher_lm: Answers while demos are made; the task LM where None.
        threads: Cases in flight, where the task LM is not in this process.
        log: A private file for what teleprompters print, which is prompts and answers; None
            throws it away.
        demos: `data`: demos come from the trainset; `synthetic`: from `demo_cases`, while all
            scores stay those of real cases; `none`: only instructions are compiled.
        demo_cases: Examples of synthetic people, read where demos are synthetic.
        on_run: Called at each run of the program, for progress.
        on_stop: Called with the best program so far where a spent budget ends the search, before
            the error is raised.
    """

    student: dspy.Module
    trainset: Sequence[dspy.Example]
    valset: Sequence[dspy.Example]
    score: Metric
    seed: int
    task_lm: Any
    options: Any
    prompt_lm: Any = None
    teacher_lm: Any = None
    threads: int = 1
    log: Path | None = None
    demos: str = "data"
    demo_cases: Sequence[dspy.Example] = ()
    on_run: Callable[[], object] | None = None
    on_stop: Callable[[Compiled], object] | None = None

    @property
    def demo_source(self) -> Sequence[dspy.Example]:
        """The cases that may become demos."""
        return self.demo_cases if self.demos == "synthetic" else self.trainset

    @property
    def shuffled(self) -> list[dspy.Example]:
        """The cases that may become demos, in the order that the seed gives them."""
        rng = random.Random(f"{self.seed}:trainset")
        return rng.sample(list(self.demo_source), len(self.demo_source))

    def derived(self, use: str) -> int:
        """Return a seed of its own for one use, from 1 to 2**31: DSPy takes 0 for none."""
        digest = hashlib.sha256(f"{self.seed}:{use}".encode()).digest()
        return int.from_bytes(digest[:4], "big") // 2 + 1

    @property
    def workers(self) -> int:
        """Cases in flight: threads do not help an LM in this process."""
        return 1 if getattr(self.task_lm, "in_process", False) else self.threads

    @property
    def teacher_settings(self) -> dict[str, Any]:
        """What DSPy is to set while the teacher answers."""
        return {} if self.teacher_lm is None else {"lm": self.teacher_lm}


@dataclass(frozen=True)
class Candidate:
    """One program that was tried.

    Args:
        step: Its place in the order of trying, from 0.
        name: `uncompiled`, `in-order` (the shuffled trainset's first successes) or `shuffle-N`.
        score: Mean score on the valset, in [0, 1]; a failure is 0.
        demos: Demos over all predictors.
    """

    step: int
    name: str
    score: float
    demos: int


@dataclass(frozen=True, eq=False)
class Compiled:
    """What came of a compilation.

    Args:
        program: The program; the student's class, bindings and predictor names.
        candidates: What was tried and scored on the valset, in order; empty where the
            teleprompter selects nothing, so that the job compares with the uncompiled program.
        chosen: The name of the candidate that the program is; "" without candidates.
        notes: What a reader must know, such as that nothing could be bootstrapped.
        runs: How often a program was run.
        failed_runs: How many of these runs ended in an error.
        instructions_written: Whether an instruction differs from the student's.
        findings: What written instructions share with facts and backstories, word for word:
            rows of people, for private files only.
    """

    program: dspy.Module
    candidates: tuple[Candidate, ...] = ()
    chosen: str = ""
    notes: tuple[str, ...] = ()
    runs: int = 0
    failed_runs: int = 0
    instructions_written: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def demos(self) -> dict[str, int]:
        """Number of demos by predictor, predictors without any left out."""
        return demo_counts(self.program)
