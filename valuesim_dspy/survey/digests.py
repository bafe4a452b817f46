"""The digest of a file's bytes, and a memory of digests for files that have not changed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.cache_folder import cache_folder, prepare_folder
from valuesim_dspy.survey.file_limits import check_bytes, sha256_of

MEMORY = "digests.json"
_SETTLED = 3.0  # seconds: within a clock's tick, a file may change and look the same
_MOST = 200  # files remembered


def digest_of(path: Path) -> str:
    """sha256 of a survey file's bytes, 64 hex digits.

    Raises:
        SurveyDataError: The file is too large, or cannot be opened.
    """
    try:
        check_bytes(path)
        return sha256_of(path)
    except OSError as error:
        raise SurveyDataError(f"cannot be opened: {error.strerror or error}", path=path) from error


def known_digest(path: Path) -> str:
    """sha256 of a file's bytes, without reading them where the file is as it was.

    A file counts as unchanged while its device, inode, size, modification and change times are
    those it had when it was read. Every write changes them, and the change time cannot be set
    back by a program; a file that changed less than three seconds before is not remembered, since
    a further change within a tick of the clock would look the same. What this does not see is a
    clock that was set back, or a drive that keeps false times: there read with `cache=False`.
    Windows keeps no change time, so there the bytes are read each time.
    """
    return remembered_digest(path) or remember(path, digest_of(path))


def remembered_digest(path: Path) -> str | None:
    """What `known_digest` remembers of a file that is as it was; None where it must be read."""
    entry = _memory().get(_name(path))
    if isinstance(entry, list) and len(entry) == 2 and entry[0] == _state(path):
        return str(entry[1])
    return None


def remember(path: Path, digest: str) -> str:
    """Remember the digest of a file that was just read; return it."""
    state = _state(path)
    if os.name == "nt" or time.time_ns() - max(state[-2:]) < _SETTLED * 1e9:
        return digest
    memory, name = _memory(), _name(path)
    if memory.get(name) != [state, digest]:
        memory.pop(name, None)
        memory[name] = [state, digest]
        _write(dict(list(memory.items())[-_MOST:]))
    return digest


def _name(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]


def _state(path: Path) -> list[int]:
    about = path.stat()
    return [about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _memory() -> dict[str, Any]:
    try:
        memory = json.loads((cache_folder() / MEMORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}


def _write(memory: dict[str, Any]) -> None:
    try:
        prepare_folder(cache_folder())
        handle, name = tempfile.mkstemp(prefix=MEMORY, suffix=".part", dir=cache_folder())
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(memory, stream)
        Path(name).replace(cache_folder() / MEMORY)
    except OSError:
        return  # it saves time, no more
