"""What is known of a person, growing: nested parts of the profile, and a history that gets longer.

Two ways to grow. `profile`: a part of the profile's answers is known from the start, the others
are masked. `history`: of the profile `FIXED` answers are known, drawn at random, and the others are
learned later, one after the other. In both the next part holds the one before it.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import dspy

from valuesim_dspy.case import Case, HistoryItem, Profile, make_example
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.answers import Answers
from valuesim_dspy.survey.informative import Informative

if TYPE_CHECKING:
    from evals.study import Study

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What part is known at each point of a curve."""
FIXED = 40
"""Answers of the profile that a history is learned in addition to; at most half of them."""
PROFILE, HISTORY = "profile", "history"
GROWTHS: Mapping[str, str] = {
    PROFILE: "the profile grows",
    HISTORY: f"the profile is fixed at {FIXED} answers and the history grows",
}
RANDOM, ASKED, INFORMATIVE = "random", "asked", "informative"
ORDERS: Mapping[str, str] = {
    RANDOM: "drawn for each person",
    ASKED: "as asked, in the codebook's order",
    INFORMATIVE: "most informative first, by the training people's answers to profile questions "
    "and train targets (cold)",
}


@dataclass(frozen=True)
class Point:
    """One point of a curve: how what is known grows, in which order, and what part is known."""

    growth: str
    order: str
    share: float


@dataclass(frozen=True, eq=False)
class Growing:
    """Says what is known of each person at each point.

    Args:
        seed: Of what is drawn.
        informative: Which question tells most.
        paper: The profile questions of a fold `paper`, whose parts are counted in questions, as
            published; empty where parts are counted in the answers that a person gave.
    """

    seed: int
    informative: Informative
    paper: tuple[str, ...] = ()
    _orders: dict[tuple[Profile, str, str], tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Study, role: str) -> Growing:
        """Learn the orders of a study's set from its training people.

        Raises:
            MissingDataError: There are too few training people to learn from.
        """
        fold = study.fold
        known, aims = fold.profile_for(role), fold.targets("train")
        informative = Informative.of(study.respondents, study.split.train, known, aims)
        paper = known if fold.strategy == "paper" else ()
        return cls(study.config.protocol.seed, informative, paper)

    def examples(self, examples: Sequence[dspy.Example], point: Point) -> list[dspy.Example]:
        """Return the same cases as they stand at a point: the questions and answers stay.

        Args:
            examples: With all that the fold allows to be known.
            point: Where on which curve.
        """
        made: dict[Profile, tuple[Profile, tuple[HistoryItem, ...]]] = {}
        for example in examples:
            profile = example.case.profile
            if profile not in made:
                made[profile] = self.known(profile, point)
        return [
            make_example(Case(profile, example.case.question, history), example.answer)
            for example in examples
            for profile, history in (made[example.case.profile],)
        ]

    def known(self, profile: Profile, point: Point) -> tuple[Profile, tuple[HistoryItem, ...]]:
        """Return what is known of a person at a point.

        Args:
            profile: All that the fold allows to be known.
            point: Where on which curve.

        Raises:
            ConfigError: There is no such order or way to grow.
        """
        if point.growth not in GROWTHS:
            message = "no such way to grow"
            raise ConfigError(message, key="growth", value=point.growth, allowed=GROWTHS)
        order = self._order(profile, point.growth, point.order)
        facts = {*told(profile)}
        answered = [name for name in order[: round(point.share * len(order))] if name in facts]
        if point.growth == PROFILE:
            return masked(profile, answered), ()
        codes, codebook = profile.answers, profile.codebook
        items = tuple(HistoryItem(codebook[name], codes[name]) for name in answered)
        return masked(profile, self.fixed(profile)), items

    def fixed(self, profile: Profile) -> tuple[str, ...]:
        """Return the questions that are known before a history begins, the same in all orders."""
        asked = told(profile)
        return tuple(self._drawn(profile, asked)[: min(FIXED, len(asked) // 2)])

    def _order(self, profile: Profile, growth: str, order: str) -> tuple[str, ...]:
        """Return the questions whose answers come to be known, in the order in which they do."""
        key = (profile, growth, order)
        if key not in self._orders:
            before = self.fixed(profile) if growth == HISTORY else ()
            asked = [name for name in self.paper or told(profile) if name not in before]
            self._orders[key] = self._put(profile, order, asked, before)
        return self._orders[key]

    def _put(
        self, profile: Profile, order: str, asked: Sequence[str], before: Collection[str]
    ) -> tuple[str, ...]:
        if order == RANDOM:
            return tuple(self._drawn(profile, asked))
        if order == ASKED:
            return tuple(asked)
        if order == INFORMATIVE:
            return self.informative.order(asked, asked=before)
        raise ConfigError("no such order", key="order", value=order, allowed=ORDERS)

    def _drawn(self, profile: Profile, asked: Sequence[str]) -> list[str]:
        rng = random.Random(f"order:{self.seed}:{profile.key}")
        return rng.sample(list(asked), len(asked))


def told(profile: Profile) -> tuple[str, ...]:
    """Return the questions whose answers a profile tells as facts, in codebook order."""
    return tuple(fact.question for fact in profile.facts if fact.question in profile.answers)


def masked(profile: Profile, kept: Collection[str]) -> Profile:
    """Return a view of a profile in which only some of the answers are known.

    The view of every fact is the profile itself, and the country is always known.

    Args:
        profile: The person.
        kept: Ids of the questions whose answers stay.
    """
    only = frozenset(kept)
    if only.issuperset(told(profile)):
        return profile
    answers = profile.answers
    digest = hashlib.sha256(json.dumps(sorted(only)).encode()).hexdigest()[:16]
    return replace(
        profile,
        answers=answers.masked(only)
        if isinstance(answers, Answers)
        else {name: code for name, code in answers.items() if name in only},
        known=f"{profile.known}:{digest}",
    )
