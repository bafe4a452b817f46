"""A crowd for tests of fitted baselines: two camps, whose answers to everything go together."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from evals.baselines import Training
from valuesim_dspy.case import Case, masked_profile
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.folds import Fold, make_fold
from valuesim_dspy.survey.question import Question
from valuesim_dspy.survey.respondents import Respondents

SALT = "crowd"
KNOWN = 16
NOISE = 0.2


@lru_cache(maxsize=1)
def fold() -> Fold:
    """A battery fold of the packaged codebook."""
    return make_fold(load_codebook(), strategy="battery", index=1, seed=3)


def known() -> list[Question]:
    """Some ordered questions of the profile, with a nominal one among them."""
    questions = [load_codebook()[id] for id in fold().profile]
    ordered = [q for q in questions if q.scale_kind == "ordinal" and not q.private]
    nominal = [q for q in questions if q.options and not q.order and not q.private]
    return [*ordered[: KNOWN - 1], nominal[0]]


def target(role: str = "dev", *, at: int = 0, kind: str = "ordinal") -> Question:
    """A target of a set, of a kind of scale."""
    found = [load_codebook()[id] for id in fold().targets(role)]
    return [question for question in found if question.scale_kind == kind][at]


def crowd(
    n: int = 120, *, seed: int = 0, gaps: float = 0.1, flipped: str | None = None
) -> Respondents:
    """People of two camps, one in Japan and one in Brazil but for a fifth of them.

    Everybody answers with the first or the last code of everything, by camp, but for noise.

    Args:
        n: How many.
        seed: Of the draws.
        gaps: The share of answers that are missing.
        flipped: A question to which everybody answers the other way round.
    """
    rng = np.random.default_rng(seed)
    camp = np.arange(n) % 2
    targets = (
        load_codebook()[id] for role in ("train", "val", "dev") for id in fold().targets(role)
    )
    asked = [*known(), *(question for question in targets if question.options)]
    columns = {}
    for question in asked:
        side = np.where(rng.random(n) < NOISE, 1 - camp, camp)
        side = 1 - side if question.id == flipped else side
        codes = question.order or question.codes
        column = np.where(side == 0, codes[0], codes[-1])
        columns[question.id] = np.where(rng.random(n) < gaps, -1, column)
    homes = np.where(rng.random(n) < NOISE, 1 - camp, camp)
    alphas = np.array(["JPN", "BRA"])[homes]
    return Respondents.from_columns(questions=columns, attributes={"B_COUNTRY_ALPHA": alphas})


def case_of(people: Respondents, at: int, question: Question) -> Case:
    """A case: what the fold lets be known of one of them, and a question."""
    profile = masked_profile(people[at], fold(), "dev", codebook=load_codebook(), salt=SALT)
    return Case(profile, question)


def training(people: Respondents | None = None) -> Training:
    """What baselines are fitted on."""
    return Training(crowd() if people is None else people, fold(), 0)
