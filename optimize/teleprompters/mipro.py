"""MIPROv2: demos from traces, instructions from a proposer, TPE over both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import dspy
from dspy.propose import GroundedProposer
from dspy.teleprompt import MIPROv2
from dspy.teleprompt.mipro_optimizer_v2 import AUTO_RUN_SETTINGS, MIN_MINIBATCH_SIZE
from pydantic import Field, model_validator

from optimize.compilation import Candidate, Compilation, Compiled
from optimize.demo_rendering import demo_counts
from optimize.teleprompters.bootstrapping import UNCOMPILED, bootstrapping
from optimize.teleprompters.options import BootstrapOptions

SHOWN = 3
"""Demos of a set that MIPROv2 bootstraps only to show them to the prompt LM."""
FULL_EVERY = 5
"""Minibatch trials between two runs on the whole valset."""
PROMPTS = 3
"""Calls of the prompt LM for one instruction: on the program, on the predictor, the proposal."""


class MiproOptions(BootstrapOptions):
    """Options of `mipro-v2`."""

    max_demos: int = Field(4, ge=0, le=64, description="most demos of a predictor; 0 is zero-shot")
    max_rounds: Literal[1] = Field(1, description="MIPROv2 tries a training case once a set")
    auto: Literal["light", "medium", "heavy", "explicit"] = Field(
        "light", description="how much is tried; explicit takes candidates and trials"
    )
    candidates: int | None = Field(
        None, ge=2, le=64, description="instructions and sets of demos of a predictor (explicit)"
    )
    trials: int | None = Field(None, ge=1, le=1024, description="combinations tried (explicit)")
    minibatch: int = Field(
        35, ge=1, description="cases of the valset a trial is scored on, where the valset is larger"
    )
    temperature: float = Field(1.0, ge=0, le=2, description="of the prompt LM")

    @model_validator(mode="after")
    def _explicit(self) -> MiproOptions:
        given = {self.candidates is not None, self.trials is not None}
        if given != {self.auto == "explicit"}:
            raise ValueError('candidates and trials are given both, with auto = "explicit", or not')
        return self


class _Mipro(MIPROv2):
    """MIPROv2 that shows the prompt LM a summary of ours, and survives a small search space."""

    summary = ""

    def _propose_instructions(
        self, program: Any, trainset: Any, demo_candidates: Any, *args: Any, **known: Any
    ) -> Any:
        count, rng = known["num_instruct_candidates"], self.rng
        # DSPy's own summary would send repr(trainset), which is people, to the prompt LM.
        proposer = GroundedProposer(
            program=program,
            trainset=[],
            prompt_model=self.prompt_model,
            use_dataset_summary=False,
            program_aware=True,
            num_demos_in_context=SHOWN,
            use_instruct_history=False,
            set_history_randomly=False,
            rng=rng,
            init_temperature=self.init_temperature,
        )
        proposer.use_dataset_summary, proposer.data_summary = True, self.summary
        proposed = proposer.propose_instructions_for_program(
            trainset=[], program=program, demo_candidates=demo_candidates, N=count, trial_logs={}
        )
        for place, predictor in enumerate(program.predictors()):
            proposed[place][0] = predictor.signature.instructions
        return proposed

    def _perform_full_evaluation(self, *args: Any, **known: Any) -> Any:
        try:
            return super()._perform_full_evaluation(*args, **known)
        except ValueError as error:
            # Raised before anything is run, where every combination has had its full run.
            if "No valid program found" not in str(error):
                raise
            names = ("total_eval_calls", "score_data", "best_score", "best_program")
            total, _, best_score, best_program = (args[7 + n] for n in range(len(names)))
            return best_score, best_program, total


def mipro(compilation: Compilation) -> Compiled:
    """Compile with MIPROv2; the valset chooses."""
    options, valset = compilation.options, list(compilation.valset)
    is_explicit, zero_shot = options.auto == "explicit", _is_zero_shot(compilation)
    arguments = bootstrapping(compilation, len(compilation.demo_source) + len(valset))
    del arguments["max_rounds"]
    arguments["max_bootstrapped_demos"] = 0 if zero_shot else options.max_demos
    optimizer = _Mipro(
        **arguments,
        prompt_model=compilation.prompt_lm,
        task_model=compilation.task_lm,
        auto=None if is_explicit else options.auto,
        num_candidates=options.candidates,
        num_threads=compilation.workers,
        seed=compilation.derived("mipro"),
        init_temperature=options.temperature,
    )
    optimizer.summary = dataset_summary(compilation.trainset)
    best = optimizer.compile(
        compilation.student,
        trainset=compilation.shuffled,
        valset=valset,
        num_trials=options.trials,
        minibatch=options.minibatch < len(valset),
        minibatch_size=min(options.minibatch, len(valset)),
        minibatch_full_eval_steps=FULL_EVERY,
    )
    return _compiled(best)


def _is_zero_shot(compilation: Compilation) -> bool:
    return compilation.options.max_demos == 0 or compilation.demos == "none"


def _compiled(best: Any) -> Compiled:
    """Read the candidates that had the whole valset from MIPROv2's log; ties to the earlier."""
    logs = [
        (number, log) for number, log in sorted(best.trial_logs.items()) if "full_eval_score" in log
    ]
    candidates = tuple(
        Candidate(
            step,
            f"trial-{number}" if step else UNCOMPILED,
            float(log["full_eval_score"]) / 100,
            sum(demo_counts(log["full_eval_program"]).values()) if step else 0,
        )
        for step, (number, log) in enumerate(logs)
    )
    chosen = max(candidates, key=lambda candidate: (candidate.score, -candidate.step))
    return Compiled(best, candidates, chosen.name)


def dataset_summary(trainset: Sequence[dspy.Example]) -> str:
    """Describe a trainset by counts, with nothing of any one person in it."""
    questions = {example.case.question.id: example.case.question for example in trainset}
    people = {example.case.profile.key for example in trainset}
    facts = sorted(len(example.case.profile.facts) for example in trainset)
    kinds = Counter(question.scale_kind for question in questions.values())
    sizes = sorted(len(question.options) for question in questions.values())
    sections = sorted({question.section for question in questions.values()})
    scales = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return (
        f"{len(trainset)} cases: {len(people)} survey respondents, each known by about "
        f"{facts[len(facts) // 2]} facts, which are answers they gave, and asked some of "
        f"{len(questions)} further questions ({scales}; {sizes[0]} to {sizes[-1]} options). The "
        f"questions are from these parts of the survey: {'; '.join(sections)}. The output is the "
        "code of the option that this respondent chose, so that what counts is this person and "
        "how they use a scale, not what is true or usual."
    )


def _plan(options: MiproOptions, n_val: int, predictors: int) -> tuple[int, int, bool]:
    """Return candidates, trials, and whether trials are scored on minibatches."""
    if options.auto == "explicit":
        assert options.candidates is not None and options.trials is not None
        return options.candidates, options.trials, options.minibatch < n_val
    settings = AUTO_RUN_SETTINGS[options.auto]
    candidates = settings["n"]
    variables = predictors * (2 if options.max_demos else 1)
    trials = int(max(2 * variables * math.log2(candidates), 1.5 * candidates))
    return candidates, trials, min(n_val, settings["val_size"]) > MIN_MINIBATCH_SIZE


def mipro_runs(
    options: MiproOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least and the most runs; the size of a set of demos is drawn by the seed."""
    candidates, trials, is_mini = _plan(options, n_val, predictors)
    if options.auto != "explicit":
        n_val = min(n_val, AUTO_RUN_SETTINGS[options.auto]["val_size"])
    whole = 1 + (_full_runs(trials) if is_mini else 0)
    scored = whole * n_val + trials * (options.minibatch if is_mini else n_val)
    least = n_val + trials * (options.minibatch if is_mini else n_val)
    first = min(options.max_demos or SHOWN, n_train)
    drawn = max(candidates - 2, 0)
    return least + first + drawn, scored + n_train * (1 + drawn)


def _full_runs(trials: int) -> int:
    """Return how often MIPROv2 runs the whole valset between minibatches and at the end."""
    extra = 1 if trials % FULL_EVERY else 0
    adjusted = trials + trials // FULL_EVERY + 1 + extra
    number, count = 1, 0
    for _ in range(trials):
        number += 1
        if number % (FULL_EVERY + 1) == 0 or number == adjusted - 1:
            number, count = number + 1, count + 1
    return count


def mipro_prompts(
    options: MiproOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least and the most calls of the prompt LM."""
    candidates, _, _ = _plan(options, n_val, predictors)
    if options.auto != "explicit" and options.max_demos:
        candidates //= 2
    return candidates * predictors, candidates * predictors * PROMPTS
