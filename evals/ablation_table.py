"""The ablation as a table: factor, arm, difference to the factor's base, cost beside it."""

from __future__ import annotations

from collections.abc import Mapping

from evals.benchmark import Result
from evals.factors import FACTORS
from evals.intervals import paired_difference
from evals.recording import comparable

HEADS = ("factor", "arm", "accuracy %", "minus", "difference [95 %]", "nMAE", "tokens a case")


def factor_rows(results: Mapping[str, Result]) -> list[dict[str, str | float]]:
    """Return one row for each arm of a factor whose base was measured too.

    Args:
        results: Arm to its result, all on the same cases.

    Returns:
        `factor`, `arm`, `base`, `accuracy`, `difference`, `low`, `high` (shares, paired, by
        respondent), `nmae` and `tokens` a case; NaN where arms may not be compared, and where
        too few cases were answered for a score.
    """
    rows: list[dict[str, str | float]] = []
    for factor in FACTORS:
        base = results.get(factor.base)
        for name in factor.arms:
            arm = results.get(name)
            if base is None or arm is None:
                continue
            low = high = difference = float("nan")
            if comparable(arm, base):
                gap = paired_difference(arm.frame, base.frame, seed=0)
                difference, low, high = gap.estimate, gap.low, gap.high
            rows.append(
                {
                    "factor": factor.name,
                    "arm": name,
                    "base": factor.base,
                    "accuracy": arm.metrics["accuracy"] if arm.is_valid else float("nan"),
                    "difference": difference,
                    "low": low,
                    "high": high,
                    "nmae": arm.metrics["nmae"] if arm.is_valid else float("nan"),
                    "tokens": arm.needed.tokens / len(arm.frame),
                }
            )
    return rows


def factor_table(results: Mapping[str, Result]) -> str:
    """Return the ablation as Markdown, with how many differences it shows."""
    rows = factor_rows(results)
    if not rows:
        return ""
    lines = [f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
    before = ""
    for row in rows:
        factor = str(row["factor"])
        cells = (
            factor if factor != before else "",
            str(row["arm"]),
            _points(row["accuracy"]),
            str(row["base"]),
            _gap(row),
            _number(row["nmae"], ".3f"),
            _number(row["tokens"], ",.0f"),
        )
        lines.append(f"| {' | '.join(cells)} |")
        before = factor
    shown = sum(row["low"] == row["low"] for row in rows)
    apart = sum(float(row["low"]) > 0 or float(row["high"]) < 0 for row in rows)
    note = (
        f"{apart} of {shown} intervals leave out 0; one in twenty does so by chance, so that "
        "this table suggests and does not decide."
    )
    return "\n".join([*lines, "", note, ""])


def _gap(row: Mapping[str, str | float]) -> str:
    if row["difference"] != row["difference"]:
        return "not compared"
    ends = f"[{_points(row['low'], '+')}, {_points(row['high'], '+')}]"
    return f"{_points(row['difference'], '+')} {ends}"


def _points(share: str | float, sign: str = "") -> str:
    value = float(share)
    return "-" if value != value else format(round(value * 100, 1) + 0.0, f"{sign}.1f")


def _number(value: str | float, form: str) -> str:
    number = float(value)
    return "-" if number != number else format(number, form)
