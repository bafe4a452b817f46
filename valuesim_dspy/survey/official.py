"""The shape of the official wave-7 file: its columns, whether anything here reads them or not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuesim_dspy.survey.dimensions import read_population

FILLER = -5  # what columns hold that nothing reads


def official(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns in the official order, and the official number of them.

    Args:
        columns: Columns [n] by official name, at least one.

    Returns:
        Every official column; one that is not given, and the ones behind the last that has a
        name, hold `FILLER`.
    """
    names = official_names()
    filler = np.full(len(next(iter(columns.values()))), FILLER, dtype=np.int8)
    return {name: columns.get(name, filler) for name in names}


@lru_cache(maxsize=1)
def official_names() -> tuple[str, ...]:
    """The names of all columns of the official file; those without one are FILLER_1 and so on."""
    spec = read_population("wvs7_columns")
    named = spec["columns"]
    return *named, *(f"FILLER_{at}" for at in range(1, spec["width"] - len(named) + 1))
