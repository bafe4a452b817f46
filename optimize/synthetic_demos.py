"""Demos of nobody: cases of made-up people, on the same questions as the training cases."""

from __future__ import annotations

import hashlib

import dspy

from evals.study import Study
from valuesim_dspy.case import make_cases
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.codebook import load_codebook


def check_demos(study: Study, arm: str, program: dspy.Module) -> None:
    """Refuse demos of made-up people where a predictor reads what real people answered.

    Raises:
        ConfigError: The program reads peers, who are training people.
    """
    reads = any("peers" in p.signature.input_fields for _, p in program.named_predictors())
    if study.config.compile.demos == "synthetic" and reads:
        raise ConfigError(
            f"{arm} reads what similar training people answered, and so would its demos; use "
            "data or none",
            key="compile.demos",
            value="synthetic",
        )


def synthetic_cases(study: Study) -> list[dspy.Example]:
    """Return cases of as many synthetic people as train: the same fold, the train targets.

    What teleprompters score and select by stays the study's own people; only what may become a
    demo is made up, so that a compiled program holds nobody's answers.

    Returns:
        The cases; none where `compile.demos` is not `synthetic`.

    Raises:
        ConfigError: The codebook is not the packaged one, which synthetic people answer.
    """
    config, codebook = study.config, study.codebook
    if config.compile.demos != "synthetic":
        return []
    if codebook.id != load_codebook().id:
        raise ConfigError(
            "synthetic people answer the packaged codebook only; use data or none",
            key="compile.demos",
            value="synthetic",
        )
    from valuesim_dspy.survey.synthetic import synthesize

    # A seed of their own: with that of a synthetic survey they would be its people.
    digest = hashlib.sha256(f"{config.data.seed}:demo people".encode()).digest()
    people = synthesize(
        len(study.split.train), seed=int.from_bytes(digest[:4], "big"), codebook=codebook
    )
    return make_cases(
        people,
        range(len(people)),
        study.fold,
        "train",
        max_targets=config.protocol.targets,
        seed=config.protocol.seed,
    )
