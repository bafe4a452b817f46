"""After a compile job: what was predicted, what was needed and what was paid, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evals.estimate import money, span
from optimize.ledger import Spent
from optimize.predicting import Plan

HEADS = (
    "phase",
    "calls predicted",
    "needed",
    "paid",
    "tokens predicted",
    "needed",
    "usd predicted",
)
ALL = "all, equal requests once"


def costs_json(plan: Plan, spent: Mapping[str, Spent], whole: Spent) -> dict[str, Any]:
    """Return predicted and actual costs as plain values.

    Args:
        plan: The prediction.
        spent: Phase to what it took; phases that were not reached are left out.
        whole: What the job took, equal requests of several phases needed once.
    """
    phases = {}
    for name in dict.fromkeys((*plan.phases, *spent)):
        phase, took = plan.phases.get(name), spent.get(name)
        if phase is None and took is not None and not took.needed.calls:
            continue
        phases[name] = {
            "predicted": phase and _ends(phase.cost.calls, phase.tokens, phase.usd),
            "needed": took and took.needed.as_dict(),
            "paid": took and took.paid.as_dict(),
        }
    return {"phases": phases, "all": _all(plan, whole)}


def _all(plan: Plan, whole: Spent) -> dict[str, Any]:
    cost = plan.all
    tokens = tuple(cost.prompt[end] + cost.completion[end] for end in (0, 1))
    return {
        "predicted": _ends(cost.calls, tokens, plan.usd),
        "needed": whole.needed.as_dict(),
        "paid": whole.paid.as_dict(),
    }


def _ends(calls: Any, tokens: Any, usd: Any) -> dict[str, list[float] | None]:
    return {"calls": list(calls), "tokens": list(tokens), "usd": None if usd is None else list(usd)}


def costs_table(costs: Mapping[str, Any]) -> str:
    """Render what `costs_json` returned as a table, phases in the order of the job."""
    rows = [_row(name, entry) for name, entry in costs["phases"].items()]
    rows.append(_row(ALL, costs["all"]))
    heads = [*HEADS, "needed", "paid"]
    widths = [max(3, *(len(row[place]) for row in (heads, *rows))) for place in range(len(heads))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (heads, rule, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            "**Predicted and actual cost** (needed: from a cold cache; paid: by all processes of "
            "this job; retries of unreadable answers come on top of what is predicted)",
            "",
            *lines,
        ]
    )


def _row(name: str, entry: Mapping[str, Any]) -> list[str]:
    predicted, needed, paid = entry["predicted"], entry["needed"], entry["paid"]
    calls, tokens, usd = ("-", "-", "-")
    if predicted:
        calls, tokens = span(predicted["calls"]), span(predicted["tokens"])
        usd = _usd(predicted["usd"])
    if not needed:
        return [name, calls, "not reached", "-", tokens, "-", usd, "-", "-"]
    used = needed["prompt_tokens"] + needed["completion_tokens"]
    return [
        *(name, calls, f"{needed['calls']:,}", f"{paid['calls']:,}"),
        *(tokens, f"{used:,}", usd, _usd(needed["usd"]), _usd(paid["usd"])),
    ]


def _usd(known: Any) -> str:
    if known is None:
        return "unknown"
    return money(tuple(known) if isinstance(known, list) else (known, known))
