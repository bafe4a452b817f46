"""What any survey file must be, whatever its format: how large, with which columns."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.columns import ATTRIBUTES

MAX_BYTES = 2 * 1024**3
MAX_ROWS = 2_000_000
MAX_UNPACKED = 1024**3  # of the columns wanted, in a packed format


def check_bytes(path: Path) -> None:
    """Refuse a file of more bytes than any survey has.

    Raises:
        SurveyDataError: It is larger than `MAX_BYTES`.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        message = f"has {size / 1e6:.0f} MB, and up to {MAX_BYTES / 1e6:.0f} are read: split it"
        raise SurveyDataError(message, path=path)


def check_rows(path: Path, rows: int) -> None:
    """Refuse a file without rows, or with more than any survey has.

    Raises:
        SurveyDataError: There are none, or more than `MAX_ROWS`.
    """
    if rows < 1:
        raise SurveyDataError("has columns but no rows", path=path)
    if rows > MAX_ROWS:
        message = f"has {rows} rows, and up to {MAX_ROWS} are read: split it"
        raise SurveyDataError(message, path=path)


def check_wanted(path: Path, columns: int, found: Collection[str]) -> None:
    """Refuse a file in which no column of a codebook's was found.

    Args:
        path: The file.
        columns: How many columns it has.
        found: Those that are wanted.

    Raises:
        SurveyDataError: No question is among them.
    """
    if not set(found) - ATTRIBUTES.keys():
        message = f"no question of the codebook among {columns} columns: is it of this survey?"
        raise SurveyDataError(message, path=path)


def damaged(path: Path, kind: str) -> SurveyDataError:
    """The error for a file that its format's library cannot read; no cell is in it."""
    return SurveyDataError(f"the {kind} file is damaged: download or export it again", path=path)


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
