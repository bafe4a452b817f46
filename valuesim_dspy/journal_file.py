"""The SQLite file of a journal: private, held by one process, refused where it is not ours."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from valuesim_dspy.cache_file import use_wal
from valuesim_dspy.errors import ConfigError, MissingDataError, shown

FORMAT = 1
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
# The driver cannot decode the messages that SQLite makes from a damaged file's bytes.
_UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
APPLICATION_ID = 0x56534A4C
SCHEMA = (
    "CREATE TABLE meta (value TEXT)",
    "CREATE TABLE rows (number INTEGER PRIMARY KEY, status TEXT, reason TEXT, kept TEXT,"
    " digest INTEGER)",
)


class JournalMeta(BaseModel):
    """What a journal says of itself; `retries` is how often rows were dropped to be asked again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    fields: list[str]
    arguments: dict[str, Any]
    total: int = Field(ge=0, le=2**32)
    width: int = Field(ge=1)
    shard: tuple[int, int] | None
    retries: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.total % self.width:
            raise ValueError(f"{self.total} rows are not {self.width} for each respondent")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise ValueError(f"there is no part {self.shard}")
        return self

    @property
    def part(self) -> str:
        """The shard as it is given to commands."""
        return f"{self.shard[0]}/{self.shard[1]}" if self.shard is not None else "none"

    @property
    def text(self) -> str:
        """All of it as JSON, escaped, so that any text can be kept."""
        return json.dumps(self.model_dump())


def open_file(path: Path, meta: JournalMeta | None) -> sqlite3.Connection:
    """Open the file of a journal and hold it: nobody else can, until it is closed.

    Args:
        path: The file.
        meta: What a new journal says of itself; None where there must be one already.

    Raises:
        MissingDataError: There is none.
        ConfigError: It is no journal, somebody else's, damaged or in use.
    """
    with explained(path):
        if meta is not None:
            _make_private(path)
        _check_files(path)
        if _holds_something_else(path):
            raise foreign(path, "it is not a journal of finished rows")
        db = sqlite3.connect(
            _uri(path, "mode=rw"),
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _hold(db, path, meta)
        except BaseException:
            db.close()
            raise
        return db


def _hold(db: sqlite3.Connection, path: Path, meta: JournalMeta | None) -> None:
    # The lock is SQLite's own, on every system, held as long as the connection lives: it dies with
    # its process, no side file is left behind, and the log's index is in memory, without which WAL
    # cannot work on a network file system (there, the server's lock service has to run).
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    with db:
        db.execute("BEGIN EXCLUSIVE")
        if _is_empty(db) and meta is not None:
            for statement in SCHEMA:
                db.execute(statement)
            db.execute("INSERT INTO meta VALUES (?)", (meta.text,))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        if not _is_ours(db):
            raise foreign(path, "it is not a journal of finished rows")
    use_wal(db)
    # In WAL mode the file cannot be torn by a power cut either; only the latest rows may go.
    db.execute("PRAGMA synchronous = NORMAL")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into one line that says what to do.

    Raises:
        ConfigError: In place of what they raised.
    """
    try:
        yield
    except sqlite3.ProgrammingError:
        # A closed journal is a mistake of the caller's, not damage.
        raise
    except (*_UNREADABLE, OSError) as error:
        raise ConfigError(f"{path}: {_advice(error)}") from None


def checksum(number: int, status: str, reason: str, kept: str) -> int:
    """Return what tells a row as it was written from one that was damaged."""
    return zlib.crc32(f"{number} {status} {reason} {kept}".encode())


def check_row(digest: int, number: int, status: str, reason: str, kept: str) -> None:
    """Check a row against its checksum.

    Raises:
        sqlite3.DatabaseError: It was damaged.
    """
    if digest != checksum(number, status, reason, kept):
        raise sqlite3.DatabaseError(f"row {shown(number)} is not as it was written")


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what reading text raises into the error of a damaged file.

    Raises:
        sqlite3.DatabaseError: In its place.
    """
    try:
        yield
    except (ValueError, TypeError, RecursionError) as error:
        raise sqlite3.DatabaseError(f"{what} cannot be read") from error


def foreign(path: Path, reason: str) -> ConfigError:
    """Return the refusal of a file that is not ours to use."""
    return ConfigError(f"{path} is left as it is: {reason}; write to another file")


def decisive(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a run that decide its rows.

    Journals of earlier versions hold the seed also where nobody was drawn by it.
    """
    is_idle = "people" in arguments and not (arguments.get("sample") or arguments.get("peers"))
    return {n: v for n, v in arguments.items() if not (n == "seed" and is_idle)}


def difference(name: str, kept: Any, given: Any) -> str:
    """Return in what an argument differs, with both values, shortened."""
    if isinstance(kept, list) and isinstance(given, list):
        # Of two long lists, what is in both says nothing.
        only = [item for item in kept if item not in given]
        other = [item for item in given if item not in kept]
        if only or other:
            return f"{name} (only kept {shown(only)}, only given {shown(other)})"
    return f"{name} (kept {shown(kept)}, given {shown(given)})"


def _advice(error: Exception) -> str:
    full = isinstance(error, OSError) and error.errno in _NO_ROOM
    reason = shown(error.strerror if isinstance(error, OSError) and error.strerror else error)
    if not isinstance(error, (sqlite3.OperationalError, OSError)) or "decode" in reason:
        return (
            f"it is damaged ({reason}) and left as it is: move it aside, with its -wal file, to "
            "begin anew; what the response cache keeps is not paid again"
        )
    if "locked" in reason:
        return "another process works on it; wait until that ends, or write to another file"
    if full or "full" in reason or "disk I/O" in reason:
        return (
            f"no more answers can be kept ({reason}); those that were are safe: make room on the "
            "disk and run the same command again to go on"
        )
    return f"it cannot be used ({reason}); check that it can be written, or write to another file"


def _uri(path: Path, options: str) -> str:
    return f"{path.absolute().as_uri()}?{options}"


def _make_private(path: Path) -> None:
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _check_files(path: Path) -> None:
    """Refuse what is no plain file of this user, and let nobody else read what is."""
    if not os.path.lexists(path):
        raise MissingDataError(f"there is no journal {path}", "run the command that writes it")
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-journal"))):
        with suppress(FileNotFoundError):
            found = file.lstat()
            if not stat.S_ISREG(found.st_mode):
                raise foreign(path, f"{file.name} is not a regular file")
            if hasattr(os, "getuid") and found.st_uid != os.getuid():
                raise foreign(path, f"{file.name} belongs to another user")
            if found.st_mode & 0o077:
                file.chmod(0o600)


def _holds_something_else(path: Path) -> bool:
    """Whether the file is a sound database of another kind; looked at without changing it."""
    try:
        with closing(sqlite3.connect(_uri(path, "mode=ro&immutable=1"), uri=True)) as db:
            return not (_is_empty(db) or _is_ours(db))
    except _UNREADABLE:
        # Damaged, or being written by another process now: opening it tells which.
        return False


def _is_empty(db: sqlite3.Connection) -> bool:
    (mark,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(mark == 0 and tables == 0)


def _is_ours(db: sqlite3.Connection) -> bool:
    (mark,) = db.execute("PRAGMA application_id").fetchone()
    # Tables, and nothing that could act on what is asked of them, such as a trigger.
    found = {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master")}
    return bool(mark == APPLICATION_ID and found == set(SCHEMA))
