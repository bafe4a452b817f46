"""The latent side of the synthetic population: traits, value dimensions and response styles.

Everything here is invented (see ``population/wvs7.yaml``); nothing was estimated from people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from math import erf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_GRID = np.linspace(-8.0, 8.0, 3201)
_NORMAL = np.array([0.5 * (1.0 + erf(value / sqrt(2.0))) for value in _GRID])


def normal_cdf(values: Floats) -> Floats:
    """Return the standard normal distribution function, to about 1e-6."""
    return np.interp(values, _GRID, _NORMAL)


def normal_quantile(shares: Floats) -> Floats:
    """Return the standard normal quantiles of shares in [0, 1]; the ends are cut at -8 and 8."""
    return np.interp(shares, _NORMAL, _GRID)


@lru_cache(maxsize=8)
def read_population(name: str) -> dict[str, Any]:
    """Read one packaged YAML file of the population.

    Args:
        name: The file's name without its ending.

    Returns:
        The mapping in it; parsed once, not to be changed.
    """
    import yaml

    folder = resources.files("valuesim_dspy.survey") / "population"
    data: dict[str, Any] = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return data


def expand(ranges: str | Iterable[str]) -> tuple[str, ...]:
    """Return the question ids that ranges name.

    Args:
        ranges: Such as ``"Q1-Q3,Q7"`` or a list of such pieces.

    Returns:
        The ids, in the order given: ``("Q1", "Q2", "Q3", "Q7")``.
    """
    pieces = ranges.split(",") if isinstance(ranges, str) else list(ranges)
    ids: list[str] = []
    for piece in pieces:
        first, _, last = piece.strip().partition("-")
        start, stop = int(first[1:]), int((last or first)[1:])
        ids.extend(f"Q{number}" for number in range(start, stop + 1))
    return tuple(ids)


@dataclass(frozen=True)
class Population:
    """What the population is made of.

    Attributes:
        names: Names of the value dimensions, then of the traits.
        countries: Alpha-3 codes, sorted, mapped to what the file says about them.
        covariance: Within-country correlations of ``names``.
        means: One row per country, one column per name: country means in standard deviations.
        spec: The whole file.
    """

    names: tuple[str, ...]
    countries: Mapping[str, Mapping[str, Any]]
    covariance: Floats
    means: Floats
    spec: Mapping[str, Any]

    def vector(self, loads: Mapping[str, float]) -> Floats:
        """Return loadings by name as a vector over ``names``; KeyError names a wrong one."""
        vector = np.zeros(len(self.names))
        for name, load in loads.items():
            vector[self._position[name]] = load
        return vector

    def style(self, name: str) -> Floats:
        """Return a response style's country means, shape [countries]; 0 where none is given."""
        return np.array([data["means"].get(name, 0.0) for data in self.countries.values()])

    @property
    def _position(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}


@dataclass(frozen=True)
class Latents:
    """The drawn people, one row each.

    Attributes:
        country: Index of the country, shape [n].
        latent: Standard scores within the country of ``Population.names``, shape [n, names].
        agreeing: Style of agreeing, standard normal, shape [n].
        stretch: Factor by which answers are stretched from a scale's middle, shape [n], around 1.
        midpoint: Chance of a middle answer for its own sake, shape [n], in [0, 0.6].
        unsure: Log factor on the chance of giving no answer, shape [n].
    """

    country: Ints
    latent: Floats
    agreeing: Floats
    stretch: Floats
    midpoint: Floats
    unsure: Floats


def _positive(correlations: Floats) -> Floats:
    """Return the nearest usable correlation matrix: negative eigenvalues lifted, diagonal 1."""
    values, vectors = np.linalg.eigh(correlations)
    lifted = (vectors * np.maximum(values, 0.02)) @ vectors.T
    scale = 1.0 / np.sqrt(np.diag(lifted))
    rescaled: Floats = lifted * scale[:, None] * scale[None, :]
    return rescaled


def _trait_mixing(traits: Mapping[str, Mapping[str, float]]) -> Floats:
    """Return M with traits = M @ independent scores, every trait of variance 1."""
    names = list(traits)
    mixing = np.zeros((len(names), len(names)))
    for row, name in enumerate(names):
        for source, weight in traits[name].items():
            mixing[row] += weight * mixing[names.index(source)]
        mixing[row, row] = sqrt(1.0 - float(mixing[row] @ mixing[row]))
    return mixing


def _matrices(spec: Mapping[str, Any]) -> tuple[Floats, Floats, Floats]:
    """Return the trait mixing, the trait effects [dimensions, traits] and the rest's covariance."""
    traits, dimensions = list(spec["traits"]), list(spec["dimensions"])
    mixing = _trait_mixing(spec["traits"])
    effects = np.array(
        [[spec["dimensions"][name].get(trait, 0.0) for trait in traits] for name in dimensions]
    )
    rest = np.eye(len(dimensions))
    for one, others in spec["correlations"].items():
        for other, value in others.items():
            row, column = dimensions.index(one), dimensions.index(other)
            rest[row, column] = rest[column, row] = value
    explained = np.diag(effects @ mixing @ mixing.T @ effects.T)
    spread = np.sqrt(1.0 - explained)
    return mixing, effects, _positive(rest) * spread[:, None] * spread[None, :]


@lru_cache(maxsize=1)
def load_population() -> Population:
    """Return the packaged population, parsed once."""
    spec = read_population("wvs7")
    mixing, effects, rest = _matrices(spec)
    traits = mixing @ mixing.T
    cross = effects @ traits
    covariance = np.block([[effects @ cross.T + rest, cross], [cross.T, traits]])
    names = (*spec["dimensions"], *spec["traits"])
    countries = dict(sorted(spec["countries"].items()))
    means = np.array(
        [[data["means"].get(name, 0.0) for name in names] for data in countries.values()]
    )
    return Population(names, countries, covariance, means, spec)


def spread_evenly(n: int, countries: int) -> Ints:
    """Return each person's country: blocks in order, sizes differing by at most one."""
    sizes = [n // countries + (index < n % countries) for index in range(countries)]
    return np.repeat(np.arange(countries), sizes)


def draw_people(population: Population, country: Ints, rng: np.random.Generator) -> Latents:
    """Draw people of the countries given.

    Args:
        population: What they are drawn from.
        country: Index of each person's country, shape [n].
        rng: The source of chance.

    Returns:
        The people, in the order of ``country``.
    """
    n, spec = len(country), population.spec
    mixing, effects, rest = _matrices(spec)
    scores = rng.standard_normal((n, len(spec["traits"])))
    female = list(spec["traits"]).index("female")
    scores[:, female] = np.where(scores[:, female] > 0, 1.0, -1.0)
    traits = scores @ mixing.T
    dimensions = rng.standard_normal((n, len(rest))) @ np.linalg.cholesky(rest).T
    latent = np.hstack([dimensions + traits @ effects.T, traits])
    styles, chance = spec["styles"], rng.standard_normal((n, 4))
    link = styles["extremity_midpoint"]
    extremity = chance[:, 1] + population.style("extremity")[country] / styles["extremity"]
    middling = link * chance[:, 1] + sqrt(1.0 - link**2) * chance[:, 2]
    spread = styles["midpoint_spread"]
    midpoint = styles["midpoint"] * np.exp(spread * middling - spread**2 / 2.0)
    knowing = latent @ population.vector({"politics": 0.4, "education": 0.35})
    return Latents(
        country=country,
        latent=latent,
        agreeing=chance[:, 0],
        stretch=np.exp(styles["extremity"] * extremity),
        midpoint=np.minimum(midpoint, 0.6),
        unsure=0.7 * chance[:, 3] - knowing + population.style("unsure")[country] - 0.45,
    )
