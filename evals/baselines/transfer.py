"""Transfer through question embeddings: a person's answers to questions of near meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dspy
import numpy as np
import numpy.typing as npt

from evals.baselines.baseline import Guesser
from evals.baselines.own_answers import known_answers, nearest_code, positions
from evals.baselines.threads import one_thread
from valuesim_dspy.case import Case
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.retrieval import unit_rows

if TYPE_CHECKING:
    from valuesim_dspy.retrieval import Embedder
    from valuesim_dspy.survey.codebook import Question
    from valuesim_dspy.survey.respondents import Respondents

NEIGHBOURS = (1, 5, 20)
NEAREST_FACTS = 3
MIDDLE = 0.5
ALPHAS = (0.1, 1.0, 10.0, 100.0, 1000.0)

Numbers = npt.NDArray[np.float64]


class EmbeddingTransfer(Guesser):
    """Answer where the person's answers to questions of near meaning stand on their scales.

    Cold. Evidence of a question are the person's positions, and the training people's mean
    positions, on the known questions nearest to it in meaning, and on like scales; a ridge
    regression, fitted on training people and train targets, says what each is worth. Nobody's
    answer to the question itself is used unless it is a train target. Positions are mapped to
    the nearest option. A nominal question, which has no positions, takes the option that is
    nearest in meaning to the person's facts.

    Args:
        embedder: Turns texts into vectors.
        respondents: The trainset's people, for mean positions.
        examples: The trainset, for the regression.
        known: Ids of the questions whose means may be used: those of the profile.
    """

    kind = "embedding-transfer"
    why = "The person's answers to the questions nearest in meaning."

    def __init__(
        self,
        embedder: Embedder,
        respondents: Respondents,
        examples: Sequence[dspy.Example],
        known: Sequence[str],
    ) -> None:
        super().__init__()
        self._vectors = _Vectors(embedder)
        self._source = _Source(respondents, tuple(examples), tuple(known))
        self._near: dict[str, Mapping[str, float]] = {}
        self._model: Any = None

    def code(self, case: Case) -> int:
        """Return the option nearest to the position foreseen, or to the facts.

        Raises:
            PredictionError: There is nothing to learn the weights from.
        """
        if not case.question.order:
            return self._nearest_option(case)
        with one_thread():
            if self._model is None:
                self._model = self._fit()
            position = float(self._model.predict([self.evidence(case)])[0])
        return nearest_code(case.question, position)

    def evidence(self, case: Case) -> Numbers:
        """Return what the known answers say of a question's position, float [2 x scopes + 2].

        For each scope (the nearest questions, those of as many places, all): the person's mean
        position there, and the training people's. Last how near the nearest question is, and
        how far the person's position there is from the training people's.
        """
        questions, means = case.profile.codebook.questions, self._source.means
        own = positions(questions, known_answers(case))
        ids = [id for id in own if id in means]
        if not ids:
            return np.array([MIDDLE] * (2 * len(NEIGHBOURS) + 4) + [0.0, 0.0])
        near = self._nearness(case)
        nearness = np.array([near[id] for id in ids])
        theirs = np.array([own[id] for id in ids])
        others = np.array([means[id] for id in ids])
        size = len(case.question.order)
        scopes = [_nearest(nearness, count) for count in NEIGHBOURS]
        alike = np.array([len(questions[id].order) == size for id in ids], dtype=float)
        scopes += [alike if alike.any() else np.ones(len(ids)), np.ones(len(ids))]
        pairs = [np.average(side, weights=scope) for scope in scopes for side in (theirs, others)]
        first = int(nearness.argmax())
        best = float(nearness[first])
        return np.array([*pairs, best, best * (theirs[first] - others[first])])

    def _nearness(self, case: Case) -> Mapping[str, float]:
        """Return the cosine similarity, 0 or more, of each question of known mean to a case's.

        Rounded, so that ties are ties; the same for everybody, and so remembered.
        """
        asked = _meaning(case.question)
        if asked not in self._near:
            others = {id: _meaning(case.profile.codebook[id]) for id in self._source.means}
            rows = self._vectors(list(others.values()))
            found = np.maximum(np.round(rows @ self._vectors([asked])[0], 5), 0)
            self._near[asked] = dict(zip(others, found.astype(float).tolist(), strict=True))
        return self._near[asked]

    def _fit(self) -> Any:
        """Return the regression, fitted on the trainset's ordered questions."""
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rows, places = [], []
        for example in self._source.examples:
            place = example.case.question.position(example.answer)
            if place is not None:
                rows.append(self.evidence(example.case))
                places.append(place)
        if len(rows) < 2:
            raise PredictionError("the trainset has no ordered questions to learn weights from")
        return make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS)).fit(rows, places)

    def _nearest_option(self, case: Case) -> int:
        facts = [fact.text for fact in case.profile.facts]
        if not facts:
            return case.question.codes[0]
        known = self._vectors(facts)
        texts = [f"{case.question_text} {option.label}" for option in case.question.options]
        nearness = np.round(self._vectors(texts) @ known.T, 5)
        best = np.sort(nearness, axis=1)[:, -NEAREST_FACTS:].mean(axis=1)
        return case.question.codes[int(best.argmax())]


def _meaning(question: Question) -> str:
    return f"{question.topic}. {question.text}"


def _nearest(nearness: Numbers, count: int) -> Numbers:
    """Return weights that keep the nearest questions only; the same ones for everybody."""
    kept = np.argsort(-nearness, kind="stable")[:count]
    weights = np.zeros(len(nearness))
    weights[kept] = nearness[kept] + 1e-6
    return weights


class _Source:
    """What is known of training people; shared by copies."""

    def __init__(
        self,
        respondents: Respondents,
        examples: tuple[dspy.Example, ...],
        known: tuple[str, ...],
    ) -> None:
        self._respondents, self._known = respondents, known
        self.examples = examples

    def __deepcopy__(self, memo: dict[int, Any]) -> _Source:
        return self

    @cached_property
    def means(self) -> Mapping[str, float]:
        """The mean position of training people on each ordered question of the profile."""
        questions = (self._respondents.codebook[id] for id in self._known)
        found = {}
        for question in questions:
            codes = self._respondents.column(question.id)
            counts = np.array([(codes == code).sum() for code in question.order])
            if counts.sum():
                places = np.linspace(0, 1, len(question.order))
                found[question.id] = float(np.average(places, weights=counts))
        return found


class _Vectors:
    """Unit vectors of texts, each embedded once; shared by copies."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Any] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> _Vectors:
        return self

    def __call__(self, texts: Sequence[str]) -> Any:
        """Return one row for each text, float32 [n, d]."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        if fresh:
            self._known.update(zip(fresh, unit_rows(self._embedder(fresh)), strict=True))
        return np.stack([self._known[text] for text in texts])
