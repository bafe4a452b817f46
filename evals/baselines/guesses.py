"""A guess without any evidence."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Self

from evals.baselines.baseline import Guesser
from valuesim_dspy.case import Case

if TYPE_CHECKING:
    from evals.study import Study


def drawn_code(case: Case, seed: int) -> int:
    """Return one of the question's codes, each as likely, the same for this person always."""
    name = f"{seed}:{case.profile.key}:{case.question.id}"
    return random.Random(name).choice(case.question.codes)


class Uniform(Guesser):
    """Answer with an option drawn at random, each as likely.

    Args:
        seed: Seed of the draws; one draw for each person and question.
    """

    kind = "uniform"
    why = "Drawn at random."

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def bind_to(self, study: Study) -> Self:
        """Take the study's seed."""
        self.seed = study.config.seed
        return self

    def code(self, case: Case) -> int:
        """Return the option drawn for this person and question."""
        return drawn_code(case, self.seed)
