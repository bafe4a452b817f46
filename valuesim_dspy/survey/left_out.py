"""Countries left out of training: what is reported is of countries that nothing was fitted on."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence

from valuesim_dspy.errors import ConfigError

LEAVE_OUT = "leave-countries-out"
DRAWN = ("test", "dev", "val", "train")  # the order in which roles are drawn
SHARE = 0.2  # of the countries, for each role whose countries are drawn


def leave_out(
    kind: str,
    countries: Collection[str],
    chosen: Mapping[str, Collection[str] | None],
    wishes: Mapping[str, int | float],
    seed: int,
) -> dict[str, tuple[str, ...]]:
    """Choose the countries that people of a role are of, and nobody in another role.

    Args:
        kind: The kind of split; only `LEAVE_OUT` leaves any out.
        countries: Alpha-3 codes of the countries of the people there are; "" is no country.
        chosen: For each role in turn its countries, or None to draw them where people are
            wished for. What is drawn for a role does not depend on what later roles wish.
        wishes: The number or share of people by role.
        seed: The same seed and countries draw the same.

    Returns:
        For each role that has any its countries, sorted.

    Raises:
        ConfigError: A country is not among these people or is in two roles, none is left for
            the other roles, or countries are chosen for another kind of split.
    """
    named = {role: given for role, given in chosen.items() if given is not None}
    if kind != LEAVE_OUT:
        for role in named:
            message = f"no country is left out of a {kind} split"
            raise ConfigError(message, key=f"{role}_countries", value=", ".join(named[role]))
        return {}
    known = sorted(set(countries) - {""})
    left_out = {role: _named(role, given, known) for role, given in named.items()}
    _check_apart(left_out)
    order = random.Random(f"{seed} countries").sample(known, len(known))
    for role in chosen:
        if role not in left_out and wishes[role]:
            taken = {alpha for alphas in left_out.values() for alpha in alphas}
            free = [alpha for alpha in order if alpha not in taken]
            left_out[role] = tuple(sorted(free[: max(1, round(SHARE * len(known)))]))
    if sum(map(len, left_out.values())) >= len(known) or not all(left_out.values()):
        message = (
            f"these people are of {len(known)} countries, and none would be left to train on: "
            "leave fewer out, or take people of more countries"
        )
        raise ConfigError(message, key="split")
    return {role: left_out[role] for role in chosen if role in left_out}


def pools(
    people: Sequence[int], alphas: Sequence[str], left_out: Mapping[str, Collection[str]]
) -> dict[tuple[str, ...], list[int]]:
    """Return who may have which roles.

    Args:
        people: Places of the people that take part.
        alphas: Country by place.
        left_out: The countries of roles that share their people with no other role.

    Returns:
        The roles that share people, in the order to draw them in, to the places of these people.
    """
    away = {alpha for countries in left_out.values() for alpha in countries}
    if left_out:
        away.add("")  # nobody knows whether they are of a country left out
    others = tuple(role for role in DRAWN if role not in left_out)
    shared = {others: [place for place in people if alphas[place] not in away]}
    return shared | {
        (role,): [place for place in people if alphas[place] in countries]
        for role, countries in left_out.items()
    }


def _named(role: str, given: Collection[str], known: Collection[str]) -> tuple[str, ...]:
    """The countries given for a role, each once, sorted."""
    if not given:
        raise ConfigError("name a country, or leave the key out", key=f"{role}_countries")
    for alpha in given:
        if alpha not in known:
            message = f"nobody here is of {alpha!r}"
            raise ConfigError(message, key=f"{role}_countries", value=alpha, allowed=known)
    return tuple(sorted(set(given)))


def _check_apart(left_out: Mapping[str, Collection[str]]) -> None:
    seen: dict[str, str] = {}
    for role, alphas in left_out.items():
        for alpha in alphas:
            if alpha in seen:
                message = f"{alpha} is left out for {seen[alpha]} and for {role}: choose one"
                raise ConfigError(message, key=f"{role}_countries", value=alpha)
            seen[alpha] = role
