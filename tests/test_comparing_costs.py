"""Predicted and actual costs, side by side."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evals.estimate import Cost
from optimize.comparing_costs import ALL, HEADS, costs_json, costs_table
from optimize.ledger import Spent
from optimize.predicting import Phase, Plan
from valuesim_dspy.usage import Usage

PRICES = (1.0, 2.0)
PLAN = Plan(
    {
        "measuring rag": Phase(Cost((10, 20), (1000, 2000), (100, 200)), PRICES),
        "compiling rag": Phase(Cost((5, 500), (500, 50_000), (50, 5000)), PRICES),
    },
    least=Cost((10, 10), (1000, 1000), (100, 100)),
)
TOOK = Spent(Usage(12, 1200, 120, 0.25), Usage(7, 700, 70, 0.15))


def made(spent: dict[str, Spent], plan: Plan = PLAN, whole: Spent = TOOK) -> dict[str, Any]:
    """Return the costs, as they are read back."""
    return dict(json.loads(json.dumps(costs_json(plan, spent, whole))))


def rows(costs: dict[str, Any]) -> dict[str, list[str]]:
    """Return the cells of the table by phase."""
    lines = [line for line in costs_table(costs).splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_each_phase_has_what_was_predicted_needed_and_paid() -> None:
    """In the order of the job; phases that were not reached say so."""
    costs = made({"measuring rag": TOOK})
    assert list(costs["phases"]) == ["measuring rag", "compiling rag"]
    first, second = costs["phases"].values()
    assert first["predicted"]["calls"] == [10, 20] and first["predicted"]["tokens"] == [1100, 2200]
    assert first["needed"]["calls"] == 12 and first["paid"]["calls"] == 7
    assert second["needed"] is second["paid"] is None
    found = rows(costs)
    assert found["measuring rag"][:5] == ["10 to 20", "12", "7", "1,100 to 2,200", "1,320"]
    assert found["measuring rag"][5:] == ["$0.00", "$0.25", "$0.15"]
    assert found["compiling rag"][1:3] == ["not reached", "-"]


def test_the_last_row_is_the_whole_job() -> None:
    """Its low end is no sum: phases may make the same requests."""
    costs = made({})
    assert costs["all"]["predicted"]["calls"] == [10, 520]
    assert costs["all"]["predicted"]["usd"][1] == pytest.approx(52_000e-6 + 2 * 5200e-6)
    assert list(rows(costs))[-1] == ALL
    assert rows(costs)[ALL][:3] == ["10 to 520", "12", "7"]


def test_unknown_prices_are_said() -> None:
    """Predicted or actual: never zero, nor a part for the whole."""
    unknown = Plan(
        {**PLAN.phases, "prompts for rag": Phase(Cost((1, 1), (9, 9), (9, 9)), None)}, PLAN.least
    )
    spent = Spent(Usage(1, 9, 9, None, 1), Usage(1, 9, 9, None, 1))
    found = rows(made({"prompts for rag": spent}, unknown, spent))
    assert found["prompts for rag"][5:] == ["unknown"] * 3
    assert found[ALL][5:] == ["unknown"] * 3
    assert found["measuring rag"][5] == "$0.00"


def test_what_nobody_predicted_is_shown_where_it_took_something() -> None:
    """A phase without a prediction and without a call is none."""
    nothing = Spent(Usage(), Usage())
    costs = made({"surprise": TOOK, "idle": nothing})
    assert "idle" not in costs["phases"]
    assert rows(costs)["surprise"][:2] == ["-", "12"]


def test_the_table_is_markdown() -> None:
    """As many cells in each row as heads, under a caption that explains the words."""
    text = costs_table(made({"measuring rag": TOOK}))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert len({len(line) for line in lines}) == 1
    assert lines[0].strip("| ").startswith(HEADS[0]) and lines[1].startswith("| ---")
    assert "cold cache" in text.splitlines()[0]
