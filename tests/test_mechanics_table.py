"""The table of the teleprompters' mechanics: its words, its numbers, the view of the UI."""

from __future__ import annotations

import json

from evals.intervals import Interval
from optimize.mechanics_table import (
    COLUMNS,
    COSTS,
    MACHINERY,
    RANKS_NOTHING,
    Mechanics,
    mechanics_table,
    view_tag,
)
from valuesim_dspy.usage import Usage


def test_a_table_of_people_and_a_real_model_leaves_the_machinery_out() -> None:
    """It still ranks nothing, since the options are small and no two alike."""
    row = Mechanics("gepa", needed=Usage(2, 10, 5, estimated_calls=1), gap=None)
    table = mechanics_table([row], about={"task LM": "m"}, machinery=False)
    assert RANKS_NOTHING in table and MACHINERY not in table
    assert "~15" in table, "tokens that were estimated are marked"
    assert row.cells()[-1] == "-"


def test_a_difference_is_told_in_points_with_its_sign() -> None:
    """A tiny negative share is no minus nought."""
    gap = Interval(-0.0001, -0.02, 0.031, n=10, clusters=5)
    cell = Mechanics("copro", gap=gap).cells()[-1]
    assert cell == "+0.0 [-2.0, +3.1]"


def test_rows_line_up_under_their_heads() -> None:
    """Every line of the table is as long as the others, whoever refused."""
    rows = [Mechanics("copro", {"depth": 1}), Mechanics("x", refusal="no demos are left")]
    table = mechanics_table(rows, about={}, machinery=True)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len(lines) == len(rows) + 2
    assert len({len(line) for line in lines}) == 1
    assert lines[0].count("|") == len(COLUMNS) + 1
    assert lines[-1].count(" - ") == len(COLUMNS) - 1


def test_options_and_refusals_are_told_below() -> None:
    """Defaults are called so, given options are listed, a refusal says why."""
    rows = [
        Mechanics("copro", {"depth": 1, "of": "x"}),
        Mechanics("gepa", notes=("one note", "two notes")),
        Mechanics("x", refusal="no demos are left"),
    ]
    table = mechanics_table(rows, about={}, machinery=True)
    assert '- `copro` with depth = 1, of = "x"\n' in table
    assert "- `gepa` with its defaults; one note; two notes\n" in table
    assert "- `x` with its defaults; refused: no demos are left\n" in table


def test_metrics_are_the_numbers_of_the_row() -> None:
    """Calls, tokens and seconds by their names; a difference only where there is one."""
    row = Mechanics("copro", needed=Usage(5, 70, 30), paid=Usage(2), seconds=1.26, identical=True)
    metrics = row.metrics()
    assert [metrics[name] for name in COSTS] == [5, 2, 100, 1.3]
    assert metrics["identical"] == 1 and "minus_uncompiled" not in metrics
    gap = Interval(0.1, 0.0, 0.2, n=10, clusters=5)
    told = Mechanics("copro", gap=gap).metrics()
    assert [told[f"minus_uncompiled{end}"] for end in ("", "_low", "_high")] == [0.1, 0.0, 0.2]


def test_tags_say_in_words_what_numbers_hide() -> None:
    """Yes and no, and the difference with its interval in one cell."""
    gap = Interval(0.1, 0.0, 0.2, n=10, clusters=5)
    tags = Mechanics("copro", has_written=True, gap=gap).tags()
    assert tags["instructions written"] == "yes"
    assert tags["same seed twice identical"] == "no"
    assert tags["compiled - uncompiled"] == "+10.0 [+0.0, +20.0]"


def test_the_view_is_of_one_job_with_the_difference_last() -> None:
    """Runs of an earlier job would stand among its rows; accuracy is no column of it."""
    name, state = view_tag("abc")
    shown = json.loads(state)
    assert name.startswith("mlflow.sharedViewState.")
    assert "tags.`mlflow.parentRunId` = 'abc'" in shown["searchFilter"]
    assert shown["selectedColumns"][-1] == "tags.`compiled - uncompiled`"
    assert not any("accuracy" in column for column in shown["selectedColumns"])
