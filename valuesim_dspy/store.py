"""Where things are kept: the store of runs, and the cache of responses."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

from valuesim_dspy.errors import ConfigError, ValueSimError
from valuesim_dspy.roles import blank_secrets, passwords_in, without_user

APP = "valuesim"
_DATABASES = ("postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle")

# Read by the libraries when they are imported: nothing is sent anywhere, nothing is fetched, and
# neither migrations nor progress bars are written over a job's own output.
MLFLOW_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # It would print the server's address at the end of every run, whole, with a password in it.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}


def store_location(store: str | Path | None = None) -> Path | str:
    """Find the store of runs.

    ``MLFLOW_TRACKING_URI`` wins, then the configured folder, then the nearest ``mlruns/`` going
    up from the working folder, then the user's data folder. Nothing is created.

    Args:
        store: A folder or a tracking URI from a config.

    Returns:
        A tracking URI as text, or the folder as an absolute path.

    Raises:
        ConfigError: The address is of MLflow's retired store of plain files.
    """
    chosen = os.environ.get("MLFLOW_TRACKING_URI") or store
    if chosen:
        if str(chosen).startswith("file:"):
            raise ConfigError(
                "MLflow no longer keeps runs in a plain folder; give the folder's path without "
                "file:, and a database is kept in it",
                key="store",
            )
        if "://" in str(chosen) or str(chosen) == "databricks":
            return str(chosen)
        return Path(chosen).expanduser().resolve()
    here = Path.cwd()
    nearest = (folder / "mlruns" for folder in (here, *here.parents))
    return next((path for path in nearest if path.is_dir()), user_data() / APP)


def tracking_uri(store: str | Path | None = None) -> str:
    """Return MLflow's address of the store: a database in the folder, or the URI as given.

    Args:
        store: As for `store_location`.
    """
    location = store_location(store)
    if isinstance(location, str):
        return location
    return f"sqlite:///{(location / 'mlflow.db').as_posix()}"


def artifact_root(store: str | Path | None = None) -> Path | None:
    """Return the folder of the runs' files, beside the database; None where a server keeps them.

    Args:
        store: As for `store_location`.
    """
    scheme, _, database = tracking_uri(store).partition(":///")
    return Path(database).resolve().parent / "artifacts" if scheme == "sqlite" else None


def prepare_store(store: str | Path | None = None) -> str:
    """Make a local store's folders, private, and check that its database can be used.

    MLflow itself would try a damaged or locked database again for hours before it says so.

    Args:
        store: A folder or a tracking URI; see `valuesim_dspy.store.store_location`.

    Returns:
        The tracking URI.

    Raises:
        ConfigError: It is a database that only a server should reach; see `require_server`.
        ValueSimError: The folder cannot be made, or the database is locked or damaged.
    """
    uri, root = tracking_uri(store), artifact_root(store)
    if root is None:
        require_server(uri)
        return uri
    database = root.parent / uri.rpartition("/")[2]
    try:
        root.mkdir(parents=True, exist_ok=True)
        for folder in (root.parent, root):
            folder.chmod(0o700)
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        if not database.is_symlink():
            database.chmod(0o600)
    except (OSError, sqlite3.Error) as error:
        raise store_error(str(database), error) from None
    return uri


def require_server(uri: str) -> None:
    """Refuse the address of a database without a server before it.

    MLflow would keep the runs there and their files in whatever folder a job was started from,
    where neither the UI nor another machine finds them.

    Args:
        uri: A tracking URI.

    Raises:
        ConfigError: It is of PostgreSQL, MySQL or another database that is no file.
    """
    database = uri.partition("://")[0].partition("+")[0]
    if database in _DATABASES:
        raise ConfigError(
            f"{database} keeps runs but not their files, which would be scattered; start "
            "`mlflow server` on it, with MLFLOW_BACKEND_STORE_URI and --artifacts-destination, "
            "and give the server's address, http://...",
            key="MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else "store",
        )


def take_turn(connection: Any, what: str, seconds: float) -> None:
    """Wait until no other transaction of a PostgreSQL database does the same; others need no turn.

    The turn ends with the transaction, however it ends.

    Args:
        connection: An SQLAlchemy connection with a transaction.
        what: What one at a time may do.
        seconds: The longest wait, also for a row or a table.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(seconds * 1000)}")
        number = zlib.crc32(what.encode())
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")


def store_error(where: str, error: Exception) -> ValueSimError:
    """Return one clear line for what went wrong with the store.

    Args:
        where: The database or the server, without credentials.
        error: What the library raised.
    """
    reason = reason_of(error)
    if "locked" in reason or "lock timeout" in reason:
        advice = "another process holds it: wait for it, or give another store"
    elif "not a database" in reason or "malformed" in reason:
        advice = "it is damaged: move it aside and a new one is begun"
    elif "out-of-date database schema" in reason:
        advice = "another version of MLflow made it: use that version, or `mlflow db upgrade`"
    else:
        advice = "check that it can be reached and written, or give another store"
    return ValueSimError(f"the store {where} cannot be used ({reason}); {advice}")


def reason_of(error: Exception, address: str = "") -> str:
    """Return the first line of what a library raised, without the secrets of any address.

    Args:
        error: What was raised; the libraries repeat the address they were given, whole.
        address: That address; the one in ``MLFLOW_TRACKING_URI`` is known.

    Returns:
        At most 300 characters.
    """
    line = (str(error).splitlines() or [type(error).__name__])[0]
    known = passwords_in(address) + passwords_in(os.environ.get("MLFLOW_TRACKING_URI", ""))
    return re.sub(r"(://[^\s?\"]*)\?[^\s\"]*", r"\1", blank_secrets(line, *known))[:300]


def without_credentials(uri: str) -> str:
    """Return an address without user, password and query."""
    return without_user(uri).partition("?")[0]


def cache_location() -> Path:
    """Return the file of the response cache in the user's cache folder.

    Its folder is made by `valuesim_dspy.cache.ResponseCache`, readable by its owner only.
    """
    return user_cache() / APP / "responses" / "responses.db"


def user_data() -> Path:
    """Return the user's data folder by the rules of the platform."""
    return _folder("XDG_DATA_HOME", ".local/share", "Library/Application Support", "")


def user_cache() -> Path:
    """Return the user's cache folder by the rules of the platform."""
    return _folder("XDG_CACHE_HOME", ".cache", "Library/Caches", "Cache")


def _folder(variable: str, linux: str, mac: str, windows: str) -> Path:
    home = Path.home()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return Path(base or home / "AppData" / "Local") / windows
    if sys.platform == "darwin":
        return home / mac
    chosen = os.environ.get(variable, "")
    # The XDG rules ignore a relative path.
    return Path(chosen) if Path(chosen).is_absolute() else home / linux
