"""The cells of a report's tables: numbers as text to be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

NONE = "-"

Row = Mapping[str, Any]


def str_keys(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a record of a frame with names that are text, as they are."""
    return {str(key): value for key, value in row.items()}


def interval_text(row: Row, name: str, *, scale: float = 100.0, form: str = ".1f") -> str:
    """Return a number with its interval, such as `52.1 [48.0, 56.2]`; `-` where there is none.

    Args:
        row: Holds `name`, `name_low` and `name_high`.
        name: Of the number.
        scale: What it is multiplied by.
        form: How numbers are written; a sign in it is for the estimate alone.
    """
    middle, low, high = (row.get(f"{name}{end}", float("nan")) for end in ("", "_low", "_high"))
    if middle != middle:
        return NONE
    text = written(middle * scale, form)
    if low != low:
        return text
    ends = (written(end * scale, form.lstrip("+")) for end in (low, high))
    return f"{text} [{', '.join(ends)}]"


def written(value: float, form: str) -> str:
    """Return a number as text; what rounds to nothing has no sign of its own."""
    text = format(value, form)
    return format(0.0, form) if float(text) == 0 else text


def _score(row: Row) -> str:
    if row["state"] == "missing" or str(row["state"]).startswith("invalid"):
        return str(row["state"])
    text = interval_text(row, "accuracy")
    return f"{text} (from the run)" if row["state"] == "no predictions" else text


def _minus(name: str, scale: float, form: str) -> Callable[[Row], str]:
    def make(row: Row) -> str:
        if row.get("minus") and row.get("arm") == row["minus"]:
            return "reference"
        return interval_text(row, f"{name}_minus", scale=scale, form=form)

    return make


def _plain(name: str, form: str, scale: float = 1.0) -> Callable[[Row], str]:
    def make(row: Row) -> str:
        value = row.get(name, float("nan"))
        return NONE if value != value else format(value * scale, form)

    return make


def _crossed(row: Row) -> str:
    low, high = (row.get(f"accuracy_minus_crossed_{end}", float("nan")) for end in ("low", "high"))
    return NONE if low != low else f"[{100 * low:.1f}, {100 * high:.1f}]"


Columns = tuple[tuple[str, Callable[[Row], str]], ...]
FIRST: Columns = (
    ("accuracy % [95 %]", _score),
    ("minus RAG, points", _minus("accuracy", 100.0, "+.1f")),
    ("nMAE [95 %]", lambda row: interval_text(row, "nmae", scale=1.0, form=".3f")),
    ("nMAE minus RAG", _minus("nmae", 1.0, "+.3f")),
    ("cases", _plain("cases", ",.0f")),
)
ARMS: Columns = (
    ("accuracy % [95 %]", _score),
    ("minus RAG, points", _minus("accuracy", 100.0, "+.1f")),
    ("crossed", _crossed),
    ("nMAE", _plain("nmae", ".3f")),
    ("failed %", lambda row: f"{100 * (row['invalid_rate'] + row['failed_rate']):.1f}"),
    ("calls a case", _plain("calls_per_case", ".2f")),
    ("tokens a case", _plain("tokens_per_case", ",.0f")),
)


def group_accuracy(row: Row) -> str:
    """Return the accuracy of an arm in a group, as `results_by` has it."""
    ends = {f"accuracy_{end}": row[end] for end in ("low", "high")}
    return interval_text({"accuracy": row["accuracy"], **ends}, "accuracy")


def lines(rows: Sequence[Row], columns: Columns, *names: str) -> tuple[tuple[str, ...], ...]:
    """Return the rows as text: strategy, what the names hold, and the columns."""
    return tuple(
        (row["strategy"], *(str(row[name]) for name in names), *(make(row) for _, make in columns))
        for row in rows
    )
