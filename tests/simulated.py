"""A small simulation for the tests of engines: made-up people, a plan, journals to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.journal import Journal, Shard
from valuesim_dspy.lm import make_lm
from valuesim_dspy.plan import Opened, Plan
from valuesim_dspy.simulate import run_rows
from valuesim_dspy.survey.synthetic import write_synthetic

CLOCK_AND_CACHE = ("seconds", "paid", "paid_tokens")


def write_people(folder: Path, people: int = 40) -> Path:
    """Write a synthetic survey."""
    return write_synthetic(folder / "people.csv", people, seed=3)


def journal_of(opened: Opened, path: Path, shard: Shard | None = None) -> Journal:
    """Begin or take up a journal of a plan."""
    width = len(opened.questions)
    return Journal.open(path, opened.arguments(), opened.total, shard=shard, width=width)


def run_here(opened: Opened, journal: Journal, at: Any = None) -> None:
    """Answer with the local engine."""
    with ResponseCache().installed():
        run_rows(opened, journal, lm=make_lm(opened.plan.lm), at=at)


def rows_of(journal: Journal) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows without what the clock and the cache decide."""
    return [
        (number, {k: v for k, v in vars(outcome).items() if k not in CLOCK_AND_CACHE})
        for number, outcome in journal.outcomes()
    ]


def small_plan(survey: Path, **known: Any) -> Plan:
    """Return a plan of two questions to eight people, for the embedded model."""
    settings = {"program": "single", "questions": ("Q69", "Q70"), "sample": 8}
    return Plan(survey=str(survey), **{**settings, **known})
