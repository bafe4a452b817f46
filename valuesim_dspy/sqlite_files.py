"""SQLite files that somebody may have made: nothing in them runs when their tables are used."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from valuesim_dspy.errors import ProgramStateError

PROGRAMMED = "SELECT count(*) FROM sqlite_master WHERE type IN ('view', 'trigger')"
"""Counts what would run, perhaps without end, whenever a table is read or written."""


def refusal(what: str, path: Path | str) -> ProgramStateError:
    """Return the refusal of a file that holds such things."""
    message = f"{what} holds views or triggers, which this code never makes"
    return ProgramStateError(message, path=path)


def check_tables(path: Path, what: str) -> None:
    """Refuse a file that holds anything but tables; one that is no database is left to others.

    Args:
        path: A file that is there.
        what: What it is called.

    Raises:
        ProgramStateError: It holds views or triggers.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            (count,) = db.execute(PROGRAMMED).fetchone()
    except sqlite3.Error:
        return
    if count:
        raise refusal(what, path)
