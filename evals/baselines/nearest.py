"""Nearest respondents: what the people most like a person answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evals.baselines.baseline import Guesser
from valuesim_dspy.case import Case

if TYPE_CHECKING:
    from valuesim_dspy.peers import PeerIndex

NEIGHBOURS = (10, 3, 5, 20, 40, 80)
"""How many people to try, the one that is taken without a valset first."""


class NearestRespondents(Guesser):
    """Answer what the nearest of the trainset's respondents answered, the nearest counting most.

    The same search as for peers, with a number of people chosen on the valset: the rival of
    programs that read peers, where `peers-mode` repeats exactly what they read.

    Args:
        index: Finds them.
        count: How many count.
    """

    kind = "nearest-respondents"
    why = "What the people nearest by their other answers answered."

    def __init__(self, index: PeerIndex, count: int = NEIGHBOURS[0]) -> None:
        super().__init__()
        self.index = index
        self.count = count

    def code(self, case: Case) -> int:
        """Return the weighted mode of the nearest.

        Raises:
            PredictionError: No respondent of the trainset answered the question.
        """
        return self.index.nearest(case, self.count).mode
