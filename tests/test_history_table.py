"""The report of learning curves: what its words claim, what its tables hold, what is kept apart."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from curves import curve

from evals.history_table import (
    accuracy_table,
    curve_data,
    rival_slopes,
    sentences,
    slope_table,
)
from evals.slopes import Curve

PEOPLE = [f"p{at:02}" for at in range(20)]
UP = [[0.0] * 20, [1.0] * 20]
FLAT = [[0.0] * 20, [0.0] * 20]
HALF = [[1.0] * 10 + [0.0] * 10, [0.0] * 10 + [1.0] * 10]


def made(arm: str, correct: Sequence[Sequence[float]], **known: object) -> Curve:
    """Return a curve of two points over twenty people."""
    settings = {"shares": (0.0, 1.0), "people": PEOPLE, **known}
    return curve(correct, arm=arm, **settings)  # type: ignore[arg-type]


def both(arm: str, correct: Sequence[Sequence[float]], **known: object) -> list[Curve]:
    """Return a curve for each way to grow."""
    return [made(arm, correct, growth=growth, **known) for growth in ("profile", "history")]


def cells(table: str) -> list[list[str]]:
    """Return the rows of a table, its rule left out."""
    lines = [line for line in table.splitlines() if not line.startswith("| ---")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_a_difference_that_is_shown_is_said() -> None:
    """The size, its interval, whose it is, and that it learns faster."""
    said = sentences([*both("full", UP), *both("rag", FLAT)], "full")
    assert said[0].startswith("Where the profile grows, full gains 100.0 points of accuracy")
    assert said[0].endswith("so it learns.")
    (line,) = (s for s in said if s.startswith("Where the profile grows, the slope"))
    assert "full minus that of RAG is +100.0 points of accuracy" in line
    assert "95 % interval +100.0 to +100.0 by 20 respondents, all orders" in line
    assert line.endswith("so it learns faster.")
    assert len(said) == 4


def test_a_slower_arm_is_said_to_be_slower() -> None:
    """A negative result is a result."""
    said = sentences([*both("full", FLAT), *both("single", UP)], "full")
    (line,) = (s for s in said if s.startswith("Where the profile grows, the slope"))
    assert "all facts in one prompt is -100.0 points" in line
    assert line.endswith("so it learns more slowly.")
    assert said[0].endswith("so that it learns is not shown.")


def test_a_null_result_is_said_as_such() -> None:
    """An interval with 0 in it shows nothing, whichever way the estimate leans."""
    said = sentences([*both("full", HALF), *both("rag", FLAT)], "full")
    assert all(line.endswith("so no difference is shown.") for line in said[2:])
    assert all(line.endswith("so that it learns is not shown.") for line in said[:2])


def test_warm_rivals_are_never_subtracted() -> None:
    """Neither in words nor in tables nor in what is kept."""
    curves = [*both("full", UP), *both("rag", FLAT, knows="warm"), *both("peers", UP, knows="warm")]
    assert list(rival_slopes(curves, "full")) == []
    assert len(sentences(curves, "full")) == 2
    assert curve_data(curves, "full")["differences"] == []


def test_an_invalid_curve_has_no_slope_and_no_difference() -> None:
    """Its point says so; points that were answered keep their accuracy."""
    answered = [[True] * 20, [True] * 10 + [False] * 10]
    curves = [made("full", UP), made("rag", FLAT, answered=answered)]
    assert list(rival_slopes(curves, "full")) == []
    assert cells(accuracy_table(curves))[2][3] == "invalid"
    assert cells(accuracy_table(curves))[2][2].startswith("0.0 [")
    rows = {(row[0], row[1]): row[2:] for row in cells(slope_table(curves, "full"))}
    assert rows["rag", "random"] == ["invalid", "-", "-", "-"]
    assert rows["full", "all orders"][0] == "+100.0 [100.0, 100.0]"
    data = curve_data(curves, "full")
    assert [p["accuracy"] for p in data["points"] if p["arm"] == "rag"] == [0.0, None]
    assert {one["arm"] for one in data["slopes"]} == {"full"}
    assert sentences([curves[1]], "rag") == ["Nothing is said of rag: it has no valid curve."]


def test_tables_have_a_row_for_each_order_and_one_for_all() -> None:
    """Slopes by order, their mean, the same for ten answers, and the difference of each."""
    curves = [
        made("full", UP),
        made("full", FLAT, order="asked"),
        made("rag", FLAT),
        made("rag", FLAT, order="asked"),
    ]
    assert cells(accuracy_table(curves))[0] == ["arm", "order", "0 known", "50 known"]
    rows = {(row[0], row[1]): row[2:] for row in cells(slope_table(curves, "full"))}
    assert rows["arm", "order"] == ["slope", "per 10", "along the way", "full minus it"]
    assert rows["full", "all orders"][:2] == ["+50.0 [50.0, 50.0]", "+10.00"]
    assert rows["full", "random"][1] == "+20.00"
    assert rows["full", "random"][2] == "50.0 [50.0, 50.0]"
    assert rows["rag", "random"][3] == "+100.0 [100.0, 100.0]"
    assert rows["rag", "asked"][3] == "+0.0 [0.0, 0.0]"
    assert rows["rag", "all orders"][3] == "+50.0 [50.0, 50.0]"


def test_tables_line_up() -> None:
    """Every row is as long as the head."""
    curves = [made("full", UP), made("a-much-longer-name", HALF)]
    for table in (accuracy_table(curves), slope_table(curves, "full")):
        assert len({len(line) for line in table.splitlines()}) == 1


def test_what_is_kept_is_plain_and_whole() -> None:
    """It goes through JSON, has a row for each point and tells nobody's key."""
    curves = [*both("full", HALF), *both("rag", FLAT)]
    data = curve_data(curves, "full")
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["points"][0] == {
        **{"arm": "full", "knows": "cold", "growth": "profile", "order": "random"},
        **{"share": 0.0, "known": 0.0, "accuracy": 0.5, "cases": 20, "people": 20},
        "low": pytest.approx(0.3, abs=0.06),
        "high": pytest.approx(0.7, abs=0.06),
    }
    assert len(data["points"]) == 8
    orders = [(one["arm"], one["growth"], one["order"]) for one in data["slopes"]]
    assert ("rag", "history", "all orders") in orders
    assert len(orders) == len(set(orders)) == 8
    assert {(gap["rival"], gap["growth"]) for gap in data["differences"]} == {
        ("rag", "profile"),
        ("rag", "history"),
    }
    assert not any(key in json.dumps(data) for key in PEOPLE)


def test_one_person_gives_no_interval() -> None:
    """And says so in place of an interval."""
    alone = curve([[0.0], [1.0]], shares=(0.0, 1.0), people=["p"])
    assert cells(accuracy_table([alone]))[1][2] == "0.0 [no interval]"
    (point, _) = curve_data([alone], "full")["points"]
    assert point["low"] is None
