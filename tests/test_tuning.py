"""Choosing a setting on the valset: the best, ties, and failures that count as wrong."""

from people import example

from evals.baselines import Guesser
from evals.baselines.tuning import best_on
from valuesim_dspy.case import Case
from valuesim_dspy.errors import PredictionError


class Always(Guesser):
    """Answers one code; of 9 it fails."""

    kind, why = "always", "Always the same."

    def __init__(self, setting: int) -> None:
        super().__init__()
        self.setting = setting

    def code(self, case: Case) -> int:
        """Return the code."""
        if self.setting == 9:
            raise PredictionError("there is none")
        return self.setting


def test_the_setting_that_answers_most_right_is_taken() -> None:
    """Two of three answers are 3."""
    valset = [example("Q69", 3), example("Q70", 3), example("Q71", 1)]
    assert best_on(valset, Always, (1, 2, 3, 9)).setting == 3


def test_the_first_wins_ties_and_where_there_is_nothing_to_choose_by() -> None:
    """Equal counts, an empty valset, and failures leave the preferred one."""
    assert best_on([example("Q69", 1), example("Q70", 2)], Always, (2, 1)).setting == 2
    assert best_on([], Always, (4, 1)).setting == 4
    assert best_on([example("Q69", 1)], Always, (9, 1)).setting == 1
