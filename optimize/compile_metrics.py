"""The metrics that programs are compiled by, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evals.metrics import SCORES
from optimize.compilation import Metric, as_metric
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.fidelity import backstory_fidelity

FAITHFUL = 0.9
"""The least fidelity of a backstory whose trace counts as a success."""


def fidelity(example: Any, prediction: Any, trace: Any = None) -> float | bool:
    """Return the share of facts that a backstory keeps; with a trace, whether it is enough.

    Raises:
        ConfigError: The program writes no backstory.
    """
    story = getattr(prediction, "backstory", "")
    if not story:
        raise ConfigError(
            "fidelity is of a backstory, and the program writes none",
            key="compile.options.metric",
            value="fidelity",
            allowed=["exact", "closeness"],
        )
    value = backstory_fidelity(example.case.profile.facts, story)
    return value if trace is None else value >= FAITHFUL


COMPILE_METRICS: Mapping[str, Metric] = {
    "exact": as_metric(SCORES["exact"]),
    "closeness": as_metric(SCORES["closeness"]),
    "fidelity": fidelity,
}
"""Name of a metric to what scores one case in [0, 1], and with a trace decides by a bool."""
