"""What became of each case, and all of it as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Args:
        respondent: The salted key of the person.
        question: The question's id.
        truth: The code the respondent gave, or None when it is not known.
        answer: The code predicted, or None when the case failed.
        status: `answered`; `invalid`, no option after all retries; `skipped`, not asked, since
            there is nothing to ask with; `failed`, anything else.
        reason: Why there is no answer, in one line without a respondent's data; "" when answered.
        decision: `direct`, `agreement`, `coordinator` or `vote`; "" when it failed.
        views: Perspective to code.
        fidelity: Share of the facts that the backstory keeps, in [0, 1]; None without one.
        calls: Language-model calls that the case needed, the backstory included.
        paid: Those of them that no cache answered.
        tokens: Prompt and completion tokens needed.
        seconds: Wall-clock time.
        country: ISO 3166 alpha-3 code of the person's country; "" where unknown.
        probabilities: Code to probability, for programs that give them; else empty.
        paid_tokens: Prompt and completion tokens of the calls that no cache answered.
    """

    respondent: str
    question: str
    truth: int | None
    answer: int | None
    status: str
    reason: str = ""
    decision: str = ""
    views: Mapping[str, int] = field(default_factory=dict)
    fidelity: float | None = None
    calls: int = 0
    paid: int = 0
    tokens: int = 0
    seconds: float = 0.0
    country: str = ""
    probabilities: Mapping[int, float] = field(default_factory=dict)
    paid_tokens: int = 0


def outcomes_frame(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return the outcomes as a table, one row each, views spread over `view_*` columns.

    `probabilities` is a JSON object of code to probability, "" where there are none. Codes are
    `Int64`, missing where there is none; `fidelity` and `seconds` are floats, NaN
    where there is none; `calls`, `paid`, `tokens` and `paid_tokens` are integers; the rest is text.
    """
    import pandas as pd

    names = [name for name in Outcome.__dataclass_fields__ if name != "views"]
    views = dict.fromkeys(f"view_{name}" for outcome in outcomes for name in outcome.views)
    rows = [
        {name: getattr(outcome, name) for name in names}
        | {"probabilities": json.dumps(told) if (told := dict(outcome.probabilities)) else ""}
        | {f"view_{name}": code for name, code in outcome.views.items()}
        for outcome in outcomes
    ]
    frame = pd.DataFrame(rows, columns=[*names, *views])
    types = dict.fromkeys(["truth", "answer", *views], "Int64")
    types |= dict.fromkeys(["calls", "paid", "tokens", "paid_tokens"], "int64")
    types |= dict.fromkeys(["fidelity", "seconds"], "float64")
    return frame.astype({name: types.get(name, "str") for name in frame.columns})
