"""What a benchmark will cost, before the first call, and what must fit a context."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dspy

from evals.baselines import BaselineModule, Blank, SingleBattery
from valuesim_dspy import estimating
from valuesim_dspy.case import Case
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.estimating import Cost, money, prices, program_cost, prompt_tokens, span
from valuesim_dspy.roles import LMRole

if TYPE_CHECKING:
    from evals.study import Study

__all__ = [
    "Cost",
    "agree",
    "benchmark_cost",
    "check_context",
    "cost_lines",
    "money",
    "prices",
    "prompt_tokens",
    "span",
]


def benchmark_cost(program: dspy.Module, examples: Sequence[dspy.Example]) -> Cost:
    """Estimate what a set costs one program with a cold cache.

    As `valuesim_dspy.estimating.program_cost`; but equal requests are needed once: RAG may find
    the same facts for two people, and `blank` asks the same of everybody.
    """
    return program_cost(program, [example.case for example in examples], _requests)


def _requests(program: Any, cases: Sequence[Case]) -> tuple[int, int]:
    """Return how many different requests a set makes of a predictor, at least and at most."""
    if isinstance(program, SingleBattery) or not isinstance(program, BaselineModule):
        return estimating.requests_of(program, cases)
    # A program that chooses what it reads of a person may read the same of two.
    questions = len({case.question.id for case in cases})
    return questions, questions if isinstance(program, Blank) else len(cases)


def check_context(
    program: dspy.Module, examples: Iterable[dspy.Example], role: LMRole, *, key: str = "task_lm"
) -> None:
    """Refuse before the first call what would not fit the model's context; never truncate.

    Raises:
        ConfigError: The largest prompt and its reply are over the role's context.
    """
    estimating.check_context(program, [example.case for example in examples], role, key=key)


def cost_lines(phases: Mapping[str, Cost], prices: tuple[float, float] | None) -> list[str]:
    """Render an estimate, one phase a line and the sum last."""
    rows = {**phases, "all": sum(phases.values(), Cost())}
    width = max(len(name) for name in rows)
    return [
        f"  {name:<{width}}  {span(cost.calls):>17} calls  "
        f"{span(cost.tokens):>23} tokens  {money(cost.usd(prices))}"
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
