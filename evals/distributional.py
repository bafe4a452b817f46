"""Whether a population of simulated people looks like the real one, question by question.

Over answered cases: a case that failed is in neither distribution, so that both are of the same
people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evals.individual import LEAST_CASES, PLACES, on_scale
from evals.metric import NAN, Metric

if TYPE_CHECKING:
    import pandas as pd

LEAST_PAIRS = 20
"""People who answered both of two questions, for a correlation between the two."""

Floats = npt.NDArray[np.float64]


def variance_ratio(frame: pd.DataFrame) -> float:
    """Return the variance of answers over that of truths, both summed over ordinal questions.

    Returns:
        0 or more: 1 is as varied as people are, below 1 the variance has collapsed; NaN where
        truths do not vary.
    """
    variances = on_scale(frame).groupby("question")[PLACES].var(ddof=0).sum()
    truth = float(variances["truth_place"])
    return float(variances["answer_place"]) / truth if truth > 0 else NAN


def entropy_deviation(frame: pd.DataFrame) -> float:
    """Return the mean over questions of the entropy of answers less that of truths.

    Each in units of the entropy of uniform answers, so that questions with few and with many
    options count alike; all scales.

    Returns:
        In [-1, 1]: 0 is as spread as people are, below 0 is too concentrated.
    """
    gaps = []
    for _, cases in _answered(frame).groupby("question"):
        if len(cases) >= LEAST_CASES and (options := int(cases["n_options"].iloc[0])) > 1:
            one, other = (_entropy(cases[name]) for name in ("answer", "truth"))
            gaps.append((one - other) / np.log(options))
    return float(np.mean(gaps)) if gaps else NAN


def wasserstein(frame: pd.DataFrame) -> float:
    """Return the mean over ordinal questions of the Wasserstein-1 distance of the two marginals.

    Returns:
        In [0, 1], in lengths of the scale, lower is better; NaN where no question has
        `LEAST_CASES` cases.
    """
    return _mean_distance(frame, ["question"])


def wasserstein_by_country(frame: pd.DataFrame) -> float:
    """Return the same over questions and countries; NaN without countries of that many cases."""
    if "country" not in frame:
        return NAN
    return _mean_distance(frame[frame["country"] != ""], ["question", "country"])


def inter_item_deviation(frame: pd.DataFrame) -> float:
    """Return how far correlations between questions among answers are from those among truths.

    The mean absolute difference over all pairs of ordinal questions that `LEAST_PAIRS` people
    were asked; a pair in which answers do not vary has correlation 0.

    Returns:
        In [0, 2], lower is better; NaN where there is no such pair.
    """
    truths, answers = (_wide(frame, name) for name in PLACES)
    if truths.shape[1] < 2:
        return NAN
    known = truths.notna().astype(float)
    is_pair = np.triu((known.T @ known).to_numpy() >= LEAST_PAIRS, 1)
    true = truths.corr().to_numpy()
    is_pair &= ~np.isnan(true)
    if not is_pair.any():
        return NAN
    gaps = np.abs(np.nan_to_num(answers.corr().to_numpy()) - true)
    return float(gaps[is_pair].mean())


def alpha_deviation(frame: pd.DataFrame) -> float:
    """Return the mean over batteries of Cronbach's alpha of answers less that of truths.

    Alpha from the pairwise covariances of a battery's ordinal questions, three or more of them;
    every pair must have been put to `LEAST_PAIRS` people.

    Returns:
        0 is as coherent as people are, above 0 is too coherent; NaN without such a battery.
    """
    gaps = []
    for battery, cases in frame.groupby("battery"):
        truths, answers = (_wide(cases, name) for name in PLACES)
        known = truths.notna().astype(float)
        if not battery or truths.shape[1] < 3 or (known.T @ known).min().min() < LEAST_PAIRS:
            continue
        gaps.append(_alpha(answers) - _alpha(truths))
    gaps = [gap for gap in gaps if np.isfinite(gap)]
    return float(np.mean(gaps)) if gaps else NAN


def _answered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["answered"]]


def _entropy(codes: pd.Series) -> float:
    shares = codes.value_counts(normalize=True).to_numpy(float)
    return float(-(shares * np.log(shares)).sum())


def _mean_distance(frame: pd.DataFrame, by: list[str]) -> float:
    distances = [
        distance(cases["truth_place"].to_numpy(float), cases["answer_place"].to_numpy(float))
        for _, cases in on_scale(frame).groupby(by)
        if len(cases) >= LEAST_CASES
    ]
    return float(np.mean(distances)) if distances else NAN


def distance(one: Floats, other: Floats) -> float:
    """Return the Wasserstein-1 distance of two samples of the same size.

    Args:
        one: Shape (n,); places on a scale.
        other: Shape (n,); those of the other sample.
    """
    return float(np.abs(np.sort(one) - np.sort(other)).mean())


def _wide(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return people by questions, NaN where a question was not put to a person."""
    return on_scale(frame).pivot(index="respondent", columns="question", values=name)


def _alpha(wide: pd.DataFrame) -> float:
    covariances = wide.cov(ddof=0).to_numpy()
    total, items = float(covariances.sum()), len(covariances)
    return items / (items - 1) * (1 - float(np.trace(covariances)) / total) if total > 0 else NAN


DISTRIBUTIONAL = (
    Metric(
        "variance_ratio",
        "The variance of answers over that of truths, summed over ordinal questions.",
        "0 or more, 1 is as varied as people are",
        None,
        variance_ratio,
    ),
    Metric(
        "entropy_deviation",
        "The mean over questions of the entropy of answers less that of truths.",
        "-1 to 1 in entropies of uniform answers, below 0 is too concentrated",
        None,
        entropy_deviation,
    ),
    Metric(
        "wasserstein",
        "The mean over ordinal questions of the Wasserstein-1 distance of the marginals.",
        "lengths of the scale, 0 to 1",
        False,
        wasserstein,
    ),
    Metric(
        "wasserstein_by_country",
        "The same over questions and countries.",
        "lengths of the scale, 0 to 1",
        False,
        wasserstein_by_country,
    ),
    Metric(
        "inter_item_deviation",
        "The mean absolute difference of the correlations between questions.",
        "0 to 2",
        False,
        inter_item_deviation,
    ),
    Metric(
        "alpha_deviation",
        "The mean over batteries of Cronbach's alpha of answers less that of truths.",
        "0 is as coherent as people are, above 0 too coherent",
        None,
        alpha_deviation,
    ),
)
