"""People's answers as a matrix of numbers, for the baselines that are fitted on other people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evals.baselines.own_answers import known_answers
from valuesim_dspy.case import Case
from valuesim_dspy.survey.codebook import Question

if TYPE_CHECKING:
    from valuesim_dspy.survey.folds import Fold
    from valuesim_dspy.survey.respondents import Respondents

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Training:
    """The people that a baseline is fitted on, and what may be known of whom.

    Copies share it: nothing in it changes.

    Args:
        respondents: The trainset's people.
        fold: Which questions are known and which are asked.
        seed: For whatever is drawn.
    """

    respondents: Respondents
    fold: Fold
    seed: int = 0
    _columns: dict[str, Numbers] = field(default_factory=dict, repr=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Training:
        return self

    @cached_property
    def countries(self) -> dict[str, int]:
        """The number that stands for each country of the training people."""
        return {alpha: at for at, alpha in enumerate(sorted({*self.respondents.alphas} - {""}))}

    def features(self, target: str) -> tuple[Question, ...]:
        """Return the questions from which a target may be predicted, in codebook order.

        The profile of the people who are asked the target, without what never becomes a fact.

        Args:
            target: A question's id.
        """
        role = self.fold.roles.get(target, "test")
        known = self.fold.profile if role in ("profile", "unused") else self.fold.profile_for(role)
        questions = (self.respondents.codebook[id] for id in known if id != target)
        return tuple(q for q in questions if q.options and not q.private)

    def answers(self, target: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return who answered a target, places int [m], and with which code, int [m]."""
        if target not in self.respondents.codebook:
            return np.array([], dtype=int), np.array([], dtype=int)
        codes = self.respondents.column(target)
        is_valid = np.isin(codes, self.respondents.codebook[target].codes)
        return np.flatnonzero(is_valid), codes[is_valid]

    def matrix(self, questions: Sequence[Question]) -> Numbers:
        """Return everyone's answers, [people, questions + 1], the country last.

        Places on the scale for ordered questions and places among the codes for others, both
        from 0; NaN where there is no valid answer, or one off the scale.
        """
        homes = [self.countries.get(alpha, np.nan) for alpha in self.respondents.alphas]
        columns = [self._column(question) for question in questions]
        return np.column_stack([*columns, np.array(homes, dtype=float)])

    def row(self, case: Case, questions: Sequence[Question]) -> Numbers:
        """Return what is known of a case as one row of `matrix`, [questions + 1]."""
        known = known_answers(case)
        places = [_place(question, known.get(question.id)) for question in questions]
        home = self.countries.get(case.profile.country or "", np.nan)
        return np.array([*places, home], dtype=float)

    def _column(self, question: Question) -> Numbers:
        if question.id not in self._columns:
            codes = self.respondents.column(question.id)
            column = np.full(len(codes), np.nan)
            for place, code in enumerate(question.order or question.codes):
                column[codes == code] = place
            self._columns[question.id] = column
        return self._columns[question.id]


def _place(question: Question, code: int | None) -> float:
    codes = question.order or question.codes
    return codes.index(code) if code in codes else np.nan
