"""What limits mean for a run, before it starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuesim_dspy.limits import Bucket, Limits


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


def starts(a_minute: int, amounts: list[float]) -> list[float]:
    """Return when each of some amounts is spent, one after another, as early as it may be."""
    bucket, now, found = Bucket(a_minute, 0.0), 0.0, []
    for amount in amounts:
        while (wait := bucket.wait(amount, now)) > 0:
            now += wait
        bucket.spend(amount, now)
        found.append(now)
    return found


def worst(times: list[float], amounts: list[float]) -> float:
    """Return the most that any 60 seconds hold."""
    spent = list(zip(times, amounts, strict=True))
    return max(sum(a for at, a in spent if begin <= at < begin + 60 - 1e-6) for begin in times)


@pytest.mark.parametrize(
    ("a_minute", "amount", "expected"),
    [(10_000, 6_000, [0, 60, 120, 180]), (6_000, 5_000, [0, 60, 120, 180])],
)
def test_prompts_larger_than_a_seconds_share_keep_to_the_minute(
    a_minute: int, amount: int, expected: list[float]
) -> None:
    """Two that together are more than a minute may take are a minute apart."""
    assert starts(a_minute, [float(amount)] * 4) == pytest.approx(expected)


@given(
    a_minute=st.integers(1, 5000),
    amounts=st.lists(st.integers(1, 5000), min_size=1, max_size=60),
)
def test_no_sixty_seconds_hold_more_than_the_limit(a_minute: int, amounts: list[int]) -> None:
    """Whatever the amounts, as long as each of them is within it."""
    kept = [float(min(amount, a_minute)) for amount in amounts]
    assert worst(starts(a_minute, kept), kept) <= a_minute + 1e-6


def test_what_is_more_than_a_minute_goes_alone() -> None:
    """After a minute in which nothing was spent, and the next one waits for it."""
    bucket = Bucket(600, 0.0)
    bucket.spend(1.0, 0.0)
    assert bucket.wait(5000.0, 20.0) == pytest.approx(40.0)
    assert bucket.wait(5000.0, 60.0) == 0
    bucket.spend(5000.0, 60.0)
    assert bucket.wait(1.0, 60.0) >= 60


def test_what_was_not_used_is_given_back_to_its_own_minute() -> None:
    """And what was used beyond the plan counts from when it is known."""
    bucket = Bucket(600, 0.0)
    first = bucket.spend(600.0, 0.0)
    assert bucket.wait(500.0, 30.0) == pytest.approx(30.0, abs=2)
    bucket.correct(first, 100.0, 30.0)
    assert bucket.wait(500.0, 30.0) == 0
    bucket.correct(first, 600.0, 30.0)
    assert bucket.wait(200.0, 61.0) == pytest.approx(29.0)
    assert bucket.wait(100.0, 61.0) < 29
    bucket.correct(first, 0.0, 100.0)
    assert bucket.wait(600.0, 100.0) == 0
    bucket.spend(600.0, 100.0)
    assert 1.0 <= bucket.wait(600.0, 159.0) < 2.0
