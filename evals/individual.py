"""Whether people are told apart: agreement and correlation beyond what a question alone gives.

All of these are over answered cases of ordinal questions whose two codes are on the scale, by
their places on it (`truth_place` and `answer_place` of `evals.metrics.score_frame`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evals.metric import NAN, Metric

if TYPE_CHECKING:
    import pandas as pd

LEAST_CASES = 10
"""Cases that a question must have for an agreement or a correlation of its own."""

LEAST_ANSWERS = 5
"""Answers that a person must have for a correlation of their own."""

PLACES = ["truth_place", "answer_place"]


def on_scale(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cases that have both places."""
    return frame.dropna(subset=PLACES)


def kappa(frame: pd.DataFrame) -> float:
    """Return the mean over questions of the quadratic-weighted kappa (Cohen 1968).

    For places x and y it is 1 less the mean squared distance over that of independent pairs,
    which is var(x) + var(y) + (mean(x) - mean(y))**2. 1 is agreement, 0 what chance gives with
    the same shares, below 0 is worse. A constant answer has 0.

    Returns:
        In [-1, 1], higher is better; NaN where no question has `LEAST_CASES` cases.
    """
    known = on_scale(frame)
    known = known.assign(squared=(known["truth_place"] - known["answer_place"]) ** 2)
    by = known.groupby("question")
    means, variances = by[[*PLACES, "squared"]].mean(), by[PLACES].var(ddof=0)
    shift = (means["truth_place"] - means["answer_place"]) ** 2
    expected = variances.sum(axis=1) + shift
    values = 1 - means["squared"] / expected.where(expected > 0)
    return _mean_where(values, by.size() >= LEAST_CASES)


def rank_correlation(frame: pd.DataFrame) -> float:
    """Return the mean over questions of Spearman's rank correlation of truths and answers.

    Returns:
        In [-1, 1], higher is better; questions on which truths or answers do not vary have none,
        NaN where no question has one.
    """
    known = on_scale(frame)
    told = known.copy()
    told[PLACES] = known.groupby("question")[PLACES].rank()
    return _correlation_by(told, "question", LEAST_CASES)


def person_correlation(frame: pd.DataFrame) -> float:
    """Return the mean over people of the correlation of their truths and answers.

    Values are standardised within each question first: else the questions' means, which any
    table of marginals knows, would give a high correlation for everybody.

    Returns:
        In [-1, 1], higher is better; over people with `LEAST_ANSWERS` values that vary.
    """
    known = on_scale(frame)
    by = known.groupby("question")[PLACES]
    spread = by.transform("std", ddof=0)
    told = known.copy()
    told[PLACES] = (known[PLACES] - by.transform("mean")) / spread.where(spread > 1e-12)
    return _correlation_by(told.dropna(subset=PLACES), "respondent", LEAST_ANSWERS)


def country_centred_correlation(frame: pd.DataFrame) -> float:
    """Return the correlation of truths and answers around the means of question and country.

    Within countries: what is left when nationality and question are taken out of both.

    Returns:
        In [-1, 1], higher is better; NaN without countries, or where nothing varies in any.
    """
    if "country" not in frame:
        return NAN
    known = on_scale(frame)
    known = known[known["country"] != ""]
    by = known.groupby(["question", "country"])[PLACES]
    centred = (known[PLACES] - by.transform("mean"))[by.transform("size") >= 2]
    return _correlation(centred["truth_place"], centred["answer_place"])


def _correlation_by(frame: pd.DataFrame, group: str, least: int) -> float:
    """Return the mean of the correlations of the two places in each group that is large enough."""
    by = frame.groupby(group)[PLACES]
    centred = frame[PLACES] - by.transform("mean")
    products = centred.assign(
        both=centred["truth_place"] * centred["answer_place"],
        truth=centred["truth_place"] ** 2,
        answer=centred["answer_place"] ** 2,
    )
    sums = products.groupby(frame[group])[["both", "truth", "answer"]].sum()
    spread = (sums["truth"] * sums["answer"]) ** 0.5
    sizes = frame.groupby(group).size()
    return _mean_where(sums["both"] / spread.where(spread > 1e-9), sizes >= least)


def _correlation(one: pd.Series, other: pd.Series) -> float:
    spread = float((one**2).sum() * (other**2).sum()) ** 0.5
    return float((one * other).sum() / spread) if spread > 1e-9 else NAN


def _mean_where(values: pd.Series, is_kept: pd.Series) -> float:
    return float(values[is_kept].mean())


INDIVIDUAL = (
    Metric(
        "kappa",
        "The mean over ordinal questions of the quadratic-weighted kappa.",
        "-1 to 1, 0 is chance with the same shares",
        True,
        kappa,
    ),
    Metric(
        "rank_correlation",
        "The mean over ordinal questions of Spearman's correlation of truths and answers.",
        "-1 to 1",
        True,
        rank_correlation,
    ),
    Metric(
        "person_correlation",
        "The mean over people of the correlation of truths and answers, standardised within "
        "questions.",
        "-1 to 1",
        True,
        person_correlation,
    ),
    Metric(
        "country_centred_correlation",
        "The correlation of truths and answers around the means of question and country.",
        "-1 to 1",
        True,
        country_centred_correlation,
    ),
)
