"""The metrics that programs are compiled by, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evals.metrics import SCORES
from optimize.compilation import Metric, as_metric
from valuesim_dspy.errors import ConfigError, PredictionError
from valuesim_dspy.fidelity import backstory_fidelity

FAITHFUL = 0.9
"""The least fidelity of a backstory whose trace counts as a success."""

LEAST = 0.01
"""The probability at and below which the log score is 0: one in a hundred."""

TOLERANCE = 1e-6
"""How far from 1 the sum of probabilities may be."""


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


def log_score(example: Any, prediction: Any, trace: Any = None) -> float | bool:
    """Return the logarithmic score of a distribution, brought into [0, 1]; higher is better.

    With p what the prediction's `probabilities` give the true code, 1 - log(max(p, f)) / log(f)
    with f = `LEAST`: 1 for certainty of the truth, 0 for p <= f. Above f it is the logarithmic
    score (Good 1952, J. R. Stat. Soc. B 14) but for scale and origin, and like it strictly
    proper; what lies below f counts alike, so that one case cannot outweigh all others. With a
    trace: whether the true code is the single most probable one.

    Raises:
        ConfigError: The prediction carries no probabilities; other metrics would do.
        PredictionError: They are no distribution over codes.
    """
    probabilities = getattr(prediction, "probabilities", None)
    if probabilities is None:
        raise ConfigError(
            "log-score is of a distribution, and the program's predictions carry no probabilities",
            key="compile.options.metric",
            value="log-score",
            allowed=[name for name in COMPILE_METRICS if name != "log-score"],
        )
    given = distribution(probabilities)
    true = given.get(int(example.answer), 0.0)
    if trace is not None:
        others = (p for code, p in given.items() if code != int(example.answer))
        return true > max(others, default=0.0)
    return min(1.0, 1.0 - math.log(max(true, LEAST)) / math.log(LEAST))


def distribution(probabilities: object) -> dict[int, float]:
    """Return a prediction's probabilities, checked: code to a number in [0, 1], 1 in sum.

    Raises:
        PredictionError: They are none.
    """
    given = dict(probabilities) if isinstance(probabilities, Mapping) else {}
    numbers = [p for p in given.values() if isinstance(p, int | float) and 0.0 <= p <= 1.0]
    if len(numbers) < len(given) or abs(math.fsum(numbers) - 1.0) > TOLERANCE:
        raise PredictionError(
            "the prediction's probabilities are no distribution: a number in [0, 1] for each code, "
            "1 in sum"
        )
    return {int(code): float(p) for code, p in given.items()}


COMPILE_METRICS: Mapping[str, Metric] = {
    "exact": as_metric(SCORES["exact"]),
    "closeness": as_metric(SCORES["closeness"]),
    "fidelity": fidelity,
    "log-score": log_score,
}
"""Name of a metric to what scores one case in [0, 1], and with a trace decides by a bool."""
