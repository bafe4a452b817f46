"""What most others answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evals.baselines.baseline import Guesser, nobody_answered
from valuesim_dspy.case import Case

if TYPE_CHECKING:
    from valuesim_dspy.survey.respondents import Respondents


@dataclass(frozen=True)
class Modes:
    """The most frequent codes of some respondents; ties go to the lowest code.

    Args:
        overall: Question id to code.
        by_country: Question id and country (alpha-3) to code.
    """

    overall: Mapping[str, int]
    by_country: Mapping[tuple[str, str], int]

    @classmethod
    def of(cls, respondents: Respondents) -> Modes:
        """Count the answers of respondents, unweighted, to every question with options."""
        alphas, homes = np.unique(
            np.array([respondent.country for respondent in respondents], dtype=str),
            return_inverse=True,
        )
        overall: dict[str, int] = {}
        by_country: dict[tuple[str, str], int] = {}
        for question in respondents.codebook:
            answers, options = respondents.column(question.id), np.array(question.codes)
            is_valid = np.isin(answers, options)
            if not is_valid.any():
                continue
            cells = homes[is_valid] * len(options) + np.searchsorted(options, answers[is_valid])
            counts = np.bincount(cells, minlength=len(alphas) * len(options)).reshape(
                len(alphas), len(options)
            )
            overall[question.id] = int(options[counts.sum(axis=0).argmax()])
            for home in np.flatnonzero(counts.any(axis=1)):
                by_country[question.id, str(alphas[home])] = int(options[counts[home].argmax()])
        return cls(overall, by_country)

    def __deepcopy__(self, memo: dict[int, Any]) -> Modes:
        return self


class Mode(Guesser):
    """Answer what most respondents of the trainset answered to this very question.

    Args:
        modes: What they answered.
    """

    kind = "mode"
    why = "The most frequent answer of the respondents counted."

    def __init__(self, modes: Modes) -> None:
        super().__init__()
        self.modes = modes

    def code(self, case: Case) -> int:
        """Return the mode of all respondents counted."""
        try:
            return self.modes.overall[case.question.id]
        except KeyError:
            raise nobody_answered(case) from None


class CountryMode(Mode):
    """Answer what most of the trainset's respondents of the same country answered.

    Where nobody of the country answered, what most respondents answered.
    """

    kind = "country-mode"

    def code(self, case: Case) -> int:
        """Return the mode of the country."""
        home = (case.question.id, case.profile.country or "")
        return self.modes.by_country[home] if home in self.modes.by_country else super().code(case)
