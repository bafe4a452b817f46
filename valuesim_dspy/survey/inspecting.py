"""What is in a survey file, by year and country: what `valuesim data check` says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.survey.answers import NOT_IN_FILE, UNKNOWN_CODE
from valuesim_dspy.survey.describing import report_lines
from valuesim_dspy.survey.question import Question
from valuesim_dspy.survey.respondents import Respondents

UNKNOWN_COUNTRY = "unknown"
_SHOWN = 12

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Inspection:
    """What the report of a read does not say; counts only, no row.

    Args:
        years: People by year of the interview; 0 for an unknown one.
        weighted: The share of people whose weight is given, in [0, 1].
        weights: The least, the mean and the largest weight.
        missing: For each country, the share of its cells by kind of missing, in [0, 1].
        not_asked: For each country, the questions with a column that nobody there answered.
    """

    years: Mapping[int, int]
    weighted: float
    weights: tuple[float, float, float]
    missing: Mapping[str, Mapping[str, float]]
    not_asked: Mapping[str, tuple[str, ...]]

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return {
            "years": {str(year): count for year, count in self.years.items()},
            "weighted": self.weighted,
            "weights": dict(zip(("least", "mean", "largest"), self.weights, strict=True)),
            "missing_by_country": {name: dict(kinds) for name, kinds in self.missing.items()},
            "not_asked": {name: list(ids) for name, ids in self.not_asked.items()},
        }


def inspect_respondents(respondents: Respondents) -> Inspection:
    """Count what is there and what is not, country by country."""
    countries = sorted(respondents.countries)
    place = {alpha: at for at, alpha in enumerate(countries)}
    home = np.array([place[alpha] for alpha in respondents.alphas])
    people = np.bincount(home, minlength=len(countries))
    missing: list[Counter[str]] = [Counter() for _ in countries]
    silent: dict[str, list[str]] = {}
    columns = 0
    for question in respondents.codebook:
        codes = respondents.column(question.id)
        if codes[0] == NOT_IN_FILE:
            continue
        columns += 1
        answered = np.bincount(home[codes >= 0], minlength=len(countries))
        for at in np.flatnonzero(answered == 0).tolist():
            silent.setdefault(_name(countries[at]), []).append(question.id)
        for kind, counts in _missing(question, codes, home, len(countries)):
            for at in np.flatnonzero(counts).tolist():
                missing[at][kind] += int(counts[at])
    weights = respondents.weights
    return Inspection(
        years=dict(sorted(Counter(respondents.years.tolist()).items())),
        weighted=respondents.report.weighted / max(1, respondents.report.rows),
        weights=(float(weights.min()), float(weights.mean()), float(weights.max())),
        missing={
            _name(alpha): {
                kind: count / max(1, int(people[at]) * columns)
                for kind, count in missing[at].most_common()
            }
            for at, alpha in enumerate(countries)
        },
        not_asked={name: tuple(ids) for name, ids in sorted(silent.items())},
    )


def _missing(
    question: Question, codes: Array, home: Array, countries: int
) -> Iterable[tuple[str, Array]]:
    """For each kind of missing, how many there are in each country."""
    kinds = {**question.missing, UNKNOWN_CODE: "unknown-code"}
    for code in np.unique(codes[codes < 0]).tolist():
        yield kinds[code], np.bincount(home[codes == code], minlength=countries)


def _name(alpha: str) -> str:
    return alpha or UNKNOWN_COUNTRY


def check_lines(respondents: Respondents) -> list[str]:
    """Return what was found in a file, one matter a line: counts only, no row."""
    found = inspect_respondents(respondents)
    low, mean, high = found.weights
    lines = [
        *report_lines(respondents),
        f"years       {_counts(found.years)}",
        f"weights     {found.weighted:.1%} of people have one; "
        f"least {low:.3g}, mean {mean:.3g}, largest {high:.3g}",
    ]
    kinds = sorted({kind for shares in found.missing.values() for kind in shares})
    if kinds:
        lines += ["", f"missing, % of cells{''.join(f'{kind:>16}' for kind in kinds)}"]
        lines += [
            f"{country:<19}" + "".join(f"{100 * shares.get(kind, 0.0):>16.1f}" for kind in kinds)
            for country, shares in found.missing.items()
        ]
    if found.not_asked:
        lines += ["", "answered by nobody there"]
        lines += [f"{country:<12}{_names(ids)}" for country, ids in found.not_asked.items()]
    return lines


def _counts(years: Mapping[int, int]) -> str:
    return ", ".join(f"{year or 'unknown'} {count}" for year, count in years.items())


def _names(ids: tuple[str, ...]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return f"{len(ids)} questions: {', '.join(ids[:_SHOWN])}{more}"
