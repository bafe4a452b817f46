"""What leaks in a fold, as numbers: how near the profile comes to each target, on given people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.dependence import (
    DEFAULT_THRESHOLD,
    MIN_PEOPLE,
    MOST_PEOPLE,
    Dependence,
    measure_dependence,
)
from valuesim_dspy.survey.fold_strategies import TARGET_ROLES
from valuesim_dspy.survey.folds import PROTOCOL_KINDS, WHOLE, Fold, make_fold
from valuesim_dspy.survey.respondents import Respondents
from valuesim_dspy.survey.splits import make_split

FOLDS = 5
TELLING_PEOPLE = 150
"""On fewer the nearest of 200 questions is as near by chance alone (V 0.3 and more), to 0.03."""


@dataclass(frozen=True)
class Nearness:
    """How near the profile comes to the targets of one set.

    Attributes:
        role: The set: train, val, dev or test.
        targets: How many targets it has.
        measured: For how many of them anything can be said.
        mean: V between a target and its nearest profile question, in [0, 1], on average.
        median: The same, in the middle.
        most: The same, at most.
        pair: The target and the profile question of which this is so.
        chance: The mean where every question's answers are dealt out at random.
    """

    role: str
    targets: int
    measured: int
    mean: float
    median: float
    most: float
    pair: tuple[str, str]
    chance: float


@dataclass(frozen=True)
class Leakage:
    """How near the profile of a fold comes to its targets.

    V is the bias-corrected one of `dependence`. Private questions are left out: they are no facts
    unless asked for, and several of them only name the country, which everyone is told.

    Attributes:
        people: How many training people it was measured on.
        dropped: How many questions are not known because they depend on a target.
        pairs: How many pairs of questions depend on each other.
        sets: One entry for each set that anything can be said of.
    """

    people: int
    dropped: int
    pairs: int
    sets: tuple[Nearness, ...]

    def phrase(self) -> str:
        """A few words on the test targets; no number that chance alone would give."""
        if self.sets and self.people < TELLING_PEOPLE:
            return (
                f"nearest profile question: cannot be told from chance on {self.people} training "
                f"people (it takes {TELLING_PEOPLE})"
            )
        for near in self.sets:
            if near.role == "test":
                return (
                    f"nearest profile question: V {near.mean:.2f} on average ({near.chance:.2f} "
                    f"by chance), {near.most:.2f} at most"
                )
        return f"nearest profile question: not measured on {self.people} training people"

    def lines(self) -> list[str]:
        """A line for each set of targets, the tested one first."""
        if not self.sets:
            return [
                f"no dependence can be measured on {self.people} training people: it takes "
                f"{MIN_PEOPLE} who answered both questions"
            ]
        return [
            f"{near.role:>5}: the nearest profile question has V {near.mean:.2f} on average "
            f"({near.chance:.2f} by chance), {near.median:.2f} in the middle, {near.most:.2f} at "
            f"most ({near.pair[0]}, {near.pair[1]}); {near.measured} of {near.targets} targets"
            for near in reversed(self.sets)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values; no row and nobody's answer."""
        return {**asdict(self), "sets": {near.role: asdict(near) for near in self.sets}}


def fold_leakage(respondents: Respondents, train: Sequence[int], fold: Fold) -> Leakage:
    """Measure how near the profile of a fold comes to its targets.

    Args:
        respondents: The people.
        train: The places of the training people, who alone are looked at.
        fold: Which questions are known, and which are asked.
    """
    return _leakage(fold, *_measured(respondents, train, fold.seed))


def _measured(
    respondents: Respondents, train: Sequence[int], seed: int
) -> tuple[Dependence, Dependence]:
    """Dependence as it is, and where every question's answers are dealt out at random."""
    shown = {question.id for question in respondents.codebook if not question.private}
    real = measure_dependence(respondents, train, questions=shown)
    return real, measure_dependence(respondents, train, questions=shown, shuffled=seed)


def _leakage(fold: Fold, real: Dependence, dealt: Dependence) -> Leakage:
    sets = (_nearness(role, fold, real, dealt) for role in TARGET_ROLES)
    found = tuple(near for near in sets if near is not None)
    return Leakage(real.people, len(fold.dropped), len(fold.dependence), found)


def _nearness(role: str, fold: Fold, real: Dependence, dealt: Dependence) -> Nearness | None:
    """What is to be said of one set; None where nothing can be."""
    known = [name for name in fold.profile_for(role) if not fold.codebook[name].private]
    targets = [name for name in fold.targets(role) if not fold.codebook[name].private]
    nearest = {target: real.nearest(target, known) for target in targets}
    by_chance = [near[1] for target in targets if (near := dealt.nearest(target, known))]
    found = {target: near for target, near in nearest.items() if near}
    if not found or not by_chance:
        return None
    values = [v for _, v in found.values()]
    most = max(found, key=lambda target: found[target][1])
    return Nearness(
        role=role,
        targets=len(fold.targets(role)),
        measured=len(found),
        mean=fmean(values),
        median=median(values),
        most=max(values),
        pair=(most, found[most][0]),
        chance=fmean(by_chance),
    )


def fold_lines(
    respondents: Respondents,
    *,
    strategy: str = "battery",
    seed: int = 42,
    threshold: float | None = DEFAULT_THRESHOLD,
) -> Iterator[str]:
    """Tell all folds of a strategy on a survey, and what leaks in each.

    Values and attitudes are asked; half of the people, drawn by country, are training people.

    Args:
        respondents: The people.
        strategy: A key of `FOLD_STRATEGIES`.
        seed: Draws folds and training people.
        threshold: V from which on two questions are as twins; None for named twins alone, as
            it is on question and paper folds anyway.

    Raises:
        ConfigError: An argument is not allowed, or nobody is there to train on.
    """
    if len(respondents) < 2:
        raise ConfigError("folds are measured on half of the people: take 2 or more", key="file")
    train = make_split(respondents, seed=seed, train=0.5, val=0, dev=0, test=0).train
    pairs = None
    if threshold is not None and strategy in WHOLE:
        found = measure_dependence(respondents, train)
        pairs = found.pairs(threshold, respondents.codebook)
        yield (
            f"{len(pairs)} pairs of questions across batteries have V of at least {threshold:g} "
            f"and beyond chance, on {found.people} training people (at most {MOST_PEOPLE})"
        )
    measured = _measured(respondents, train, seed)
    for index in range(1, FOLDS + 1):
        fold = make_fold(
            respondents.codebook,
            strategy=strategy,
            index=index,
            of=FOLDS,
            seed=seed,
            kinds=PROTOCOL_KINDS,
            dependence=pairs,
        )
        yield fold.describe()
        yield from (f"  {line}" for line in _leakage(fold, *measured).lines())
