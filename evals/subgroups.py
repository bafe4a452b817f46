"""Results by topic, by kind of question and by group of people, each with its size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from evals.intervals import clustered_interval
from evals.metric import NAN, Metric
from valuesim_dspy.errors import ConfigError

if TYPE_CHECKING:
    from valuesim_dspy.survey.respondents import Respondent, Respondents

AGES = ((0, "under 30"), (30, "30 to 44"), (45, "45 to 59"), (60, "60 and over"))
SCHOOLING = ((0, "lower secondary or less"), (3, "upper secondary"), (5, "tertiary"))
UNKNOWN = ""
LEAST_PEOPLE = 10
"""People below whom a group has no numbers of its own: only its size is shown."""


def _band(bands: tuple[tuple[int, str], ...], value: int | None) -> str:
    if value is None:
        return UNKNOWN
    return next(name for least, name in reversed(bands) if value >= least)


PEOPLE: Mapping[str, Callable[[Respondent], str]] = {
    "sex": lambda person: person.sex or UNKNOWN,
    "age": lambda person: _band(AGES, person.age),
    "education": lambda person: _band(SCHOOLING, person.education),
}
"""Name of a column to the group of a respondent; "" where unknown."""

GROUPS = ("section", "kind", "scale_kind", "country", *PEOPLE)
"""The columns by which results are broken down: of questions first, then of people."""


def with_people(
    frame: pd.DataFrame, respondents: Respondents, places: Iterable[int]
) -> pd.DataFrame:
    """Return a scored table with `weight` and the columns of `PEOPLE`.

    Args:
        frame: As `evals.metrics.score_frame` makes it.
        respondents: The survey.
        places: Where in it the people of the table are.

    Raises:
        ConfigError: Somebody in the table is none of these people.
    """
    known = {}
    for place in places:
        person = respondents[place]
        groups = {name: group(person) for name, group in PEOPLE.items()}
        known[person.key(respondents.digest)] = {"weight": person.weight, **groups}
    strangers = set(frame["respondent"]) - set(known)
    if strangers:
        raise ConfigError(f"{len(strangers)} people of the table are not of these respondents")
    added = pd.DataFrame.from_dict(known, orient="index", columns=["weight", *PEOPLE])
    return frame.join(added, on="respondent")


def results_by(frame: pd.DataFrame, column: str, *, seed: int = 0) -> pd.DataFrame:
    """Return accuracy and nMAE in each group of a column.

    Args:
        frame: A scored table.
        column: One of `GROUPS`.
        seed: Of the bootstrap.

    Returns:
        One row a group, the largest first: `group`, `people`, `questions`, `cases`, `accuracy`,
        `low`, `high` (95 % interval by respondent) and `nmae`; NaN in groups of fewer than
        `LEAST_PEOPLE` people. Cases of unknown group stand under "unknown".

    Raises:
        ConfigError: The table has no such column.
    """
    if column not in frame:
        raise ConfigError(
            "the table has no such column", key="column", value=column, allowed=GROUPS
        )
    rows = []
    for group, cases in frame.groupby(column, dropna=False):
        people = cases["respondent"].nunique()
        row = {
            "group": str(group) if isinstance(group, str) and group else "unknown",
            "people": people,
            "questions": cases["question"].nunique(),
            "cases": len(cases),
            **dict.fromkeys(("accuracy", "low", "high", "nmae"), NAN),
        }
        if people >= LEAST_PEOPLE:
            found = clustered_interval(cases["correct"], cases["respondent"], seed=seed)
            row |= {"accuracy": found.estimate, "low": found.low, "high": found.high}
            row["nmae"] = float(cases["error"].mean())
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.sort_values(["cases", "group"], ascending=[False, True], ignore_index=True)


def accuracy_weighted(frame: pd.DataFrame) -> float:
    """Return accuracy weighted by W_WEIGHT within countries, and each country alike.

    Returns:
        In [0, 1]; NaN without weights. People of an unknown country stand for one more.
    """
    if "weight" not in frame or "country" not in frame or frame.empty:
        return NAN
    weighed = frame.assign(right=frame["correct"] * frame["weight"])
    sums = weighed.groupby("country")[["right", "weight"]].sum()
    return float((sums["right"] / sums["weight"].where(sums["weight"] > 0)).mean())


WEIGHTED = (
    Metric(
        "accuracy_weighted",
        "Accuracy weighted by W_WEIGHT within countries; the mean of the countries' values.",
        "share, 0 to 1",
        True,
        accuracy_weighted,
    ),
)
