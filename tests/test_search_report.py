"""A search in words: the best trials, how the others ended, what is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import living_in
from searching import plan, tried

from evals.study import Study, open_study
from optimize.search_report import search_text


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A small study."""
    folder = tmp_path_factory.mktemp("report")
    with living_in(folder), open_study(plan(folder).job) as opened:
        yield opened


def text(folder: Path, study: Study, begun: list[Any], table: str = "", **search: Any) -> str:
    """Return the text of a search of so many trials."""
    found = plan(folder, {"trials": len(begun) or 1, **search})
    return search_text(found, study, begun, table, run_id="abc123")


def rows(told: str) -> list[list[str]]:
    """Return the cells of the table, the head first."""
    lines = [line for line in told.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "--" not in line]


def test_the_best_are_shown_with_their_values(tmp_path: Path, study: Study) -> None:
    """Best first, ten at most; a key that was not sampled is a dash."""
    none, demos = {"compile.teleprompter": "none"}, {"compile.options.k": 2}
    trials = [tried(n, accuracy=0.3 + n / 100, params=none) for n in range(12)]
    trials.append(tried(12, accuracy=0.9, params=demos))
    head, first, second, *others = rows(text(tmp_path, study, trials))
    assert head == ["trial", "accuracy %", "compile.teleprompter", "compile.options.k"]
    assert first == ["12", "90.0", "-", "2"] and second == ["11", "41.0", "none", "-"]
    assert len(others) == 8


def test_the_head_counts_and_warns(tmp_path: Path, study: Study) -> None:
    """How trials ended; that made-up people say nothing of people; which run."""
    trials = [tried(0, accuracy=0.5), tried(1, "pruned"), tried(2, "failed", reason="why not")]
    told = text(tmp_path, study, trials)
    assert told.startswith("## tiny: 3 of 3 trials (1 complete, 1 pruned, 1 failed)\n")
    assert "says nothing about people" in " ".join(told.split())
    assert "- Trial 2 failed: why not" in told and "MLflow run abc123" in told
    assert "flatters" in told


def test_the_devset_follows_when_it_was_read(tmp_path: Path, study: Study) -> None:
    """Until then, what it waits for."""
    done = [tried(0, accuracy=0.5), tried(1, accuracy=0.4)]
    told = text(tmp_path, study, done, "THE TABLE")
    assert "THE TABLE" in told and "is read once" not in told
    told = " ".join(text(tmp_path, study, done, trials=5).split())
    assert "2 of 5 trials" in told and "read once all 5 trials are done" in told
    assert "other processes" not in told
    told = " ".join(text(tmp_path, study, [*done, tried(2, "running")], trials=3).split())
    assert "1 are under way in other processes" in told


@pytest.mark.parametrize("count", [0, 2])
def test_without_a_complete_trial_there_is_no_table(
    tmp_path: Path, study: Study, count: int
) -> None:
    """And the devset was not read."""
    trials = [tried(n, "failed", reason="why not") for n in range(count)]
    told = text(tmp_path, study, trials)
    assert "No trial is complete." in told and rows(told) == []
    assert ("devset was not read" in told) is (count > 0)


def test_many_failures_are_counted(tmp_path: Path, study: Study) -> None:
    """Ten with their reasons, on a line each."""
    trials = [tried(n, "failed", reason="x " * 400) for n in range(13)]
    told = text(tmp_path, study, trials)
    lines = [line for line in told.splitlines() if line.startswith("- Trial")]
    assert len(lines) == 10 and max(map(len, lines)) <= 300
    assert "- 3 more failed" in told


def test_several_objectives_are_a_front(tmp_path: Path, study: Study) -> None:
    """What cost is, and that nothing was pruned, is said."""
    trials = [tried(0, accuracy=0.5, cost=900.0), tried(1, accuracy=0.4, cost=100.5)]
    trials.append(tried(2, accuracy=0.3, cost=950.0))
    told = text(tmp_path, study, trials, objectives=["accuracy", "cost"], cost="calls")
    assert "The Pareto front" in told and "does not prune" in told
    assert "Cost: calls that a case needs" in told
    assert [row[0] for row in rows(told)] == ["trial", "0", "1"]
    assert rows(told)[0][2] == "calls a case" and rows(told)[2][2] == "100.5"
    alone = text(tmp_path, study, trials[:1])
    assert "does not prune" not in alone and "Cost" not in alone


def test_trials_of_equal_values_are_counted(tmp_path: Path, study: Study) -> None:
    """They were measured once."""
    trials = [tried(0, accuracy=0.5), tried(1, accuracy=0.5, same_as=0)]
    told = text(tmp_path, study, trials)
    assert "- 1 trials had the values of an earlier one" in told
    assert [row[0] for row in rows(told)] == ["trial", "0"]
