"""A search in words: its best trials on the valset, how the others ended, and the devset."""

from __future__ import annotations

import datetime
import textwrap
from collections import Counter
from collections.abc import Sequence

from evals.report import MACHINERY, WIDTH, describe_study
from evals.study import Study
from optimize.search_ending import best_trials
from optimize.search_plan import Plan
from optimize.search_trial import Tried

MOST_SHOWN = 10
DONE = ("complete", "pruned", "failed")


def search_text(
    plan: Plan, study: Study, trials: Sequence[Tried], table: str, *, run_id: str
) -> str:
    """Return what a search came to so far, as Markdown.

    Args:
        plan: The search.
        study: Its open study.
        trials: Of all processes.
        table: The devset's; "" as long as it was not read.
        run_id: The search's MLflow run.
    """
    search = plan.search
    states = Counter(trial.state for trial in trials)
    done = sum(states[state] for state in DONE)
    about = describe_study(study, date=datetime.date.today())
    blocks = [
        f"## {search.study}: {done} of {search.trials} trials "
        f"({', '.join(f'{states[state]} {state}' for state in DONE)})",
        _wrap("; ".join(f"{name}: {text}" for name, text in about.items())),
    ]
    if study.offline or study.respondents.synthetic:
        blocks.append(_wrap(f"**{MACHINERY}**"))
    blocks += [_best(plan, study, trials), "\n".join(_lines(plan, trials)), table]
    if not table:
        blocks.append(_wrap(_what_is_left(plan, trials, done)))
    blocks.append(f"MLflow run {run_id}: trials, importances and curves; look at it with: make ui")
    return "\n\n".join(filter(None, (block.strip() for block in blocks))) + "\n"


def _best(plan: Plan, study: Study, trials: Sequence[Tried]) -> str:
    objectives = plan.search.objectives
    best = best_trials(trials, objectives)
    if not best:
        return "No trial is complete."
    people = len({example.case.profile.key for example in study.examples("val")})
    what = "The Pareto front" if len(objectives) > 1 else "The best trials"
    more = f", the first {MOST_SHOWN} of {len(best)}" if len(best) > MOST_SHOWN else ""
    head = _wrap(
        f"**{what} on the valset**{more} ({people:,} people, "
        f"{len(study.examples('val')):,} cases), which chose them and so flatters them:"
    )
    names = {"cost": f"{plan.search.cost} a case", "accuracy": "accuracy %", "nmae": "nMAE"}
    keys = [key for key in plan.ordered if any(key in trial.params for trial in best)]
    rows = [["trial", *(names[name] for name in objectives), *keys]]
    for trial in best[:MOST_SHOWN]:
        numbers = [_number(name, trial.values[name]) for name in objectives]
        rows.append([str(trial.number), *numbers, *(_cell(trial.params.get(k)) for k in keys)])
    return f"{head}\n\n{_markdown(rows)}"


def _lines(plan: Plan, trials: Sequence[Tried]) -> list[str]:
    """Return what a reader must know of the other trials."""
    lines = []
    if len(plan.search.objectives) > 1 and plan.search.pruning != "none":
        lines.append(
            "- With several objectives Optuna does not prune: every trial saw the whole valset."
        )
    if "cost" in plan.search.objectives:
        what = plan.search.cost
        lines.append(f"- Cost: {what} that a case needs with a cold cache, compiling left aside.")
    same = [trial for trial in trials if trial.same_as is not None]
    if same:
        lines.append(f"- {len(same)} trials had the values of an earlier one, measured once.")
    failed = [trial for trial in trials if trial.state == "failed"]
    lines += [
        textwrap.shorten(f"- Trial {trial.number} failed: {trial.reason}", 300, placeholder=" ...")
        for trial in failed[:MOST_SHOWN]
    ]
    if len(failed) > MOST_SHOWN:
        lines.append(f"- {len(failed) - MOST_SHOWN} more failed; their runs say why.")
    return lines


def _what_is_left(plan: Plan, trials: Sequence[Tried], done: int) -> str:
    if done >= plan.search.trials:
        return "No trial came to a score, so that the devset was not read."
    running = sum(trial.state == "running" for trial in trials)
    text = f"The devset is read once all {plan.search.trials} trials are done"
    if running:
        text += f"; {running} are under way in other processes, the last of which reads it"
    return f"{text}. The same command goes on where this ended."


def _number(name: str, value: float) -> str:
    if name == "accuracy":
        return f"{100 * value:.1f}"
    return f"{value:.3f}" if name == "nmae" else f"{value:,.4g}"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    texts = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*texts, strict=True)]
    lines = [
        " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in texts
    ]
    lines.insert(1, " | ".join(f"{'-' * (width - 1)}:" for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
