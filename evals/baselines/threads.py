"""Numeric libraries on one thread."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """Return a context in which numeric libraries use one thread.

    Sums then keep their order on every machine, and matrices of a few hundred people, which
    gain nothing by threads, do not wait for a processor that others use.
    """
    context: AbstractContextManager[Any] = _controller().limit(limits=1)
    return context


@lru_cache(maxsize=1)
def _controller() -> Any:
    import sklearn.ensemble  # noqa: F401 - only libraries that are loaded are found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
