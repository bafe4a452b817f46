"""Reading a TOML file that somebody gave: bounded, never waited for, refused in one line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from valuesim_dspy.errors import ConfigError, MissingDataError, shown

MAX_BYTES = 4 * 2**20
MOST_PARTS = 40
_PART = r"(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+"
_DEEP = re.compile(f"(?<![\\w-])(?:{_PART}){{{MOST_PARTS}}}")


def read_toml(path: Path, how: str, *, what: str = "file") -> dict[str, Any]:
    """Read a TOML file as plain tables.

    Args:
        path: The file.
        how: What to do where it is not there.
        what: What it is called in messages.

    Raises:
        MissingDataError: There is no such file; a pipe, a device or a folder is none.
        ConfigError: It is too large, cannot be read, or is no TOML.
    """
    if not path.is_file():
        raise MissingDataError(f"there is no {what} {path}", how)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"has more than {MAX_BYTES} bytes", key=str(path))
        text = path.read_text(encoding="utf-8")
        if _DEEP.search(text):
            # Each dot is a table in a table, and the time to read them grows with its square.
            raise ConfigError(f"a key has more than {MOST_PARTS} parts", key=str(path))
        return tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", key=str(path)) from None
    except (ValueError, RecursionError) as error:
        # A ValueError also tells of a number with too many digits.
        raise ConfigError(f"{path} is not valid TOML: {shown(error)}") from None
