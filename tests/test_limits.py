"""What limits mean for a run, before it starts."""

from __future__ import annotations

import pytest

from valuesim_dspy.limits import Limits


@pytest.mark.parametrize(
    ("limits", "minutes"),
    [
        ({}, 0.0),
        ({"calls_per_minute": 60}, 10.0),
        ({"tokens_per_minute": 1_000}, 900.0),
        ({"calls_per_minute": 60, "tokens_per_minute": 1_000}, 900.0),
        ({"calls_per_minute": 1, "tokens_per_minute": 1_000_000}, 600.0),
    ],
)
def test_the_tighter_limit_says_how_long_it_takes(limits: dict[str, int], minutes: float) -> None:
    """600 calls of 1,500 tokens each."""
    assert Limits(**limits).minutes(600, 900_000) == minutes


@pytest.mark.parametrize(
    ("a_minute", "notes"),
    [
        (None, []),
        (600, []),
        (60, ["at these limits that takes at least 10 minutes"]),
        (7, ["at these limits that takes at least 86 minutes"]),
        (2, ["at these limits that takes at least 5.0 hours"]),
    ],
)
def test_a_long_wait_is_said_beforehand(a_minute: int | None, notes: list[str]) -> None:
    """In minutes or hours; nothing where the limits make no difference worth a line."""
    assert Limits(calls_per_minute=a_minute).notes(600, 9, in_process=False) == notes


def test_a_model_in_this_process_has_no_limits() -> None:
    """Who sets one is told that it does nothing; who sets none is told nothing."""
    (line,) = Limits(tokens_per_minute=1).notes(600, 900_000, in_process=True)
    assert line == "limits do not apply: this model runs here, one call after another"
    assert Limits().notes(600, 900_000, in_process=True) == []
