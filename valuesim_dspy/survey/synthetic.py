"""A synthetic population in the file format of the World Values Survey, wave 7.

Good for running, testing and teaching: every column, code, missing kind and constraint of the
official file is there, and answers depend on each other, on country, on demographics and on
response style. Good for nothing else: no person in it exists, its parameters are invented except
for some published country shares, and no statement about people, countries or models can rest on
it. Its `version` and `doi` columns say so in every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.survey.choices import fit_choice, fit_picks, picks_per_person, top
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.dimensions import (
    Ints,
    Latents,
    Population,
    draw_people,
    expand,
    load_population,
    read_population,
    spread_evenly,
)
from valuesim_dspy.survey.households import NOT_APPLICABLE, Households
from valuesim_dspy.survey.responses import GradedModel, graded_items, published_shares

if TYPE_CHECKING:
    from valuesim_dspy.survey.respondents import Respondents

SYNTHETIC_STAMP = "synthetic"
SYNTHETIC_VERSION = "SYNTHETIC-1"
SYNTHETIC_DOI = "synthetic, not survey data"
DEFAULT_SIZE = 5000

Column = NDArray[Any]
_DONT_KNOW, _NO_ANSWER, _NOT_ASKED, _MISSING = -1, -2, -4, -5
_UNSURE = 0.01
_ATTRIBUTES = (
    "version",
    "doi",
    "A_YEAR",
    "B_COUNTRY",
    "B_COUNTRY_ALPHA",
    "D_INTERVIEW",
    "W_WEIGHT",
    "S018",
)
_ONLINE = ("Q217", "Q218", "Q219", "Q220")
_ALWAYS = frozenset({"Q260", "Q261", "Q262"})
_REFUSED = {"Q288": 0.05, "Q223": 0.12, "Q277": 0.04, "Q278": 0.05, "Q283": 0.05, "Q286": 0.02}

# Columns that the official file derives: where the groups part, and the groups' codes.
_RECODES: dict[str, dict[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    **{f"Q{n}": {f"Q{n}_3": ((3, 4), (1, 3, 2))} for n in (33, 34, 35)},
    **{f"Q{n}": {f"Q{n}R": ((1,), (0, 1))} for n in range(94, 106)},
    "Q172": {"Q172R": ((3, 5, 7), (1, 2, 3, 4))},
    "Q262": {
        "X003R": ((25, 35, 45, 55, 65), (1, 2, 3, 4, 5, 6)),
        "X003R2": ((30, 50), (1, 2, 3)),
    },
    **{f"Q{n}": {f"Q{n}R": ((3, 5), (1, 2, 3))} for n in range(275, 279)},
    "Q288": {"Q288R": ((4, 8), (1, 2, 3))},
}


def synthesize(n: int, *, seed: int = 0, codebook: Codebook | None = None) -> Respondents:
    """Return a synthetic population in memory, equal to its written file row for row.

    Args:
        n: How many people, at least 1; spread evenly over the countries.
        seed: The same seed gives the same people.
        codebook: The questions to keep; by default all of the packaged ``wvs7``. The answers are
            drawn on that one whatever is given here.

    Returns:
        The respondents, marked as synthetic by their `version` and `doi`.

    Raises:
        ConfigError: If `n` is below 1 or the seed is negative.
    """
    from valuesim_dspy.survey.respondents import Respondents

    book = load_codebook() if codebook is None else codebook
    columns = _columns(n, seed)
    return Respondents.from_columns(
        questions={name: columns[name] for name in book.questions if name in columns},
        attributes={name: columns[name] for name in _ATTRIBUTES},
        codebook=book,
    )


def write_synthetic(path: str | Path, n: int = DEFAULT_SIZE, *, seed: int = 0) -> Path:
    """Write a synthetic population as a CSV file with the official columns.

    Args:
        path: The file; replaced if it exists.
        n: How many people, at least 1.
        seed: The same seed writes the same bytes.

    Returns:
        The path.

    Raises:
        ConfigError: If `n` is below 1 or the seed is negative.
        MissingDataError: If the folder is not there.
    """
    import pyarrow as pa
    import pyarrow.csv

    path = Path(path)
    if not path.parent.is_dir():
        raise MissingDataError(f"{path.parent}: no such folder", "make it, or choose another")
    table = pa.table(_columns(n, seed))
    part = path.with_name(path.name + ".part")
    pa.csv.write_csv(table, part)
    part.replace(path)
    return path


def _columns(n: int, seed: int) -> dict[str, Column]:
    """Return all columns of the file in its order."""
    if n < 1:
        raise ConfigError("give at least 1 respondent", key="respondents", value=n)
    if seed < 0:
        raise ConfigError("give a seed of 0 or more", key="seed", value=seed)
    population, spec = load_population(), read_population("wvs7_questions")
    country = spread_evenly(n, len(population.countries))
    draws = [np.random.default_rng([seed, stream]) for stream in range(6)]
    people = draw_people(population, country, draws[0])
    answers = _value_answers(population, people, spec, draws[1:4])
    homes = Households(population, people, draws[4])
    demographics = homes.answers()
    answers |= demographics
    _exceptions(answers, population, draws[5])
    _leave_gaps(answers, people, population, spec, draws[5])
    return {**_technical(population, people, homes, draws[5]), **_in_file_order(answers)}


def _value_answers(
    population: Population,
    people: Latents,
    spec: Mapping[str, Any],
    draws: list[np.random.Generator],
) -> dict[str, Ints]:
    """Return answers to the questions outside the demographics, before any are taken away."""
    shares = published_shares()
    items = graded_items(load_codebook(), population, spec)
    answers = GradedModel(items, population, shares, spec["echoes"]).answer(people, draws[0])
    for question, choice in spec["choices"].items():
        published = {
            country: rows[question] for country, rows in shares.items() if question in rows
        }
        model = fit_choice(population, choice["shares"], choice["loads"], published)
        ranked = model.ranked(people, draws[1])
        answers[question] = ranked[:, 0]
        if "second" in choice:
            answers[choice["second"]] = ranked[:, 1]
    picked = expand(spec["picks"]["questions"])
    picks, counts = fit_picks(population, picked, spec["picks"], shares)
    number = picks_per_person(counts[people.country], spec["picks"]["most"], draws[2])
    chosen = top(picks.utilities(people, draws[2]), number)
    answers |= {name: np.where(chosen[:, at] > 0, 1, 2) for at, name in enumerate(picked)}
    return answers


def _exceptions(
    answers: dict[str, Ints],
    population: Population,
    rng: np.random.Generator,
) -> None:
    """Put in the codes off their scales, and what goes with not being a citizen."""
    n = len(answers["Q269"])
    for ranges, codes in population.spec["off_scale"].items():
        for question in expand(ranges):
            for code, chance in codes.items():
                answers[question] = np.where(rng.random(n) < chance, code, answers[question])
    foreign = answers["Q269"] == 2
    answers["Q222"] = np.where(foreign, 4, answers["Q222"])
    answers["Q221"] = np.where(foreign & (rng.random(n) < 0.7), 4, answers["Q221"])
    answers["Q254"] = np.where(foreign & (rng.random(n) < 0.8), 5, answers["Q254"])


def _unsure(spec: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of "don't know" by question where it is not the usual one."""
    shares: dict[str, float] = {}
    for group in spec["graded"]:
        shares |= dict.fromkeys(expand(group["questions"]), group.get("unsure", _UNSURE))
    for question, choice in spec["choices"].items():
        shares |= dict.fromkeys((question, choice.get("second", question)), choice["unsure"])
    return shares


def _leave_gaps(
    answers: dict[str, Ints],
    people: Latents,
    population: Population,
    spec: Mapping[str, Any],
    draws: np.random.Generator,
) -> None:
    """Take answers away: not known, not given, lost, no internet, not asked in the country."""
    unsure, factor = _unsure(spec), np.exp(people.unsure)
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


def _technical(
    population: Population, people: Latents, homes: Households, rng: np.random.Generator
) -> dict[str, Column]:
    """Return the columns before the questions."""
    n, country = len(people.country), people.country
    places = list(population.countries.values())
    start, end = np.array([place["months"] for place in places])[country].T
    language = np.array([place["language"][0] for place in places])[country]
    size = np.where(homes.urban, rng.integers(3, 6, n), rng.integers(1, 3, n))
    sizes = np.bincount(country, minlength=len(places))
    nth = np.arange(n) - np.concatenate([[0], np.cumsum(sizes)[:-1]])[country]
    weight = np.exp(rng.normal(0.0, 0.25, n))
    mean = np.bincount(country, weight, len(places))[country] / sizes[country]
    weight = np.round(weight / mean, 6)
    return {
        "version": np.full(n, SYNTHETIC_VERSION),
        "doi": np.full(n, SYNTHETIC_DOI),
        "A_STUDY": np.full(n, 2),
        "A_WAVE": np.full(n, 7),
        "A_YEAR": homes.year,
        "B_COUNTRY": homes.country,
        "B_COUNTRY_ALPHA": np.array(list(population.countries))[country],
        "D_INTERVIEW": homes.country * 1_000_000 + 70_001 + nth,
        "FW_END": end,
        "FW_START": start,
        "K_DURATION": np.rint(np.clip(rng.normal(60, 15, n), 20, 180)).astype(np.int64),
        "Q_MODE": np.full(n, 1),
        "G_TOWNSIZE2": size,
        "H_URBRURAL": np.where(homes.urban, 1, 2),
        "S_INTLANGUAGE": language,
        "LNGE_ISO": np.array([place["language"][1] for place in places])[country],
        "E_RESPINT": 1 + np.searchsorted([0.8, 1.8], rng.normal(people.unsure, 1.0) + 0.45),
        "W_WEIGHT": weight,
        "S018": np.round(weight * 1000.0 / sizes[country], 6),
        "S025": homes.country * 10_000 + homes.year,
    }


def _in_file_order(answers: Mapping[str, Ints]) -> dict[str, Column]:
    """Return Q1 to Q290, each followed by what the official file derives from it."""
    columns: dict[str, Column] = {}
    for number in range(1, 291):
        question = f"Q{number}"
        codes = columns[question] = answers[question]
        for name, (cuts, values) in _RECODES.get(question, {}).items():
            recoded = np.array(values)[np.searchsorted(cuts, codes, side="right")]
            columns[name] = np.where(codes < 0, codes, recoded)
    return columns
