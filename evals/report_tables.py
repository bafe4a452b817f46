"""The tables of a report: plain numbers for CSV, and the same numbers as text to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evals.report import KNOWS
from evals.report_arms import Setting
from evals.report_cells import ARMS, FIRST, NONE, Row, group_accuracy, lines, str_keys
from evals.report_numbers import headline, matching
from evals.subgroups import LEAST_PEOPLE

CLAIM = (
    "The published claim is made on the first (question folds), where siblings of the target do "
    "most of the work: a question of the same battery is nearly always among what is known."
)
EXPECTED = ("question", "battery", "topic")


@dataclass(frozen=True, eq=False)
class Table:
    """One table.

    Attributes:
        name: Of its files.
        title: What it shows.
        about: What a reader must know of its cases: people, questions, folds, cold or warm.
        frame: Its numbers, shares in [0, 1], for the CSV.
        heads: The heads of what is shown.
        rows: What is shown.
        notes: Sentences under it.
        names: How many columns from the left are names and not numbers.
    """

    name: str
    title: str
    about: str
    frame: pd.DataFrame
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    names: int = 2


def first_table(setting: Setting, numbers: pd.DataFrame, name: str) -> Table:
    """Return the arms that the claim is about, on each kind of fold; those not there are named.

    Args:
        setting: Whose arms.
        numbers: Of its arms, as `setting_numbers` gives them.
        name: Of the table's files.
    """
    rows: list[dict[str, Any]] = []
    extra = [strategy for strategy in setting.strategies if strategy not in EXPECTED]
    for strategy in (*EXPECTED, *extra):
        if strategy not in setting.strategies:
            rows.append({"strategy": strategy, "what": "all six arms", "state": "missing"})
            continue
        for title, (variant, is_compiled) in headline(setting).items():
            found = matching(setting.of(strategy, "cold"), variant, is_compiled)
            if not found:
                rows.append({"strategy": strategy, "what": title, "state": "missing"})
            for arm in found:
                of_strategy = numbers[numbers["strategy"] == strategy]
                line = str_keys(of_strategy[of_strategy["arm"] == arm.label].iloc[0].to_dict())
                own = f": {arm.label}" if len(found) > 1 else ""
                rows.append({**line, "what": f"{_titled(title, line)}{own}"})
    frame = pd.DataFrame(rows)
    missing = [row for row in rows if row["state"] == "missing"]
    return Table(
        name=name,
        title="The first table: what the claim is about",
        about=_about(setting, rows, "cold"),
        frame=frame,
        heads=("folds", "arm", *(head for head, _ in FIRST)),
        rows=lines(rows, FIRST, "what"),
        notes=(
            CLAIM,
            _missing(missing),
            *_unpaired(rows),
            *_spreads(rows),
            "Accuracy: top-1 in %, failures count as wrong. nMAE: error in ranks over the length "
            "of the scale, ordinal questions only, 0 is best. Intervals: 95 %, by respondent. "
            "Differences are paired, on the same cases.",
        ),
    )


def arms_table(setting: Setting, numbers: pd.DataFrame, knows: str, name: str) -> Table | None:
    """Return all arms of a kind, cold or warm, with their costs; None where there are none."""
    rows = _records(numbers, knows)
    if not rows:
        return None
    minus = next((row["minus"] for row in rows if row["minus"]), "")
    shown = tuple((head.replace("RAG", minus or "RAG"), make) for head, make in ARMS)
    return Table(
        name=name,
        title=f"All {knows} arms",
        about=f"{_about(setting, rows, knows)}; {KNOWS[knows]}",
        frame=pd.DataFrame(rows),
        heads=("folds", "arm", *(head for head, _ in shown)),
        rows=lines(rows, shown, "arm"),
        notes=(
            *_unpaired(rows),
            "Crossed: the interval of the same difference when questions are drawn as well as "
            "respondents, for claims about questions that were not asked.",
        ),
    )


def group_table(
    groups: pd.DataFrame, numbers: pd.DataFrame, setting: Setting, column: str, title: str
) -> Table | None:
    """Return accuracy by a column of cases, a group a row with its size, an arm a column.

    Args:
        groups: As `by_group` gives them; the CSV has all of it, nMAE too.
        numbers: Of the setting's arms.
        setting: Whose arms.
        column: What groups are made by.
        title: What it shows.

    Returns:
        None where there are not two groups.
    """
    if groups.empty or groups["group"].nunique() < 2:
        return None
    arms = list(dict.fromkeys(groups["arm"]))
    rows, small = [], 0
    for (strategy, group), own in groups.groupby(["strategy", "group"], sort=False):
        cells = {row["arm"]: group_accuracy(str_keys(row)) for row in own.to_dict("records")}
        if set(cells.values()) == {NONE}:
            small += 1
            continue
        sizes = [f"{own[name].max():,}" for name in ("people", "questions", "cases")]
        rows.append((str(strategy), str(group), *sizes, *(cells.get(arm, NONE) for arm in arms)))
    note = f"{small} groups of fewer than {LEAST_PEOPLE} people have no numbers: only their sizes "
    return Table(
        name=f"by-{column.replace('_', '-')}",
        title=title,
        about=f"{_about(setting, _records(numbers, ''), '')}; accuracy in % [95 %]",
        frame=groups,
        heads=("folds", "group", "people", "questions", "cases", *arms),
        rows=tuple(rows),
        notes=(f"{note}are kept, in the CSV.",) if small else (),
    )


def variance_table(ratios: pd.DataFrame, setting: Setting, numbers: pd.DataFrame) -> Table | None:
    """Return the spread of the variance ratios of questions, an arm a row."""
    known = ratios.dropna(subset=["ratio"])
    if known.empty:
        return None
    by = known.groupby(["strategy", "arm"], sort=False)["ratio"]
    frame = by.describe()[["count", "min", "25%", "50%", "75%", "max"]].reset_index()
    frame["below_1"] = by.apply(lambda found: float((found < 1).mean())).to_numpy()
    rows = tuple(
        (
            *(line["strategy"], line["arm"], f"{line['count']:.0f}"),
            *(f"{line[name]:.2f}" for name in ("25%", "50%", "75%")),
            f"{100 * line['below_1']:.0f}",
        )
        for line in frame.to_dict("records")
    )
    return Table(
        name="variance",
        title="Variance of answers over that of people, by question",
        about=_about(setting, _records(numbers, "cold"), ""),
        frame=ratios,
        heads=("folds", "arm", "questions", "lower quartile", "median", "upper quartile", "% < 1"),
        rows=rows,
        notes=(
            "1 is as varied as people are; below 1 the answers are too much alike. Ordinal "
            f"questions put to at least {LEAST_PEOPLE} people; the CSV has each of them.",
        ),
    )


def failures_table(reasons: pd.DataFrame, numbers: pd.DataFrame, setting: Setting) -> Table:
    """Return what failed and why; an arm that never failed has a row that says so."""
    found = [str_keys(row) for row in reasons.to_dict("records")]
    failed = {(row["strategy"], row["arm"]) for row in found}
    for row in _records(numbers, ""):
        if (row["strategy"], row["arm"]) not in failed:
            rate = row["invalid_rate"] + row["failed_rate"]
            said = "none" if rate == 0 else "reasons are not in the store"
            count = 0.0 if rate == 0 else NONE
            why = {"status": NONE, "reason": said, "cases": count}
            found.append({"strategy": row["strategy"], "arm": row["arm"], **why})
    order = {name: place for place, name in enumerate(setting.strategies)}
    found.sort(key=lambda row: order[row["strategy"]])
    rows = [
        (
            *(row["strategy"], row["arm"], row["status"], row["reason"]),
            NONE if row["cases"] == NONE else f"{row['cases']:,.0f}",
        )
        for row in found
    ]
    return Table(
        name="failures",
        title="Failures",
        about=_about(setting, _records(numbers, ""), ""),
        frame=pd.DataFrame(found),
        heads=("folds", "arm", "status", "reason", "cases"),
        rows=tuple(rows),
        notes=("Failures count as wrong in every accuracy; below 95 % coverage there is none.",),
        names=4,
    )


def _records(numbers: pd.DataFrame, knows: str) -> list[dict[str, Any]]:
    rows = [str_keys(row) for row in numbers.to_dict("records")]
    return [row for row in rows if knows in ("", row["knows"])]


def _titled(title: str, row: Row) -> str:
    """Say of a RAG by which embedder it finds facts, and by what an arm was compiled."""
    marks = [] if row["variant"] != "rag" else [_embedder(str(row["embedder"]))]
    marks += [str(row["teleprompter"])] if row["compiled"] else []
    return f"{title} ({', '.join(marks)})" if marks else title


def _embedder(name: str) -> str:
    return name if name.startswith("lexical") else f"semantic, {name}"


def _about(setting: Setting, rows: Sequence[Row], knows: str) -> str:
    """Return people, questions and folds of each strategy in a phrase."""
    parts = []
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        own = [row for row in rows if row["strategy"] == strategy and row["state"] != "missing"]
        if own:
            people, asked = (max(row[name] for row in own) for name in ("people", "questions"))
            folds = ", ".join(dict.fromkeys(row["folds"] for row in own))
            parts.append(f"{strategy} folds ({folds}): {people:,} people, {asked:,} questions")
    return "; ".join([*parts, f"{setting.role}set", *([f"{knows} arms"] if knows else [])])


def _spreads(rows: Sequence[Row]) -> list[str]:
    """Say how far apart programs are that differ in their compile seed alone."""
    notes = []
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        own = [r for r in rows if r["strategy"] == strategy and r.get("compiled") is True]
        for variant in dict.fromkeys(row["variant"] for row in own):
            found = [100 * r["accuracy"] for r in own if r["variant"] == variant]
            if len(found) > 1:
                mean = sum(found) / len(found)
                notes.append(
                    f"{strategy} folds: {len(found)} compiled programs of {variant}, accuracy from "
                    f"{min(found):.1f} to {max(found):.1f} %, on average {mean:.1f} %."
                )
    return notes


def _missing(rows: Sequence[Row]) -> str:
    parts = []
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        gone = [str(row["what"]) for row in rows if row["strategy"] == strategy]
        parts.append(f"{strategy} folds: {'; '.join(gone)}")
    return f"Missing in the runs of this report: {'. '.join(parts)}." if parts else ""


def _unpaired(rows: Sequence[Row]) -> list[str]:
    lost = [row for row in rows if row["state"] == "no predictions"]
    notes = []
    if lost:
        named = ", ".join(dict.fromkeys(str(row["arm"]) for row in lost))
        notes.append(
            f"No predictions are kept of {named}: their numbers are those of the run, without "
            "breakdowns; differences only where the run holds one."
        )
    other = [
        row
        for row in rows
        if row["state"] == "measured"
        and row.get("minus")
        and row["arm"] != row["minus"]
        and row["accuracy_minus"] != row["accuracy_minus"]
    ]
    if other:
        named = ", ".join(dict.fromkeys(f"{row['arm']} ({row['strategy']})" for row in other))
        notes.append(f"Not on the cases of the reference, so not compared with it: {named}.")
    return notes
