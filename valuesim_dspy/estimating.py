"""What a simulation will take, before it starts: calls, tokens and money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import dspy

from valuesim_dspy.asked import Asked
from valuesim_dspy.case import Case
from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.roles import LMRole
from valuesim_dspy.usage import estimate_tokens, text_of

ANALYSIS_TOKENS = 120
RECORD_TOKENS = 60
PEOPLE = 5
"""People whose prompts are rendered for an estimate, spread over all."""


@dataclass(frozen=True)
class Cost:
    """Calls and tokens, at least and at most.

    Args:
        calls: Language-model calls (low, high).
        prompt: Prompt tokens (low, high), at four bytes a token.
        completion: Completion tokens (low, high).
    """

    calls: tuple[int, int] = (0, 0)
    prompt: tuple[int, int] = (0, 0)
    completion: tuple[int, int] = (0, 0)

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            *(
                (one[0] + two[0], one[1] + two[1])
                for one, two in zip(vars(self).values(), vars(other).values(), strict=True)
            )
        )

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens in both directions (low, high)."""
        return self.prompt[0] + self.completion[0], self.prompt[1] + self.completion[1]

    def scaled(self, by: float) -> Cost:
        """Return the cost of so many times as much."""
        return Cost(*((int(low * by), ceil(high * by)) for low, high in vars(self).values()))

    def usd(self, prices: tuple[float, float] | None) -> tuple[float, float] | None:
        """Return US dollars (low, high) at prices per million tokens; None where unknown."""
        if prices is None:
            return None
        low, high = (
            (self.prompt[end] * prices[0] + self.completion[end] * prices[1]) / 1e6
            for end in (0, 1)
        )
        return low, high


def estimate(asked: Asked, positions_at: Sequence[int], rows: int) -> Cost:
    """Estimate what rows take with a cold cache, from all rows of a few people.

    Args:
        asked: What is asked of whom.
        positions_at: Places of the people who have rows left.
        rows: How many rows are left; retries of what cannot be read come on top.
    """
    few = positions_at[:: max(1, len(positions_at) // PEOPLE)][:PEOPLE]
    found = [row for _, row in asked.rows(few)]
    cases = [row.case for row in found if not isinstance(row, Outcome)]
    return program_cost(asked.program, cases).scaled(rows / max(1, len(found)))


def program_cost(program: dspy.Module, cases: Sequence[Case]) -> Cost:
    """Estimate what cases cost one program: backstories once, a coordinator for none to all."""
    if not cases:
        return Cost()
    if isinstance(program, Ensemble):
        costs = (program_cost(member, cases) for member in program.members)
        return sum(costs, Cost())
    sample = cases[:: max(1, len(cases) // PEOPLE)][:PEOPLE]
    requests = getattr(program, "requests", len)(cases)
    total = Cost()
    for name, predictor in program.named_predictors():
        tokens = sum(prompt_tokens(program, predictor, case) for case in sample) // len(sample)
        low = high = requests * getattr(program, "calls_per_case", {}).get(name, 1)
        written = ANALYSIS_TOKENS * len(cases) // requests
        if name.endswith("writer.backstory"):
            low = high = len({case.profile for case in cases})
            written = max(estimate_tokens(case.profile.facts_text) for case in sample)
        elif name.startswith("coordinator"):
            low = 0
        total += Cost((low, high), (low * tokens, high * tokens), (low * written, high * written))
    return total


def prompt_tokens(program: Any, predictor: Any, case: Case) -> int:
    """Estimate one predictor's prompt for a case, demos and instructions included."""
    read = getattr(program, "inputs", Case.inputs)(case)
    views = max(1, len(getattr(getattr(program, "panel", None), "names", ())))
    known = {
        **Case.inputs(case),
        **read,
        "backstory": case.profile.facts_text,
        "views": "x" * (views * 4 * ANALYSIS_TOKENS),
        "records": "x" * (views * 4 * RECORD_TOKENS),
    }
    wanted = {name: known.get(name, "") for name in predictor.signature.input_fields}
    messages = dspy.ChatAdapter().format(predictor.signature, predictor.demos, wanted)
    return estimate_tokens(text_of(messages))


def prices(role: LMRole) -> tuple[float, float] | None:
    """Return US dollars per million prompt and completion tokens; None where unknown."""
    if role.offline:
        return 0.0, 0.0
    if role.usd_per_million_input is not None and role.usd_per_million_output is not None:
        return role.usd_per_million_input, role.usd_per_million_output
    if role.local:
        return None
    from dspy.clients.model_metadata import model_info, rate

    info = model_info(role.provider, role.model.rpartition("/")[2])
    found = [rate(info, f"{side}_cost_per_token") for side in ("input", "output")] if info else []
    return (found[0] * 1e6, found[1] * 1e6) if found and None not in found else None


def span(ends: tuple[int, int]) -> str:
    """Return two ends as text, such as `40 to 1,200`."""
    low, high = ends
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def money(ends: tuple[float, float] | None) -> str:
    """Return two ends in US dollars as text; None is an unknown price, never zero."""
    if ends is None:
        return "price unknown"
    low, high = ends
    return f"${low:,.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"${low:,.2f} to ${high:,.2f}"
