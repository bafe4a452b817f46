"""Where things are kept: the store of runs, and the cache of responses."""

from __future__ import annotations

import os
import sys
from pathlib import Path

APP = "valuesim"


def store_location(store: str | Path | None = None) -> Path | str:
    """Find the store of runs.

    ``MLFLOW_TRACKING_URI`` wins, then the configured folder, then the nearest ``mlruns/`` going
    up from the working folder, then the user's data folder. Nothing is created.

    Args:
        store: A folder or a tracking URI from a config.

    Returns:
        A tracking URI as text, or the folder as an absolute path.
    """
    chosen = os.environ.get("MLFLOW_TRACKING_URI") or store
    if chosen:
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
