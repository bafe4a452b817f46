"""Files for their owner only, which appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def private_draft(path: Path) -> Iterator[Path]:
    """Yield an empty file beside another, whose place it takes where the block ends well.

    It is new, since a mode holds for new files only: who may read one that is there could read
    what is written to it, too. Its name is always the same, so that a draft whose process was
    killed is swept by the next one.

    Args:
        path: The file that is to be; one that is there is replaced.

    Raises:
        OSError: It cannot be written; what was there is left as it was.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield draft
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
