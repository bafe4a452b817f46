"""A study: everything that a job's config resolves to, opened once and shared by its arms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import dspy

from evals.arms import build_arm as build_arm
from evals.arms import find_arm as find_arm
from evals.code_digest import code_digest as code_digest
from evals.embedders import make_embedder
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import make_cases
from valuesim_dspy.config import DataConfig, JobConfig
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.lm import MeteredLM, make_lm, require_consent
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.peers import PeerIndex
from valuesim_dspy.retrieval import Retriever
from valuesim_dspy.store import cache_location
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.dependence import dependent_pairs
from valuesim_dspy.survey.leakage import Leakage, fold_leakage
from valuesim_dspy.survey.own_wording import open_codebook
from valuesim_dspy.survey.respondents import Respondents, read_respondents
from valuesim_dspy.survey.splits import Fold, Split, make_fold, make_split
from valuesim_dspy.usage import Budget, Meter

SETS = ("train", "val", "dev", "test")
SPLITS: Mapping[str, tuple[str, str | None]] = {
    "random": ("random", None),
    "stratified": ("random", "country"),
    "countries": ("leave-countries-out", "country"),
    "paper": ("paper", "country"),
}
"""A config's `split` to the kind of split and its strata."""
SYNTHETIC_EVIDENCE, SURVEY_EVIDENCE = "synthetic-machinery", "survey"


@dataclass(frozen=True, eq=False)
class Study:
    """What a config resolves to.

    Attributes:
        config: The job's config.
        respondents: The survey.
        fold: Roles of questions.
        split: Roles of respondents.
        cache: The response cache, installed while the study is open.
        meter: Counts every call of the study, under the job's budget.
        lms: LM role to the LM that fills it.
        retriever: Finds the facts nearest to a question, for RAG.
    """

    config: JobConfig
    respondents: Respondents
    fold: Fold
    split: Split
    cache: ResponseCache
    meter: Meter
    lms: Mapping[str, MeteredLM]
    retriever: Retriever
    _examples: dict[str, list[dspy.Example]] = field(default_factory=dict)

    @property
    def codebook(self) -> Codebook:
        """The codebook of the survey."""
        return self.respondents.codebook

    @property
    def task_lm(self) -> MeteredLM:
        """The LM that answers."""
        return self.lms["task_lm"]

    @property
    def offline(self) -> bool:
        """Whether the embedded model answers."""
        return self.config.task_lm.offline

    @property
    def evidence(self) -> str:
        """`synthetic-machinery` for synthetic people, `survey` for a survey's."""
        return SYNTHETIC_EVIDENCE if self.respondents.synthetic else SURVEY_EVIDENCE

    @property
    def identity(self) -> str:
        """16 hex digits of config, data and code: the same identity gives the same results."""
        parts = [self.config.digest, self.respondents.digest, self.codebook.digest, code_digest()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def examples(self, role: str) -> list[dspy.Example]:
        """Return the examples of a set: train, val, dev or test."""
        if role not in self._examples:
            protocol = self.config.protocol
            self._examples[role] = make_cases(
                self.respondents,
                getattr(self.split, role),
                self.fold,
                role,
                max_targets=protocol.targets,
                seed=protocol.seed,
            )
        return self._examples[role]

    @cached_property
    def leakage(self) -> Leakage:
        """How near the profile comes to the targets, on the training people."""
        return fold_leakage(self.respondents, self.split.train, self.fold)

    @cached_property
    def peers(self) -> PeerIndex:
        """Finds similar people among the training respondents; who is asked about is never one."""
        salt, seed = self.respondents.digest, self.config.protocol.seed
        return PeerIndex.of(self.respondents, self.split.train, salt=salt, seed=seed)

    def manifest(self, kind: str, variant: str, **known: Any) -> Manifest:
        """Return the manifest of a program that comes from this study."""
        protocol = self.config.protocol
        real = not self.respondents.synthetic
        return Manifest(
            kind=kind,
            variant=variant,
            lms={role: lm.model for role, lm in self.lms.items()},
            seed=self.config.seed,
            fold={
                "strategy": self.fold.strategy,
                "index": self.fold.index,
                "of": self.fold.of,
                "seed": self.fold.seed,
                "kinds": ",".join(protocol.kinds),
                "dependence": str(protocol.dependence or "none"),
                "digest": self.fold.digest,
            },
            split={
                "seed": self.split.seed,
                "sizes": {role: len(getattr(self.split, role)) for role in SETS},
                "kind": protocol.split,
                **{f"{role}_countries": ",".join(away) for role, away in self.split.left_out},
                "digest": self.split.digest,
            },
            codebook={
                "id": self.codebook.id,
                "version": self.codebook.version,
                "digest": self.codebook.digest,
                **({"wording": self.codebook.wording} if self.codebook.wording else {}),
            },
            data={
                "digest": self.respondents.digest,
                "rows": len(self.respondents),
                "stamp": self.respondents.stamp,
            },
            evidence=self.evidence,
            **{"demos_hold_survey_data": real, **known},
        )


@contextmanager
def open_study(config: JobConfig, *, cache: ResponseCache | None = None) -> Iterator[Study]:
    """Resolve a config: read the data, draw fold and split, make the LMs, install the cache.

    Args:
        config: The job.
        cache: The response cache; by default the user's.

    Raises:
        ConfigError: A setting does not fit the data, or consent to send answers is missing.
        MissingDataError: A file is absent.
        SurveyDataError: The survey file is malformed.
    """
    respondents = open_survey(config.data)
    for role in (*config.roles.values(), config.embedder):
        require_consent(
            role, len(respondents), synthetic=respondents.synthetic, send_to=config.send_to
        )
    fold, split = draw(config, respondents)
    budget = Budget(**config.budget.model_dump())
    meter = Meter(config.name, budget=budget)
    cache = cache or ResponseCache(cache_location())
    embedder = make_embedder(
        config.embedder,
        offline=config.task_lm.offline,
        codebook=respondents.codebook,
        cache=cache,
        meter=meter,
    )
    lms = {
        name: make_lm(role, name=name, meter=meter, limits=config.limits)
        for name, role in config.roles.items()
    }
    # History would keep every prompt in memory and serves nobody here.
    with cache.installed(), dspy.context(disable_history=True, lm=lms["task_lm"]):
        yield Study(config, respondents, fold, split, cache, meter, lms, Retriever(embedder))


def open_survey(data: DataConfig) -> Respondents:
    """Read the survey file, or make the synthetic population."""
    codebook = open_codebook(data.codebook, data.wording)
    if data.survey != "synthetic":
        return read_respondents(data.survey, codebook=codebook)
    if codebook.id != load_codebook().id:
        message = "synthetic people answer the packaged codebook; give data.survey a file"
        raise ConfigError(message, key="data.codebook", value=data.codebook)
    from valuesim_dspy.survey.synthetic import synthesize

    return synthesize(data.respondents, seed=data.seed, codebook=codebook)


def draw(config: JobConfig, respondents: Respondents) -> tuple[Fold, Split]:
    """Draw the fold and the split that a config names.

    The split comes first: which questions depend on each other is found on its train people.
    """
    protocol = config.protocol
    kind, stratify = SPLITS[protocol.split]
    split = make_split(
        respondents,
        seed=protocol.seed,
        train=protocol.train,
        val=protocol.val,
        dev=protocol.dev,
        test=protocol.test,
        kind=kind,
        stratify=stratify,
        test_countries=protocol.test_countries,
        dev_countries=protocol.dev_countries,
    )
    pairs = None
    if protocol.dependence is not None:
        pairs = dependent_pairs(respondents, split.train, protocol.dependence)
    fold = make_fold(
        respondents.codebook,
        strategy=protocol.folds,
        index=protocol.fold,
        seed=protocol.seed,
        kinds=protocol.kinds,
        dependence=pairs,
    )
    return fold, split
