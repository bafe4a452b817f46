"""Simulated populations: answers drawn from distributions, one draw a person or one a case."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evals.metric import NAN
from evals.probabilistic import read_distribution, read_places, with_probabilities

if TYPE_CHECKING:
    from collections.abc import Iterable


def draw_population(frame: pd.DataFrame, seed: int, *, one_draw: bool = True) -> pd.DataFrame:
    """Return a scored table in which answers are drawn from their distributions.

    With `one_draw`, one number from 0 to 1 is drawn for each person and is the quantile that is
    read off all their ordinal questions: who answers high on one answers high on all, as far as
    the distributions leave it open. Else each case has a number of its own, as questions without
    an order have in any case. Neither is how people are: independent draws take away what their
    answers have in common, one draw makes all that is left open common, in the same direction.

    Args:
        frame: A scored table of an arm that gives probabilities, calibrated or not.
        seed: With it the same people and questions get the same draws, whatever their order.
        one_draw: See above.

    Returns:
        The answered cases with probabilities, with `answer`, `correct`, `answer_place` and
        `error` of the code drawn.
    """
    known = with_probabilities(frame).copy()
    codes: list[int] = []
    places: list[float] = []
    for person, question, text, order in zip(
        known["respondent"], known["question"], known["probabilities"], known["places"], strict=True
    ):
        ranks = read_places(order)
        asked = () if one_draw and ranks else (question,)
        code = at_quantile(read_distribution(text), ranks, _uniform(seed, person, asked))
        codes.append(code)
        places.append(ranks.get(code, NAN))
    known["answer"] = pd.array(codes, dtype="Int64")
    known["correct"] = (known["answer"] == known["truth"]).astype(float)
    known["answer_place"] = np.array(places, dtype=float)
    known["error"] = (known["answer_place"] - known["truth_place"]).abs()
    return known


def at_quantile(
    probabilities: Mapping[int, float], places: Mapping[int, float], quantile: float
) -> int:
    """Return the code at which the cumulated probabilities pass a quantile.

    Args:
        probabilities: Code to probability.
        places: Code to place on the scale: the order of cumulation. Codes that have none come
            last, in the order of their numbers.
        quantile: In [0, 1).
    """
    ranked = sorted(probabilities, key=lambda code: (places.get(code, 2.0), code))
    total, passed = sum(probabilities.values()), 0.0
    for code in ranked:
        passed += probabilities[code] / total
        if quantile < passed:
            return code
    return max(ranked, key=lambda code: (probabilities[code] > 0, ranked.index(code)))


def _uniform(seed: int, person: str, rest: Iterable[str]) -> float:
    """Return a number in [0, 1) that only its names decide, the same in every process."""
    digest = hashlib.sha256("\n".join([str(seed), person, *rest]).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
