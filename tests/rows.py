"""Finished rows and journals of them for tests."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.journal import STATUSES, Journal, Shard
from valuesim_dspy.outcomes import Outcome

ARGUMENTS: dict[str, Any] = {"model": "test", "questions": ["Q1", "Q2"], "seed": 42, "sample": None}

_CODES = st.integers(-(2**31), 2**31)
_COUNTS = st.integers(0, 10**9)
# Lone surrogates too: what a server sends is not always text that can be encoded.
_TEXT = st.text(st.characters(codec=None), max_size=20)

OUTCOMES = st.builds(
    Outcome,
    respondent=_TEXT,
    question=_TEXT,
    truth=st.none() | _CODES,
    answer=st.none() | _CODES,
    status=st.sampled_from(STATUSES),
    reason=_TEXT,
    decision=_TEXT,
    views=st.dictionaries(_TEXT, _CODES, max_size=3),
    fidelity=st.none() | st.floats(allow_nan=False),
    calls=_COUNTS,
    paid=_COUNTS,
    tokens=_COUNTS,
    seconds=st.floats(allow_nan=False),
    country=_TEXT,
    probabilities=st.dictionaries(_CODES, st.floats(0, 1), max_size=3),
    paid_tokens=_COUNTS,
)


def row(number: int, status: str = "answered", reason: str = "") -> Outcome:
    """Return what became of a case: a row that is like no other one."""
    answer = number % 5 if status == "answered" else None
    return Outcome(
        f"{number:012x}",
        f"Q{number}",
        number % 4,
        answer,
        status,
        reason,
        views={"career": number % 3, "family": 2},
        tokens=number,
    )


def begun(
    path: Path,
    total: int = 20,
    numbers: range = range(0),
    *,
    shard: Shard | None = None,
    width: int = 1,
    **changes: Any,
) -> Path:
    """Begin a journal, keep answered rows of these numbers that are its own, and close it."""
    with Journal.open(path, ARGUMENTS | changes, total, shard, width) as journal:
        for number in numbers:
            if journal.takes(number):
                journal.add(number, row(number))
    return path


def refused(path: Path, match: str) -> None:
    """Check that the file is refused in one line, by opening and by taking up, and kept as is."""
    before = path.read_bytes() if path.is_file() else b""
    for act in (lambda: Journal(path), lambda: Journal.open(path, ARGUMENTS, 20)):
        with pytest.raises(ConfigError, match=match) as caught:
            act()
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


def changed(path: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    """Change a file behind the journal's back."""
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement, values)
