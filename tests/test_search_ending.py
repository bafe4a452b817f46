"""Which trials are the best, and what becomes of them; the rest is held by tests of searches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from searching import plan, tried

from optimize.search_ending import best_trials, chosen_of, trial_name


def numbers(trials: list[Any], *objectives: str) -> list[int]:
    """Return the numbers of the best trials, in order."""
    return [trial.number for trial in best_trials(trials, objectives)]


def test_the_best_come_first() -> None:
    """By accuracy from above, by nMAE from below."""
    trials = [tried(n, accuracy=a, nmae=a) for n, a in enumerate((0.3, 0.5, 0.4))]
    assert numbers(trials, "accuracy") == [1, 2, 0]
    assert numbers(trials, "nmae") == [0, 2, 1]


def test_only_what_was_measured_to_its_end_can_win() -> None:
    """Not what was pruned or failed, and no combination twice."""
    trials = [
        tried(0, "pruned", curve={1: 0.9}),
        tried(1, "failed", reason="coverage"),
        tried(2, accuracy=0.4),
        tried(3, accuracy=0.4, same_as=2),
        tried(4, "running"),
    ]
    assert numbers(trials, "accuracy") == [2]
    assert numbers(trials[:2], "accuracy") == []


def test_of_equals_the_cheaper_comes_first_and_then_the_earlier() -> None:
    """Tokens a case."""
    dear, cheap = {"cost.tokens": 900.0}, {"cost.tokens": 100.0}
    trials = [
        tried(0, accuracy=0.5, metrics=dear),
        tried(1, accuracy=0.5, metrics=cheap),
        tried(2, accuracy=0.5, metrics=cheap),
        tried(3, accuracy=0.6, metrics=dear),
    ]
    assert numbers(trials, "accuracy") == [3, 1, 2, 0]


def test_a_front_is_what_no_other_beats() -> None:
    """More accurate or cheaper; what is neither is left out; equals stay."""
    points = [(0.5, 900.0), (0.5, 800.0), (0.4, 100.0), (0.4, 200.0), (0.3, 100.0), (0.5, 800.0)]
    trials = [tried(n, accuracy=a, cost=c) for n, (a, c) in enumerate(points)]
    assert numbers(trials, "accuracy", "cost") == [1, 5, 2]


def test_a_trial_alone_is_the_front() -> None:
    """Nothing beats it."""
    assert numbers([tried(3, accuracy=0.1, cost=9.0)], "accuracy", "cost") == [3]


def test_a_trial_is_called_by_number_arm_and_teleprompter(tmp_path: Path) -> None:
    """Where the space does not have them, the job does."""
    found = plan(tmp_path, {"space": {"variant": ["full", "single"]}})
    trial = tried(5, params={"variant": "full"})
    assert trial_name(found, trial) == "trial 5 (full, labeled-few-shot)"


@pytest.mark.parametrize("kept", ["all", '["answer"]'])
def test_values_are_read_back_as_a_job_has_them(tmp_path: Path, kept: str) -> None:
    """Lists are kept as JSON."""
    found = plan(tmp_path, {"space": {"compile.options.predictors": ["all", ["answer"]]}})
    trial = tried(0, params={"compile.options.predictors": kept})
    wanted = "all" if kept == "all" else ["answer"]
    assert chosen_of(found, trial) == {"compile.options.predictors": wanted}
