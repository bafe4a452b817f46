"""Teleprompters that write instructions from what went wrong: GEPA, SIMBA, COPRO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import dspy
from dspy.teleprompt import COPRO, GEPA, SIMBA
from dspy.teleprompt.gepa.instruction_proposal import InstructionProposer
from dspy.teleprompt.simba_utils import append_a_demo, append_a_rule
from pydantic import Field

from optimize.compilation import Candidate, Compilation, Compiled
from optimize.feedback import make_feedback
from optimize.teleprompters.bootstrapping import UNCOMPILED
from optimize.teleprompters.options import CommonOptions
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.modules import BackstoryWriter

MERGES = 5
"""Most merges of two candidates in GEPA."""
MERGE_CASES = 5
"""Cases of the valset on which GEPA tries a merge before the whole valset."""


class GepaOptions(CommonOptions):
    """Options of `gepa`."""

    auto: Literal["light", "medium", "heavy", "explicit"] = Field(
        "light", description="how much is tried; explicit takes runs"
    )
    runs: int = Field(
        300, ge=1, description="runs of a program, on trainset and valset, with auto = explicit"
    )
    minibatch: int = Field(3, ge=1, le=64, description="training cases of one reflection")
    merge: bool = Field(True, description="whether good candidates are merged")
    temperature: float = Field(1.0, ge=0, le=2, description="of the LM that reflects")


class SimbaOptions(CommonOptions):
    """Options of `simba`."""

    batch: int = Field(32, ge=1, description="training cases of a step, at most the trainset")
    candidates: int = Field(6, ge=2, le=64, description="samples of a case and programs of a step")
    steps: int = Field(8, ge=1, le=64, description="steps")
    max_demos: int = Field(4, ge=0, le=64, description="most demos of a predictor; 0 is rules only")


class CoproOptions(CommonOptions):
    """Options of `copro`."""

    breadth: int = Field(6, ge=2, le=64, description="instructions of a predictor in each round")
    depth: int = Field(2, ge=1, le=16, description="rounds, each knowing the scores of the last")
    temperature: float = Field(1.4, ge=0, le=2, description="of the prompt LM")


class _Asked:
    """Counts what the prompt LM was asked to write; GEPA and SIMBA go on where that fails."""

    def __init__(self) -> None:
        self.times = self.failed = 0

    def watch(self, write: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same, counted."""

        def counted(*args: Any, **known: Any) -> Any:
            self.times += 1
            self.failed += 1
            written = write(*args, **known)
            self.failed -= 1
            return written

        return counted

    def notes(self) -> tuple[str, ...]:
        """Say how often it failed.

        Raises:
            PredictionError: It never wrote anything.
        """
        if self.times and self.failed == self.times:
            raise PredictionError(
                f"the prompt LM failed at, or its reply could not be read in, all {self.times} "
                "requests for an instruction; see the teleprompter's log"
            )
        told = f"{self.failed} of {self.times} requests to the prompt LM failed while compiling"
        return (told,) if self.failed else ()


class _Proposer(InstructionProposer):
    """GEPA's own proposer, counted."""

    propose: Any

    def __init__(self, asked: _Asked) -> None:
        super().__init__()
        self.propose = asked.watch(self.propose)


def gepa(compilation: Compilation) -> Compiled:
    """Reflect on single cases with feedback, and keep the Pareto front on the valset."""
    options = compilation.options
    names = {name for name, _ in compilation.student.named_predictors()}
    for _, writer in compilation.student.named_sub_modules(BackstoryWriter):
        writer.traced = not writer._compiled
    asked = _Asked()
    budget = {"max_metric_calls": options.runs} if options.auto == "explicit" else {}
    optimizer = GEPA(
        metric=make_feedback(compilation.score),
        auto=None if budget else options.auto,
        **budget,
        reflection_minibatch_size=options.minibatch,
        reflection_lm=compilation.prompt_lm.copy(
            temperature=options.temperature, rollout_id=compilation.derived("reflection")
        ),
        instruction_proposer=_Proposer(asked),
        use_merge=options.merge and len(names) > 1,
        max_merge_invocations=MERGES,
        num_threads=compilation.workers,
        seed=compilation.derived("gepa"),
        warn_on_score_mismatch=False,
        track_stats=True,
    )
    trainset, valset = list(compilation.trainset), list(compilation.valset)
    best = optimizer.compile(compilation.student, trainset=trainset, valset=valset)
    found = best.detailed_results
    candidates = tuple(
        Candidate(step, f"reflection-{step}" if step else UNCOMPILED, float(score), 0)
        for step, score in enumerate(found.val_aggregate_scores)
    )
    return Compiled(best, candidates, candidates[found.best_idx].name, asked.notes())


def gepa_runs(
    options: GepaOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least and the most runs: GEPA ends after the step that reaches its limit."""
    calls = options.runs
    if options.auto != "explicit":
        size = {"light": 6, "medium": 12, "heavy": 18}[options.auto]
        # The arithmetic is DSPy's own, which needs no LM and no metric.
        calls = GEPA.auto_budget(None, max(predictors, 1), size, n_val)
    overshoot = 2 * options.minibatch + n_val + (MERGE_CASES + n_val if options.merge else 0)
    return max(n_val, calls), max(n_val, calls) + overshoot


def gepa_prompts(
    options: GepaOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least and the most calls of the LM that reflects: one for each new candidate."""
    most = gepa_runs(options, n_train, n_val, predictors)[1] - n_val
    return 0, max(0, most // options.minibatch)


def simba(compilation: Compilation) -> Compiled:
    """Sample training cases, and learn a demo or a rule from those that vary most."""
    options, trainset = compilation.options, list(compilation.trainset)
    # Demos of people nobody may see are left out; rules are still learned from them.
    max_demos = options.max_demos if compilation.demos == "data" else 0
    optimizer = SIMBA(
        metric=compilation.score,
        bsize=min(options.batch, len(trainset)),
        num_candidates=options.candidates,
        max_steps=options.steps,
        max_demos=max_demos,
        prompt_model=compilation.prompt_lm,
        num_threads=compilation.workers,
    )
    demo = _right_steps(append_a_demo(optimizer.demo_input_field_maxlen), compilation)
    asked = _Asked()
    rule = _without_people(asked.watch(append_a_rule))
    optimizer.strategies = [demo, rule] if max_demos else [rule]
    best = optimizer.compile(
        compilation.student, trainset=trainset, seed=compilation.derived("simba")
    )
    return Compiled(best, notes=asked.notes())


def _right_steps(append: Callable[..., bool], compilation: Compilation) -> Callable[..., bool]:
    """Return the strategy, kept from making demos of answers that are wrong."""

    def append_right(bucket: list[Any], system: Any, **known: Any) -> bool:
        good = bucket[0]
        steps = [s for s in good["trace"] or () if compilation.score(good["example"], s[2])]
        return append([{**good, "trace": steps}, *bucket[1:]], system, **known)

    return append_right


def _without_people(append: Callable[..., bool]) -> Callable[..., bool]:
    """Return the strategy, shown condensed traces and of a case no more than its question.

    SIMBA would serialise the case, which holds every answer, and the whole backstory.
    """

    def append_a_rule_(bucket: list[Any], system: Any, **known: Any) -> bool:
        shown = [
            {**run, "example": _shown(run["example"]), "prediction": _told(run["prediction"])}
            for run in bucket
        ]
        return append(shown, system, **known)

    return append_a_rule_


def _shown(example: dspy.Example) -> dspy.Example:
    case = example.case
    whole = dspy.Example(
        question=case.question_text, options=case.options_text, answer=int(example.answer)
    )
    return whole.with_inputs("question", "options")


def _told(prediction: Any) -> dict[str, Any]:
    return {k: v for k, v in dict(prediction or {}).items() if k != "backstory"}


def simba_runs(
    options: SimbaOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least and the most runs: steps without a new candidate score none."""
    batch = min(options.batch, n_train)
    sampled = options.steps * batch * options.candidates
    tried = options.steps * batch * min(batch, options.candidates + 1)
    last = min(options.steps, options.candidates) + 1
    return sampled + n_train, sampled + tried + last * n_train


def simba_prompts(
    options: SimbaOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least and the most calls of the prompt LM: one for each rule."""
    batch = min(options.batch, n_train)
    return 0, options.steps * batch


def copro(compilation: Compilation) -> Compiled:
    """Let the prompt LM rewrite instructions by their scores on the trainset."""
    options, trainset = compilation.options, list(compilation.trainset)
    prompt_lm = compilation.prompt_lm.copy(rollout_id=compilation.derived("copro"))
    optimizer = COPRO(
        prompt_model=prompt_lm,
        metric=compilation.score,
        breadth=options.breadth,
        depth=options.depth,
        init_temperature=options.temperature,
    )
    threads = {"num_threads": compilation.workers, "display_progress": False}
    best = optimizer.compile(compilation.student, trainset=trainset, eval_kwargs=threads)
    program = compilation.student.deepcopy()
    # COPRO changes a field's prefix too, which no adapter shows: only instructions are taken.
    for own, new in zip(program.predictors(), best.predictors(), strict=True):
        own.signature = own.signature.with_instructions(new.signature.instructions)
    return Compiled(program)


def copro_runs(
    options: CoproOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the runs: with several predictors every round scores all earlier instructions."""
    rounds = [options.breadth * (n if predictors > 1 else 1) for n in range(1, options.depth + 1)]
    runs = n_train * predictors * sum(rounds)
    return runs, runs


def copro_prompts(
    options: CoproOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the calls of the prompt LM, one for each instruction."""
    calls = predictors * (options.breadth * options.depth - 1)
    return calls, calls
