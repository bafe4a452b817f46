"""The weighted median of others: the best single guess where distance counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evals.baselines.baseline import Guesser, nobody_answered
from valuesim_dspy.case import Case

if TYPE_CHECKING:
    from valuesim_dspy.survey.codebook import Question
    from valuesim_dspy.survey.respondents import Respondents


def middle_code(question: Question, codes: npt.NDArray[Any], weights: npt.NDArray[Any]) -> int:
    """Return the weighted median of ordered answers, or the weighted mode where there is no order.

    Args:
        question: Gives the order; answers off its scale are left out of a median.
        codes: Valid answers, int [n], n at least 1.
        weights: Their weights, float [n], 0 or more; all 0 counts as all equal.

    Returns:
        The lowest place of the scale at which half of the weight is reached; for nominal
        questions the heaviest code, and of several the lowest.
    """
    ranked = [code for code in question.order if code in set(codes.tolist())]
    places = ranked or sorted(set(codes.tolist()))
    weights = weights if weights.sum() > 0 else np.ones(len(codes))
    shares = np.array([weights[codes == code].sum() for code in places])
    if not ranked:
        return int(places[int(shares.argmax())])
    # Half of the weight up to rounding: sums in another order must not decide.
    half = shares.sum() / 2 * (1 - 1e-12)
    return int(places[int(np.searchsorted(shares.cumsum(), half))])


class WeightedMedian(Guesser):
    """Answer the weighted median of the trainset's answers, the weighted mode of nominal ones.

    People weigh W_WEIGHT x S018, by which every country counts the same; 1 where the file has
    no weights.

    Args:
        middles: Question id to that code.
    """

    kind = "weighted-median"
    why = "The weighted median of the respondents counted."

    def __init__(self, middles: Mapping[str, int]) -> None:
        super().__init__()
        self.middles = dict(middles)

    @classmethod
    def of(cls, respondents: Respondents) -> WeightedMedian:
        """Fit it on respondents."""
        weights = np.asarray(respondents.weights * respondents.s018)
        middles = {}
        for question in respondents.codebook:
            codes = respondents.column(question.id)
            is_valid = np.isin(codes, question.codes)
            if is_valid.any():
                middles[question.id] = middle_code(question, codes[is_valid], weights[is_valid])
        return cls(middles)

    def code(self, case: Case) -> int:
        """Return the median of the question."""
        try:
            return self.middles[case.question.id]
        except KeyError:
            raise nobody_answered(case) from None
