"""The cache of surveys: what was read of a file, as a typed parquet file of the user's own.

A file is found by the sha256 of the survey's bytes and the codebook's digest. It is only ever
believed as far as it agrees with itself: each group of rows has a digest of its own, and whatever
does not fit is made again from the survey.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from valuesim_dspy.store import APP, user_cache
from valuesim_dspy.survey.cached_table import GROUP, CacheFile, MisfitError, to_table
from valuesim_dspy.survey.codebook import Codebook
from valuesim_dspy.survey.people import People

logger = logging.getLogger(__name__)
_ABANDONED = 3600.0  # seconds after which a part file is nobody's


def cache_folder() -> Path:
    """The folder of the cache in the user's cache folder; delete it to forget every survey."""
    return user_cache() / APP / "surveys"


def cache_path(digest: str, codebook: Codebook) -> Path:
    """The file for a survey of this sha256, checked against this codebook."""
    return cache_folder() / f"{digest[:32]}-{codebook.digest}.parquet"


def cached_people(
    path: Path, digest: str, codebook: Codebook, read: Callable[[], People]
) -> People:
    """The people of a survey, from the cache if it holds them; else read, and kept there.

    Args:
        path: The survey's file.
        digest: Its sha256.
        codebook: What its codes are checked against.
        read: Reads them from the survey.
    """
    kept = cache_path(digest, codebook)
    people = _from_cache(kept, lambda file: file.people(path), digest, codebook)
    if people is None:
        before = path.stat()
        people = read()
        # A file that changed meanwhile may not be the one of this digest.
        if _identity(path.stat()) == _identity(before):
            write_cache(kept, people)
    return people


def cached_person(path: Path, id: str, digest: str, codebook: Codebook) -> People | None:
    """One person of a survey, read alone from the cache; None where it does not hold them."""
    kept = cache_path(digest, codebook)
    return _from_cache(kept, lambda file: file.person(path, id), digest, codebook)


def _from_cache(
    kept: Path, look: Callable[[CacheFile], People | None], digest: str, codebook: Codebook
) -> People | None:
    import pyarrow as pa

    if not kept.is_file():
        return None
    try:
        _check_owner(kept)
        with CacheFile(kept, digest, codebook) as file:
            return look(file)
    except (MisfitError, pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error) if isinstance(error, MisfitError) else "it cannot be read"
        logger.warning("%s is not used and will be made again: %s", kept.name, reason)
        return None


def write_cache(kept: Path, people: People) -> None:
    """Keep people in a file of their own; where that is impossible, say so and go on."""
    try:
        prepare_folder(kept.parent)
        handle, name = tempfile.mkstemp(prefix=f"{kept.name}.", suffix=".part", dir=kept.parent)
        os.close(handle)  # made readable by its owner only
        try:
            _write(Path(name), people)
            Path(name).replace(kept)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be kept: %s", kept.name, error.strerror or error)


def _write(path: Path, people: People) -> None:
    from pyarrow import parquet

    table = to_table(people)
    parquet.write_table(
        table,
        path,
        row_group_size=GROUP,
        compression="lz4",
        use_dictionary=[*people.table.places, "person:country"],
        write_statistics=False,  # fifteen thousand of them would take longer than the rows
        write_page_checksum=True,
    )


def prepare_folder(folder: Path) -> None:
    """Make the folder, for its owner only, and clear away what broken writes left in it."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    for part in folder.glob("*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()


def _check_owner(kept: Path) -> None:
    """Refuse a file that somebody else may have written."""
    about = kept.stat()
    if hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o022):
        raise MisfitError("others could have written it")


def _identity(about: os.stat_result) -> tuple[int, ...]:
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
