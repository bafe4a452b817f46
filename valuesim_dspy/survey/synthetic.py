"""A synthetic population in the file format of the World Values Survey, wave 7.

Good for running, testing and teaching: every column, code, missing kind and constraint of the
official file is there, and answers depend on each other, on country, on demographics and on
response style. Good for nothing else: no person in it exists, its parameters are invented except
for some published country shares, and no statement about people, countries or models can rest on
it. Its `version` and `doi` columns say so in every row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.survey.choices import ChoiceModel, fit_choice, fit_picks, picks_per_person, top
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.dimensions import (
    Floats,
    Ints,
    Latents,
    Population,
    draw_people,
    expand,
    load_population,
    read_population,
    spread_evenly,
)
from valuesim_dspy.survey.gaps import add_exceptions, leave_gaps
from valuesim_dspy.survey.households import Households
from valuesim_dspy.survey.official import official
from valuesim_dspy.survey.responses import GradedModel, graded_items, published_shares

if TYPE_CHECKING:
    from valuesim_dspy.survey.respondents import Respondents

SYNTHETIC_STAMP = "synthetic"
SYNTHETIC_VERSION = "SYNTHETIC-1"
SYNTHETIC_DOI = "synthetic, not survey data"
DEFAULT_SIZE = 5000
BLOCK = 20_000  # people who are drawn together

Column = NDArray[Any]
_QUESTIONS = "wvs7_questions"
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


def write_synthetic(
    path: str | Path,
    n: int = DEFAULT_SIZE,
    *,
    seed: int = 0,
    official_shape: bool = False,
) -> Path:
    """Write a synthetic population as a CSV file with the official columns.

    It is drawn and written a few countries at a time: memory grows with the largest country.

    Args:
        path: The file; replaced if it exists.
        n: How many people, at least 1.
        seed: The same seed writes the same bytes.
        official_shape: Whether to write as many columns as the official file has, those that
            nothing reads filled with a constant.

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
    part = path.with_name(path.name + ".part")
    blocks = (pa.table(official(block) if official_shape else block) for block in _blocks(n, seed))
    first = next(blocks)
    try:
        with pa.csv.CSVWriter(part, first.schema) as writer:
            for table in chain([first], blocks):
                writer.write_table(table)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _columns(n: int, seed: int) -> dict[str, Column]:
    """Return all columns of the file in its order."""
    blocks = list(_blocks(n, seed))
    if len(blocks) == 1:
        return blocks[0]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _blocks(n: int, seed: int) -> Iterator[dict[str, Column]]:
    """Yield all columns for whole countries, as many at a time as fit in a block."""
    if n < 1:
        raise ConfigError("give at least 1 respondent", key="respondents", value=n)
    if seed < 0:
        raise ConfigError("give a seed of 0 or more", key="seed", value=seed)
    population, spec = load_population(), read_population(_QUESTIONS)
    country = spread_evenly(n, len(population.countries))
    together = max(1, BLOCK * len(population.countries) // n)
    for block in range(country[-1] // together + 1):
        here = country[country // together == block]
        # The first block's numbers are those of a population that fits in one.
        entropy = [[seed, stream, *([block] if block else [])] for stream in range(6)]
        draws = [np.random.default_rng(words) for words in entropy]
        people = draw_people(population, here, draws[0])
        answers = _value_answers(people, draws[1:4])
        homes = Households(population, people, draws[4])
        answers |= homes.answers()
        add_exceptions(answers, population, draws[5])
        leave_gaps(answers, people, population, spec, draws[5])
        technical = _technical(population, people, homes, draws[5])
        yield {**technical, **_in_file_order(answers)}


@dataclass(frozen=True)
class _Models:
    """What answers the questions outside the demographics; the same for every seed."""

    graded: GradedModel
    choices: Mapping[str, tuple[ChoiceModel, str | None]]
    picks: ChoiceModel
    picked: tuple[str, ...]
    counts: Floats
    most: int


@lru_cache(maxsize=1)
def _models() -> _Models:
    """Fit thresholds and intercepts to the published shares, once per process."""
    population, spec, shares = load_population(), read_population(_QUESTIONS), published_shares()
    items = graded_items(load_codebook(), population, spec)
    choices = {}
    for question, entry in spec["choices"].items():
        published = {name: rows[question] for name, rows in shares.items() if question in rows}
        model = fit_choice(population, entry["shares"], entry["loads"], published)
        choices[question] = (model, entry.get("second"))
    picked = expand(spec["picks"]["questions"])
    picks, counts = fit_picks(population, picked, spec["picks"], shares)
    graded = GradedModel(items, population, shares, spec["echoes"])
    return _Models(graded, choices, picks, picked, counts, spec["picks"]["most"])


def _value_answers(people: Latents, draws: list[np.random.Generator]) -> dict[str, Ints]:
    """Return answers to the questions outside the demographics, before any are taken away."""
    models = _models()
    answers = models.graded.answer(people, draws[0])
    for question, (model, second) in models.choices.items():
        ranked = model.ranked(people, draws[1])
        answers[question] = ranked[:, 0]
        if second:
            answers[second] = ranked[:, 1]
    number = picks_per_person(models.counts[people.country], models.most, draws[2])
    chosen = top(models.picks.utilities(people, draws[2]), number)
    for place, question in enumerate(models.picked):
        answers[question] = np.where(chosen[:, place] > 0, 1, 2)
    return answers


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
