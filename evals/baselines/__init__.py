"""Baselines: comparators of another architecture, called exactly as the program is.

All facts in one prompt, the full-information arm, is the program's variant `single`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import dspy

from evals.baselines.baseline import Baseline, BaselineModule, Guesser
from evals.baselines.blank import Blank
from evals.baselines.boosting import GradientBoosting
from evals.baselines.demographic import Demographics
from evals.baselines.distributional import SingleLogprobs, SingleSamples, SingleVerbalised
from evals.baselines.encoding import Training
from evals.baselines.guesses import Uniform
from evals.baselines.low_rank import RANKS, LowRank
from evals.baselines.medians import WeightedMedian
from evals.baselines.modes import CountryMode, Mode, Modes
from evals.baselines.nearest import NEIGHBOURS, NearestRespondents
from evals.baselines.other_profile import OtherProfile
from evals.baselines.own_answers import BatteryMean
from evals.baselines.retrieved import NEAREST_FACTS, RAG, RAG10, RAG30
from evals.baselines.rewritten import QueryRAG
from evals.baselines.sampled import SelfConsistency
from evals.baselines.several import SingleBattery
from evals.baselines.similar import PeersMode, RAGWithPeers
from evals.baselines.transfer import EmbeddingTransfer
from evals.baselines.tuning import best_on
from valuesim_dspy.errors import ProgramStateError

if TYPE_CHECKING:
    from evals.study import Study
    from valuesim_dspy.manifest import Manifest
    from valuesim_dspy.survey.respondents import Respondents

__all__ = [
    "BASELINES",
    "NEAREST_FACTS",
    "RAG",
    "RAG10",
    "RAG30",
    "SAVED",
    "Baseline",
    "BaselineModule",
    "BatteryMean",
    "Blank",
    "CountryMode",
    "Demographics",
    "EmbeddingTransfer",
    "GradientBoosting",
    "Guesser",
    "LowRank",
    "Mode",
    "Modes",
    "NearestRespondents",
    "OtherProfile",
    "PeersMode",
    "QueryRAG",
    "RAGWithPeers",
    "SelfConsistency",
    "SingleBattery",
    "SingleLogprobs",
    "SingleSamples",
    "SingleVerbalised",
    "Training",
    "Uniform",
    "WeightedMedian",
    "build_baseline",
]


def _fresh(kind: Callable[..., BaselineModule]) -> Callable[[Study], BaselineModule]:
    """Return what makes a baseline with predictors and binds it to a study."""
    return lambda study: kind(demo_facts=study.config.compile.demo_facts).bind_to(study)


def _people(study: Study) -> Respondents:
    return study.respondents.take(study.split.train)


def _training(study: Study) -> Training:
    return Training(_people(study), study.fold, study.config.seed)


def _nearest(study: Study) -> NearestRespondents:
    val, peers = study.examples("val"), study.peers
    return best_on(val, lambda count: NearestRespondents(peers, count), NEIGHBOURS)


def _low_rank(study: Study) -> LowRank:
    training = _training(study)
    return best_on(study.examples("val"), lambda rank: LowRank(training, rank), RANKS)


def _transfer(study: Study) -> EmbeddingTransfer:
    return EmbeddingTransfer(
        study.retriever.embedder, _people(study), study.examples("train"), study.fold.profile
    )


BASELINES: dict[str, Baseline] = {
    baseline.name: baseline
    for baseline in (
        Baseline("rag", "the facts nearest to the question, one call", "cold", True, _fresh(RAG)),
        Baseline("rag-10", "as rag, the ten nearest facts", "cold", True, _fresh(RAG10)),
        Baseline("rag-30", "as rag, the thirty nearest facts", "cold", True, _fresh(RAG30)),
        Baseline(
            "rag-query",
            "as rag, the question first rewritten as queries",
            "cold",
            True,
            _fresh(QueryRAG),
        ),
        Baseline(
            "self-consistency",
            "three samples of one direct answer from all facts, voted",
            "cold",
            True,
            _fresh(SelfConsistency),
        ),
        Baseline(
            "single-samples",
            "a distribution: shares of five samples from all facts, options both ways round",
            "cold",
            True,
            _fresh(SingleSamples),
        ),
        Baseline(
            "single-verbalised",
            "a distribution: the chances that the model states, options both ways round",
            "cold",
            True,
            _fresh(SingleVerbalised),
        ),
        Baseline(
            "single-logprobs",
            "a distribution: how likely the answer's tokens are, where the server tells",
            "cold",
            True,
            _fresh(SingleLogprobs),
        ),
        Baseline(
            "single-battery",
            "as single, what is unknown of a battery in one call",
            "cold",
            True,
            _fresh(SingleBattery),
        ),
        Baseline(
            "demographics", "country and demographic facts only", "cold", True, _fresh(Demographics)
        ),
        Baseline("other-profile", "all facts of somebody else", "cold", True, _fresh(OtherProfile)),
        Baseline("blank", "nothing known of the person", "cold", True, _fresh(Blank)),
        Baseline(
            "uniform", "an option at random", "cold", False, lambda study: Uniform().bind_to(study)
        ),
        Baseline(
            "battery-mean",
            "the person's mean on the battery or on like scales",
            "cold",
            False,
            lambda study: BatteryMean().bind_to(study),
        ),
        Baseline(
            "embedding-transfer",
            "the person's answers to questions of near meaning, weights learned",
            "cold",
            False,
            _transfer,
        ),
        Baseline(
            "mode", "others' commonest answer", "warm", False, lambda s: Mode(Modes.of(_people(s)))
        ),
        Baseline(
            "country-mode",
            "the commonest answer of others of the same country",
            "warm",
            False,
            lambda study: CountryMode(Modes.of(_people(study))),
        ),
        Baseline(
            "weighted-median",
            "others' weighted median, or mode where there is no order",
            "warm",
            False,
            lambda study: WeightedMedian.of(_people(study)),
        ),
        Baseline(
            "nearest-respondents",
            "the answer of the people most alike, as many as serve the valset",
            "warm",
            False,
            _nearest,
        ),
        Baseline(
            "rag-peers",
            "as rag, with what similar people answered",
            "warm",
            True,
            _fresh(RAGWithPeers),
        ),
        Baseline(
            "peers-mode",
            "what weighs most among the similar people's answers",
            "warm",
            False,
            lambda study: PeersMode(study.peers),
        ),
        Baseline(
            "low-rank",
            "a regression on the components of the profile",
            "warm",
            False,
            _low_rank,
        ),
        Baseline(
            "gradient-boosting",
            "boosted trees on the profile, one model a question",
            "warm",
            False,
            lambda study: GradientBoosting(_training(study)),
        ),
    )
}
"""Name of a baseline, as typed, saved and logged, to what it is."""

SAVED: dict[str, Callable[[], dspy.Module]] = {
    kind.kind: kind
    for kind in (
        RAG,
        RAG10,
        RAG30,
        QueryRAG,
        RAGWithPeers,
        SelfConsistency,
        SingleBattery,
        SingleSamples,
        SingleVerbalised,
        SingleLogprobs,
        Demographics,
        OtherProfile,
        Blank,
    )
}
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
