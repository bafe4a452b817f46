"""The score of a candidate on a set, as teleprompters of our own take it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dspy
from dspy.evaluate import Evaluate

from optimize.compilation import Compilation


def results(
    program: dspy.Module, examples: Sequence[dspy.Example], compilation: Compilation
) -> list[tuple[dspy.Example, dspy.Prediction, float]]:
    """Run a program on examples; a failure has an empty prediction and the score 0."""
    run = Evaluate(
        devset=list(examples),
        metric=compilation.score,
        num_threads=compilation.workers,
        max_errors=len(examples) + 1,
    )
    scored: list[Any] = run(program).results
    return [(example, prediction, float(score)) for example, prediction, score in scored]


def evaluate(
    program: dspy.Module, examples: Sequence[dspy.Example], compilation: Compilation
) -> float:
    """Return the mean score of a program, in [0, 1]; a failure counts 0."""
    return sum(score for *_, score in results(program, examples, compilation)) / len(examples)
