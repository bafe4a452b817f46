"""Demographic answers (Q260 to Q290) of the synthetic population that fit together.

Age fits the year of birth, spouse questions apply to those with a spouse, a household holds the
people said to live in it. The numbers are invented, and country-specific codes are made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuesim_dspy.survey.dimensions import Floats, Ints, Latents, Population, normal_quantile

NOT_APPLICABLE = -3
_YOUNGEST, _OLDEST, _PENSION = 18, 98, 65
_BY_RANK = np.array([8, 9, 7, 5, 6, 4, 11, 3, 10, 2, 1])  # occupations from low to high schooling
_RANK_CUTS = np.array([0.12, 0.18, 0.3, 0.42, 0.56, 0.66, 0.69, 0.8, 0.83, 0.9])
Bools = NDArray[np.bool_]


class Households:
    """Draws the demographic answers of given people.

    Args:
        population: Says what the countries are like.
        people: Who answers.
        rng: The source of chance.
    """

    def __init__(self, population: Population, people: Latents, rng: np.random.Generator) -> None:
        self._population, self._people, self._rng = population, people, rng
        self._n = len(people.country)
        self.country = self._of("numeric")
        self.year = self._of("year")
        self.age = self._ages()
        self.female = self._trait("female") > 0
        self.urban = self._trait("urban") > normal_quantile(1.0 - self._of("urban") / 100.0)
        self.married, self.marital = self._marital()

    def answers(self) -> dict[str, Ints]:
        """Return codes by question, shape [n] each, without missing answers but -3."""
        born = self.year - self.age - (self._rng.random(self._n) < 0.4)
        columns: dict[str, Ints] = {"Q260": 1 + self.female, "Q261": born, "Q262": self.age}
        columns |= self._origins() | self._family() | self._schooling()
        columns |= self._work(columns) | self._money(columns) | self._belonging(columns)
        return columns

    def _of(self, key: str) -> Ints:
        values = [data[key] for data in self._population.countries.values()]
        return np.array(values)[self._people.country]

    def _trait(self, name: str) -> Floats:
        scores: Floats = self._people.latent[:, self._population.names.index(name)]
        return scores

    def _chance(self, share: NDArray[np.floating[Any]] | float) -> Bools:
        happened: Bools = self._rng.random(self._n) < share
        return happened

    def _one_of(self, key: str) -> Ints:
        """Draw an index by the country's percentages under a key."""
        drawn = np.zeros(self._n, dtype=np.int64)
        for index, data in enumerate(self._population.countries.values()):
            here = self._people.country == index
            shares = np.array(data[key], dtype=np.float64)
            drawn[here] = self._rng.choice(len(shares), size=here.sum(), p=shares / shares.sum())
        return drawn

    def _ages(self) -> Ints:
        mean, spread = self._of("age").T
        years = np.rint(mean + spread * self._trait("age"))
        return np.minimum(_YOUNGEST + np.abs(years - _YOUNGEST), _OLDEST).astype(np.int64)

    def _marital(self) -> tuple[Bools, Ints]:
        """Return who has a spouse or partner, and the codes of Q273."""
        ever = self._chance(0.93 / (1.0 + np.exp((27.0 - self.age) / 4.0)))
        widowed = self._chance(
            np.clip((self.age - 55) / 90.0, 0.0, 0.4) * (0.6 + 0.7 * self.female)
        )
        apart, separated = self._chance(0.1), self._chance(0.03)
        together = self._chance(self._of("cohabiting") / 100.0 * np.where(self.age < 45, 2.0, 0.6))
        codes = np.select([~ever, widowed, apart, separated, together], [6, 5, 3, 4, 2], 1)
        return codes <= 2, codes

    def _family(self) -> dict[str, Ints]:
        spells = np.clip((self.age - 18) / 20.0, 0.0, 1.0) * np.where(self.marital == 6, 0.1, 1.0)
        children = np.minimum(self._rng.poisson(self._of("children") * spells), 7)
        at_home = self._rng.binomial(children, np.where(self.age < 50, 0.85, 0.25))
        share = np.where(self.marital == 6, np.where(self.age < 30, 0.65, 0.3), 1.0)
        own = self._chance(np.where(self.marital == 6, share, self._of("with_parents")))
        own &= self.age < 70
        in_law = self.married & self._chance(self._of("with_parents") * 0.5) & (self.age < 65)
        living = np.select([own & in_law, in_law, own], [4, 3, 2], 1)
        parents = (own + in_law.astype(np.int64)) * (1 + self._chance(0.6))
        size = 1 + self.married + at_home + parents + self._chance(0.06)
        return {
            "Q270": np.minimum(size, 7),
            "Q271": living,
            "Q273": self.marital,
            "Q274": children,
        }

    def _origins(self) -> dict[str, Ints]:
        """Where respondents and their parents were born, citizenship, the language at home."""
        foreign = np.array([data["sources"][0] for data in self._population.countries.values()])
        source = foreign[self._people.country]
        for index, data in enumerate(self._population.countries.values()):
            here = self._people.country == index
            source[here] = self._rng.choice(data["sources"], size=here.sum())
        share = self._of("immigrants") / 100.0
        moved = self._chance(share)
        mother = self._chance(np.where(moved, 0.95, share * 0.6))
        father = np.where(self._chance(0.85), mother, self._chance(np.where(moved, 0.95, share)))
        away = {"Q266": moved, "Q267": mother, "Q268": father}
        columns = {name: np.where(abroad, source, self.country) for name, abroad in away.items()}
        columns |= {"Q263": 1 + moved, "Q264": 1 + mother, "Q265": 1 + father}
        columns["Q269"] = 1 + (moved & self._chance(0.45))
        home = np.array([data["language"][0] for data in self._population.countries.values()])
        columns["Q272"] = np.where(moved & self._chance(0.6), 9000, home[self._people.country])
        return columns

    def _schooled(self, scores: Floats, shift: float = 0.0) -> Ints:
        """Return ISCED codes of schooling scores; a shift lowers the whole generation."""
        codes = np.zeros(self._n, dtype=np.int64)
        for index, data in enumerate(self._population.countries.values()):
            here = self._people.country == index
            shares = np.cumsum(data["education"]) / np.sum(data["education"])
            codes[here] = np.searchsorted(normal_quantile(shares[:-1]), scores[here] - shift)
        return codes

    def _like(self, scores: Floats, correlation: float) -> Floats:
        """Draw standard scores that correlate with given ones."""
        noise = self._rng.standard_normal(self._n)
        related: Floats = correlation * scores + np.sqrt(1.0 - correlation**2) * noise
        return related

    def _schooling(self) -> dict[str, Ints]:
        own = self._trait("education")
        mother = self._like(own, 0.5)
        own_codes = self._schooled(own)
        # A first degree takes until about 21, a doctorate until 26: the young have not got there.
        reachable = np.select([self.age < 21, self.age < 23, self.age < 26], [4, 6, 7], 8)
        spouse = np.where(self.married, self._schooled(self._like(own, 0.55)), NOT_APPLICABLE)
        father = self._schooled(self._like(mother, 0.6), 0.6)
        columns = {"Q275": np.minimum(own_codes, reachable), "Q276": spouse}
        return columns | {"Q277": self._schooled(mother, 0.75), "Q278": father}

    def _employed(self, age: Ints, female: Bools, schooling: Ints) -> Ints:
        """Return codes of employment (Q279) for people of an age, sex and schooling."""
        housewife = female & (age < 75) & self._chance(self._of("housewife") / 100.0)
        studying = (age < 27) & self._chance(np.clip(0.55 - 0.06 * (age - 18), 0.05, 0.55))
        retired = (age >= _PENSION - 5) & self._chance(np.where(age >= _PENSION, 0.88, 0.3))
        unemployed = self._chance(np.where(schooling >= 5, 0.04, 0.08))
        part = self._chance(np.where(female, 0.25, 0.07))
        conditions = [studying, housewife, retired, unemployed, self._chance(0.02), part]
        return np.select([*conditions, self._chance(0.13)], [6, 5, 4, 7, 8, 2, 3], 1)

    def _occupation(self, scores: Floats, never: Bools) -> Ints:
        """Return occupational groups (Q281): 0 for those who never had a job."""
        rank = np.searchsorted(normal_quantile(_RANK_CUTS), self._like(scores, 0.6))
        return np.where(never, 0, _BY_RANK[rank])

    def _work(self, columns: Mapping[str, Ints]) -> dict[str, Ints]:
        own = self._employed(self.age, self.female, columns["Q275"])
        partner_age = np.maximum(self.age + np.where(self.female, 3, -3), _YOUNGEST)
        spouse = self._employed(partner_age, ~self.female, columns["Q276"])
        never = ((own == 6) & self._chance(0.6)) | ((own == 5) & self._chance(0.45))
        spouse_never = ((spouse == 6) & self._chance(0.6)) | ((spouse == 5) & self._chance(0.45))
        schooling = self._trait("education")
        job = self._occupation(schooling, never)
        partner_job = self._occupation(self._like(schooling, 0.5), spouse_never)
        public = self._chance(self._of("public") / 100.0 * np.where(columns["Q275"] >= 5, 1.5, 0.8))
        sector = np.where(public, 1, np.where(self._chance(0.06), 3, 2))
        earning = np.isin(own, (1, 2, 3, 4))
        chief = ~self.married | self._chance(np.where(self.female, 0.25, 0.75))
        no_job = np.full(self._n, False)
        return {
            "Q279": own,
            "Q280": np.where(self.married, spouse, NOT_APPLICABLE),
            "Q281": job,
            "Q282": np.where(self.married, partner_job, NOT_APPLICABLE),
            "Q283": self._occupation(self._like(schooling, 0.4) - 0.3, no_job),
            "Q284": np.where(job == 0, NOT_APPLICABLE, sector),
            "Q285": np.where((earning & chief) | (columns["Q270"] == 1), 1, 2),
        }

    def _money(self, columns: Mapping[str, Ints]) -> dict[str, Ints]:
        income = self._trait("income")
        standing = self._like(0.7 * income + 0.3 * self._trait("education"), 0.75)
        classes = 5 - np.searchsorted([-1.4, -0.4, 0.6, 2.1], standing)
        savings = 4 - np.searchsorted([-1.5, -1.0, 0.5], self._like(income, 0.45))
        step = np.clip(np.rint(5.0 + 2.0 * income), 1, 10).astype(np.int64)
        return {"Q286": savings, "Q287": classes, "Q288": step}

    def _belonging(self, columns: Mapping[str, Ints]) -> dict[str, Ints]:
        """Denomination, party and group; the last two are made-up codes of the country."""
        faith = self._people.latent[:, self._population.names.index("faith")]
        denomination = np.zeros(self._n, dtype=np.int64)
        for index, data in enumerate(self._population.countries.values()):
            here = np.flatnonzero(self._people.country == index)
            drawn = _denominations(data["faiths"], faith[here], self._rng)
            denomination[here] = drawn
        party = 1 + self._one_of("parties")
        group = 1 + self._one_of("groups")
        return {
            "Q223": self.country * 1000 + party,
            "Q289": denomination,
            "Q290": self.country * 1000 + group,
        }


def _denominations(shares: Mapping[int, float], faith: Floats, rng: np.random.Generator) -> Ints:
    """Draw denominations (Q289): the less faith, the likelier none."""
    codes: Sequence[int] = [code for code in shares if code != 0]
    weights = np.array([shares[code] for code in codes], dtype=np.float64)
    none = shares.get(0, 0.0) / (shares.get(0, 0.0) + weights.sum())
    # Faith and chance together have a standard deviation of 1.35: the country's share is kept.
    odds = normal_quantile(np.array([none]))[0] * 1.35 if none else -np.inf
    outside = rng.normal(size=len(faith)) * 0.9 + faith < odds
    drawn: Any = rng.choice(codes, size=len(faith), p=weights / weights.sum())
    return np.where(outside, 0, drawn)
