"""The cache of surveys: what was read of a file, as a typed parquet file of the user's own.

A file is found by the sha256 of the survey's bytes and the codebook's digest. It is only ever
believed as far as it agrees with itself: each group of rows has a digest of its own, and whatever
does not fit is made again from the survey.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from valuesim_dspy.survey.cache_folder import cache_folder, prepare_folder
from valuesim_dspy.survey.cached_table import GROUP, CacheFile, MisfitError, to_table
from valuesim_dspy.survey.codebook import Codebook
from valuesim_dspy.survey.digests import known_digest, remembered_digest
from valuesim_dspy.survey.people import People

logger = logging.getLogger(__name__)


def cache_path(digest: str, codebook: Codebook) -> Path:
    """The file for a survey of this sha256, checked against this codebook."""
    return cache_folder() / f"{digest[:32]}-{codebook.digest}.parquet"


def cached_people(
    path: Path, codebook: Codebook, read: Callable[[Callable[[], str]], People]
) -> People:
    """The people of a survey, from the cache if it holds them; else read, and kept there.

    Args:
        path: The survey's file.
        codebook: What its codes are checked against.
        read: Reads them from the survey; is given what gives the file's sha256.
    """
    digest = remembered_digest(path)
    if digest is None and any(cache_folder().glob(f"*-{codebook.digest}.parquet")):
        digest = known_digest(path)  # perhaps the same file lay elsewhere before
    if digest is not None:
        kept = cache_path(digest, codebook)
        people = _from_cache(kept, lambda file: file.people(path), digest, codebook)
        if people is not None:
            return people
    before = path.stat()
    with ThreadPoolExecutor(1, thread_name_prefix="digest") as pool:
        digesting = pool.submit(known_digest, path)
        people = read(digesting.result)
    # A file that changed meanwhile may not be the one of this digest.
    if _identity(path.stat()) == _identity(before):
        write_cache(cache_path(people.digest, codebook), people)
    return people


def cached_person(path: Path, id: str, codebook: Codebook) -> People | None:
    """One person of a survey, read alone from the cache; None where it does not hold them."""
    digest = known_digest(path)
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
        compression="none",  # small codes are packed tightly as differences already
        use_dictionary=["person:country"],
        column_encoding=dict.fromkeys(people.table.places, "DELTA_BINARY_PACKED"),
        write_statistics=False,  # thousands of them would take longer than the rows
        write_page_checksum=True,
    )


def _check_owner(kept: Path) -> None:
    """Refuse a file that somebody else may have written."""
    about = kept.stat()
    if hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o022):
        raise MisfitError("others could have written it")


def _identity(about: os.stat_result) -> tuple[int, ...]:
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
