"""The tables: every arm of the first, named where missing; cold and warm never in one."""

from dataclasses import replace

import pandas as pd
import pytest
from reported import PEOPLE, arm, frame, setting, usual

from evals.report_arms import Arm
from evals.report_numbers import by_group, failure_reasons, question_variances, setting_numbers
from evals.report_tables import (
    CLAIM,
    Table,
    arms_table,
    failures_table,
    first_table,
    group_table,
    variance_table,
)

pytestmark = pytest.mark.slow


def first(*arms: object) -> Table:
    """Return the first table of some arms."""
    known = setting(*arms) if arms else usual()  # type: ignore[arg-type]
    return first_table(known, setting_numbers(known), "first-table")


def cells(table: Table, arm_label: str) -> tuple[str, ...]:
    """Return the row whose second cell begins so."""
    (found,) = (row for row in table.rows if row[1].startswith(arm_label))
    return found


def test_all_six_arms_stand_in_the_first_table() -> None:
    """In their order; one that was not run is missing in it, and said to be so under it."""
    table = first()
    battery = [row[1] for row in table.rows if row[0] == "battery"]
    assert battery == [
        "RAG (semantic, sentence-transformers/mini)",
        "RAG, compiled (semantic, sentence-transformers/mini, bootstrap)",
        "full information",
        "self-consistency",
        "ValueSim (full), uncompiled",
        "ValueSim (full), compiled (bootstrap)",
    ]
    assert cells(table, "self-consistency")[2] == "missing"
    assert any("battery folds: self-consistency" in note for note in table.notes)
    assert CLAIM in table.notes


def test_folds_without_a_run_are_missing_in_one_row() -> None:
    """Question and topic folds are named, since the claim is about the first of them."""
    table = first()
    assert ("question", "all six arms", "missing", "-", "-", "-", "-") in table.rows
    assert any("question folds: all six arms" in note for note in table.notes)
    assert [row[0] for row in table.rows] == ["question", *["battery"] * 6, "topic"]


def test_the_embedder_of_rag_is_said() -> None:
    """Words or meaning: a lexical RAG is another rival."""
    table = first(arm("rag", frame(0.4), embedder="lexical"))
    assert cells(table, "RAG (")[1] == "RAG (lexical)"


def test_the_numbers_shown_are_those_of_the_csv() -> None:
    """Accuracy, difference and nMAE of one arm, to the digits shown."""
    table = first()
    row = table.frame[table.frame["arm"] == "full compiled"].iloc[0]
    shown = cells(table, "ValueSim (full), compiled")
    assert shown[2].startswith(f"{100 * row['accuracy']:.1f} [{100 * row['accuracy_low']:.1f}, ")
    assert shown[3].startswith(f"{100 * row['accuracy_minus']:+.1f} [")
    assert shown[4].startswith(f"{row['nmae']:.3f} [{row['nmae_low']:.3f}")
    assert shown[5].startswith(f"{row['nmae_minus']:+.3f} [")
    assert shown[6] == str(PEOPLE * 6)


def test_the_published_folds_have_rows_of_their_own() -> None:
    """Where they were run; they are not expected otherwise."""
    table = first(arm("rag", frame(0.4), folds=("paper-1of5",)))
    assert [row[0] for row in table.rows][-6:] == ["paper"] * 6
    assert [row[0] for row in table.rows][:3] == ["question", "battery", "topic"]


def test_warm_arms_never_stand_with_cold_ones() -> None:
    """Each in its table, with what it was compared with in the head."""
    known = usual()
    numbers = setting_numbers(known)
    cold, warm = (arms_table(known, numbers, knows, "x") for knows in ("cold", "warm"))
    assert cold is not None
    assert warm is not None
    assert [row[1] for row in warm.rows] == ["country-mode", "mode"]
    assert not {row[1] for row in warm.rows} & {row[1] for row in cold.rows}
    assert "minus country-mode, points" in warm.heads
    assert "minus rag, points" in cold.heads
    assert "warm arms" in warm.about
    assert set(warm.frame["knows"]) == {"warm"}
    lone = setting(known.arms[0])
    assert arms_table(lone, setting_numbers(lone), "warm", "x") is None


def test_a_table_says_people_questions_and_folds() -> None:
    """For each kind of folds."""
    known = setting(
        arm("rag", frame(0.4)), arm("rag", frame(0.4, people=12), folds=("topic-2of5",))
    )
    about = first_table(known, setting_numbers(known), "x").about
    assert "battery folds (battery-1of5): 24 people, 6 questions" in about
    assert "topic folds (topic-2of5): 12 people, 6 questions" in about
    assert about.endswith("devset; cold arms")


def test_missing_predictions_are_said() -> None:
    """By the arm's name, under both tables."""
    lost = arm("full", None, metrics={"accuracy": 0.5, "coverage": 1.0})
    known = setting(arm("rag", frame(0.4)), lost)
    numbers = setting_numbers(known)
    for table in (first_table(known, numbers, "x"), arms_table(known, numbers, "cold", "x")):
        assert table is not None
        assert any(note.startswith("No predictions are kept of full") for note in table.notes)


def test_arms_on_other_cases_are_said() -> None:
    """They have no difference, and the table tells why."""
    known = setting(arm("rag", frame(0.4)), arm("full", frame(0.5, people=12)))
    table = first_table(known, setting_numbers(known), "x")
    assert "Not on the cases of the reference, so not compared with it: full (battery)." in (
        table.notes
    )


def test_a_group_is_a_row_and_an_arm_a_column() -> None:
    """Groups of few people are counted under the table; the CSV has their sizes."""
    known = usual()
    numbers = setting_numbers(known)
    groups = by_group(known, "country")
    table = group_table(groups, numbers, known, "country", "Results by country")
    assert table is not None
    assert table.heads[5:] == ("rag", "single", "full", "full compiled")
    assert [row[:3] for row in table.rows] == [("battery", "JPN", "16")]
    assert table.notes == (
        "1 groups of fewer than 10 people have no numbers: only their sizes are kept, in the CSV.",
    )
    assert table.name == "by-country"
    assert len(table.frame) == 8
    assert group_table(pd.DataFrame(), numbers, known, "country", "x") is None
    alike = groups[groups["group"] == "JPN"]
    assert group_table(alike, numbers, known, "country", "x") is None


def test_the_spread_is_told_in_quartiles() -> None:
    """By hand: three questions of 0.5, 1 and 2."""
    known = usual()
    ratios = pd.DataFrame(
        {
            "strategy": ["battery"] * 4,
            "arm": ["full"] * 4,
            "question": ["Q1", "Q2", "Q3", "Q4"],
            "people": [20] * 4,
            "ratio": [0.5, 1.0, 2.0, float("nan")],
        }
    )
    table = variance_table(ratios, known, setting_numbers(known))
    assert table is not None
    assert table.rows == (("battery", "full", "3", "0.75", "1.00", "1.50", "33"),)
    assert len(table.frame) == 4
    assert variance_table(ratios[3:], known, setting_numbers(known)) is None
    assert question_variances(known)["ratio"].notna().any()


@pytest.mark.parametrize("kept", [True, False])
def test_every_arm_has_a_row_of_failures(kept: bool) -> None:
    """Its reasons with their counts, none, or that they are not in the store."""
    lost = frame(0.5, failed={1: "timeout", 2: "timeout"})
    rates = {"coverage": 0.98, "failed_rate": 0.02, "invalid_rate": 0.0}
    full = arm("full", lost) if kept else arm("full", None, metrics=rates)
    known = setting(arm("rag", frame(0.4)), full)
    table = failures_table(failure_reasons(known), setting_numbers(known), known)
    found = {row[1]: row[2:] for row in table.rows}
    assert found["rag"] == ("-", "none", "0")
    reason = ("failed", "timeout", "2") if kept else ("-", "reasons are not in the store", "-")
    assert found["full"] == reason


def test_several_compiled_programs_are_told_apart_and_their_spread_is_told() -> None:
    """Five seeds would be five rows; from the worst to the best, and the mean."""
    one, two = (arm(f"full compiled (run {n})", frame(n / 10), variant="full") for n in (4, 8))
    table = first(*(replace_teleprompter(found) for found in (one, two)))
    titles = [row[1] for row in table.rows if "compiled (bootstrap)" in row[1]]
    assert titles == [
        "ValueSim (full), compiled (bootstrap): full compiled (run 4)",
        "ValueSim (full), compiled (bootstrap): full compiled (run 8)",
    ]
    low, high = (100 * found.frame["correct"].mean() for found in (one, two))
    (note,) = (note for note in table.notes if "compiled programs" in note)
    assert f"2 compiled programs of full, accuracy from {low:.1f} to {high:.1f} %" in note
    assert f"on average {(low + high) / 2:.1f} %" in note


def replace_teleprompter(found: Arm) -> Arm:
    """Return an arm as a compiled one."""
    params = {**found.params, "teleprompter": "bootstrap"}
    return replace(found, runs=({**found.runs[0], "params": params},))
