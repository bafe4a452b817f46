"""From latent scores to answers on graded questions, those whose options go from least to most.

Thresholds follow the published country shares of ``population/wvs7_shares.yaml`` where there are
any. Elsewhere they are invented: those of the other countries, moved by the country's means, or
evenly spaced ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from valuesim_dspy.survey.codebook import Codebook
from valuesim_dspy.survey.dimensions import (
    Floats,
    Ints,
    Latents,
    Population,
    expand,
    normal_cdf,
    normal_quantile,
    read_population,
)

# Outer thresholds of a scale of so many options, in standard deviations, where nothing is given.
_WIDTHS = {2: 0.0, 3: 0.55, 4: 1.05, 5: 1.25, 7: 1.3, 8: 1.3, 10: 1.2}
FLOOR = 0.002
_ECHO = 0.75  # correlation of an item's chance part with what its echoes share

Shares = Mapping[str, Mapping[str, Mapping[int, float]]]


def published_shares() -> Shares:
    """Return the published shares of answers: country, question, code -> share of those answering.

    Returns:
        Shares that sum to 1 within a country and question.
    """
    shares = {}
    for country, questions in read_population("wvs7_shares").items():
        shares[country] = {
            question: {code: value / sum(row) for code, value in enumerate(row, start=1)}
            for question, row in questions.items()
        }
    return shares


@dataclass(frozen=True)
class Item:
    """One graded question's place in the population.

    Attributes:
        id: The question's id.
        order: On-scale codes from least to most.
        loads: Loadings over ``Population.names``.
        group: Index of the shared factor.
        factor: Loading on that factor.
        agreeing: Loading on the style of agreeing.
        noise: Standard deviation of what is left; the tendency and the noise have variance 1.
        level: Where the average country stands, in standard deviations above the middle.
        width: Distance of the outer thresholds from the middle.
        middle: Position of the middle option in ``order``, or None.
    """

    id: str
    order: tuple[int, ...]
    loads: Floats
    group: int
    factor: float
    agreeing: float
    noise: float
    level: float
    width: float
    middle: int | None


def _middle(order: tuple[int, ...]) -> int | None:
    if len(order) == 10:
        return order.index(5)
    return len(order) // 2 if len(order) % 2 else None


def _entries(spec: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (group, what the file says about one question)."""
    for group, data in enumerate(spec["graded"]):
        for question, level in zip(expand(data["questions"]), data["levels"], strict=True):
            loads = data.get("items", {}).get(question, data.get("loads", {}))
            yield group, {**data, "id": question, "level": level, "loads": loads}


def graded_items(codebook: Codebook, population: Population, spec: Mapping[str, Any]) -> list[Item]:
    """Return the graded questions of a codebook, with loadings that leave room for noise.

    Args:
        codebook: Says in what order the codes go.
        population: Names the dimensions.
        spec: The content of ``population/wvs7_questions.yaml``.

    Returns:
        One item per ordinal or binary question outside the demographics, in the file's order.

    Raises:
        UnknownQuestionError: If the codebook lacks a question.
        ValueError: If a question's loadings explain more than all of its variance.
    """
    items = []
    for group, entry in _entries(spec):
        question = codebook[entry["id"]]
        order, loads = tuple(question.order), population.vector(entry["loads"])
        sign = -1.0 if question.id in expand(entry.get("reverse", ())) else 1.0
        factor, agreeing = sign * entry.get("factor", 0.0), entry.get("agreeing", 0.0)
        rest = 1.0 - float(loads @ population.covariance @ loads) - factor**2 - agreeing**2
        if rest < 0.05:
            raise ValueError(f"{question.id}: loadings leave {rest:.2f} of the variance to chance")
        width = entry.get("width", _WIDTHS.get(len(order), 1.3)) if len(order) > 2 else 0.0
        level, middle = entry["level"], _middle(order)
        noise = float(np.sqrt(rest))
        items.append(
            Item(question.id, order, loads, group, factor, agreeing, noise, level, width, middle)
        )
    return items


class GradedModel:
    """Answers to graded questions: a tendency, response styles, and thresholds per country.

    Args:
        items: The questions.
        population: What the people are drawn from.
        shares: Published shares by country and question.
        echoes: Sets of questions that nearly repeat each other; "-Q22" is turned round.
    """

    def __init__(
        self,
        items: list[Item],
        population: Population,
        shares: Shares,
        echoes: Sequence[Sequence[str]] = (),
    ) -> None:
        self.items = tuple(items)
        self.echoes = tuple(tuple(echo) for echo in echoes)
        self.population = population
        self._loads = np.array([item.loads for item in items]).reshape(len(items), -1)
        quirks = np.random.default_rng(7).normal(0.0, 0.15, (len(items), len(population.countries)))
        # One column per threshold: plain normal thresholds first, then moved so that the styles
        # do not change the shares.
        self.centres = np.zeros((len(items), len(population.countries)))
        self.middling = np.zeros((len(items), len(population.countries)))
        self.thresholds: list[Floats] = []
        for row, item in enumerate(items):
            plain = _plain_thresholds(item, population, shares, quirks[row])
            self.thresholds.append(self._styled(row, plain))

    def _styled(self, row: int, plain: Floats) -> Floats:
        """Return thresholds [countries, options - 1] that keep the shares under the styles."""
        middle, styles = self.items[row].middle, self.population.spec["styles"]
        shifts = self.population.style("extremity")
        styled = np.empty_like(plain)
        for country, line in enumerate(plain):
            shares = np.diff(normal_cdf(line), prepend=0.0, append=1.0)
            if middle is not None:
                # Where next to nobody answers in the middle, the style does not show.
                shown = min(1.0, 0.6 * shares[middle] / styles["midpoint"])
                self.middling[row, country] = shown
                shares[middle] -= shown * styles["midpoint"]
                shares /= shares.sum()
            cut = np.cumsum(shares)[:-1]
            centre = _centre(cut)
            self.centres[row, country] = centre
            styled[country] = _unstretched(cut, centre, styles["extremity"], shifts[country])
        return styled

    def tendency(self, people: Latents, factors: Floats) -> Floats:
        """Return each person's tendency on each item, without noise: shape [n, items]."""
        weights = np.array([item.factor for item in self.items])
        groups = np.array([item.group for item in self.items], dtype=np.int64)
        style = np.array([item.agreeing for item in self.items])
        moved: Floats = people.latent @ self._loads.T
        return moved + factors[:, groups] * weights + people.agreeing[:, None] * style

    def factors(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw the groups' shared factors, shape [n, groups]."""
        groups = max((item.group for item in self.items), default=0) + 1
        return rng.standard_normal((n, groups))

    def _noise(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw what is left to chance, standard normal [n, items]; echoes share a part of it."""
        noise = rng.standard_normal((n, len(self.items)))
        places = {item.id: place for place, item in enumerate(self.items)}
        for echo in self.echoes:
            shared = rng.standard_normal(n)
            for signed in echo:
                place = places.get(signed.removeprefix("-"))
                if place is not None:
                    own = np.sqrt(1.0 - _ECHO**2) * noise[:, place]
                    noise[:, place] = own + (-_ECHO if signed[0] == "-" else _ECHO) * shared
        return noise

    def answer(self, people: Latents, rng: np.random.Generator) -> dict[str, Ints]:
        """Draw answers.

        Args:
            people: Who answers.
            rng: The source of chance.

        Returns:
            Codes by question, shape [n] each.
        """
        n = len(people.country)
        tendency = self.tendency(people, self.factors(n, rng))
        noise = self._noise(n, rng)
        dice = rng.random(tendency.shape)
        answers = {}
        for row, item in enumerate(self.items):
            centre = self.centres[row][people.country]
            felt = tendency[:, row] + item.noise * noise[:, row]
            shown = centre + (felt - centre) * people.stretch
            place = (shown[:, None] >= self.thresholds[row][people.country]).sum(axis=1)
            if item.middle is not None:
                chance = people.midpoint * self.middling[row][people.country]
                place = np.where(dice[:, row] < chance, item.middle, place)
            answers[item.id] = np.array(item.order)[place]
        return answers


def _centre(cut: Floats) -> float:
    """Return the point answers are stretched from: the scale's middle, in standard deviations."""
    options = len(cut) + 1
    if options % 2:
        middle = float(cut[options // 2 - 1] + cut[options // 2]) / 2.0
        return float(normal_quantile(np.array([middle]))[0])
    return float(normal_quantile(cut[options // 2 - 1 : options // 2])[0])


def _unstretched(cut: Floats, centre: float, spread: float, shift: float) -> Floats:
    """Return thresholds that give the shares of `cut` on average over the styles of stretching."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    stretch = np.exp(spread * nodes + shift)
    grid = np.linspace(-8.0, 8.0, 401)
    share = normal_cdf(centre + grid[:, None] / stretch) @ (weights / weights.sum())
    return centre + np.interp(cut, share, grid)


def _plain_thresholds(item: Item, population: Population, shares: Shares, quirk: Floats) -> Floats:
    """Return thresholds [countries, options - 1] of an answer that is standard normal."""
    shifts = population.means @ item.loads
    given: dict[int, Floats] = {}
    whole: list[Floats] = []
    for index, country in enumerate(population.countries):
        row = shares.get(country, {}).get(item.id)
        if row is None:
            continue
        three = item.id in population.spec["three_points"].get(country, ())
        raw = np.array([row.get(code, 0.0) for code in item.order])
        raw = raw if three else np.maximum(raw, FLOOR)
        given[index] = normal_quantile(np.cumsum(raw / raw.sum())[:-1])
        if not three:
            whole.append(given[index] + shifts[index])
    even = np.linspace(-item.width, item.width, len(item.order) - 1) - item.level
    # The invented shape counts as one more country, lest one country stand for all others.
    base = np.mean([*whole, even], axis=0)
    elsewhere = base[None, :] - shifts[:, None] - quirk[:, None]
    for index, line in given.items():
        elsewhere[index] = line
    return elsewhere
