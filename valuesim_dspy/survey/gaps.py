"""What the synthetic population does not answer, or answers off the scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from valuesim_dspy.survey.dimensions import Ints, Latents, Population, expand
from valuesim_dspy.survey.households import NOT_APPLICABLE

_DONT_KNOW, _NO_ANSWER, _NOT_ASKED, _MISSING = -1, -2, -4, -5
_UNSURE = 0.01
_ONLINE = ("Q217", "Q218", "Q219", "Q220")
_ALWAYS = frozenset({"Q260", "Q261", "Q262"})
_REFUSED = {"Q288": 0.05, "Q223": 0.12, "Q277": 0.04, "Q278": 0.05, "Q283": 0.05, "Q286": 0.02}


def add_exceptions(
    answers: dict[str, Ints],
    population: Population,
    rng: np.random.Generator,
) -> None:
    """Put in the codes off their scales, and what goes with not being a citizen.

    Args:
        answers: Codes by question; changed in place.
        population: Says how likely the codes off their scales are.
        rng: The source of chance.
    """
    n = len(answers["Q269"])
    for ranges, codes in population.spec["off_scale"].items():
        for question in expand(ranges):
            for code, chance in codes.items():
                answers[question] = np.where(rng.random(n) < chance, code, answers[question])
    foreign = answers["Q269"] == 2
    answers["Q222"] = np.where(foreign, 4, answers["Q222"])
    answers["Q221"] = np.where(foreign & (rng.random(n) < 0.7), 4, answers["Q221"])
    answers["Q254"] = np.where(foreign & (rng.random(n) < 0.8), 5, answers["Q254"])


def unsure_shares(spec: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of "don't know" by question where it is not the usual one."""
    shares: dict[str, float] = {}
    for group in spec["graded"]:
        shares |= dict.fromkeys(expand(group["questions"]), group.get("unsure", _UNSURE))
    for question, choice in spec["choices"].items():
        shares |= dict.fromkeys((question, choice.get("second", question)), choice["unsure"])
    return shares


def leave_gaps(
    answers: dict[str, Ints],
    people: Latents,
    population: Population,
    spec: Mapping[str, Any],
    draws: np.random.Generator,
) -> None:
    """Take answers away: not known, not given, lost, no internet, not asked in the country.

    Args:
        answers: Codes by question; changed in place.
        people: Who answers; some are less sure than others.
        population: Says what is not asked where.
        spec: The content of ``population/wvs7_questions.yaml``.
        draws: The source of chance.
    """
    unsure, factor = unsure_shares(spec), np.exp(people.unsure)
    n = len(factor)
    leaning = population.vector({"online": 1.0, "urban": 0.3})
    online = (people.latent + population.means[people.country]) @ leaning
    for question in answers:
        if question in _ALWAYS:
            continue
        dice, given = draws.random(n), answers[question]
        known = dice - factor * unsure.get(question, _UNSURE / 2)
        told = known - factor * _REFUSED.get(question, 0.003)
        gap = np.select([known < 0, told < 0, dice > 0.9995], [_DONT_KNOW, _NO_ANSWER, _MISSING], 0)
        gap = np.where(given == NOT_APPLICABLE, 0, gap)
        if question in _ONLINE:
            gap = np.where(online < -1.4, _MISSING, gap)
        answers[question] = np.where(gap < 0, gap, given)
    # A second choice needs a first one.
    for first, choice in spec["choices"].items():
        if "second" in choice:
            second = choice["second"]
            answers[second] = np.where(answers[first] < 0, answers[first], answers[second])
    for at, country in enumerate(population.countries):
        for question in expand(population.spec["not_asked"].get(country, ())):
            answers[question] = np.where(people.country == at, _NOT_ASKED, answers[question])
