"""Where a search keeps its trials: a database, a journal file, or beside the runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evals.store_folder import one_at_a_time
from optimize.search_space import SearchConfig
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.sqlite_files import check_tables
from valuesim_dspy.store import (
    artifact_root,
    prepare_store,
    take_turn,
    user_data,
    without_credentials,
)

JOURNAL, VARIABLE, SQLITE, POSTGRESQL = "journal:", "env:", "sqlite:///", "postgresql"
PATIENCE = 60.0
"""Seconds for which a process waits while others open the same trials."""


def storage_address(search: SearchConfig, store: str | None) -> tuple[str, str]:
    """Return the address of the trials, and the same without credentials, which may be shown.

    Args:
        search: Names it, or leaves it open: then it is `optuna.db` beside the runs.
        store: The store of the runs, as in a job's config.

    Raises:
        ConfigError: It is no address, or names a variable that is not set.
        ValueSimError: The store cannot be used.
    """
    address = search.storage
    if address is None:
        root = artifact_root(store)
        prepare_store(store)
        folder = root.parent if root else user_data() / "valuesim"
        address = f"sqlite:///{(folder / 'optuna.db').as_posix()}"
    elif address.startswith(VARIABLE):
        name = address.removeprefix(VARIABLE)
        address = os.environ.get(name, "")
        if not address:
            raise ConfigError(f"the variable {name} is not set", key="search.storage")
    if not address.startswith(JOURNAL) and "://" not in address:
        message = "expected the address of a database, journal:PATH or env:NAME"
        raise ConfigError(message, key="search.storage", allowed=["sqlite:///...", "journal:..."])
    return address, without_credentials(address)


def file_of(address: str) -> Path | None:
    """Return the file of a local storage."""
    for lead in (JOURNAL, SQLITE):
        if address.startswith(lead):
            return Path(address.removeprefix(lead).partition("?")[0]).expanduser()
    return None


def folder_of(address: str) -> Path | None:
    """Return a path in the folder of a local storage, which is made where it is missing."""
    file = file_of(address)
    if file is None:
        return None
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return file.parent / "artifacts"


@contextmanager
def opened_alone(address: str) -> Iterator[None]:
    """Let one process at a time open trials: of two that make the tables at once, one fails.

    Args:
        address: From `storage_address`.

    Raises:
        ValueSimError: Another process has been opening a local storage for a minute, or the file
            holds more than tables.
        SQLAlchemyError: The same of a database, or it cannot be reached.
    """
    file = file_of(address)
    if address.startswith(SQLITE) and file is not None and file.is_file():
        check_tables(file, "the file of trials")
    with taking_turns(address), one_at_a_time(folder_of(address)):
        yield


@contextmanager
def taking_turns(address: str) -> Iterator[None]:
    """Let one process of all machines at a time begin something, where trials are in PostgreSQL.

    Args:
        address: From `storage_address`; for another one nobody waits.

    Raises:
        SQLAlchemyError: The database cannot be reached, or others took a minute.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import NoSuchModuleError
    from sqlalchemy.pool import NullPool

    engine = None
    if address.startswith(POSTGRESQL):
        # Without its driver nobody waits: whoever opens the trials says that it is missing.
        with suppress(ImportError, NoSuchModuleError):
            engine = create_engine(address, poolclass=NullPool, hide_parameters=True)
    if engine is None:
        yield
        return
    with engine.begin() as db:
        take_turn(db, "trials", PATIENCE)
        yield
