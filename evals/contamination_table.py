"""Recall of a survey's shares, and whether accuracy follows it: tables and words of aggregates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evals.intervals import Interval, clustered_interval
from evals.metrics import MIN_COVERAGE
from evals.recall import cell_correlation
from evals.robustness_table import NONE, ends_of, gap, is_apart, markdown, points, wrapped

if TYPE_CHECKING:
    import pandas as pd

    from evals.benchmark import Result

SEED = 0
SHOWN = 5
"""Countries shown at either end."""
MEANS = (
    "What it means: as far as recall goes, the model knows what is usual in a country, and where "
    "accuracy goes with recall, some of it can be had without anybody's own answers. What it does "
    "not mean: that the survey's rows, or any person's answers, were in what the model was trained "
    "on; nor does poor recall show that they were not. Questions on which most people agree are "
    "easily recalled and easily foreseen, which is why the last column holds the share of the "
    "commonest answer fixed."
)
LEGEND = (
    "Distance: total variation from the survey's shares, 0 is the same, in points; sampling alone: "
    "what the survey's own sample size makes one expect; top-1: the commonest answer is named, "
    "failures count as wrong; failed: no share for every option after all retries; intervals by "
    "question."
)


def by_question(cells: pd.DataFrame, column: str) -> Interval:
    """Return the mean of a column over cells, clustered by question."""
    return clustered_interval(cells[column], cells["question"].to_numpy(str), seed=SEED)


def is_recalled(cells: pd.DataFrame) -> bool:
    """Return whether enough cells were answered for recall to be reported."""
    return bool((cells["status"] == "answered").mean() >= MIN_COVERAGE)


def follows(cells: pd.DataFrame, arm: str, given: str | None = None) -> Interval:
    """Return the correlation over cells of an arm's accuracy with recall, 1 less the distance."""
    return cell_correlation(cells, arm, given=given, seed=SEED)


def spread(name: str, found: Interval) -> dict[str, float]:
    """Return an interval as numbers for MLflow."""
    return {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}


def recall_numbers(cells: pd.DataFrame) -> dict[str, float]:
    """Return what MLflow keeps of recall; no scores where too few cells were answered."""
    numbers = {"coverage": float((cells["status"] == "answered").mean())}
    if is_recalled(cells):
        for name, column in (("distance", "distance"), ("recall_top1", "top")):
            numbers |= spread(name, by_question(cells, column))
        numbers["distance_uniform"] = float(cells["uniform"].mean())
        numbers["distance_sampling"] = float(cells["sampling"].mean())
    return numbers


def recall_table(cells: pd.DataFrame) -> str:
    """Return how near the model's shares come to the survey's, beside uniform shares."""
    heads = ("shares", "pairs", "distance [95 %]", "minus uniform", "top-1 % [95 %]", "failed")
    count = f"{len(cells):,}"
    failed = f"{points(1 - float((cells['status'] == 'answered').mean()))} %"
    if is_recalled(cells):
        told = cells.assign(gain=cells["distance"] - cells["uniform"])
        found = [_mean(told, "distance"), gap(by_question(told, "gain")), _mean(told, "top")]
    else:
        found = ["invalid"] * 3
    uniform = [_mean(cells, "uniform"), NONE, points(float(cells["even"].mean())), NONE]
    sampling = [points(float(cells["sampling"].mean())), *[NONE] * 3]
    rows = [("the model's", count, *found, failed), ("uniform", count, *uniform)]
    table = markdown(heads, [*rows, ("sampling alone", count, *sampling)])
    return f"{table}\n\n{wrapped(LEGEND)}"


def _mean(cells: pd.DataFrame, column: str) -> str:
    found = by_question(cells, column)
    return f"{points(found.estimate)} {ends_of(found)}"


def country_table(cells: pd.DataFrame) -> str:
    """Return the countries that are recalled best and worst."""
    if not is_recalled(cells):
        return ""
    by = cells.groupby("country")
    found = by[["distance", "uniform", "top"]].mean()
    found = found.assign(pairs=by.size(), people=by["people"].max())
    found = found.sort_values(["distance"], kind="stable")
    shown = found if len(found) <= 2 * SHOWN else found.iloc[[*range(SHOWN), *range(-SHOWN, 0)]]
    rows = [
        (
            str(country),
            f"{row['pairs']:.0f}",
            f"{row['people']:,.0f}",
            *(points(row[name]) for name in ("distance", "uniform", "top")),
        )
        for country, row in shown.iterrows()
    ]
    heads = ("country", "pairs", "people", "distance", "distance of uniform", "top-1 %")
    said = "The countries, the best recalled first:"
    if len(shown) < len(found):
        said = f"The {SHOWN} countries of {len(found)} that are recalled best and worst:"
    return f"{said}\n\n{markdown(heads, rows)}"


def arm_table(cells: pd.DataFrame, results: Sequence[Result]) -> str:
    """Return each arm's accuracy and how it goes with recall."""
    heads = ("arm", "accuracy % [95 %]", "with recall: r [95 %]", "r, commonest share held fixed")
    rows = []
    for result in results:
        score, told = "invalid", [NONE, NONE]
        if result.is_valid:
            score = f"{points(result.accuracy.estimate)} {ends_of(result.accuracy)}"
            if is_recalled(cells):
                told = [_r(follows(cells, result.arm, given)) for given in (None, "modal")]
        rows.append((result.label, score, *told))
    return markdown(heads, rows)


def _r(found: Interval) -> str:
    if found.estimate != found.estimate:
        return NONE
    if found.low != found.low:
        return f"{found.estimate:+.2f} [no interval]"
    return f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def in_words(cells: pd.DataFrame, results: Sequence[Result]) -> str:
    """Return what was found in plain sentences."""
    if not is_recalled(cells):
        return (
            "In words: the model gave shares in too few cases for anything to be said of what it "
            "recalls."
        )
    told = cells.assign(gain=cells["distance"] - cells["uniform"])
    gain = by_question(told, "gain")
    than = "is not shown to be nearer than uniform shares"
    if is_apart(gain):
        than = f"is {'nearer than' if gain.estimate < 0 else 'farther off than'} uniform shares"
    parts = [
        f"In words: told of nobody, the model {than} to the survey's shares "
        f"({points(float(cells['distance'].mean()))} points away, uniform shares "
        f"{points(float(cells['uniform'].mean()))}, sampling alone "
        f"{points(float(cells['sampling'].mean()))}), and names the commonest answer in "
        f"{points(float(cells['top'].mean()))} % of the pairs."
    ]
    parts += [_followed(cells, result) for result in results if result.is_valid]
    return " ".join(parts)


def _followed(cells: pd.DataFrame, result: Result) -> str:
    plain, held = (follows(cells, result.arm, given) for given in (None, "modal"))
    if not is_apart(plain):
        return f"The accuracy of {result.label} is not shown to go with recall."
    way = "higher" if plain.estimate > 0 else "lower"
    after = "and so it is" if is_apart(held) and held.estimate * plain.estimate > 0 else "but not"
    end = "" if after == "and so it is" else " so far as is shown"
    return (
        f"The accuracy of {result.label} is {way} where recall is better, {after} with the share "
        f"of the commonest answer held fixed{end}."
    )
