"""Folds: the role of every question. Which answers are known, and which are to be predicted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.codebook import KINDS, Codebook
from valuesim_dspy.survey.fold_strategies import (
    FOLD_STRATEGIES,
    PAPER_FOLDS,
    ROLES,
    TARGET_ROLES,
    UNUSED,
    Draw,
    in_order,
    near_targets,
)

PROTOCOL_KINDS = ("value", "attitude")  # what the headline is measured on
WHOLE = ("battery", "topic")  # the strategies under which nothing near a target may be known
MIN_PROFILE_KEPT = 0.5
"""The share of the profile that dependence may not reach."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class Fold:
    """One role for every question of a codebook.

    Args:
        strategy: A key of `FOLD_STRATEGIES`.
        index: Which fold, from 1.
        of: How many folds share out the test targets.
        seed: What the fold was drawn with.
        roles: For every question one of `ROLES`, or "unused": neither known nor asked.
        codebook: Whose questions they are.
        dependence: Pairs of questions that depend on each other, as twins do.
        dropped: The questions that were profile but for such a pair.

    Raises:
        ConfigError: A question has no role, a role has no question, or a target's battery,
            section, twin or dependent question is where the strategy forbids it.
    """

    strategy: str
    index: int
    of: int
    seed: int
    roles: Mapping[str, str] = field(repr=False)
    codebook: Codebook = field(repr=False)
    dependence: Pairs = field(default=(), repr=False)
    dropped: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        wrong = sorted(self.codebook.questions.keys() ^ self.roles.keys())
        if wrong:
            message = "every question of the codebook needs one role, and no other"
            raise ConfigError(message, key="roles", value=wrong[0], allowed=ROLES)
        for name, role in self.roles.items():
            if role not in (*ROLES, UNUSED):
                message = f"{name} has the unknown role {role!r}"
                raise ConfigError(message, key="roles", allowed=(*ROLES, UNUSED))
        for role in ROLES:
            if role not in self.roles.values():
                message = f"no question is left for {role}: take fewer folds, or more kinds"
                raise ConfigError(message, key="roles")
        if self.strategy in WHOLE:
            self._check_whole()

    def _check_whole(self) -> None:
        """No battery (or section) in two roles, no target with a twin, or the like, known."""
        of_battery = self.strategy == "battery"
        groups = self.codebook.batteries if of_battery else self.codebook.sections
        for name, members in groups.items():
            roles = {self.roles[member] for member in members} - {UNUSED}
            if len(roles) > 1:
                message = f"{self.strategy} {name} is in two roles: {', '.join(sorted(roles))}"
                raise ConfigError(message, key="roles")
        for role in TARGET_ROLES:
            for target, twin in self._twins_known(role):
                message = f"{target} is a {role} target, and its twin {twin} is in the profile"
                raise ConfigError(message, key="roles")
        for name in near_targets(self.roles, self.dependence):
            raise ConfigError(f"{name} is in the profile and depends on a target", key="roles")

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fold) and self.digest == other.digest

    @cached_property
    def _by_role(self) -> Mapping[str, tuple[str, ...]]:
        return {
            role: tuple(name for name in self.codebook.questions if self.roles[name] == role)
            for role in (*ROLES, UNUSED)
        }

    @property
    def profile(self) -> tuple[str, ...]:
        """The questions whose answers may be known of everyone, in codebook order."""
        return self._by_role["profile"]

    @property
    def unused(self) -> tuple[str, ...]:
        """The questions that are neither known nor asked, in codebook order."""
        return self._by_role[UNUSED]

    def targets(self, set: str) -> tuple[str, ...]:
        """The questions that people of a set are asked, in codebook order.

        Raises:
            ConfigError: There is no such set.
        """
        if set not in TARGET_ROLES:
            raise ConfigError(f"no such set: {set!r}", key="set", value=set, allowed=TARGET_ROLES)
        return self._by_role[set]

    def profile_for(self, set: str) -> tuple[str, ...]:
        """The questions whose answers may be known of people of a set, in codebook order.

        The profile, but on a paper fold test people are known by all 232 other questions, as
        published: train, val and dev targets are facts for them.

        Raises:
            ConfigError: There is no such set.
        """
        self.targets(set)
        if self.strategy != "paper" or set != "test":
            return self.profile
        hidden = ("test", UNUSED)
        return tuple(name for name in self.codebook.questions if self.roles[name] not in hidden)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the sha256 of the fold's name, roles and dependent pairs."""
        roles = sorted(self.roles.items())
        named = [self.strategy, self.index, self.of, self.seed, roles]
        content = json.dumps([*named, self.dependence] if self.dependence else named)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def leakage(self) -> Mapping[str, float | int]:
        """How near the profile comes to the targets.

        Returns:
            Number of questions by role; `sibling_in_profile` and `twin_in_profile`, the targets
            with a question of their battery, or a twin, in the profile of their set; the same
            for test targets alone, as counts (`test_..`) and as shares in [0, 1] (`.._share`).
        """
        counts: dict[str, float | int] = {role: len(self._by_role[role]) for role in self._by_role}
        for kind, pairs in (("sibling", self._siblings_known), ("twin", self._twins_known)):
            leaky = {role: len({target for target, _ in pairs(role)}) for role in TARGET_ROLES}
            counts[f"{kind}_in_profile"] = sum(leaky.values())
            counts[f"test_{kind}_in_profile"] = leaky["test"]
            counts[f"test_{kind}_share"] = leaky["test"] / len(self.targets("test"))
        return counts

    def _siblings_known(self, role: str) -> list[tuple[str, str]]:
        batteries = self.codebook.batteries
        return self._known(role, lambda target: batteries[self.codebook[target].battery])

    def _twins_known(self, role: str) -> list[tuple[str, str]]:
        return self._known(role, lambda target: self.codebook[target].twins)

    def _known(self, role: str, near: Callable[[str], Iterable[str]]) -> list[tuple[str, str]]:
        known = frozenset(self.profile_for(role))
        return [(target, q) for target in self.targets(role) for q in near(target) if q in known]

    def describe(self) -> str:
        """One line: the fold, its sizes, its leaks, its deviations."""
        found = self.leakage()
        sizes = ", ".join(f"{found[role]} {role}" for role in reversed(TARGET_ROLES))
        text = (
            f"{self.strategy} fold {self.index} of {self.of}, seed {self.seed}: {sizes} targets; "
            f"{found['profile']} profile questions, {found[UNUSED]} unused{self._why_unused()}; "
            f"of the test targets {found['test_sibling_in_profile']} have a battery sibling and "
            f"{found['test_twin_in_profile']} a twin among the facts"
        )
        if self.strategy == "paper":
            text += (
                "; deviation: train, val and dev targets are taken from the 232 other questions, "
                "and are facts for test people only"
            )
        return text

    def _why_unused(self) -> str:
        pairs = len(self.dependence)
        return f" ({len(self.dropped)} for {pairs} dependent pairs)" if pairs else ""


def paper_folds(codebook: Codebook, *, seed: int = 42) -> tuple[Fold, ...]:
    """The five published folds; the seed draws their train, val and dev targets only."""
    return tuple(
        make_fold(codebook, strategy="paper", index=index, seed=seed)
        for index in range(1, PAPER_FOLDS + 1)
    )


def make_fold(
    codebook: Codebook,
    *,
    strategy: str = "battery",
    index: int = 1,
    of: int = 5,
    seed: int = 42,
    kinds: Collection[str] | None = None,
    asked: Collection[str] | None = None,
    dependence: Collection[tuple[str, str]] | None = None,
) -> Fold:
    """Give every question its role.

    Args:
        codebook: The questions.
        strategy: What moves as a whole. "battery": batteries, and those joined by twins with
            them; "topic": sections, twins elsewhere being left out; "question": single
            questions; "paper": the published folds.
        index: Which fold, 1 to `of`. The `of` folds of a seed together ask every eligible
            question once as a test target.
        of: How many folds.
        seed: The same seed gives the same fold, anywhere.
        kinds: The kinds of question that may be targets, such as `PROTOCOL_KINDS`; None for
            all. Only scorable questions are ever targets.
        asked: The questions that the data hold; the others are unused. None for all.
        dependence: Pairs of questions that depend on each other on training people, such as
            `dependent_pairs` finds. On battery and topic folds they are as twins are: the one
            is never known where the other is asked. Other folds leave them be.

    Raises:
        ConfigError: An argument is not allowed, or too few questions are left for a role.
        UnknownQuestionError: A pair names a question that the codebook does not have.
    """
    if strategy not in FOLD_STRATEGIES:
        raise ConfigError(
            f"no such strategy: {strategy!r}",
            key="strategy",
            value=strategy,
            allowed=FOLD_STRATEGIES,
        )
    if of < 2 or not 1 <= index <= of:
        message = f"no fold {index} of {of}: count from 1, over at least 2 folds"
        raise ConfigError(message, key="index", value=index)
    for kind in kinds or ():
        if kind not in KINDS:
            raise ConfigError(f"no such kind: {kind!r}", key="kinds", value=kind, allowed=KINDS)
    eligible = frozenset(
        question.id
        for question in codebook
        if question.scorable
        and (kinds is None or question.kind in kinds)
        and (asked is None or question.id in asked)
    )
    roles = FOLD_STRATEGIES[strategy](Draw(codebook, index, of, seed, eligible))
    if asked is not None:
        roles = {name: role if name in asked else UNUSED for name, role in roles.items()}
    pairs = in_order(dependence or (), codebook) if strategy in WHOLE else ()
    dropped = _dropped(roles, pairs)
    roles |= dict.fromkeys(dropped, UNUSED)
    return Fold(strategy, index, of, seed, roles, codebook, pairs, dropped)


def _dropped(roles: Mapping[str, str], pairs: Pairs) -> tuple[str, ...]:
    """The profile questions that pairs take out, if enough of them are left."""
    dropped = near_targets(roles, pairs)
    known = sum(role == "profile" for role in roles.values())
    if len(dropped) > (1.0 - MIN_PROFILE_KEPT) * known:
        message = (
            f"{len(pairs)} dependent pairs would take {len(dropped)} of {known} questions out of "
            "the profile: raise the threshold"
        )
        raise ConfigError(message, key="dependence")
    return dropped
