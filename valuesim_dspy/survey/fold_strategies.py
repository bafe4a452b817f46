"""How folds are drawn: what moves as a whole, and which questions become which targets."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.codebook import Codebook

TARGET_ROLES = ("train", "val", "dev", "test")
ROLES = ("profile", *TARGET_ROLES)
UNUSED = "unused"
TARGET_SHARES: Mapping[str, float] = {"dev": 0.07, "val": 0.06, "train": 0.11}
PAPER_FOLDS, PAPER_SEED = 5, 42


@dataclass(frozen=True)
class Draw:
    """What a strategy draws from.

    Args:
        codebook: All questions.
        index: Which fold, 1 to `of`.
        of: How many folds.
        seed: What every generator is made from.
        eligible: The questions that may be targets.
    """

    codebook: Codebook
    index: int
    of: int
    seed: int
    eligible: frozenset[str]

    def rng(self, purpose: str) -> random.Random:
        """A generator of its own for a purpose."""
        return random.Random(f"{self.seed} {purpose}")

    def size(self, group: Iterable[str]) -> int:
        """How many of a group may be targets."""
        return sum(name in self.eligible for name in group)


def _battery(draw: Draw) -> dict[str, str]:
    return _shared_out(draw, joined_by_twins(draw.codebook))


def _topic(draw: Draw) -> dict[str, str]:
    roles = _shared_out(draw, list(draw.codebook.sections.values()))
    # joining sections by their twins would make one of half the codebook: the twin stays out
    for question in draw.codebook:
        if roles[question.id] == "profile" and any(
            roles.get(twin) in TARGET_ROLES for twin in question.twins
        ):
            roles[question.id] = UNUSED
    return roles


def _question(draw: Draw) -> dict[str, str]:
    return _shared_out(draw, [(name,) for name in draw.codebook.questions])


def _paper(draw: Draw) -> dict[str, str]:
    if draw.of != PAPER_FOLDS:
        raise ConfigError("there are five published folds", key="of", value=draw.of, allowed=[5])
    asked = published_folds()[draw.index - 1]
    absent = [name for fold in published_folds() for name in fold if name not in draw.codebook]
    if absent:
        message = f"paper folds need questions Q1 to Q290, and there is no {absent[0]}"
        raise ConfigError(message, key="strategy", value="paper")
    others = [(name,) for name in draw.codebook.questions if name not in asked]
    return _with_roles(draw, [(name,) for name in asked], others)


FOLD_STRATEGIES: Mapping[str, Callable[[Draw], dict[str, str]]] = {
    "battery": _battery,
    "topic": _topic,
    "question": _question,
    "paper": _paper,
}


def joined_by_twins(codebook: Codebook) -> list[tuple[str, ...]]:
    """Whole batteries, those that share twins as one group; in codebook order."""
    group_of: dict[str, set[str]] = {}
    for members in codebook.batteries.values():
        group = set(members)
        group_of |= dict.fromkeys(members, group)
    for question in codebook:
        for twin in question.twins:
            if twin in group_of and group_of[question.id] is not group_of[twin]:
                group_of[question.id] |= group_of[twin]
                for name in group_of[twin]:
                    group_of[name] = group_of[question.id]
    groups = {id(group): group for group in (group_of[name] for name in codebook.questions)}
    return [tuple(name for name in codebook.questions if name in g) for g in groups.values()]


def _shared_out(draw: Draw, groups: Sequence[Sequence[str]]) -> dict[str, str]:
    """Share the groups out over all folds, evenly by eligible questions; take one fold's."""
    groups = [group for group in groups if draw.size(group)]
    draw.rng("test").shuffle(groups)
    folds: list[list[Sequence[str]]] = [[] for _ in range(draw.of)]
    for group in sorted(groups, key=draw.size, reverse=True):
        min(folds, key=lambda fold: sum(map(draw.size, fold))).append(group)
    test = folds[draw.index - 1]
    return _with_roles(draw, test, [group for group in groups if group not in test])


def _with_roles(
    draw: Draw, test: Sequence[Sequence[str]], others: Sequence[Sequence[str]]
) -> dict[str, str]:
    """Roles for all questions: test as given; dev, val and train targets from the others."""
    chosen = {"test": list(test)}
    left = [group for group in others if draw.size(group)]
    draw.rng(f"targets {draw.index}").shuffle(left)
    for role, share in TARGET_SHARES.items():
        room = max(1, round(share * len(draw.eligible)))
        chosen[role] = []
        for group in left:
            if draw.size(group) <= room:
                room -= draw.size(group)
                chosen[role].append(group)
        if left and not chosen[role]:
            chosen[role] = [min(left, key=draw.size)]
        left = [group for group in left if group not in chosen[role]]
    roles = dict.fromkeys(draw.codebook.questions, "profile")
    for role, groups in chosen.items():
        for name in (name for group in groups for name in group):
            roles[name] = role if name in draw.eligible else UNUSED
    return roles


def published_folds() -> tuple[tuple[str, ...], ...]:
    """The 58 test targets of each of the five folds of arXiv 2505.23827, in its order."""
    names = [f"Q{number}" for number in range(1, 291)]
    random.Random(PAPER_SEED).shuffle(names)
    size = len(names) // PAPER_FOLDS
    return tuple(tuple(names[at : at + size]) for at in range(0, len(names), size))


def in_order(pairs: Iterable[tuple[str, str]], codebook: Codebook) -> tuple[tuple[str, str], ...]:
    """Return pairs each once, in codebook order, the earlier question first.

    Raises:
        UnknownQuestionError: A pair names a question that the codebook does not have.
    """
    place = {name: at for at, name in enumerate(codebook.questions)}
    found = {
        tuple(sorted((codebook[one].id, codebook[other].id), key=place.__getitem__))
        for one, other in pairs
    }
    return tuple((one, other) for one, other in sorted(found, key=lambda p: [place[q] for q in p]))


def near_targets(roles: Mapping[str, str], pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the profile questions that make a pair with a target, in the order of the roles."""
    near = {
        one
        for pair in pairs
        for one, other in (pair, pair[::-1])
        if roles.get(one) == "profile" and roles.get(other) in TARGET_ROLES
    }
    return tuple(name for name in roles if name in near)
