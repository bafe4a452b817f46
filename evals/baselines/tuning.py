"""Choosing a baseline's one setting on the valset, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import dspy

from evals.baselines.baseline import Guesser
from valuesim_dspy.errors import PredictionError

G = TypeVar("G", bound=Guesser)


def best_on(
    examples: Sequence[dspy.Example], make: Callable[[int], G], settings: Sequence[int]
) -> G:
    """Return the baseline with the setting that answers most of the valset right.

    Args:
        examples: The valset.
        make: Makes the baseline with a setting.
        settings: What to try, the preferred first: it wins ties, and where there is no valset.
    """
    made = [make(setting) for setting in settings]
    return max(made, key=lambda guesser: sum(_is_right(guesser, example) for example in examples))


def _is_right(guesser: Guesser, example: dspy.Example) -> bool:
    try:
        return guesser.code(example.case) == example.answer
    except PredictionError:
        return False
