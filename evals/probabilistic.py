"""How good the probabilities are that an arm gives: proper scores, distance, calibration.

Over answered cases whose prediction carries probabilities, the column `probabilities` (JSON text,
code to probability); NaN for arms that give none. A case that failed has no distribution to score
and shows in coverage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evals.metric import NAN, Metric

if TYPE_CHECKING:
    import pandas as pd

FLOOR = 0.001
"""The least probability that the log-loss counts: a case costs at most -log(FLOOR), 6.9 nats."""

BINS = 10
"""Bins of equal width that confidence is cut into."""

Floats = npt.NDArray[np.float64]


def with_probabilities(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the answered cases that have probabilities; none of a table without the column."""
    if "probabilities" not in frame:
        return frame.iloc[:0].assign(probabilities="")
    return frame[frame["answered"] & (frame["probabilities"] != "")]


def read_distribution(text: str) -> dict[int, float]:
    """Return a cell of the column `probabilities` as code to probability."""
    return {int(code): float(share) for code, share in json.loads(text).items()}


def read_places(text: str) -> dict[int, float]:
    """Return a cell of the column `places` as code to place; empty where there is no order."""
    return read_distribution(text) if text else {}


def distributions(frame: pd.DataFrame) -> list[dict[int, float]]:
    """Return the distribution of each case that has one, in the order of `with_probabilities`."""
    return [read_distribution(text) for text in with_probabilities(frame)["probabilities"]]


def truth_shares(frame: pd.DataFrame) -> Floats:
    """Return the probability given to the truth, case by case; shape (cases with one,)."""
    truths = with_probabilities(frame)["truth"]
    pairs = zip(truths, distributions(frame), strict=True)
    return np.array([told.get(int(truth), 0.0) for truth, told in pairs], dtype=float)


def log_loss(frame: pd.DataFrame) -> float:
    """Return the mean of -log(p), p being what the truth was given, at least `FLOOR`.

    Returns:
        In nats, 0 to 6.9, lower is better; a uniform guess among K options has log(K).
    """
    shares = truth_shares(frame)
    return float(-np.log(np.maximum(shares, FLOOR)).mean()) if len(shares) else NAN


def brier(frame: pd.DataFrame) -> float:
    """Return the mean over cases of the squared distance from the truth, summed over options.

    The original definition for several categories (Brier 1950), not its half.

    Returns:
        In [0, 2], lower is better; 1 - 1/K for a uniform guess among K options.
    """
    shares, told = truth_shares(frame), distributions(frame)
    squares = np.array([sum(p * p for p in each.values()) for each in told], dtype=float)
    return float((squares - 2 * shares + 1).mean()) if told else NAN


def wasserstein_individual(frame: pd.DataFrame) -> float:
    """Return the mean Wasserstein-1 distance of each distribution from the truth alone.

    Over ordinal questions, by places on the scale: the mean distance from the truth's place. What
    is given to codes off the scale is left out and the rest brought to 1.

    Returns:
        In [0, 1] lengths of the scale, lower is better; for a point answer it is the nMAE.
    """
    known = with_probabilities(frame)
    if "places" not in known:
        return NAN
    distances = [
        _distance(read_distribution(text), read_places(places), truth)
        for text, places, truth in zip(
            known["probabilities"], known["places"], known["truth_place"], strict=True
        )
        if places and truth == truth
    ]
    found = np.array([each for each in distances if each == each])
    return float(found.mean()) if len(found) else NAN


def _distance(told: Mapping[int, float], places: Mapping[int, float], truth: float) -> float:
    shares = {places[code]: share for code, share in told.items() if code in places}
    total = sum(shares.values())
    moved = sum(share * abs(place - truth) for place, share in shares.items())
    return moved / total if total > 0 else NAN


def reliability_table(frame: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Return how often answers of each confidence are right.

    Confidence is the probability given to the answer.

    Args:
        frame: A scored table.
        bins: Of equal width, from 0 to 1; a confidence on an edge belongs below it.

    Returns:
        One row for each bin that has cases: `low`, `high`, `cases`, `confidence` and `accuracy`
        (means in the bin).
    """
    import pandas as pd

    known = with_probabilities(frame)
    answers = zip(known["answer"], distributions(frame), strict=True)
    confidence = np.array([told.get(int(answer), 0.0) for answer, told in answers], dtype=float)
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    cases = pd.DataFrame(
        {"bin": index, "confidence": confidence, "accuracy": known["correct"].to_numpy(float)}
    )
    by = cases.groupby("bin")
    table = by[["confidence", "accuracy"]].mean()
    table.insert(0, "cases", by.size())
    table.insert(0, "high", (table.index + 1) / bins)
    table.insert(0, "low", table.index / bins)
    return table.reset_index(drop=True)


def ece(frame: pd.DataFrame) -> float:
    """Return the expected calibration error: the gap of confidence and accuracy, by bin.

    The mean over `BINS` bins of equal width, weighted by their cases, of |accuracy - confidence|
    (Naeini et al. 2015, AAAI).

    Returns:
        In [0, 1], lower is better.
    """
    table = reliability_table(frame)
    if table.empty:
        return NAN
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return float((gaps * table["cases"]).sum() / table["cases"].sum())


PROBABILISTIC: tuple[Metric, ...] = (
    Metric(
        "log_loss",
        f"The mean of -log of the probability given to the truth, which counts as {FLOOR} at "
        "least.",
        "nats, 0 to 6.9",
        False,
        log_loss,
    ),
    Metric(
        "brier",
        "The mean squared distance of the probabilities from the truth, summed over options.",
        "0 to 2",
        False,
        brier,
    ),
    Metric(
        "wasserstein_individual",
        "The mean over cases of the Wasserstein-1 distance of a distribution from the truth.",
        "lengths of the scale, 0 to 1",
        False,
        wasserstein_individual,
    ),
    Metric(
        "ece",
        f"The mean gap of confidence and accuracy over {BINS} bins of confidence.",
        "share, 0 to 1",
        False,
        ece,
    ),
)
