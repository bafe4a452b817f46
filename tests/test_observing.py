"""One answer: what it means, when it was given, and in which order answers stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from valuesim_dspy import observing
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.observing import MOST_OPEN, code_of, moment
from valuesim_dspy.own import own_profile
from valuesim_dspy.people import People, Person
from valuesim_dspy.survey.codebook import Question, load_codebook

BOOK = load_codebook()


class Clock:
    """A clock of which the test says what it shows."""

    def __init__(self, *, now: datetime) -> None:
        self.time = now

    def now(self, zone: Any = None) -> datetime:
        """Return the time it shows."""
        return self.time

    @staticmethod
    def fromisoformat(text: str) -> datetime:
        """Read a time, as the real one does."""
        return datetime.fromisoformat(text)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which answers are given their times."""
    shown = Clock(now=datetime(2026, 3, 1, 12, tzinfo=UTC))
    monkeypatch.setattr(observing, "datetime", shown)
    return shown


@pytest.fixture
def me(tmp_path: Path) -> Person:
    """Somebody of whom nothing is kept."""
    return People(tmp_path / "people.db").add("me")


def codes(me: Person, question: str) -> list[int]:
    """Return the answers to a question, oldest first."""
    return [answer.code for answer in me.kept.answers if answer.question == question]


def test_the_newest_answer_stays_the_newest(me: Person, clock: Clock) -> None:
    """Where the clock was set back between two answers, the second still rules."""
    me.observe("Q58", 1)
    clock.time -= timedelta(hours=1)
    me.observe("Q58", 4)
    me.observe("Q58", 2)
    assert codes(me, "Q58") == [1, 4, 2]
    assert {answer.time for answer in me.kept.answers} == {"2026-03-01T12:00:00.000000+00:00"}
    assert me.case("Q57").history[-1].code == 2


def test_a_clock_set_back_changes_no_other_question(me: Person, clock: Clock) -> None:
    """An answer to something else has the time that the clock shows."""
    me.observe("Q58", 1, time="2030-01-01")
    me.observe("Q59", 1)
    assert {answer.question: answer.time[:4] for answer in me.kept.answers} == {
        "Q58": "2030",
        "Q59": "2026",
    }


def test_a_profile_does_not_overrule_what_comes_after(tmp_path: Path, clock: Clock) -> None:
    """An answer told at the beginning is older than any that is observed."""
    me = People(tmp_path / "people.db").add("me", own_profile({"Q58": 1}))
    clock.time -= timedelta(days=1)
    me.observe("Q58", 4)
    assert me.case("Q57").history[-1].code == 4


def test_a_time_that_is_given_is_kept(me: Person, clock: Clock) -> None:
    """An older answer that is told later is older."""
    me.observe("Q58", 1)
    me.observe("Q58", 4, time="2020-01-01")
    assert codes(me, "Q58") == [4, 1]


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00+01:00", "9999-12-31T23:59-01:00", "", "2026-13-01", "now"]
)
def test_what_is_no_time_is_told_in_one_line(me: Person, time: str) -> None:
    """Also where it would be before the first or after the last year; nothing is kept."""
    with pytest.raises(ConfigError, match="time: is no time"):
        moment(time)
    with pytest.raises(ConfigError, match="time: is no time"):
        me.observe("Q58", 1, time=time)
    assert me.kept.answers == ()


@pytest.mark.parametrize(
    "answer",
    ["9" * 5000, "-" + "9" * 5000, 10**5000, -(10**5000), "9" * 21],
    ids=["text", "negative text", "number", "negative number", "a few digits"],
)
def test_thousands_of_digits_are_no_answer(answer: int | str) -> None:
    """They are refused as any other answer that is none, of open questions too."""
    for question in (BOOK["Q57"], BOOK["Q261"], Question("How many?")):
        with pytest.raises(ConfigError, match="not one of the options"):
            code_of(question, answer)


def test_numbers_are_read_as_before() -> None:
    """As numbers, in digits with zeros before them, and as labels that are digits."""
    assert code_of(BOOK["Q57"], "002") == code_of(BOOK["Q57"], 2) == 2
    assert code_of(BOOK["Q261"], str(MOST_OPEN)) == MOST_OPEN
    with pytest.raises(ConfigError):
        code_of(BOOK["Q261"], MOST_OPEN + 1)
    digits = "9" * 5000
    assert code_of(Question("Which?", ["1", digits]), digits) == 2


def test_a_name_may_hold_half_a_character(tmp_path: Path) -> None:
    """As names from a command line do; it is kept as a hash like any other, and found again."""
    people = People(tmp_path / "people.db")
    people.add("\udcff").observe("Q58", 1, source="a \ud83d letter")
    assert "\udcff" in people and "\udcfe" not in people
    assert codes(People(tmp_path / "people.db").person("\udcff"), "Q58") == [1]
