"""Where remembered people are kept: one private database in which each change is whole or absent.

SQLite by default, in WAL mode; any other database by its SQLAlchemy address. What is deleted is
overwritten there (`secure_delete`) and the file is written anew (`PeopleStore.clean`).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, delete, event, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from valuesim_dspy.cache_file import use_wal
from valuesim_dspy.errors import ConfigError, MissingDataError, ProgramStateError, ValueSimError
from valuesim_dspy.people_tables import MARKS, SCHEMA
from valuesim_dspy.sqlite_files import PROGRAMMED, refusal
from valuesim_dspy.store import APP, artifact_root, store_error, take_turn, user_data

FILE = "people.db"
FORMAT = "1"
UNCLEAN = "unclean"
PATIENCE = 30.0
"""Seconds for which a writer waits for the others."""


def people_location() -> Path:
    """Return the file of remembered people: beside the runs of the project's store.

    Where runs are kept by a server, it is in the user's data folder: people stay on this machine.
    """
    root = artifact_root()
    return (root.parent if root is not None else user_data() / APP) / FILE


class PeopleStore:
    """The database of remembered people.

    Threads and processes may share it: every change is one transaction, and writers of an SQLite
    file or of a PostgreSQL database take turns.

    Args:
        place: A file, a folder (`people.db` in it), or an SQLAlchemy address; by default the
            file of `people_location`.

    Raises:
        ConfigError: The address is none.
        MissingDataError: The database's driver is not installed.
        ProgramStateError: Another version of this code made it.
        ValueSimError: It cannot be made, read or written.
    """

    def __init__(self, place: str | Path | None = None) -> None:
        self.url = store_url(place)
        self.file = database_file(self.url)
        if self.file is not None:
            self._guard(_make_private, self.file)
        self._engine = _connect(self.url)
        with self.changing() as db:
            if self.file is not None:
                _check_tables(db, self.name)
            SCHEMA.create_all(db)
            marks = dict(db.execute(select(MARKS.c.name, MARKS.c.value)).tuples().all())
            if not marks:
                marks = {"format": FORMAT, "salt": secrets.token_hex(16)}
                rows = [{"name": name, "value": value} for name, value in marks.items()]
                db.execute(MARKS.insert(), rows)
        if marks.get("format") != FORMAT or "salt" not in marks:
            raise ProgramStateError(
                "the store of people is of another version",
                path=self.name,
                expected=FORMAT,
                found=marks.get("format"),
            )
        self._salt = str(marks["salt"])
        if UNCLEAN in marks:
            # Whoever deleted was stopped before the file was written anew.
            with suppress(ValueSimError):
                self.clean()

    def __repr__(self) -> str:
        return f"PeopleStore({self.name})"

    @property
    def name(self) -> str:
        """Where it is, without credentials."""
        return place_name(self.url)

    def key(self, id: str) -> str:
        """Return the salted hash under which a person is kept: 12 hex digits; the id is not."""
        # A name from a command line may hold bytes that are no text; it is a name all the same.
        told = f"{self._salt}\0{id}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(told).hexdigest()[:12]

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """Yield a connection; what is done with it is kept as a whole, or not at all.

        Raises:
            ValueSimError: The database failed.
        """
        try:
            with self._engine.begin() as db:
                yield db
        except SQLAlchemyError as error:
            raise _explained(self.name, error) from None

    @contextmanager
    def deleting(self) -> Iterator[Connection]:
        """As `changing`, for what must not be left in the file; see `clean`."""
        with self.changing() as db:
            if self.file is not None:
                db.execute(delete(MARKS).where(MARKS.c.name == UNCLEAN))
                db.execute(MARKS.insert(), {"name": UNCLEAN, "value": "1"})
            yield db
        self.clean()

    def clean(self) -> None:
        """Write an SQLite file anew without what was deleted, and empty its log.

        Where that fails, or the process is ended before, the next opening tries again.

        Raises:
            ValueSimError: Another process reads it, so that the old bytes are still there.
        """
        if self.file is None:
            return
        self._guard(_rewrite, self.file)
        with self.changing() as db:
            db.execute(delete(MARKS).where(MARKS.c.name == UNCLEAN))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _guard(self, act: Any, file: Path) -> None:
        try:
            act(file)
        except (OSError, sqlite3.Error) as error:
            raise store_error(self.name, error) from None


def store_url(place: str | Path | None = None) -> URL:
    """Return the address of a store; see `PeopleStore`.

    Raises:
        ConfigError: The address is none, or is of a database in memory.
    """
    place = people_location() if place is None else place
    if "://" not in str(place):
        path = Path(place).expanduser().absolute()
        return URL.create("sqlite", database=str(path / FILE if path.is_dir() else path))
    try:
        url = make_url(str(place))
    except ArgumentError:
        raise ConfigError("is no SQLAlchemy address", key="people") from None
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigError("people are kept in a file: sqlite:///people.db", key="people")
    return url


def database_file(url: URL) -> Path | None:
    """Return the file of an SQLite address; None for another database."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def place_name(url: URL) -> str:
    """Return what an address may be called in messages: without user and password."""
    file = database_file(url)
    return str(file) if file is not None else f"{url.drivername}://{url.host}/{url.database}"


def _connect(url: URL) -> Engine:
    lite = url.get_backend_name() == "sqlite"
    patience: dict[str, Any] = {"connect_args": {"timeout": PATIENCE}} if lite else {}
    try:
        # Values are answers of people: they never stand in the text of an error. A connection for
        # each transaction: none is shared by threads, carried over a fork or left idle.
        engine = create_engine(url, hide_parameters=True, poolclass=NullPool, **patience)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        what = f"there is no driver for {url.drivername} ({error})"
        raise MissingDataError(what, "install it, or keep people in a file") from None
    if lite:
        event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _take_turn)
    return engine


def _prepare(connection: Any, _: object) -> None:
    # Transactions are begun by `_take_turn`; the driver's own begin late, and can deadlock.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _take_turn(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        # Else two that read before either wrote would both write.
        take_turn(connection, "people", PATIENCE)


def _make_private(file: Path) -> None:
    if not file.parent.is_dir():
        file.parent.mkdir(parents=True)
        file.parent.chmod(0o700)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    with closing(sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)) as db:
        use_wal(db)
    # Only now: what is no database, or only led to, is somebody else's to open and close.
    if not file.is_symlink():
        file.chmod(0o600)


def _check_tables(db: Connection, name: str) -> None:
    """Refuse an SQLite file whose tables would run something, perhaps without end, when used."""
    if db.exec_driver_sql(PROGRAMMED).scalar_one():
        raise refusal("the store of people", name)


def _rewrite(file: Path) -> None:
    with closing(sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = ON")
        db.execute("VACUUM")
        busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("what was deleted is locked by a reader, still in the log")


def _explained(name: str, error: SQLAlchemyError) -> ValueSimError:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    shown = cause if isinstance(cause, Exception) else error
    return store_error(name, shown)
