"""What a metric is: one number for the scored table of a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

NAN = float("nan")


@dataclass(frozen=True)
class Metric:
    """One number for a benchmark.

    Attributes:
        name: Its name in tables and runs.
        what: What it measures, in a sentence.
        range: Unit and range.
        higher_is_better: None where neither direction is better.
        compute: Takes a scored table and returns the number; NaN where it does not apply.
    """

    name: str
    what: str
    range: str
    higher_is_better: bool | None
    compute: Callable[[pd.DataFrame], float]
