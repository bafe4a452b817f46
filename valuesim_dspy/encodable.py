"""Text that can be written anywhere: halves of surrogate pairs, which no encoding has, replaced.

A model that cuts an emoji in two, and a server that repeats it, send such halves as JSON; files,
tables and the next request would fail on them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from operator import is_
from typing import Any, cast

_HALF = re.compile("[\ud800-\udfff]")


def encodable(text: str) -> str:
    """Return a text with U+FFFD for each lone surrogate; two halves that fit become one."""
    if text.isascii() or _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mended(value: Any) -> Any:
    """Return a value with all its texts `encodable`; the value itself where they are already.

    Args:
        value: Text, lists, tuples, mappings and dataclasses of it; anything else is left alone.
    """
    if isinstance(value, str):
        return encodable(value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple):
        items = [mended(item) for item in value]
        make = getattr(type(value), "_make", type(value))
        return value if all(map(is_, items, value)) else make(items)
    if isinstance(value, Mapping):
        names, items = [mended(name) for name in value], [mended(value[name]) for name in value]
        if all(map(is_, items, value.values())) and all(map(is_, names, value)):
            return value
        make = type(value) if isinstance(value, dict) else dict
        return make(zip(names, items, strict=True))
    changed = {}
    for name in _fields(cast(Any, type(value))):
        old = getattr(value, name)
        if (new := mended(old)) is not old:
            changed[name] = new
    return dataclasses.replace(value, **changed) if changed else value


@lru_cache(maxsize=256)
def _fields(kind: type) -> tuple[str, ...]:
    """Return the names of what a dataclass is made of; of any other kind there are none."""
    known = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return tuple(field.name for field in known if field.init)


@contextmanager
def mending_errors() -> Iterator[None]:
    """Mend the texts of an error that is raised inside, and of those that led to it, in place."""
    try:
        yield
    except Exception as error:
        mend_error(error)
        raise


def mend_error(error: BaseException) -> None:
    """Mend the texts of an error, and of those that led to it, in place."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        # Its own fields are what makes one of its kind: `object` would be a text of its own.
        if not isinstance(now, UnicodeError):
            now.args = tuple(encodable(arg) if isinstance(arg, str) else arg for arg in now.args)
        if isinstance(getattr(now, "message", None), str):
            now.message = encodable(now.message)  # type: ignore[attr-defined]
        now = now.__cause__ or now.__context__
