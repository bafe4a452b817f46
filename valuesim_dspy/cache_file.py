"""One private SQLite file of responses: readable by its owner only, mended by starting anew."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from valuesim_dspy.errors import ConfigError

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x56535243


class CacheFile:
    """A table of text by key, for all threads of a process and for several processes.

    One connection under one lock: a look-up takes microseconds, so that threads hardly wait,
    and nothing is left open per thread.

    Args:
        path: The file; None keeps the table in memory.

    Raises:
        ConfigError: The file cannot be made or read.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._db, self._process = _open(path), os.getpid()

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Run one statement and return its rows; a file that fails now gives no rows.

        A damaged file is moved aside and a new one begun. Neither stops a job: what is not in
        the cache is asked again.

        Args:
            statement: SQL with ``?`` for the values.
            values: The values.
        """
        with self._lock:
            if self._process != os.getpid():
                # A connection must not be used on the other side of a fork.
                self._db, self._process = _open(self.path), os.getpid()
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.ProgrammingError:
                # A closed file is a mistake of the caller's, not damage.
                raise
            except sqlite3.OperationalError as error:
                logger.warning("the response cache %s cannot be used now: %s", self.path, error)
            except sqlite3.DatabaseError as error:
                self._db.close()
                _move_aside(self.path, str(error))
                self._db = _open(self.path)
            return []

    def close(self) -> None:
        """Close the file; it is not used afterwards."""
        with self._lock:
            self._db.close()


class _ForeignError(sqlite3.DatabaseError):
    """A sound database, but not one of ours."""


def _open(path: Path | None) -> sqlite3.Connection:
    if path is None:
        return _connect(":memory:")
    try:
        _make_private(path)
        try:
            _check_owner(path)
            return _connect(str(path))
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            _move_aside(path, str(error))
            _make_private(path)
            return _connect(str(path))
    except (OSError, sqlite3.OperationalError) as error:
        raise ConfigError(
            f"responses cannot be kept in {path} ({error}); give another folder, for example "
            "by setting XDG_CACHE_HOME"
        ) from error


def _connect(name: str) -> sqlite3.Connection:
    db = sqlite3.connect(name, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        with db:
            # Checked and made in one transaction: other processes may be beginning it too.
            db.execute("BEGIN IMMEDIATE")
            _check_or_make(db)
        use_wal(db)
        db.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _check_or_make(db: sqlite3.Connection) -> None:
    (mark,) = db.execute("PRAGMA application_id").fetchone()
    kinds = {kind for (kind,) in db.execute("SELECT type FROM sqlite_master")}
    tables = bool(kinds)
    if mark == 0 and not tables:
        db.execute("CREATE TABLE responses (key TEXT PRIMARY KEY, value TEXT, created REAL)")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    columns = [row[1] for row in db.execute("PRAGMA table_info(responses)")]
    # A view or a trigger would run, perhaps without end, whenever the table is used.
    foreign = (tables and mark != APPLICATION_ID) or kinds - {"table", "index"}
    if columns != ["key", "value", "created"] or foreign:
        raise _ForeignError("it is not a response cache of this version")


def use_wal(db: sqlite3.Connection) -> None:
    """Let readers and a writer of a database file work side by side.

    Raises:
        sqlite3.OperationalError: Other processes held the file for some ten seconds.
    """
    for patience in reversed(range(200)):
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # Here alone SQLite does not wait for other processes by itself.
            if "locked" not in str(error) or not patience:
                raise
            time.sleep(0.05)


def _make_private(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    elif all(entry.name.startswith(path.name) for entry in folder.iterdir()):
        # A folder that holds other things too is not ours to close.
        folder.chmod(0o700)
    if not os.path.lexists(path):
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    elif not path.is_symlink():
        path.chmod(0o600)


def _check_owner(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise _ForeignError("it is not a regular file")
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        raise _ForeignError("it belongs to another user")


def _move_aside(path: Path | None, reason: str) -> None:
    if path is None:
        return
    number = 1
    while os.path.lexists(f"{path}.aside-{number}"):
        number += 1
    for end in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{end}").rename(f"{path}.aside-{number}{end}")
    logger.warning(
        "%s is not used as the response cache (%s): moved to %s.aside-%d, starting anew",
        path, reason, path.name, number,
    )  # fmt: skip
