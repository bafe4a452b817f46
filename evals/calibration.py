"""Temperature scaling: one number, fitted on the valset, that makes probabilities honest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING

import numpy as np

from evals.probabilistic import FLOOR, distributions, read_distribution, with_probabilities
from valuesim_dspy.errors import MissingDataError

if TYPE_CHECKING:
    import pandas as pd

COLDEST, HOTTEST = 0.05, 20.0
"""Between these the temperature is sought."""


@dataclass(frozen=True)
class Calibration:
    """A temperature and what it did to the cases that it was fitted on.

    Attributes:
        temperature: Above 1 it evens probabilities out, below 1 it sharpens them.
        log_loss_before: In nats, at temperature 1.
        log_loss_after: The same at this temperature; never higher.
        cases: How many it was fitted on.
    """

    temperature: float
    log_loss_before: float
    log_loss_after: float
    cases: int


def calibrate(val_frame: pd.DataFrame) -> Calibration:
    """Return the temperature with the least log-loss on a scored valset.

    A bounded search for one parameter (Guo et al. 2017, ICML), over its logarithm: probabilities
    p become p**(1/T), brought to 1 again. The order of options stays, and the answer with it.

    Args:
        val_frame: A scored table whose cases have probabilities, none of them of the set that
            is reported.

    Raises:
        MissingDataError: No case has any.
    """
    from scipy.optimize import minimize_scalar

    known, told = with_probabilities(val_frame), distributions(val_frame)
    if not told:
        raise MissingDataError(
            "no case of the valset has probabilities to calibrate",
            "measure an arm that gives them on the valset",
        )
    pairs = list(zip(known["truth"].astype(int), told, strict=True))
    logits = _logits(pairs)

    def loss(heat: float) -> float:
        scaled = logits / exp(heat)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[:, 0]).mean())

    found = minimize_scalar(loss, bounds=(log(COLDEST), log(HOTTEST)), method="bounded")
    before = loss(0.0)
    heat, after = (float(found.x), float(found.fun)) if found.fun < before else (0.0, before)
    return Calibration(exp(heat), before, after, len(told))


def _logits(pairs: Sequence[tuple[int, Mapping[int, float]]]) -> np.ndarray:
    """Return logarithms of probabilities, one row a case, the truth's first, padded with -inf."""
    widest = max(len(told) for _, told in pairs)
    logits = np.full((len(pairs), widest), -np.inf)
    for row, (truth, told) in enumerate(pairs):
        shares = [told.get(truth, 0.0), *(p for code, p in told.items() if code != truth)]
        logits[row, : len(shares)] = np.log(np.maximum(shares, FLOOR))
    return logits


def scaled(probabilities: Mapping[int, float], temperature: float) -> dict[int, float]:
    """Return probabilities at a temperature; each counts as `FLOOR` at least before."""
    logs = {code: log(max(share, FLOOR)) / temperature for code, share in probabilities.items()}
    most = max(logs.values())
    parts = {code: exp(value - most) for code, value in logs.items()}
    total = sum(parts.values())
    return {code: part / total for code, part in parts.items()}


def apply(frame: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """Return a scored table whose probabilities are calibrated; answers stay as they were.

    Args:
        frame: Any set of the same arm.
        calibration: As `calibrate` found it on the arm's valset.
    """
    cells = [
        json.dumps(scaled(read_distribution(text), calibration.temperature)) if text else ""
        for text in frame["probabilities"]
    ]
    return frame.assign(probabilities=cells)
