"""What the errors say: one line, and nothing of a file that could colour or flood a terminal."""

from __future__ import annotations

import pytest

from valuesim_dspy.errors import ConfigError, ProgramStateError

ESCAPE = "\x1b]0;owned\x07\x1b[2J\nvaluesim: all is well\u202e"


@pytest.mark.parametrize(("expected", "found"), [(ESCAPE, "b"), ("a", ESCAPE), (ESCAPE, ESCAPE)])
def test_what_a_program_file_says_is_printable_on_one_line(expected: str, found: str) -> None:
    """Escapes, line ends and marks of direction do not reach the terminal."""
    said = str(ProgramStateError("does not fit", path="p", expected=expected, found=found))
    assert said.isprintable()
    assert said.startswith("p: does not fit (expected ") and "all is well" in said


@pytest.mark.parametrize("length", [200, 201, 10**6])
def test_what_a_program_file_says_is_short(length: int) -> None:
    """Up to 200 characters stand as they are, of more the beginning."""
    said = str(ProgramStateError("m", expected="x" * length, found="y" * length))
    assert len(said) <= 430
    assert ("..." in said) is (length > 200)
    assert ("x" * 200 in said) is (length == 200)


def test_plain_values_stand_as_they_are() -> None:
    """Lists, numbers and None are told as Python tells them; without `expected` neither is."""
    said = str(ProgramStateError("m", expected=[1, "é"], found=None))
    assert said == "m (expected [1, 'é'], found None)"
    assert str(ProgramStateError("m", path="p")) == "p: m"
    assert ProgramStateError("m", expected=1, found=ESCAPE).found == ESCAPE


def test_a_config_error_names_key_and_what_is_allowed() -> None:
    """One line, in this order."""
    assert str(ConfigError("no", key="a.b", value=3, allowed=[1, 2])) == "a.b: no; allowed: 1, 2"
