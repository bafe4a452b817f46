"""Contamination in tables and words: what is said of cells made by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_shifts import result

from evals.benchmark import Result
from evals.contamination_table import (
    MEANS,
    SHOWN,
    arm_table,
    by_question,
    country_table,
    follows,
    in_words,
    is_recalled,
    recall_numbers,
    recall_table,
    spread,
)
from evals.intervals import Interval

COUNT = 80


def cells(**columns: Any) -> pd.DataFrame:
    """Return cells of 4 countries and 20 questions, on which recall and accuracy go together."""
    rng = np.random.default_rng(1)
    distance = rng.uniform(0.05, 0.3, COUNT)
    made = pd.DataFrame(
        {
            "country": [("JPN", "BRA", "DEU", "EGY")[place % 4] for place in range(COUNT)],
            "question": [f"Q{place // 4}" for place in range(COUNT)],
            "people": 100,
            "status": "answered",
            "distance": distance,
            "recall": 1 - distance,
            "top": (distance < 0.15).astype(float),
            "uniform": 0.4,
            "even": 0.25,
            "sampling": 0.03,
            "modal": rng.uniform(0.3, 0.9, COUNT),
            "cases": 2,
            "full": 1 - distance + rng.normal(0, 0.02, COUNT),
            "rag": rng.uniform(0, 1, COUNT),
        }
    )
    return made.assign(**columns)


def arm(name: str, *, answers: bool = True) -> Result:
    """Return the result of an arm that answers, or does not."""
    found = result(dict.fromkeys("abcdef", 1 if answers else None))
    return replace(found, arm=name, label=name)


def silent(share: float) -> pd.DataFrame:
    """Return cells of which a share has no recall."""
    lost = np.arange(COUNT) < share * COUNT
    table = cells(status=np.where(lost, "invalid", "answered"), top=np.where(lost, 0.0, 1.0))
    for name in ("distance", "recall"):
        table[name] = table[name].where(~lost)
    return table


def test_recall_stands_beside_uniform_shares_and_sampling() -> None:
    """A distance is read between the two."""
    table = recall_table(cells())
    model, uniform, sampling = (line.split("|")[1:-1] for line in table.splitlines()[2:5])
    mean = cells()["distance"].mean()
    assert model[2].strip().startswith(f"{100 * mean:.1f} [")
    assert model[3].strip().startswith(f"{100 * (mean - 0.4):+.1f} [")
    assert model[5].strip() == "0.0 %"
    assert uniform[2].strip() == "40.0 [40.0, 40.0]"
    assert uniform[4].strip() == "25.0"
    assert sampling[2].strip() == "3.0"


def test_failures_count_as_wrong_and_as_no_distance() -> None:
    """A few are shown beside the scores; many leave no score."""
    few = recall_table(silent(0.05))
    assert "| 5.0 % |" in few
    assert f"| {95.0} [" in few
    many = recall_table(silent(0.1))
    assert "| invalid | invalid | invalid | 10.0 % |" in many
    assert not is_recalled(silent(0.1))
    assert is_recalled(silent(0.05))


def test_numbers_are_kept_only_where_there_is_recall() -> None:
    """Coverage always is."""
    kept = recall_numbers(cells())
    assert kept["distance"] == pytest.approx(cells()["distance"].mean())
    assert kept["distance_low"] < kept["distance"] < kept["distance_high"]
    assert kept["distance_uniform"] == pytest.approx(0.4)
    assert kept["coverage"] == 1.0
    assert kept["distance_sampling"] == pytest.approx(0.03)
    assert recall_numbers(silent(0.5)) == {"coverage": 0.5}


def test_intervals_are_by_question() -> None:
    """Countries of one question are no independent evidence on questions."""
    found = by_question(cells(), "distance")
    assert (found.n, found.clusters) == (COUNT, 20)


def test_countries_are_listed_best_recalled_first() -> None:
    """All where they are few; the ends of a long list."""
    lines = country_table(cells()).splitlines()
    assert lines[0] == "The countries, the best recalled first:"
    shown = [line.split("|")[1].strip() for line in lines[4:]]
    means = cells().groupby("country")["distance"].mean()
    assert shown == list(means.sort_values().index)
    many = cells(country=[f"C{place % 16:02}" for place in range(COUNT)])
    lines = country_table(many).splitlines()
    assert lines[0].startswith(f"The {SHOWN} countries of 16")
    shown = [line.split("|")[1].strip() for line in lines[4:]]
    means = many.groupby("country")["distance"].mean().sort_values()
    assert shown == [*means.index[:SHOWN], *means.index[-SHOWN:]]
    assert country_table(silent(0.5)) == ""


def test_accuracy_stands_beside_its_relation_to_recall() -> None:
    """With and without the share of the commonest answer."""
    full, rag = arm_table(cells(), [arm("full"), arm("rag")]).splitlines()[2:]
    plain, held = follows(cells(), "full"), follows(cells(), "full", "modal")
    assert full == (
        f"| full | 100.0 [100.0, 100.0] | {plain.estimate:+.2f} [{plain.low:+.2f}, "
        f"{plain.high:+.2f}] | {held.estimate:+.2f} [{held.low:+.2f}, {held.high:+.2f}] |"
    )
    assert plain.estimate > 0.8
    assert abs(follows(cells(), "rag").estimate) < 0.4
    assert rag.startswith("| rag |")


def test_an_arm_or_a_recall_that_is_invalid_has_no_relation() -> None:
    """What was not answered goes with nothing."""
    invalid = arm_table(cells(), [arm("full", answers=False)]).splitlines()[2]
    assert invalid == "| full | invalid | - | - |"
    unrecalled = arm_table(silent(0.5), [arm("full")]).splitlines()[2]
    assert unrecalled == "| full | 100.0 [100.0, 100.0] | - | - |"


def test_a_column_that_does_not_vary_has_no_relation() -> None:
    """Where every case is right there is nothing to go with recall."""
    line = arm_table(cells(full=1.0), [arm("full")]).splitlines()[2]
    assert line.endswith("| - | - |")
    few = cells(question="Q1")
    assert "[no interval]" in arm_table(few, [arm("full")])


def test_words_say_how_near_recall_comes() -> None:
    """Nearer than uniform shares, farther off, or neither shown."""
    assert "the model is nearer than uniform shares" in in_words(cells(), [])
    assert "is farther off than uniform shares" in in_words(cells(uniform=0.01), [])
    unclear = cells(uniform=cells()["distance"].to_numpy()[::-1])
    assert "is not shown to be nearer than uniform shares" in in_words(unclear, [])
    assert "too few cases" in in_words(silent(0.5), [arm("full")])


def test_words_say_whether_accuracy_follows_recall() -> None:
    """And whether it still does among questions of equal agreement."""
    told = in_words(cells(), [arm("full"), arm("rag")])
    assert "The accuracy of full is higher where recall is better, and so it is with" in told
    assert "The accuracy of rag is not shown to go with recall." in told
    easy = cells(modal=cells()["recall"] + np.random.default_rng(2).normal(0, 0.001, COUNT))
    assert "higher where recall is better, but not with" in in_words(easy, [arm("full")])
    against = cells(full=1 - cells()["full"])
    assert "The accuracy of full is lower where recall is better" in in_words(
        against, [arm("full")]
    )
    assert "accuracy of full" not in in_words(cells(), [arm("full", answers=False)])


def test_the_limits_of_the_measurement_are_said() -> None:
    """Recall of marginals shows nothing of any person's answers, nor does its absence."""
    assert "What it does not mean: that the survey's rows, or any person's answers" in MEANS
    assert "nor does poor recall show that they were not" in MEANS


def test_an_interval_is_kept_as_three_numbers() -> None:
    """Under one name."""
    assert spread("r", Interval(0.1, 0.0, 0.2, 5, 2)) == {"r": 0.1, "r_low": 0.0, "r_high": 0.2}
