"""Baselines: comparators of another architecture, called exactly as the program is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import dspy
import numpy as np

from valuesim_dspy.case import Case, Profile, facts_text
from valuesim_dspy.errors import MissingDataError, PredictionError, ProgramStateError
from valuesim_dspy.modules import DEMO_FACTS, Answerer
from valuesim_dspy.signatures import AnswerDirectly

if TYPE_CHECKING:
    from evals.study import Study
    from valuesim_dspy.manifest import Manifest
    from valuesim_dspy.retrieval import Retriever
    from valuesim_dspy.survey.respondents import Respondents

NEAREST_FACTS = 3


class BaselineModule(dspy.Module):
    """Base of the baselines: called with a `Case`, gives what `ValueSim` gives.

    Attributes:
        kind: The name that manifests, tables and `BASELINES` use.
    """

    kind: ClassVar[str]

    @property
    def variant(self) -> str:
        """A baseline is its own only variant."""
        return self.kind

    def predict(self, case: Case) -> dspy.Prediction:
        """Answer a case; the same as calling the baseline.

        Raises:
            PredictionError: There is no answer to give.
        """
        return self(case=case)


class RAG(BaselineModule):
    """Answer from the facts nearest to the question and options, in one call.

    History, question, options, parsing and retries are the program's, and so is the signature of
    its variant `single`; only the facts are fewer, the nearest first. Compilable: its predictor
    is `direct.answer`.

    Args:
        k: How many facts are retrieved; the country is a fact like the others.
        demo_facts: See `Answerer`.
    """

    kind = "rag"

    def __init__(self, k: int = NEAREST_FACTS, *, demo_facts: int = DEMO_FACTS) -> None:
        super().__init__()
        self.k = k
        self.direct = Answerer(AnswerDirectly, demo_facts=demo_facts)
        self._retriever: Retriever | None = None

    def bind(self, retriever: Retriever, *, k: int | None = None) -> RAG:
        """Bind the retriever, which copies of the module share and no saved state holds.

        Args:
            retriever: Finds the nearest facts.
            k: Another number of facts; None leaves it.

        Returns:
            The module itself.
        """
        self._retriever = retriever
        self.k = self.k if k is None else k
        return self

    @property
    def binding(self) -> dict[str, str | int]:
        """What the module is bound to, for manifests and tables: `embedder` and `k`.

        Raises:
            MissingDataError: It is bound to nothing.
        """
        return {"embedder": self._bound().embedder.name, "k": self.k}

    def inputs(self, case: Case) -> dict[str, str]:
        """What the predictor reads of a case: as `Case.inputs`, with the nearest facts only.

        Raises:
            MissingDataError: The module is not bound to a retriever.
        """
        query = f"{case.question_text}\n{case.options_text}"
        nearest = self._bound().nearest(case.profile.facts, query, self.k)
        return case.inputs() | {"facts": facts_text(nearest)}

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        return _result(self.direct(case=case, inputs=self.inputs(case)))

    def _bound(self) -> Retriever:
        if self._retriever is None:
            raise MissingDataError(
                "RAG is not bound to a retriever", "call rag.bind(retriever) before it answers"
            )
        return self._retriever


class Blank(BaselineModule):
    """Answer with nothing known of the person, in one call.

    No facts, no history and no country: the question is worded as to someone of an unknown
    country. What is left is what the language model expects of anyone.
    """

    kind = "blank"

    def __init__(self) -> None:
        super().__init__()
        self.direct = Answerer(AnswerDirectly)

    def inputs(self, case: Case) -> dict[str, str]:
        """What the predictor reads of a case: the question and the options alone."""
        nobody = Profile("nobody", {}, case.profile.codebook)
        return Case(nobody, case.question).inputs()

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class."""
        return _result(self.direct(case=case, inputs=self.inputs(case)))


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


class Mode(BaselineModule):
    """Answer what most respondents of the trainset answered to this very question.

    Warm, and no language model is asked.

    Args:
        modes: What they answered.
    """

    kind = "mode"

    def __init__(self, modes: Modes) -> None:
        super().__init__()
        self.modes = modes

    def forward(self, case: Case) -> dspy.Prediction:
        """See the class.

        Raises:
            PredictionError: No respondent of the trainset answered the question.
        """
        analysis = "The most frequent answer of the respondents counted."
        return _result(dspy.Prediction(answer=self._code(case), analysis=analysis))

    def _code(self, case: Case) -> int:
        try:
            return self.modes.overall[case.question.id]
        except KeyError:
            raise PredictionError(
                f"{case.question.id}: no respondent of the trainset answered this question"
            ) from None


class CountryMode(Mode):
    """Answer what most of the trainset's respondents of the same country answered.

    Where nobody of the country answered, what most respondents answered.
    """

    kind = "country-mode"

    def _code(self, case: Case) -> int:
        home = (case.question.id, case.profile.country or "")
        return self.modes.by_country[home] if home in self.modes.by_country else super()._code(case)


def _result(reply: dspy.Prediction) -> dspy.Prediction:
    return dspy.Prediction(
        answer=int(reply.answer),
        analysis=str(reply.analysis),
        backstory="",
        views={},
        decision="direct",
        status="answered",
    )


@dataclass(frozen=True)
class Baseline:
    """One baseline, as benchmarks know it.

    Args:
        name: The key in `BASELINES`.
        what: One line for tables and help.
        knows: `cold`: has seen nobody's answer to a target question; `warm`: other people's.
        uses_lm: Whether it asks the task LM.
        build: Makes it for a study.
    """

    name: str
    what: str
    knows: Literal["cold", "warm"]
    uses_lm: bool
    build: Callable[[Study], dspy.Module]


def _rag(study: Study) -> RAG:
    config = study.config
    return RAG(config.embedder.k, demo_facts=config.compile.demo_facts).bind(study.retriever)


def _modes(study: Study) -> Modes:
    return Modes.of(study.respondents.take(study.split.train))


BASELINES: dict[str, Baseline] = {
    baseline.name: baseline
    for baseline in (
        Baseline("rag", "the facts nearest to the question, one call", "cold", True, _rag),
        Baseline("blank", "nothing known of the person", "cold", True, lambda study: Blank()),
        Baseline("mode", "others' commonest answer", "warm", False, lambda s: Mode(_modes(s))),
        Baseline(
            "country-mode",
            "the commonest answer of others of the same country",
            "warm",
            False,
            lambda study: CountryMode(_modes(study)),
        ),
    )
}
"""Name of a baseline, as typed, saved and logged, to what it is."""

SAVED: dict[str, Callable[[], dspy.Module]] = {RAG.kind: RAG, Blank.kind: Blank}
"""Baselines with predictors, which can be compiled and saved, and how they are made unbound."""


def build_baseline(manifest: Manifest) -> dspy.Module:
    """Return an uncompiled, unbound baseline of the manifest's kind, for `load_program`.

    Raises:
        ProgramStateError: The kind is no baseline that is saved.
    """
    if manifest.kind not in SAVED:
        raise ProgramStateError(
            "this is not a saved baseline of this code",
            expected=", ".join(SAVED),
            found=manifest.kind,
        )
    return SAVED[manifest.kind]()
