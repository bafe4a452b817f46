"""What a perturbation does to an arm's answers: flips, changes of scores, the pull of a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evals.intervals import CASE, Floats, Interval, clustered_interval, same_cases
from evals.metric import NAN

if TYPE_CHECKING:
    import pandas as pd

    from evals.benchmark import Result

SEED = 0
Shown = Mapping[tuple[str, str], tuple[int, ...]]
"""Respondent and question to the original codes of the options, in the order shown."""


@dataclass(frozen=True, eq=False)
class Shift:
    """One arm under one perturbation, against the same arm on the same cases as they are.

    Attributes:
        name: The perturbation.
        before: The cases as they are, those that the perturbation changes.
        after: The same cases, perturbed.
        flips: Share of cases whose answer is another one, in [0, 1]; cases that either time had
            no answer are dropped and counted.
        accuracy: Change of top-1 accuracy, failures counted as wrong.
        nmae: Change of the normalised error; above 0 is worse.
        above: Flips less those on plain repetition, paired; None where that is not known.
    """

    name: str
    before: pd.DataFrame
    after: Result
    flips: Interval
    accuracy: Interval
    nmae: Interval
    above: Interval | None = None


def shift(name: str, before: Result, after: Result, floor: Result | None = None) -> Shift:
    """Compare an arm under a perturbation with the arm as it is.

    Args:
        name: The perturbation.
        before: The arm on all cases as they are.
        after: The arm on those that the perturbation changes.
        floor: The arm asked the same again, on all cases.

    Raises:
        ConfigError: A perturbed case is none of those before.
    """
    kept = _among(before.frame, after.frame)
    own, people = _flipped(kept, after.frame)
    above = None
    if floor is not None:
        repeated, _ = _flipped(kept, _among(floor.frame, after.frame))
        above = clustered_interval(own - repeated, people, seed=SEED)
    return Shift(
        name=name,
        before=kept,
        after=after,
        flips=clustered_interval(own, people, seed=SEED),
        accuracy=_change(kept, after.frame, "correct"),
        nmae=_change(kept, after.frame, "error"),
        above=above,
    )


def _among(frame: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    return frame.merge(asked[CASE], on=CASE)


def _flipped(before: pd.DataFrame, after: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return 1.0 where the answer is another one, NaN where there is none, and the respondents."""
    one, other = same_cases(before, after)
    answers = [table["answer"].to_numpy(float, na_value=np.nan) for table in (one, other)]
    differ = np.where(np.isnan(answers[0] + answers[1]), np.nan, answers[0] != answers[1])
    return differ.astype(float), one.index.get_level_values(CASE[0]).to_numpy()


def _change(before: pd.DataFrame, after: pd.DataFrame, column: str) -> Interval:
    one, other = same_cases(after, before)
    gaps = one[column].to_numpy(float) - other[column].to_numpy(float)
    return clustered_interval(gaps, one.index.get_level_values(CASE[0]).to_numpy(), seed=SEED)


@dataclass(frozen=True)
class LastOption:
    """How often the option shown last is answered, and how often it is the true answer.

    Attributes:
        name: How the options were listed.
        answers: Share of the answers that are the option shown last.
        truths: Share of the true answers that are, over the same cases.
        excess: The first less the second; above 0 the last option is favoured.
    """

    name: str
    answers: float
    truths: float
    excess: Interval


def last_option(name: str, frame: pd.DataFrame, shown: Shown) -> LastOption:
    """Compare answers with truths at the last place, over answered cases.

    Args:
        name: How the options were listed.
        frame: A scored table.
        shown: For each case of it the options in the order shown.
    """
    known = frame[frame["answered"]]
    last = np.array([shown[case][-1] for case in _cases(known)], dtype=float)
    answers, truths = (known[code].to_numpy(float) == last for code in ("answer", "truth"))
    gaps = answers.astype(float) - truths.astype(float)
    found = clustered_interval(gaps, known["respondent"].to_numpy(), seed=SEED)
    told, true = (float(each.mean()) if len(known) else NAN for each in (answers, truths))
    return LastOption(name, told, true, found)


def place_effect(before: pd.DataFrame, after: pd.DataFrame, shown: Shown) -> Interval:
    """Return how much more often an option is answered when it is shown last than when first.

    The two end options, each shown first in one order and last in the other, and the mean of
    both: what an option says cancels out, and only its place is left. Above 0 the last place is
    favoured, below 0 the first.

    Args:
        before: The scored table with options as they are.
        after: That of the same cases with options reversed.
        shown: The options in the order of `before`.

    Returns:
        In [-1, 1], with its interval by respondent; over cases answered both times.
    """
    one, other = same_cases(before, after)
    ends = np.array([(shown[case][0], shown[case][-1]) for case in one.index], dtype=float)
    as_is, turned = (t["answer"].to_numpy(float, na_value=np.nan) for t in (one, other))
    first, last = ends[:, 0], ends[:, 1]
    gains = (as_is == last) * 1.0 - (turned == last) + (turned == first) - (as_is == first)
    values = np.where(np.isnan(as_is + turned), np.nan, gains / 2)
    people = one.index.get_level_values(CASE[0]).to_numpy()
    return clustered_interval(values, people, seed=SEED)


def _cases(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return list(frame[CASE].itertuples(index=False, name=None))
