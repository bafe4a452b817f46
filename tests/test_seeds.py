"""One job over several seeds: pooled by respondent, on the testset, whose readings are counted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from jobs import Stopping, answered_by, living_in, small_job, tracker_of

from evals.benchmark import Result
from evals.tracked_runs import LEVEL
from optimize.seeds import SeedResult, run_seeds, seeds_table
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.usage import Usage

TINY: dict[str, Any] = {"variant": "single", "baselines": ["rag"]}


def result(label: str, correct: list[float], *, evidence: str = "survey") -> Result:
    """Return a result of two cases a respondent; only what seeds read of it."""
    frame = pd.DataFrame(
        {
            "respondent": [f"r{place // 2}" for place in range(len(correct))],
            "question": [f"Q{place % 2}" for place in range(len(correct))],
            "truth": 1,
            "correct": correct,
        }
    )
    return Result(label, label, "test", "cold", frame, Usage(), Usage(), 0, 1.0, evidence)


def seed(number: int, *, reads: int = 1, evidence: str = "survey", **arms: list[float]) -> Any:
    """Return the testset results of a seed; `_` in an arm's name stands for a blank."""
    results = {
        name.replace("_", " "): result(name, correct, evidence=evidence)
        for name, correct in arms.items()
    }
    return SeedResult(number, results, reads)


def cells(table: str, row: str) -> list[float]:
    """Return the estimates of a row, without intervals."""
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {row} |"))
    return [float(cell.split()[0]) for cell in line.split("|")[2:-1]]


def remote(**changes: Any) -> Any:
    """Return a job that a real model would answer."""
    lm = {"model": "openai/test", "api_base": "http://127.0.0.1:9/v1"}
    return small_job(**{**TINY, "task_lm": lm, **changes})


def test_a_row_a_seed_and_all_of_them_pooled() -> None:
    """Differences in points: what compiling does to each arm, and the headlines."""
    first = seed(
        1,
        **{"rag": [1, 0, 0, 0], "rag_compiled": [1, 1, 0, 0]},
        **{"single": [0, 0, 0, 0], "single_compiled": [1, 1, 1, 0]},
    )
    second = seed(
        2,
        **{"rag": [1, 1, 0, 0], "rag_compiled": [1, 1, 0, 0]},
        **{"single": [1, 0, 0, 0], "single_compiled": [1, 0, 0, 0]},
    )
    table = seeds_table(remote(), [first, second])
    head = next(line for line in table.splitlines() if line.startswith("| seed"))
    assert [name.strip() for name in head.split("|")[2:-1]] == [
        "rag compiled - rag",
        "single compiled - single",
        "single compiled - rag",
        "single compiled - rag compiled",
    ]
    assert cells(table, "1") == [25.0, 75.0, 50.0, 25.0]
    assert cells(table, "2") == [0.0, 0.0, -25.0, -25.0]
    assert cells(table, "all") == [12.5, 37.5, 12.5, 0.0]
    assert "over 2 seeds" in table and "4 cases a seed" in table


def test_people_of_different_seeds_are_different_people() -> None:
    """Equal keys of two seeds are two clusters: the pooled interval is narrower than each."""
    arms = {
        "rag": [0.0] * 12,
        "rag_compiled": [1.0, 0.0] * 6,
        "single": [0.0] * 12,
        "single_compiled": [1.0, 1.0, 0.0, 0.0] * 3,
    }
    table = seeds_table(remote(), [seed(number, **arms) for number in range(1, 7)])

    def width(row: str) -> float:
        (line,) = (line for line in table.splitlines() if line.startswith(f"| {row} |"))
        low, high = re.findall(r"\[([-+\d.]+), ([-+\d.]+)\]", line)[1]
        return float(high) - float(low)

    assert 0 < width("all") < 0.7 * width("1")


def test_the_table_says_how_often_the_testset_was_read() -> None:
    """The largest count of all seeds."""
    arms = {"single": [1.0, 0.0], "single_compiled": [1.0, 1.0], "rag": [0.0, 0.0]}
    table = seeds_table(remote(), [seed(1, reads=1, **arms), seed(2, reads=4, **arms)])
    assert "testset readings 4" in table


@pytest.mark.parametrize(
    ("config", "evidence", "warned"),
    [
        (remote(), "survey", False),
        (remote(), "synthetic-machinery", True),
        (small_job(**TINY), "survey", True),
    ],
)
def test_machinery_is_called_machinery(config: Any, evidence: str, warned: bool) -> None:
    """Synthetic people or the embedded model: no word about people."""
    arms = {"single": [1.0, 0.0], "single_compiled": [1.0, 1.0], "rag": [0.0, 0.0]}
    table = seeds_table(config, [seed(1, evidence=evidence, **arms)])
    assert ("no word about people" in table) is warned


def test_a_seed_given_twice_is_refused(tmp_path: Path) -> None:
    """Twice the same people would make the interval narrower than it is."""
    engine = Stopping()
    with (
        living_in(tmp_path),
        answered_by(engine),
        pytest.raises(ConfigError, match="seed"),
    ):
        run_seeds([small_job(**TINY, seed=1), small_job(**TINY, seed=1)])
    assert engine.asked == 0


def test_an_empty_testset_is_found_before_anything_is_paid(tmp_path: Path) -> None:
    """What seeds are for is the testset."""
    engine = Stopping()
    with (
        living_in(tmp_path),
        answered_by(engine),
        pytest.raises(ConfigError, match=r"protocol\.test"),
    ):
        run_seeds([small_job(**TINY, seed=1, protocol={"test": 0})])
    assert engine.asked == 0


@pytest.mark.slow
def test_seeds_are_jobs_of_their_own_and_read_the_testset(tmp_path: Path) -> None:
    """A run a seed; the second time nothing is paid and the reading is counted."""
    configs = [small_job(**TINY, seed=number) for number in (1, 2)]
    engine = Stopping()
    with living_in(tmp_path) as store, answered_by(engine):
        first = run_seeds(configs)
        paid = engine.answered
        second = run_seeds(configs)
    assert "testset readings 1;" in first and "testset readings 2;" in second
    assert engine.answered == paid > 0
    assert first.splitlines()[-3:] == second.splitlines()[-3:]
    assert [line.split("|")[1].strip() for line in first.splitlines()[-3:]] == ["1", "2", "all"]
    runs = tracker_of(store).find({LEVEL: "job"})
    assert len(runs) == 2
    assert len(list((store / "programs").glob("*/single/program.json"))) == 2
