"""InferRules: rules that the prompt LM reads off demos, added to the instructions."""

from __future__ import annotations

from typing import Any

from dspy.teleprompt.infer_rules import InferRules
from pydantic import Field

from optimize.compilation import Candidate, Compilation, Compiled
from optimize.demo_rendering import demo_counts
from optimize.teleprompters.bootstrapping import UNCOMPILED, bootstrapping
from optimize.teleprompters.options import BootstrapOptions
from optimize.teleprompters.scoring import evaluate


class RulesOptions(BootstrapOptions):
    """Options of `infer-rules`."""

    candidates: int = Field(4, ge=1, le=64, description="sets of rules tried, beside uncompiled")
    rules: int = Field(10, ge=1, le=50, description="rules of a predictor")


class _InferRules(InferRules):
    """InferRules that reads rules off condensed demos and leaves signatures as they are.

    DSPy's reads them off the trainset's fields, of which ours has none that a predictor reads,
    and writes them into the signature class that all copies share, so that every candidate ends
    up with the rules of the last.
    """

    given: Compilation
    tried: list[tuple[Any, float]]

    def induce_natural_language_rules(self, predictor: Any, trainset: Any) -> str:
        if not predictor.demos:
            return ""
        demos = [dict(demo) for demo in predictor.demos]
        # DSPy's own asserts that no other error than a full context can come of this.
        return str(self.rules_induction_program(self.format_examples(demos, predictor.signature)))

    def update_program_instructions(self, predictor: Any, natural_language_rules: str) -> None:
        if natural_language_rules:
            text = (
                f"{predictor.signature.instructions}\n\nPlease adhere to the following rules when "
                f"making your prediction:\n{natural_language_rules}"
            )
            predictor.signature = predictor.signature.with_instructions(text)

    def evaluate_program(self, program: Any, dataset: Any) -> float:
        if self.given.demos == "none":
            for predictor in program.predictors():
                predictor.demos = []
        score = evaluate(program, dataset, self.given)
        self.tried.append((program, score))
        return score


def infer_rules(compilation: Compilation) -> Compiled:
    """Bootstrap demos, infer rules from them several times; the valset chooses."""
    options, trainset = compilation.options, compilation.shuffled
    valset = list(compilation.valset)
    optimizer = _InferRules(
        num_candidates=options.candidates,
        num_rules=options.rules,
        num_threads=compilation.workers,
        **bootstrapping(compilation, len(trainset) * options.max_rounds),
    )
    optimizer.given = compilation
    optimizer.tried = [(compilation.student, evaluate(compilation.student, valset, compilation))]
    inducing = optimizer.rules_induction_program
    inducing.teacher_settings = {"lm": compilation.prompt_lm}
    inducing.rng.seed(compilation.derived("rules"))
    # Signature classes of its own: InferRules assigns instructions in place, if only equal ones.
    student = compilation.student.deepcopy()
    for predictor in student.predictors():
        signature = predictor.signature
        predictor.signature = signature.with_instructions(signature.instructions)
    optimizer.compile(student, trainset=trainset, valset=valset)
    candidates = tuple(
        Candidate(
            step,
            f"rules-{step}" if step else UNCOMPILED,
            score,
            sum(demo_counts(program).values()),
        )
        for step, (program, score) in enumerate(optimizer.tried)
    )
    best = max(candidates, key=lambda candidate: (candidate.score, -candidate.step))
    return Compiled(optimizer.tried[best.step][0], candidates, best.name)


def rules_runs(
    options: RulesOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least and the most runs."""
    scored = (options.candidates + 1) * n_val
    return min(options.max_demos, n_train) + scored, n_train * options.max_rounds + scored


def rules_prompts(
    options: RulesOptions, n_train: int, n_val: int, predictors: int = 5
) -> tuple[int, int]:
    """Return the least and the most calls of the prompt LM: predictors without demos need none."""
    return 0, options.candidates * predictors
