"""The sections of a report, each made of what there is; what is missing is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd

from evals.probabilistic import brier, ece, log_loss, reliability_table
from evals.report import MACHINERY
from evals.report_arms import LOGGED, Evidence, Job, Setting
from evals.report_cells import NONE, str_keys, written
from evals.report_numbers import (
    RAG,
    best_compiled_call,
    by_group,
    claim,
    failure_reasons,
    headline,
    matching,
    question_variances,
    setting_numbers,
)
from evals.report_page import Bullets, Picture, Section, Text
from evals.report_pictures import costs, curves, forest, groups, reliability, variances
from evals.report_tables import (
    Table,
    arms_table,
    failures_table,
    first_table,
    group_table,
    variance_table,
)
from evals.report_words import is_machinery, limits, methods
from evals.subgroups import LEAST_PEOPLE

Part = Text | Bullets | Table | Picture
GROUPED = {
    "section": "topic",
    "kind": "kind of question",
    "scale_kind": "kind of scale",
    "country": "country",
    "sex": "sex",
    "age": "age",
    "education": "education",
}
"""Columns by which cases are broken down, and what they are called."""
DRAWN = ("section", "kind")
MARKED = 6
COLD_ONLY = "Cold arms only. Bars: 95 % intervals by respondent"


def setting_sections(setting: Setting, place: int, of: int) -> list[Section]:
    """Return the sections of one setting.

    Args:
        setting: Arms that were measured alike.
        place: Its place, from 1; files of later ones end in it.
        of: How many settings there are.
    """
    numbers = setting_numbers(setting)
    tail = f"-{place}" if of > 1 else ""
    lead = f"{place}. " if of > 1 else ""
    made = {
        "First table": _first(setting, numbers),
        "Differences": _differences(numbers),
        "All arms": _all(setting, numbers),
        "Topics and kinds of question": _groups(setting, numbers, "section", "kind", "scale_kind"),
        "Groups of people": _groups(setting, numbers, "country", "sex", "age", "education"),
        "Spread of answers": _variances(setting, numbers),
        "Calibration": _calibration(setting, numbers),
        "Cost": _costs(setting, numbers),
        "Failures": iter([failures_table(failure_reasons(setting), numbers, setting)]),
    }
    sections = [Section(f"{lead}{title}", _renamed(parts, tail)) for title, parts in made.items()]
    return [section for section in sections if section.parts]


def prompts_section(
    setting: Setting, digests: Mapping[tuple[str, str], str], place: int, of: int
) -> Section:
    """Return which prompts each arm was given, as digests.

    Args:
        setting: Whose arms.
        digests: Strategy and label to digest, as `prompt_digests` gives them.
        place: The setting's place, from 1.
        of: How many settings there are.
    """
    rows = tuple(
        (*key, arm.params["teleprompter"], arm.params["embedder"], digests[key])
        for arm in setting.arms
        for key in [(arm.strategy, arm.label)]
    )
    heads = ("folds", "arm", "compiled by", "embedder", "prompts")
    table = Table(
        name="prompts",
        title="Prompts",
        about="the first digits of the sha256 of instructions, fields and demos",
        frame=pd.DataFrame(rows, columns=list(heads)),
        heads=heads,
        rows=rows,
        notes=(
            "Of a program that was kept, its file; of another arm, what the code that wrote this "
            "report gives it.",
        ),
        names=5,
    )
    lead, tail = (f"{place}. ", f"-{place}") if of > 1 else ("", "")
    return Section(f"{lead}Prompts", _renamed(iter([table]), tail))


def closing_sections(evidence: Evidence) -> list[Section]:
    """Return what stands under all settings: curves, other jobs' tables, methods, limits."""
    found = [Section("Learning curve", tuple(_curves(job))) for job in evidence.jobs if job.curve]
    if not found:
        missing = Text("No run of `python -m evals history` was given: there is no learning curve.")
        found = [Section("Learning curve", (missing,))]
    for job in evidence.jobs:
        if job.subject in LOGGED and job.table:
            found.append(Section(LOGGED[job.subject], (Text(job.table, "markdown"),)))
    several = len(evidence.settings) > 1
    for setting in evidence.settings:
        title = f"Methods: {setting.title}" if several else "Methods"
        found.append(Section(title, tuple(Text(part) for part in methods(setting))))
    if evidence.settings:
        lines = dict.fromkeys(line for setting in evidence.settings for line in limits(setting))
        found.append(Section("Limits", (Bullets(tuple(lines)),)))
    return found


def opening_section(evidence: Evidence, date: str, cards: dict[str, str]) -> Section:
    """Return what stands under the title: what is in it, warnings, cards.

    Args:
        evidence: What the report is made from.
        date: When it was written.
        cards: File to the sentence that names it.
    """
    arms = sum(len(setting.arms) for setting in evidence.settings)
    names = ", ".join(dict.fromkeys(job.name for job in evidence.jobs if job.name)) or "single arms"
    lines = [f"{setting.title}: {len(setting.arms)} arms" for setting in evidence.settings]
    parts: list[Part] = [Text(f"{names}; {arms} arms; written on {date}. Aggregates only.")]
    if any(is_machinery(setting) for setting in evidence.settings):
        parts.append(Text(MACHINERY, "banner"))
    if len(lines) > 1:
        parts.append(Text("Arms that were not measured alike stand in settings of their own:"))
        parts.append(Bullets(tuple(lines)))
    parts += [Text(sentence) for sentence in cards.values()]
    return Section("", tuple(parts))


def _renamed(parts: Iterator[Part], tail: str) -> tuple[Part, ...]:
    return tuple(
        replace(part, name=f"{part.name}{tail}") if isinstance(part, Table | Picture) else part
        for part in parts
    )


def _first(setting: Setting, numbers: pd.DataFrame) -> Iterator[Part]:
    yield first_table(setting, numbers, "first-table")
    lines = list(_claims(setting))
    if lines:
        yield Bullets(tuple(lines))


def _claims(setting: Setting) -> Iterator[str]:
    """Say compiled ValueSim minus its rivals in a sentence each, with both intervals."""
    *_, (own, is_compiled) = headline(setting).values()
    for strategy in setting.strategies:
        cold = [arm for arm in setting.of(strategy, "cold") if arm.frame is not None]
        rivals = [*matching(cold, RAG, False), *matching(cold, RAG, True)]
        rivals += best_compiled_call(cold)
        for arm in matching(cold, own, is_compiled):
            for rival in dict.fromkeys(rivals):
                if rival is not arm:
                    yield f"{strategy} folds: {claim(arm, rival)}"


def _differences(numbers: pd.DataFrame) -> Iterator[Part]:
    png = forest(numbers)
    if png is None:
        yield Text("No differences: there is no RAG on the same cases as another arm.")
        return
    caption = f"Paired differences in accuracy to the reference, in points. {COLD_ONLY}."
    yield Picture("differences", png, caption, "Forest plot of differences in accuracy by fold")


def _all(setting: Setting, numbers: pd.DataFrame) -> Iterator[Part]:
    for knows in ("cold", "warm"):
        table = arms_table(setting, numbers, knows, f"{knows}-arms")
        if table is not None:
            yield table


def _groups(setting: Setting, numbers: pd.DataFrame, *columns: str) -> Iterator[Part]:
    for column in columns:
        name, table = GROUPED[column], by_group(setting, column)
        png = groups(table, name) if column in DRAWN else None
        if png is not None:
            caption = f"Accuracy by {name}. {COLD_ONLY}."
            yield Picture(f"by-{column}", png, caption, f"Accuracy of arms by {name}")
        shown = group_table(table, numbers, setting, column, f"Results by {name}")
        if shown is not None and shown.rows:
            yield shown
        elif shown is not None:
            sizes = f"the largest has {table['people'].max()}"
            yield Text(f"Results by {name}: no group has {LEAST_PEOPLE} people ({sizes}).")


def _variances(setting: Setting, numbers: pd.DataFrame) -> Iterator[Part]:
    ratios = question_variances(setting)
    table, png = variance_table(ratios, setting, numbers), variances(ratios)
    if table is None or png is None:
        yield Text("No ordinal question was put to ten people or more: there is no spread to show.")
        return
    caption = (
        "Variance of answers over that of people; each mark is a question, the bar the median. "
        "Left of 1 the answers are too much alike."
    )
    yield Picture("variance", png, caption, "Variance ratio of each question by arm and fold")
    yield table


def _calibration(setting: Setting, numbers: pd.DataFrame) -> Iterator[Part]:
    bins, rows = [], []
    for strategy in setting.strategies:
        for arm in setting.of(strategy, "cold"):
            table = pd.DataFrame() if arm.frame is None else reliability_table(arm.frame)
            if arm.frame is not None and len(table):
                found = {"strategy": strategy, "arm": arm.label}
                named = {"confidence": "said", "accuracy": "right"}
                bins.append(table.rename(columns=named).assign(**found))
                scores = {"ece": ece, "log_loss": log_loss, "brier": brier}
                rows.append(found | {name: make(arm.frame) for name, make in scores.items()})
    if not bins:
        yield Text("No arm of this report gave probabilities: there is no calibration to show.")
        return
    png = reliability(pd.concat(bins, ignore_index=True))
    if png is not None:
        caption = (
            "How often answers were right over how probable they were said to be; dashed: honest."
        )
        yield Picture(
            "calibration", png, caption, "Reliability of the probabilities by arm and fold"
        )
    names = ("ece", "log_loss", "brier")
    cells = [(str(r["strategy"]), str(r["arm"]), *(f"{r[n]:.3f}" for n in names)) for r in rows]
    heads = ("folds", "arm", "calibration error", "log-loss", "Brier")
    about = f"{setting.role}set, cold arms with probabilities; lower is better"
    frame = pd.DataFrame(rows)
    yield Table("calibration", "Probabilities", about, frame, heads, tuple(cells))


def _costs(setting: Setting, numbers: pd.DataFrame) -> Iterator[Part]:
    wanted = [arm for pair in headline(setting).values() for arm in matching(setting.arms, *pair)]
    png = costs(numbers, list(dict.fromkeys(arm.label for arm in wanted))[:MARKED])
    if png is not None:
        caption = (
            f"Accuracy over the tokens that a case needs, on a logarithmic axis. {COLD_ONLY}; "
            "arms without a language model are left out."
        )
        yield Picture("cost", png, caption, "Accuracy over tokens a case by fold")


def _curves(job: Job) -> Iterator[Part]:
    points, gaps = (pd.DataFrame(job.curve.get(name, [])) for name in ("points", "differences"))
    for knows in ("cold", "warm"):
        own = points[points["knows"] == knows] if len(points) else points
        png = curves(own)
        if png is not None:
            caption = (
                f"Accuracy of {knows} arms over the answers known of a person; bands: 95 % "
                f"intervals by respondent. Job {job.name} ({job.run_id[:8]})."
            )
            alt = f"Learning curves of {knows} arms"
            yield Picture(f"learning-curve-{knows}", png, caption, alt)
    if gaps.empty:
        yield Text("No difference in slope: no rival was measured on the same cases.")
        return
    rows = tuple(
        (r["growth"], f"{r['variant']} minus {r['rival']}", _slope(r))
        for r in map(str_keys, gaps.to_dict("records"))
    )
    heads = ("what grows", "slopes", "points of accuracy [95 %]")
    about = "points gained from nothing known to all known; paired, by respondent, over all orders"
    yield Table("slopes", "Differences in slope", about, gaps, heads, rows)


def _slope(row: dict[str, object]) -> str:
    middle, low, high = (row[name] for name in ("difference", "low", "high"))
    if middle is None or middle != middle:
        return NONE
    gap, *ends = (100 * float(str(value)) for value in (middle, low, high))
    return f"{written(gap, '+.1f')} [{', '.join(written(end, '.1f') for end in ends)}]"
