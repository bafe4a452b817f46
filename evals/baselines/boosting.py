"""Gradient boosting: what a supervised model without a language makes of the same answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from evals.baselines.baseline import Guesser, nobody_answered
from evals.baselines.encoding import Numbers, Training
from evals.baselines.threads import one_thread
from valuesim_dspy.case import Case

ITERATIONS = 40
LEAVES = 8
LEAST_IN_LEAF = (3, 20)
"""People in a leaf: a tenth of those who answered, within these bounds."""


class GradientBoosting(Guesser):
    """Answer by gradient-boosted trees over the profile, one model for each question asked.

    The histogram version of scikit-learn (Ke et al. 2017): missing answers and categories are
    taken as they are. A model is fitted when its question is first asked, on the training
    people who answered it, and kept. The settings are fixed, for samples of tens to thousands.

    Args:
        training: The people it is fitted on.
    """

    kind = "gradient-boosting"
    why = "Trees fitted on other people's answers."

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.training = training
        self._fitted: dict[str, tuple[Any, Numbers]] = {}

    def code(self, case: Case) -> int:
        """Return the likeliest code.

        Raises:
            PredictionError: No respondent of the trainset answered the question.
        """
        target = case.question.id
        with one_thread():
            if target not in self._fitted:
                self._fitted[target] = self._fit(case)
            model, kept = self._fitted[target]
            if isinstance(model, int):
                return model
            row = self.training.row(case, self.training.features(target))
            return int(model.predict(row[None, kept])[0])

    def _fit(self, case: Case) -> tuple[Any, Numbers]:
        """Return a fitted model, or the one code that everybody gave, and the columns it reads."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        target = case.question.id
        places, codes = self.training.answers(target)
        if not len(codes):
            raise nobody_answered(case)
        questions = self.training.features(target)
        matrix = self.training.matrix(questions)[places]
        # What none of them answered, or all alike, splits nobody; the library refuses the former.
        kept = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in matrix.T])
        if len(set(codes.tolist())) == 1 or not kept.any():
            values, counts = np.unique(codes, return_counts=True)
            return int(values[counts.argmax()]), kept
        low, high = LEAST_IN_LEAF
        model = HistGradientBoostingClassifier(
            max_iter=ITERATIONS,
            max_leaf_nodes=LEAVES,
            min_samples_leaf=int(np.clip(len(codes) // 10, low, high)),
            categorical_features=np.array([*(not q.order for q in questions), True])[kept],
            early_stopping=False,
            random_state=self.training.seed,
        )
        return model.fit(matrix[:, kept], codes), kept
