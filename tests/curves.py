"""Learning curves for tests, from scores written by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from evals.benchmark import Result
from evals.slopes import Curve
from valuesim_dspy.usage import Usage

KNOWN = (0.0, 50.0, 100.0, 150.0, 200.0)


def curve(
    correct: Sequence[Sequence[float]],
    *,
    arm: str = "full",
    knows: str = "cold",
    growth: str = "profile",
    order: str = "random",
    shares: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    people: Sequence[str] | None = None,
    answered: Sequence[Sequence[bool]] | None = None,
) -> Curve:
    """Return a curve with these scores, [points][cases]; by default two people share the cases."""
    cases = len(correct[0])
    who = list(people or [f"p{at * 2 // cases}" for at in range(cases)])
    done = answered or [[True] * cases for _ in correct]
    results = tuple(
        Result(
            arm=arm,
            label=arm,
            role="dev",
            knows=knows,
            frame=_frame(who, scores, kept),
            needed=Usage(calls=cases),
            paid=Usage(),
            failed_calls=0,
            seconds=0.0,
            evidence="synthetic-machinery",
        )
        for scores, kept in zip(correct, done, strict=True)
    )
    known = KNOWN[: len(shares)]
    return Curve(arm, knows, growth, order, tuple(shares), known, results)


def _frame(who: list[str], scores: Sequence[float], kept: Sequence[bool]) -> pd.DataFrame:
    status = ["answered" if one else "failed" for one in kept]
    questions = [f"Q{at}" for at in range(len(who))]
    columns = {"respondent": who, "question": questions, "correct": list(map(float, scores))}
    return pd.DataFrame(columns | {"status": status, "answered": list(kept)})
