"""The tables of distributions: which arms are in them, and that the numbers are the metrics'."""

from dataclasses import replace

import pandas as pd
import pytest
from test_populations import crowd
from test_probabilistic import drawn

from evals.benchmark import Result
from evals.calibration import apply, calibrate
from evals.distribution_table import (
    calibrated_metrics,
    calibrations,
    distribution_table,
    gives_probabilities,
    population_rows,
    score_row,
)
from evals.distributional import variance_ratio
from evals.populations import draw_population
from evals.probabilistic import brier, ece, log_loss
from valuesim_dspy.usage import Usage

pytestmark = pytest.mark.slow


def result(
    frame: pd.DataFrame, label: str = "spread", *, role: str = "dev", knows: str = "cold"
) -> Result:
    """Return a result with a table of cases."""
    return Result(label, label, role, knows, frame, Usage(), Usage(), 0, 1.0, "synthetic-machinery")


def points(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table of an arm that gives no probabilities."""
    return frame.assign(probabilities="")


def cells(table: str) -> list[list[str]]:
    """Return the cells of all rows of a Markdown text."""
    rows = [line for line in table.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


def test_without_probabilities_there_is_no_table() -> None:
    """Arms of point answers have none, alone or beside others."""
    plain = result(points(drawn(30)), "plain")
    assert distribution_table([plain], []) == "" and not gives_probabilities(plain)
    both = distribution_table([plain, result(drawn(30))], [])
    assert "plain" not in both and "| spread" in both


def test_scores_stand_before_and_after_the_valset_s_temperature() -> None:
    """The temperature is of the valset, the scores of the set that is reported."""
    val, dev = drawn(500, seed=1, heat=3.0), drawn(400, seed=2, heat=3.0)
    fitted = calibrate(val)
    row = score_row(result(dev), fitted)
    after = apply(dev, fitted)
    scores = [compute(frame) for frame in (dev, after) for compute in (log_loss, brier, ece)]
    expected = [f"{score:.3f}" for score in scores]
    assert row == ["spread", "400", *expected[:3], f"{fitted.temperature:.2f}", *expected[3:]]
    table = distribution_table([result(dev)], [result(val, role="val")])
    assert row in cells(table)
    assert calibrated_metrics(result(dev), fitted) == {
        "temperature": fitted.temperature,
        "log_loss_calibrated": log_loss(after),
        "brier_calibrated": brier(after),
        "ece_calibrated": ece(after),
    }


def test_an_arm_without_a_valset_is_not_calibrated() -> None:
    """Nothing is fitted on the set that is reported."""
    row = score_row(result(drawn(50)), None)
    assert row[5:] == ["-"] * 4
    assert row in cells(distribution_table([result(drawn(50))], [result(drawn(50), "other")]))
    assert set(calibrations([result(drawn(50)), result(points(drawn(9)), "plain")])) == {"spread"}


def test_point_answers_and_both_ways_of_drawing_are_put_side_by_side() -> None:
    """Variance is that of the answers as given, and the mean over the populations drawn."""
    frame = crowd(60)
    rows = population_rows(result(frame), None, seed=7)
    assert [row[:2] for row in rows] == [
        ["spread", "point"],
        ["", "independent draws"],
        ["", "one draw a person"],
    ]
    drawn_frames = [draw_population(frame, 7 + n, one_draw=False) for n in range(5)]
    mean = sum(variance_ratio(each) for each in drawn_frames) / 5
    assert [row[2] for row in rows[:2]] == ["0.00", f"{mean:.2f}"]
    assert all(len(row) == len(rows[0]) for row in rows)


def test_draws_are_from_calibrated_probabilities() -> None:
    """An arm that is too bold is drawn from as its temperature says."""
    frame = drawn(300, heat=3.0)
    fitted = calibrate(frame)
    raw = population_rows(result(frame), None, seed=0)
    told = population_rows(result(frame), fitted, seed=0)
    assert raw[0] == told[0] and raw[1] != told[1]
    assert told[1] == population_rows(result(apply(frame, fitted)), None, seed=0)[1]


@pytest.mark.parametrize("role", ["dev", "test"])
def test_cold_and_warm_arms_are_never_in_one_table(role: str) -> None:
    """Each has a heading and tables of its own, named by the set."""
    frame = drawn(40)
    table = distribution_table(
        [result(frame, "one", role=role), result(frame, "two", role=role, knows="warm")], []
    )
    cold, warm = table.split("## Answers as distributions: ")[1:]
    assert cold.startswith(f"cold arms, {role}set") and warm.startswith(f"warm arms, {role}set")
    assert "one" in {row[0] for row in cells(cold)} and "two" not in {row[0] for row in cells(cold)}


def test_the_same_seed_gives_the_same_text() -> None:
    """Bit for bit; another seed draws other populations."""
    found, val = [result(crowd(30))], [result(crowd(20, seed=9), role="val")]
    assert distribution_table(found, val) == distribution_table(found, val)
    assert distribution_table(found, val, seed=99) != distribution_table(found, val)


def test_the_columns_line_up_and_labels_cannot_break_them() -> None:
    """All rows of a table are as long as its head, whatever an arm is called."""
    table = distribution_table([replace(result(drawn(40)), label="a|b")], [])
    for block in table.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(line) for line in lines}) <= 1
    assert "a\\|b" in table


def short(frame: pd.DataFrame) -> Result:
    """Return the result of an arm that failed in every tenth case."""
    frame = frame.copy()
    failed = frame.index[::10]
    frame.loc[failed, ["status", "answered", "probabilities"]] = ["failed", False, ""]
    return result(frame)


def test_an_invalid_result_has_no_score() -> None:
    """Nine of ten answered is too little: scores of the cases that were easy would mislead."""
    found, fitted = short(drawn(300)), calibrate(drawn(200, seed=5))
    assert not found.is_valid and found.metrics["coverage"] == pytest.approx(0.9)
    assert score_row(found, fitted) == ["spread", "270", *["invalid"] * 3, *["-"] * 4]
    rows = population_rows(found, fitted, seed=0)
    assert [row[1] for row in rows] == ["point", "independent draws", "one draw a person"]
    assert all(row[2:] == ["invalid"] * 5 for row in rows)
    assert [row[0] for row in rows] == ["spread", "", ""]
    told = cells(distribution_table([found], [result(drawn(200, seed=5), role="val")]))
    assert score_row(found, fitted) in told and all(row in told for row in rows)


def test_the_run_of_an_invalid_result_is_given_no_score() -> None:
    """The temperature is the valset's and stays; the scores after it are NaN."""
    fitted = calibrate(drawn(200, seed=5))
    numbers = calibrated_metrics(short(drawn(300)), fitted)
    assert set(numbers) == set(calibrated_metrics(result(drawn(300)), fitted))
    assert numbers.pop("temperature") == fitted.temperature
    assert all(number != number for number in numbers.values())


def test_no_temperature_is_fitted_on_an_invalid_valset() -> None:
    """The arm stands there as one that has none."""
    dev, val = result(drawn(300)), short(drawn(200, seed=5))
    assert calibrations([val]) == {}
    assert distribution_table([dev], [val]) == distribution_table([dev], [])
