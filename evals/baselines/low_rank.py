"""A person as a few numbers: principal components with missing answers, then a regression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evals.baselines.baseline import Guesser, nobody_answered
from evals.baselines.encoding import Numbers, Training
from evals.baselines.threads import one_thread
from valuesim_dspy.case import Case
from valuesim_dspy.survey.codebook import Question

RANKS = (1, 2, 4, 8, 16)
ROUNDS = 8
NOISE_FLOOR = 1e-3


@dataclass(frozen=True, eq=False)
class Space:
    """Probabilistic principal components of answers (Tipping and Bishop 1999).

    Missing answers are filled in turn with their expectation, from the mean on. The place of a
    person is the posterior mean given the answers there are, so that one who answered little
    stays near the middle.

    Args:
        mean: Mean of each column, float [d].
        scale: Standard deviation of each column, float [d], above 0.
        loadings: Columns on components, float [d, rank].
        noise: Variance that the components leave, above 0.
    """

    mean: Numbers
    scale: Numbers
    loadings: Numbers
    noise: float

    @classmethod
    def of(cls, columns: Numbers, rank: int, *, seed: int) -> Space:
        """Fit it.

        Args:
            columns: Float [n, d], NaN where an answer is missing; n at least 2.
            rank: How many components, at most; fewer where n or d is smaller.
            seed: For the solver.
        """
        from sklearn.decomposition import PCA

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # columns that nobody answered
            mean, scale = np.nanmean(columns, axis=0), np.nanstd(columns, axis=0)
        mean, scale = np.nan_to_num(mean), np.where(scale > 0, scale, 1.0)
        whole = (columns - mean) / scale
        is_missing = np.isnan(whole)
        whole = np.where(is_missing, 0.0, whole)
        rank = min(rank, min(whole.shape) - 1)
        for _ in range(ROUNDS):
            found = PCA(rank, svd_solver="full", random_state=seed).fit(whole)
            noise = max(float(found.noise_variance_), NOISE_FLOOR)
            lengths = np.sqrt(np.maximum(found.explained_variance_ - noise, 0))
            space = cls(mean, scale, found.components_.T * lengths, noise)
            told = np.array([space.place(row) for row in columns]) @ space.loadings.T
            whole = np.where(is_missing, told, whole)
        return space

    def place(self, row: Numbers) -> Numbers:
        """Return where a person stands, float [rank].

        Args:
            row: Their answers, float [d], NaN where one is missing.
        """
        is_known = ~np.isnan(row)
        loadings = self.loadings[is_known]
        given = (row[is_known] - self.mean[is_known]) / self.scale[is_known]
        spread = loadings.T @ loadings + self.noise * np.eye(loadings.shape[1])
        return np.asarray(np.linalg.solve(spread, loadings.T @ given))


def spread_out(matrix: Numbers, questions: Sequence[Question], countries: int) -> Numbers:
    """Return ordered answers as they are and each option of the others as a column of 0 and 1.

    Args:
        matrix: As of `Training.matrix`, float [n, questions + 1].
        questions: The questions of its columns.
        countries: How many countries its last column tells apart.
    """
    columns = []
    sizes = [0 if question.order else len(question.codes) for question in questions]
    for values, size in zip(matrix.T, [*sizes, countries], strict=True):
        is_missing = np.isnan(values)
        options = [np.where(is_missing, np.nan, values == place) for place in range(size)]
        columns += options or [values]
    return np.column_stack(columns)


class LowRank(Guesser):
    """Answer by a logistic regression on the few numbers that sum up a person's profile.

    Args:
        training: The people it is fitted on.
        rank: How many numbers.
    """

    kind = "low-rank"
    why = "Other people's answers, by the components of the profile."

    def __init__(self, training: Training, rank: int = RANKS[1]) -> None:
        super().__init__()
        self.training = training
        self.rank = rank
        self._spaces: dict[tuple[str, ...], tuple[Space, Numbers]] = {}
        self._fitted: dict[str, Any] = {}

    def code(self, case: Case) -> int:
        """Return the likeliest code.

        Raises:
            PredictionError: No respondent of the trainset answered the question.
        """
        target = case.question.id
        with one_thread():
            if target not in self._fitted:
                self._fitted[target] = self._fit(case)
            model = self._fitted[target]
            if isinstance(model, int):
                return model
            return int(model.predict(self._stand(case)[None, :])[0])

    def _stand(self, case: Case) -> Numbers:
        """Return where a person stands, float [rank]."""
        questions = self.training.features(case.question.id)
        row = self.training.row(case, questions)
        wide = spread_out(row[None, :], questions, len(self.training.countries))[0]
        return self._space(questions)[0].place(wide)

    def _space(self, questions: tuple[Question, ...]) -> tuple[Space, Numbers]:
        """Return the space of a profile and where the training people stand, [n, rank]."""
        key = tuple(question.id for question in questions)
        if key not in self._spaces:
            matrix = self.training.matrix(questions)
            wide = spread_out(matrix, questions, len(self.training.countries))
            space = Space.of(wide, self.rank, seed=self.training.seed)
            self._spaces[key] = space, np.array([space.place(row) for row in wide])
        return self._spaces[key]

    def _fit(self, case: Case) -> Any:
        """Return a fitted regression, or the one code that everybody gave."""
        from sklearn.linear_model import LogisticRegression

        places, codes = self.training.answers(case.question.id)
        if not len(codes):
            raise nobody_answered(case)
        if len(set(codes.tolist())) == 1:
            return int(codes[0])
        stands = self._space(self.training.features(case.question.id))[1]
        return LogisticRegression(max_iter=1000).fit(stands[places], codes)
