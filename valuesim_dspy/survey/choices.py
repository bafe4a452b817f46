"""Answers that are one of several options, a first and a second choice, or up to five of a list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from valuesim_dspy.survey.dimensions import Floats, Ints, Latents, Population
from valuesim_dspy.survey.responses import FLOOR, Shares

_REFERENCE = 3000


@dataclass(frozen=True)
class ChoiceModel:
    """One of several options, or several in order: utilities with Gumbel noise.

    Attributes:
        codes: The options' codes.
        loads: Loadings in logits, shape [options, names].
        base: Utilities by country, shape [countries, options].
    """

    codes: tuple[int, ...]
    loads: Floats
    base: Floats

    def utilities(self, people: Latents, rng: np.random.Generator) -> Floats:
        """Draw utilities, shape [n, options]; the largest is the choice."""
        chance = rng.gumbel(size=(len(people.country), len(self.codes)))
        drawn: Floats = self.base[people.country] + people.latent @ self.loads.T + chance
        return drawn

    def ranked(self, people: Latents, rng: np.random.Generator) -> Ints:
        """Draw the options from first to last choice, as codes of shape [n, options]."""
        order = np.argsort(-self.utilities(people, rng), axis=1, kind="stable")
        return np.array(self.codes)[order]


def fit_choice(
    population: Population,
    options: Mapping[int, float],
    loads: Mapping[int, Mapping[str, float]],
    published: Mapping[str, Mapping[int, float]],
) -> ChoiceModel:
    """Return a choice model whose first choices have the published shares.

    Args:
        population: What the people are drawn from.
        options: Shares by code in an average country, in percent.
        loads: Loadings in logits by code.
        published: Shares by country and code, where there are any.

    Returns:
        The model; countries without published shares start from those of `options`.
    """
    codes = tuple(options)
    matrix = np.array([population.vector(loads.get(code, {})) for code in codes])
    shares = np.array([options[code] for code in codes]) / 100.0
    base = np.log(np.maximum(shares, FLOOR))[None, :] + population.means @ matrix.T
    drawn = reference_latent(population) @ matrix.T
    for index, country in enumerate(population.countries):
        if country in published:
            target = np.maximum([published[country].get(code, 0.0) for code in codes], FLOOR)
            for _ in range(12):
                odds = np.exp(base[index] + drawn)
                reached = (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)
                base[index] += np.log(target / target.sum() / reached)
    return ChoiceModel(codes, matrix, base)


def fit_picks(
    population: Population, questions: tuple[str, ...], spec: Mapping[str, Any], shares: Shares
) -> tuple[ChoiceModel, Floats]:
    """Return a model of picking up to `most` questions of a list.

    Args:
        population: What the people are drawn from.
        questions: Ids of the questions picked from; the model's codes are their positions.
        spec: The file's ``picks`` entry.
        shares: Published shares by country and question; code 1 is "picked".

    Returns:
        The model, and the mean number of picks by country, shape [countries].
    """
    matrix = np.array([population.vector(spec["loads"].get(name, {})) for name in questions])
    model = ChoiceModel(
        tuple(range(len(questions))), matrix, np.zeros((len(population.means), len(questions)))
    )
    chance = np.random.default_rng(11)
    latent = reference_latent(population)
    noise = chance.gumbel(size=(len(latent), len(questions))) + latent @ matrix.T
    counts = np.full(len(population.means), 0.97 * spec["most"])
    fitted = []
    for index, country in enumerate(population.countries):
        rows = shares.get(country, {})
        if all(name in rows for name in questions):
            target = np.array([rows[name][1] for name in questions])
            counts[index] = min(float(target.sum()), float(spec["most"]))
            target = np.clip(target * counts[index] / target.sum(), FLOOR, 1.0 - FLOOR)
            base = np.zeros(len(questions))
            number = picks_per_person(np.full(len(latent), counts[index]), spec["most"], chance)
            for _ in range(40):
                reached = np.clip(top(base + noise, number).mean(axis=0), 0.001, 0.999)
                base += 0.8 * np.log(target / (1 - target) * (1 - reached) / reached)
            model.base[index] = base
            fitted.append(base - population.means[index] @ matrix.T)
    average = np.mean(fitted, axis=0) if fitted else np.zeros(len(questions))
    for index, country in enumerate(population.countries):
        if not all(name in shares.get(country, {}) for name in questions):
            model.base[index] = average + population.means[index] @ matrix.T
    return model, counts


def picks_per_person(mean: Floats, most: int, rng: np.random.Generator) -> Ints:
    """Draw how many each person picks, at most `most`, on average `mean`."""
    return most - rng.binomial(most, np.clip(1.0 - mean / most, 0.0, 1.0))


def top(utilities: Floats, number: Ints) -> Floats:
    """Return 1.0 where a utility is among the person's `number` largest, else 0.0."""
    ranks = np.argsort(np.argsort(-utilities, axis=1, kind="stable"), axis=1, kind="stable")
    return (ranks < number[:, None]).astype(np.float64)


def reference_latent(population: Population) -> Floats:
    """Return the fixed draw of latent scores that intercepts are fitted on, whatever the seed."""
    rng = np.random.default_rng(5)
    root = np.linalg.cholesky(population.covariance)
    drawn: Floats = rng.standard_normal((_REFERENCE, len(root))) @ root.T
    return drawn
