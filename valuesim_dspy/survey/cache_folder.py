"""The folder of the cache of surveys, private to its user."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from valuesim_dspy.store import APP, user_cache

_ABANDONED = 3600.0  # seconds after which a part file is nobody's


def cache_folder() -> Path:
    """The folder of the cache in the user's cache folder; delete it to forget every survey."""
    return user_cache() / APP / "surveys"


def prepare_folder(folder: Path) -> None:
    """Make the folder, for its owner only, and clear away what broken writes left in it."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    for part in folder.glob("*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()
