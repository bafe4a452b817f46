"""What MLflow leaves open about a store: where it is, that it may move, who opens it first."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from valuesim_dspy.store import store_error
from valuesim_dspy.ui import is_loopback

_OPENING_SECONDS = 60.0


def is_remote(uri: str) -> bool:
    """Whether what is logged to this address leaves the machine; loopback servers do not count."""
    parts = urlsplit(uri)
    # One letter is a Windows drive.
    if parts.scheme in ("sqlite", "file") or len(parts.scheme) == 1:
        return False
    if parts.scheme == "mlflow-artifacts" and not parts.netloc:
        # The tracking server's own, which is looked at by itself.
        return False
    if not parts.scheme:
        return uri.startswith("databricks")
    return not is_loopback(parts.hostname or "")


@contextmanager
def one_at_a_time(root: Path | None) -> Iterator[None]:
    """Let one process at a time open a local store; the lock ends with its process.

    MLflow's own lock does not cover all of the first migrations: of two jobs that began on a new
    store at once, one failed.

    Args:
        root: The folder of the runs' files; None for a store that is not local.

    Raises:
        ValueSimError: Another process has been opening it for a minute.
    """
    if root is None:
        yield
        return
    path = root.parent / "opening.lock"
    with closing(sqlite3.connect(path, timeout=_OPENING_SECONDS, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            raise store_error(str(path), error) from None
        yield


def follow_move(uri: str, before: str, after: str) -> None:
    """Point runs at the files that moved with the store: MLflow keeps absolute addresses."""
    if not before.startswith("file:"):
        return
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=20)) as db, db:
        db.execute(
            "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?",
            (after, before),
        )
        db.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
            "WHERE substr(artifact_uri, 1, ?) = ?",
            (after, len(before) + 1, len(before) + 1, f"{before}/"),
        )
