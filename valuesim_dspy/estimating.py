"""What a run will take, before it starts: calls, tokens and money, and what must fit a context."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from math import ceil
from typing import Any

import dspy
import numpy as np

from valuesim_dspy.asked import Asked, Listed
from valuesim_dspy.case import Case
from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.errors import ConfigError, PredictionError
from valuesim_dspy.lm import QUIET
from valuesim_dspy.modules import BACKSTORY_TOKENS
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.roles import LMRole
from valuesim_dspy.usage import estimate_tokens, text_of

ANALYSIS_TOKENS = 120
RECORD_TOKENS = 60
SAMPLE = 5
"""People or cases whose prompts are rendered for an estimate, spread over all."""
LONGEST = 16
"""People whose prompts are measured: those who answered most."""
MARGIN = 0.05
"""What a prompt may be longer than estimated: stories, analyses and habits are not known yet."""
FEWER = "choose a variant with fewer facts or smaller demos (compile.demo_facts)"

Requests = Callable[[Any, Sequence[Case]], tuple[int, int]]
"""From a program and cases to how many different requests they make, at least and at most."""


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

    def scaled(self, low: float, high: float) -> Cost:
        """Return the cost of between `low` and `high` times as much."""
        return Cost(*((int(a * low), ceil(b * high)) for a, b in vars(self).values()))

    def usd(self, prices: tuple[float, float] | None) -> tuple[float, float] | None:
        """Return US dollars (low, high) at prices per million tokens; None where unknown."""
        if prices is None:
            return None
        low, high = (
            (self.prompt[end] * prices[0] + self.completion[end] * prices[1]) / 1e6
            for end in (0, 1)
        )
        return low, high


def estimate(
    asked: Asked,
    positions_at: Sequence[int],
    rows: int,
    done: Callable[[int], bool] = lambda number: False,
) -> Cost:
    """Estimate what the rows left take with a cold cache, from those of a few people.

    A backstory is one call, however few of its rows are left: where people have different numbers
    of them left, the ends lie as far apart as rows and people do.

    Args:
        asked: What is asked of whom.
        positions_at: Places of the people who have rows left.
        rows: How many rows are left; retries of what cannot be read come on top.
        done: Whether a row is not left.
    """
    few = positions_at[:: max(1, len(positions_at) // SAMPLE)][:SAMPLE]
    found = [row for _, row in asked.rows(few, done)]
    cases = [row.case for row in found if not isinstance(row, Outcome)]
    times = rows / max(1, len(found)), len(positions_at) / max(1, len(few))
    return program_cost(asked.program, cases).scaled(min(times), max(times))


def requests_of(program: Any, cases: Sequence[Case]) -> tuple[int, int]:
    """Return how many different requests cases make: one each, or what the program says."""
    return (int(getattr(program, "requests", len)(cases)),) * 2


def program_cost(
    program: dspy.Module, cases: Sequence[Case], requests: Requests = requests_of
) -> Cost:
    """Estimate what cases cost one program with a cold cache.

    The backstory is one call a person and part; a coordinator is asked for none to all of the
    cases; every other predictor once a request. Prompts are rendered for a sample spread over
    the cases. Retries of answers that cannot be read come on top.
    """
    if not cases:
        return Cost()
    if isinstance(program, Ensemble):
        costs = [program_cost(member, cases, requests) for member in program.members]
        # Members may make equal requests, so of the others none is sure.
        return sum((cost.scaled(0, 1) for cost in costs[1:]), costs[0])
    sample = cases[:: max(1, len(cases) // SAMPLE)][:SAMPLE]
    total, made = Cost(), requests(program, cases)
    for name, predictor in program.named_predictors():
        tokens = sum(prompt_tokens(program, predictor, case) for case in sample) // len(sample)
        (low, high), written = made, ANALYSIS_TOKENS
        if hasattr(program, "requests"):
            written = ANALYSIS_TOKENS * len(cases) // high
        if name.endswith("writer.backstory"):
            low = high = len({case.profile for case in cases})
            written = max(estimate_tokens(case.profile.facts_text) for case in sample)
        elif name.startswith("coordinator"):
            low = 0
        times = getattr(program, "calls_per_case", {}).get(name, 1)
        low, high = low * times, high * times
        total += Cost((low, high), (low * tokens, high * tokens), (low * written, high * written))
    return total


def prompt_tokens(program: Any, predictor: Any, case: Case, *, most: bool = False) -> int:
    """Estimate the prompt of one predictor for a case, demos and instructions included.

    Args:
        program: The arm.
        predictor: One of its predictors.
        case: The case.
        most: As much as a case like this one may take, where the arm chooses what it reads.
    """
    chosen = getattr(program, "most_inputs" if most else "inputs", None)
    chosen = chosen or getattr(program, "inputs", None) or Case.inputs
    views = max(1, len(getattr(getattr(program, "panel", None), "names", ())))
    known = {
        **chosen(case),
        "backstory": case.profile.facts_text,
        "views": "x" * (views * 4 * ANALYSIS_TOKENS),
        "records": "x" * (views * 4 * RECORD_TOKENS),
    }
    if missing := [name for name in predictor.signature.input_fields if name not in known]:
        read = Case.inputs(case)
        known |= {name: read.get(name, "") for name in missing}
    wanted = {name: known[name] for name in predictor.signature.input_fields}
    messages = dspy.ChatAdapter().format(predictor.signature, predictor.demos, wanted)
    return estimate_tokens(text_of(messages))


def check_context(
    program: dspy.Module,
    cases: Sequence[Case],
    role: LMRole,
    *,
    key: str = "task_lm",
    fewer: str = FEWER,
) -> None:
    """Refuse before the first call what would not fit the model's context; never truncate.

    Args:
        program: Who answers.
        cases: Cases, the longest among them.
        role: The model.
        key: The role's name.
        fewer: What can be done besides raising the context.

    Raises:
        ConfigError: The largest prompt and its reply are over the role's context.
    """
    if not cases:
        return
    if isinstance(program, Ensemble):
        for member in program.members:
            check_context(member, cases, role, key=key, fewer=fewer)
        return
    # Whoever reads the whole person, and whoever reads the question alone.
    longest = {max(cases, key=_length), max(cases, key=_asked)}
    for name, predictor in program.named_predictors():
        is_story = name.endswith("writer.backstory")
        reply = min(BACKSTORY_TOKENS, role.context // 2) if is_story else role.max_tokens
        prompt = max(prompt_tokens(program, predictor, case, most=True) for case in longest)
        needed = ceil(prompt * (1 + MARGIN)) + reply
        if needed > role.context:
            raise ConfigError(
                f"the predictor {name} needs about {needed} tokens of context and {key} takes "
                f"{role.context}; raise {key}.context if the model takes more, or {fewer}",
                key=f"{key}.context",
                value=role.context,
            )


def _length(case: Case) -> int:
    return len(case.profile.facts_text.encode()) + _asked(case)


def _asked(case: Case) -> int:
    return len(f"{case.question_text}{case.options_text}{case.history_text}".encode())


def longest_cases(
    asked: Asked, positions_at: Sequence[int], done: Callable[[int], bool]
) -> list[Case]:
    """Return the cases left of those people who answered most.

    Args:
        asked: What is asked of whom.
        positions_at: Places of the people who have rows left.
        done: Whether a row is not left.
    """
    survey = asked.respondents
    people = survey.take([asked.positions[at] for at in positions_at])
    counts = np.zeros(len(people), dtype=np.int64)
    for question in survey.codebook:
        if question.gives_facts and not question.private:
            counts += people.column(question.id) >= 0
    few = [positions_at[i] for i in nlargest(LONGEST, range(len(people)), key=counts.__getitem__)]
    return [row.case for _, row in asked.rows(few, done) if not isinstance(row, Outcome)]


class Fitting:
    """What is asked, where a case that is too long for the context is a row that failed.

    Args:
        asked: What is asked of whom.
    """

    def __init__(self, asked: Asked | Listed) -> None:
        self._asked, self.program = asked, self._answer
        self.total, self.rows, self.arguments = asked.total, asked.rows, asked.arguments

    def _answer(self, case: Case) -> dspy.Prediction:
        """Answer a case.

        Raises:
            PredictionError: It does not fit; whoever else is asked may.
        """
        try:
            return self._asked.program(case=case)
        except ConfigError as error:
            if not (error.key or "").endswith(".context"):
                raise
            raise PredictionError(str(error)) from None


def prices(role: LMRole) -> tuple[float, float] | None:
    """Return US dollars per million prompt and completion tokens; None where unknown."""
    if role.offline:
        return 0.0, 0.0
    if role.usd_per_million_input is not None and role.usd_per_million_output is not None:
        return role.usd_per_million_input, role.usd_per_million_output
    if role.local:
        return None
    # An estimate sends nothing: DSPy would fetch a newer list of prices than it comes with.
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
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
