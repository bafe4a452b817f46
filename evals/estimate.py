"""What a run will cost, before it starts: calls, tokens and money, and what must fit a context."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import dspy

from evals.baselines import BaselineModule, Blank, SingleBattery
from valuesim_dspy.case import Case
from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.modules import BACKSTORY_TOKENS
from valuesim_dspy.roles import LMRole
from valuesim_dspy.usage import estimate_tokens, text_of

if TYPE_CHECKING:
    from evals.study import Study

ANALYSIS_TOKENS = 120
RECORD_TOKENS = 60
SAMPLE = 5
MARGIN = 0.05
"""What a prompt may be longer than estimated: stories, analyses and habits are not known yet."""


@dataclass(frozen=True)
class Cost:
    """Calls and tokens, at least and at most.

    Args:
        calls: Language-model calls (low, high).
        prompt: Prompt tokens (low, high), estimated at four characters a token.
        completion: Completion tokens (low, high).
    """

    calls: tuple[int, int] = (0, 0)
    prompt: tuple[int, int] = (0, 0)
    completion: tuple[int, int] = (0, 0)

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            _plus(self.calls, other.calls),
            _plus(self.prompt, other.prompt),
            _plus(self.completion, other.completion),
        )

    def scaled(self, low: float, high: float) -> Cost:
        """Return the cost of between `low` and `high` times as much."""
        return Cost(*((int(a * low), ceil(b * high)) for a, b in vars(self).values()))

    def usd(self, prices: tuple[float, float] | None) -> tuple[float, float] | None:
        """Return US dollars (low, high) at prices per million tokens; None when unknown."""
        if prices is None:
            return None
        low, high = (
            (self.prompt[end] * prices[0] + self.completion[end] * prices[1]) / 1e6
            for end in (0, 1)
        )
        return low, high


def _plus(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def benchmark_cost(program: dspy.Module, examples: Sequence[dspy.Example]) -> Cost:
    """Estimate what a set costs one program with a cold cache.

    The backstory is one call a person; a coordinator is asked for none to all of the cases;
    every other predictor once a case, but for equal requests, which are needed once: RAG may find
    the same facts for two people, and `blank` asks the same of everybody. Prompts are rendered
    for a sample spread over the set. Retries of answers that cannot be read come on top.
    """
    if not examples:
        return Cost()
    if isinstance(program, Ensemble):
        costs = [benchmark_cost(member, examples) for member in program.members]
        # Members may make equal requests, so of the others none is sure.
        return sum((cost.scaled(0, 1) for cost in costs[1:]), costs[0])
    sample = examples[:: max(1, len(examples) // SAMPLE)][:SAMPLE]
    people = len({example.case.profile for example in examples})
    total = Cost()
    for name, predictor in program.named_predictors():
        tokens = sum(prompt_tokens(program, predictor, ex.case) for ex in sample) // len(sample)
        low, high = _requests(program, examples)
        written = ANALYSIS_TOKENS
        if name.endswith("writer.backstory"):
            low = high = people
            written = max(estimate_tokens(ex.case.profile.facts_text) for ex in sample)
        elif name.startswith("coordinator"):
            low = 0
        times = getattr(program, "calls_per_case", {}).get(name, 1)
        calls = times * low, times * high
        total += Cost(calls, _times(calls, tokens), _times(calls, written))
    return total


def _times(calls: tuple[int, int], tokens: int) -> tuple[int, int]:
    return calls[0] * tokens, calls[1] * tokens


def _requests(program: dspy.Module, examples: Sequence[dspy.Example]) -> tuple[int, int]:
    """Return how many different requests a set makes of a predictor, at least and at most."""
    if not isinstance(program, BaselineModule):
        return len(examples), len(examples)
    if isinstance(program, SingleBattery):
        return (program.requests(examples),) * 2
    # A program that chooses what it reads of a person may read the same of two.
    questions = len({example.case.question.id for example in examples})
    return questions, questions if isinstance(program, Blank) else len(examples)


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
    read = chosen(case)
    story = case.profile.facts_text
    views = max(1, len(getattr(getattr(program, "panel", None), "names", ())))
    inputs = {
        **read,
        "backstory": story,
        "views": "x" * (views * 4 * ANALYSIS_TOKENS),
        "records": "x" * (views * 4 * RECORD_TOKENS),
    }
    wanted = {name: inputs[name] for name in predictor.signature.input_fields}
    messages = dspy.ChatAdapter().format(predictor.signature, predictor.demos, wanted)
    return estimate_tokens(text_of(messages))


def check_context(
    program: dspy.Module, examples: Iterable[dspy.Example], role: LMRole, *, key: str = "task_lm"
) -> None:
    """Refuse before the first call what would not fit the model's context; never truncate.

    Raises:
        ConfigError: The largest prompt and its reply are over the role's context.
    """
    examples = list(examples)
    cases = [example.case for example in examples]
    if not cases:
        return
    if isinstance(program, Ensemble):
        for member in program.members:
            check_context(member, examples, role, key=key)
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
                f"{role.context}; raise {key}.context if the model takes more, or choose a "
                "variant with fewer facts or smaller demos (compile.demo_facts)",
                key=f"{key}.context",
                value=role.context,
            )


def _length(case: Case) -> int:
    return len(case.profile.facts_text.encode()) + _asked(case)


def _asked(case: Case) -> int:
    return len(f"{case.question_text}{case.options_text}{case.history_text}".encode())


def cost_lines(phases: Mapping[str, Cost], prices: tuple[float, float] | None) -> list[str]:
    """Render an estimate, one phase a line and the sum last."""
    rows = {**phases, "all": sum(phases.values(), Cost())}
    width = max(len(name) for name in rows)
    return [
        f"  {name:<{width}}  {span(cost.calls):>17} calls  "
        f"{span(_plus(cost.prompt, cost.completion)):>23} tokens  {money(cost.usd(prices))}"
        for name, cost in rows.items()
    ]


def agree(study: Study, phases: Mapping[str, Cost], *, is_agreed: bool) -> None:
    """Print what an LM that is not embedded will cost, and ask for consent where it is much.

    Raises:
        ConfigError: The estimate is above the config's limit, and nobody agreed to it.
    """
    most, limit = sum(phases.values(), Cost()).calls[1], study.config.confirm_calls
    if study.offline:
        return
    lines = cost_lines(phases, prices(study.config.task_lm))
    print("\n".join(["estimate, nothing of it cached:", *lines]), flush=True)  # noqa: T201
    if not is_agreed and most > limit:
        raise ConfigError(
            f"up to {most:,} calls may be needed, more than {limit:,}; pass --yes to agree",
            key="confirm_calls",
        )


def prices(role: LMRole) -> tuple[float, float] | None:
    """Return US dollars per million prompt and completion tokens; None where unknown."""
    if role.offline:
        return 0.0, 0.0
    if role.usd_per_million_input is not None and role.usd_per_million_output is not None:
        return role.usd_per_million_input, role.usd_per_million_output
    from dspy.clients.model_metadata import model_info, rate

    if role.local:
        return None
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
