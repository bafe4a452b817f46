"""Splits: the role of every respondent; and, from here too, folds: the role of every question."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.survey.fold_strategies import (
    FOLD_STRATEGIES,
    ROLES,
    TARGET_ROLES,
    published_folds,
)
from valuesim_dspy.survey.folds import PROTOCOL_KINDS, Fold, make_fold, paper_folds
from valuesim_dspy.survey.left_out import LEAVE_OUT, leave_out, pools
from valuesim_dspy.survey.respondents import Respondents

__all__ = [
    "FOLD_STRATEGIES",
    "PROTOCOL_KINDS",
    "ROLES",
    "SPLIT_KINDS",
    "TARGET_ROLES",
    "Fold",
    "Split",
    "make_fold",
    "make_split",
    "paper_folds",
    "paper_sample",
    "published_folds",
]

SPLIT_KINDS = ("random", LEAVE_OUT, "paper")
STRATIFY = ("country", None)
_PAPER_SIZE = 100


@dataclass(frozen=True)
class Split:
    """One role for every respondent that takes part.

    Args:
        seed: What it was drawn with.
        kind: One of `SPLIT_KINDS`.
        roles: For each of `TARGET_ROLES` its people: places in the respondents, in the order
            drawn, so that the first k of them are a balanced sample too.
        stratify: "country", or None.
        total: How many people there were.
        duplicates: Rows left out because an earlier row has their interview number.
        left_out: The countries that test and dev people are of, and nobody else.
        of_known: How many test people are of a country that train people are of too.

    Raises:
        ConfigError: A role is absent or unknown, or somebody is in two.
    """

    seed: int
    kind: str
    roles: tuple[tuple[str, tuple[int, ...]], ...]
    stratify: str | None = "country"
    total: int = 0
    duplicates: int = 0
    left_out: tuple[tuple[str, tuple[str, ...]], ...] = ()
    of_known: int = 0

    def __post_init__(self) -> None:
        if tuple(role for role, _ in self.roles) != TARGET_ROLES:
            raise ConfigError(
                "a split has these roles, in order", key="roles", allowed=TARGET_ROLES
            )
        seen: dict[int, str] = {}
        for role, people in self.roles:
            for place in people:
                if place < 0 or place in seen:
                    where = f"in {seen[place]} and in {role}" if place in seen else "below 0"
                    raise ConfigError(f"respondent {place} is {where}", key="roles", value=place)
                seen[place] = role

    def people(self, set: str) -> tuple[int, ...]:
        """The places of a set's people.

        Raises:
            ConfigError: There is no such set.
        """
        if set not in TARGET_ROLES:
            raise ConfigError(f"no such set: {set!r}", key="set", value=set, allowed=TARGET_ROLES)
        return dict(self.roles)[set]

    @property
    def train(self) -> tuple[int, ...]:
        """The people a teleprompter learns from."""
        return self.people("train")

    @property
    def val(self) -> tuple[int, ...]:
        """The people a teleprompter chooses by."""
        return self.people("val")

    @property
    def dev(self) -> tuple[int, ...]:
        """The people variants are selected by."""
        return self.people("dev")

    @property
    def test(self) -> tuple[int, ...]:
        """The people that are reported on."""
        return self.people("test")

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the sha256 of the seed, the kind and the roles."""
        content = json.dumps([self.seed, self.kind, self.roles])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def describe(self) -> str:
        """One line: sizes, how they were drawn, who was left out."""
        sizes = ", ".join(f"{len(people)} {role}" for role, people in self.roles)
        how = f"by {self.stratify}" if self.stratify else "without strata"
        text = f"{self.kind} split, seed {self.seed}: {sizes} of {self.total} people, {how}"
        if self.kind == "paper":
            text += "; the test people are the published sample"
        text += "".join(f"; {role} countries {', '.join(a)}" for role, a in self.left_out)
        text += f"; {self.of_known} test people are of a country of train people"
        if self.duplicates:
            text += f"; {self.duplicates} rows that repeat an interview number left out"
        return text


def make_split(
    respondents: Respondents,
    *,
    seed: int = 42,
    train: int | float = 0.5,
    val: int | float = 0.1,
    dev: int | float = 0.2,
    test: int | float | None = None,
    stratify: str | None = "country",
    kind: str = "random",
    test_countries: Collection[str] | None = None,
    dev_countries: Collection[str] | None = None,
) -> Split:
    """Give people their roles; nobody is in two, not under two rows either.

    Args:
        respondents: The people; each interview number takes part once.
        seed: The same seed and people give the same split, anywhere. The test people do not
            depend on the other sizes, the dev people not on those of val and train.
        train: A whole number of people, or a share of them in (0, 1); 0 for none. Where
            countries are left out, shares are of the people of a role's own countries.
        val: The same.
        dev: The same.
        test: The same; by default 0.2, and 100 where `kind` is "paper".
        stratify: "country" to draw from each country in proportion, or None.
        kind: "random"; "leave-countries-out" for test people, and dev people, of countries
            that nobody in another role is of; "paper" for the published sample as test people.
        test_countries: Alpha-3 codes of the countries left out for the test; by default a
            fifth of them, drawn.
        dev_countries: The same for dev.

    Raises:
        ConfigError: An argument is not allowed, or there are too few people.
        MissingDataError: The published sample is not among these people.
    """
    for key, value, allowed in (("kind", kind, SPLIT_KINDS), ("stratify", stratify, STRATIFY)):
        if value not in allowed:
            raise ConfigError(f"not possible: {value!r}", key=key, value=value, allowed=allowed)
    if test is None:
        test = _PAPER_SIZE if kind == "paper" else 0.2
    wishes = {"test": test, "dev": dev, "val": val, "train": train}
    ids, alphas = respondents.ids, respondents.alphas
    first = {id: place for place, id in reversed(list(enumerate(ids)))}
    people = sorted(first.values())
    chosen = {"test": test_countries, "dev": dev_countries}
    left_out = leave_out(kind, {alphas[place] for place in people}, chosen, wishes, seed)
    groups = pools(people, alphas, left_out)
    published = _published(respondents, wishes, len(first)) if kind == "paper" else []
    strata = alphas if stratify else [""] * len(ids)
    roles = _drawn(ids, wishes, groups, strata, published, seed)
    return Split(
        seed=seed,
        kind=kind,
        roles=tuple((role, roles[role]) for role in TARGET_ROLES),
        stratify=stratify,
        total=len(respondents),
        duplicates=len(respondents) - len(first),
        left_out=tuple(left_out.items()),
        of_known=_of_known(alphas, roles),
    )


def paper_sample(n_rows: int = 97220, size: int = _PAPER_SIZE, seed: int = 42) -> tuple[int, ...]:
    """The people of the published experiment, as row numbers from 1, in the order drawn.

    Source: arXiv 2505.23827, ``random.seed(42); random.sample(rows, 100)`` over all rows of the
    file. It printed them in the order in which they were done, ten at a time.

    Raises:
        ConfigError: There are fewer rows than people asked for.
    """
    if not 0 <= size <= n_rows:
        raise ConfigError(f"no {size} people among {n_rows} rows", key="size", value=size)
    return tuple(row + 1 for row in random.Random(seed).sample(range(n_rows), size))


def _drawn(
    ids: Sequence[str],
    wishes: Mapping[str, int | float],
    pools: Mapping[tuple[str, ...], Sequence[int]],
    strata: Sequence[str],
    published: Sequence[int],
    seed: int,
) -> dict[str, tuple[int, ...]]:
    """Draw the people of every role from its pool; published ones come first."""
    taken = {ids[place] for place in published}
    roles: dict[str, tuple[int, ...]] = {}
    for pool, people in pools.items():
        whole = len(pools) == 1
        # in this order, so that another number of train people changes no test person
        sizes = _sizes({role: wishes[role] for role in pool}, len(people), whole)
        rng = random.Random(f"{seed} people" if whole else f"{seed} people {pool}")
        free = [place for place in people if ids[place] not in taken]
        drawn = [*published, *_spread(free, strata, rng)]
        for role, size in sizes.items():
            roles[role], drawn = tuple(drawn[:size]), drawn[size:]
    return roles


def _sizes(wishes: Mapping[str, int | float], total: int, whole: bool) -> dict[str, int]:
    """Numbers of people by role, if there are enough of them."""
    sizes = {role: _number_of(role, wish, total) for role, wish in wishes.items()}
    if sum(sizes.values()) > total:
        asked = ", ".join(f"{role} {size}" for role, size in sizes.items())
        of = "there are" if whole else "of their countries"
        message = f"{asked} are more than the {total} people {of}: ask for fewer"
        raise ConfigError(message, key=[*sizes][-1])
    return sizes


def _number_of(role: str, wish: int | float, total: int) -> int:
    """A wish for a number or a share of people, as a number."""
    share = isinstance(wish, float)
    if isinstance(wish, bool) or wish < 0 or (share and not 0 <= wish <= 1):
        message = f"{wish!r} is neither a whole number of 0 or more nor a share of at most 1.0"
        raise ConfigError(message, key=role, value=wish)
    number = int(wish * total) if share else int(wish)
    if wish and not number:
        message = f"a share of {wish} of {total} people is nobody: give a number"
        raise ConfigError(message, key=role, value=wish)
    return number


def _of_known(alphas: Sequence[str], roles: Mapping[str, Sequence[int]]) -> int:
    """How many test people are of a country that somebody in train is of."""
    known = {alphas[place] for place in roles["train"]} - {""}
    return sum(alphas[place] in known for place in roles["test"])


def _published(
    respondents: Respondents, wishes: Mapping[str, int | float], total: int
) -> list[int]:
    """The places of the published sample, in the order drawn."""
    size = _number_of("test", wishes["test"], total)
    place_of = {row: place for place, row in reversed(list(enumerate(respondents.rows.tolist())))}
    rows = paper_sample(respondents.report.rows, size)
    absent = [row for row in rows if row not in place_of]
    if absent:
        message = f"{len(absent)} of the {size} published people are not in this selection"
        raise MissingDataError(message, "take all respondents of the file")
    return [place_of[row] for row in rows]


def _spread(people: Iterable[int], strata: Sequence[str], rng: random.Random) -> list[int]:
    """Shuffle people so that every stretch holds each stratum in proportion."""
    members: dict[str, list[tuple[float, int]]] = {}
    for place in people:
        members.setdefault(strata[place], []).append((rng.random(), place))
    order: list[tuple[float, int]] = []
    for stratum in sorted(members):
        offset, size = rng.random(), len(members[stratum])
        shuffled = [place for _, place in sorted(members[stratum])]
        order += [((rank + offset) / size, place) for rank, place in enumerate(shuffled)]
    return [place for _, place in sorted(order)]
