"""The numbers of a report: each arm measured once, from its predictions or from its run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from evals.individual import LEAST_CASES, PLACES, on_scale
from evals.intervals import clustered_interval, paired_difference
from evals.metrics import MIN_COVERAGE
from evals.report_arms import Arm, Setting
from evals.subgroups import LEAST_PEOPLE, results_by
from valuesim_dspy.errors import ConfigError

SEED = 0
NAN = float("nan")
RAG, FULL_INFO, VOTED, VALUESIM = "rag", "single", "self-consistency", "full"
WARM_REFERENCE = "country-mode"
SINGLE_CALL = ("rag", "rag-10", "rag-30", "rag-peers", "single", "single-habits", "demographics")
FEATURED = 4
"""At most so many arms are broken down by topic, group and question."""
_ENDS = ("", "_low", "_high")


def reference_of(arms: Sequence[Arm]) -> Arm | None:
    """Return what differences are taken to: RAG as is, among warm arms the country mode."""
    for name in (RAG, WARM_REFERENCE):
        for arm in arms:
            if arm.params["variant"] == name and not arm.is_compiled:
                return arm
    return None


def valuesim_name(setting: Setting) -> str:
    """Return the variant that stands for ValueSim: the one that the jobs are about."""
    measured = {arm.params["variant"] for arm in setting.arms}
    asked = dict.fromkeys(str(arm.job.config.get("variant", "")) for arm in setting.arms)
    chosen = [name for name in asked if name in measured and name not in (RAG, FULL_INFO)]
    return chosen[0] if chosen else VALUESIM


def headline(setting: Setting) -> dict[str, tuple[str, bool]]:
    """Return the arms of the first table: what they are called, to variant and if compiled."""
    own = valuesim_name(setting)
    return {
        "RAG": (RAG, False),
        "RAG, compiled": (RAG, True),
        "full information": (FULL_INFO, False),
        "self-consistency": (VOTED, False),
        f"ValueSim ({own}), uncompiled": (own, False),
        f"ValueSim ({own}), compiled": (own, True),
    }


def matching(arms: Iterable[Arm], variant: str, is_compiled: bool) -> list[Arm]:
    """Return the arms of a variant, compiled or not."""
    return [a for a in arms if (a.params["variant"], a.is_compiled) == (variant, is_compiled)]


def featured(setting: Setting, strategy: str) -> list[Arm]:
    """Return the cold arms that are looked at closely: of the first table, else the first."""
    cold = [arm for arm in setting.of(strategy, "cold") if arm.frame is not None and arm.is_valid]
    wanted = headline(setting).values()
    # RAG and ValueSim before the others, where not all can be shown.
    chosen = [m for pair in wanted if pair[0] != VOTED for m in matching(cold, *pair)]
    if len(chosen) > FEATURED:
        chosen = [arm for arm in chosen if (arm.params["variant"], arm.is_compiled) != (RAG, True)]
    return (chosen or cold or [a for a in setting.of(strategy) if a.frame is not None])[:FEATURED]


def arm_numbers(arm: Arm, reference: Arm | None) -> dict[str, Any]:
    """Return everything that tables say of an arm, as shares; NaN where there is no number.

    Args:
        arm: Whose numbers.
        reference: What differences are taken to; another arm of the same strategy and kind.
    """
    from_run = arm.frame is None
    score = _scores_of_run(arm) if from_run else _scores(arm.frame)
    if not arm.is_valid:
        score = dict.fromkeys(score, NAN)
    frame, params = arm.frame, arm.params
    cases = NAN if frame is None else len(frame)
    return {
        "strategy": arm.strategy,
        "arm": arm.label,
        "variant": params["variant"],
        "compiled": arm.is_compiled,
        "teleprompter": params["teleprompter"],
        "embedder": params["embedder"],
        "knows": params["knows"],
        "folds": " ".join(arm.folds),
        "state": _state(arm),
        "people": int(params["people"]) if frame is None else frame["respondent"].nunique(),
        "questions": _questions(arm),
        "cases": cases,
        **score,
        **_minus(arm, reference),
        "coverage": arm.coverage,
        **_failures(arm),
        "calls_per_case": arm.total("calls_needed") / cases,
        "tokens_per_case": arm.total("tokens_needed") / cases,
        "usd": arm.total("usd_needed"),
    }


def setting_numbers(setting: Setting) -> pd.DataFrame:
    """Return `arm_numbers` of every arm of a setting; cold and warm have references of their own.

    Returns:
        One row an arm, with `minus`, the label of what it is compared with.
    """
    rows = []
    for strategy in setting.strategies:
        for knows in ("cold", "warm"):
            arms = setting.of(strategy, knows)
            reference = reference_of(arms)
            minus = reference.label if reference else ""
            rows += [arm_numbers(arm, reference) | {"minus": minus} for arm in arms]
    return pd.DataFrame(rows)


def best_compiled_call(arms: Iterable[Arm]) -> list[Arm]:
    """Return the compiled arm of one call a case that was right most often; none, or one."""
    known = [arm for arm in arms if arm.is_compiled and arm.is_valid and arm.frame is not None]
    single = [arm for arm in known if arm.params["variant"] in SINGLE_CALL]
    return sorted(single, key=lambda arm: -_right(arm))[:1]


def claim(arm: Arm, rival: Arm) -> str:
    """Return the difference in accuracy of two arms in a sentence, both intervals in it."""
    gap = _minus(arm, rival)
    names = f"{arm.label} minus {rival.label}"
    if gap["accuracy_minus_low"] != gap["accuracy_minus_low"]:
        return f"{names} is not told: they are not both valid on the same cases."
    ends = [100 * gap[f"accuracy_minus{end}"] for end in ("_low", "_high")]
    wide = [100 * gap[f"accuracy_minus_crossed{end}"] for end in ("_low", "_high")]
    is_shown = ends[0] > 0 or ends[1] < 0
    verdict = "the interval leaves out 0" if is_shown else "no difference is shown"
    return (
        f"{names} is {100 * gap['accuracy_minus']:+.1f} points of accuracy, [{ends[0]:.1f}, "
        f"{ends[1]:.1f}] by respondent ({verdict}), [{wide[0]:.1f}, {wide[1]:.1f}] where "
        "questions are drawn too."
    )


def _right(arm: Arm) -> float:
    return 0.0 if arm.frame is None else float(arm.frame["correct"].mean())


def by_group(setting: Setting, column: str) -> pd.DataFrame:
    """Return `evals.subgroups.results_by` of the featured arms, beside strategy and arm."""
    parts = []
    for strategy in setting.strategies:
        for arm in featured(setting, strategy):
            if arm.frame is not None and column in arm.frame:
                table = results_by(arm.frame, column, seed=SEED)
                table.insert(0, "strategy", strategy)
                table.insert(1, "arm", arm.label)
                parts.append(table)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def question_variances(setting: Setting) -> pd.DataFrame:
    """Return the variance of answers over that of truths for each ordinal question.

    Returns:
        `strategy`, `arm`, `question`, `people`, `ratio`; the ratio is NaN below `LEAST_PEOPLE`
        people, and where truths do not vary. Empty where no question has one.
    """
    rows = []
    for strategy in setting.strategies:
        for arm in featured(setting, strategy):
            if arm.frame is None or not set(PLACES) <= set(arm.frame):
                continue
            for question, cases in on_scale(arm.frame).groupby("question"):
                people = cases["respondent"].nunique()
                spread = cases[list(PLACES)].var(ddof=0)
                known = people >= max(LEAST_PEOPLE, LEAST_CASES) and spread["truth_place"] > 0
                ratio = spread["answer_place"] / spread["truth_place"] if known else NAN
                rows.append((strategy, arm.label, str(question), people, ratio))
    return pd.DataFrame(rows, columns=["strategy", "arm", "question", "people", "ratio"])


def failure_reasons(setting: Setting) -> pd.DataFrame:
    """Return how often each arm failed and why, without questions, codes and quotations.

    Returns:
        `strategy`, `arm`, `status`, `reason`, `cases`; arms that never failed have no row.
    """
    rows = []
    for arm in setting.arms:
        if arm.frame is None:
            continue
        lost = arm.frame[arm.frame["status"] != "answered"]
        why = lost["reason"] if "reason" in lost else pd.Series("", index=lost.index)
        pairs = Counter(zip(lost["status"], why.map(_general), strict=True))
        rows += [(arm.strategy, arm.label, *pair, n) for pair, n in pairs.most_common()]
    return pd.DataFrame(rows, columns=["strategy", "arm", "status", "reason", "cases"])


def _general(reason: object) -> str:
    """Return the kind of a reason: what could point at one case is taken out."""
    text = re.sub(r"(['\"`]).*?\1", "...", str(reason or "no reason was kept"))
    text = re.sub(r"\bQ?\d[\w.-]*|\b[0-9a-f]{8,}\b", "#", text)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _state(arm: Arm) -> str:
    if not arm.is_valid:
        # Never rounded up to the limit that it is below.
        return f"invalid: coverage {min(round(arm.coverage, 2), MIN_COVERAGE - 0.01):.2f}"
    return "no predictions" if arm.frame is None else "measured"


def _questions(arm: Arm) -> int:
    if arm.frame is not None:
        return int(arm.frame["question"].nunique())
    return sum(int(run["params"]["questions"]) for run in arm.runs)


def _scores(frame: pd.DataFrame | None) -> dict[str, float]:
    if frame is None:
        return {}
    people = frame["respondent"].to_numpy()
    found: dict[str, float] = {}
    for name, column in (("accuracy", "correct"), ("nmae", "error")):
        middle = clustered_interval(frame[column].to_numpy(float), people, seed=SEED)
        ends = (middle.estimate, middle.low, middle.high)
        found |= {f"{name}{end}": value for end, value in zip(_ENDS, ends, strict=True)}
    return found | {"nmae_cases": float(frame["error"].notna().sum())}


def _scores_of_run(arm: Arm) -> dict[str, float]:
    """Return what the run says of itself; of several folds without rows nothing can be pooled."""
    metrics = arm.runs[0]["metrics"] if len(arm.runs) == 1 else {}
    names = [f"{name}{end}" for name in ("accuracy", "nmae") for end in _ENDS]
    return {name: metrics.get(name, NAN) for name in [*names, "nmae_cases"]}


def _minus(arm: Arm, reference: Arm | None) -> dict[str, float]:
    found = {f"{name}_minus{end}": NAN for name in ("accuracy", "nmae") for end in _ENDS}
    crossed = {f"accuracy_minus_crossed{end}": NAN for end in _ENDS[1:]}
    empty = found | crossed
    if reference is None or arm is reference or not (arm.is_valid and reference.is_valid):
        return empty
    if arm.frame is None or reference.frame is None:
        known = arm.runs[0]["metrics"] if len(arm.runs) == 1 else {}
        logged = {f"accuracy_minus{end}": f"accuracy_minus_rag{end}" for end in _ENDS}
        is_rag = reference.params["variant"] == RAG
        return empty | {k: known.get(v, NAN) for k, v in logged.items() if is_rag}
    try:
        for name, column in (("accuracy", "correct"), ("nmae", "error")):
            gap = paired_difference(arm.frame, reference.frame, column=column, seed=SEED)
            ends = (gap.estimate, gap.low, gap.high)
            found |= {f"{name}_minus{e}": v for e, v in zip(_ENDS, ends, strict=True)}
        wide = paired_difference(arm.frame, reference.frame, seed=SEED, crossed=True)
    except ConfigError:
        # Other cases: both numbers stand in the table, and no difference between them.
        return empty
    return found | dict(zip(crossed, (wide.low, wide.high), strict=True))


def _failures(arm: Arm) -> dict[str, float]:
    names = {"invalid": "invalid_rate", "failed": "failed_rate"}
    if arm.frame is not None:
        return {rate: float((arm.frame["status"] == s).mean()) for s, rate in names.items()}
    return {rate: arm.total(rate) / len(arm.runs) for rate in names.values()}
