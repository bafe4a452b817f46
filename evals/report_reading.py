"""Runs read back for a report: folds of an arm pooled, arms that were measured alike together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from evals.past_runs import arms_of, load_predictions, run_summary
from evals.report_arms import LOGGED, STRATEGIES, Arm, Evidence, Job, Setting
from evals.tracked_runs import ARM, CONFIG_FILE, LEVEL, PARENT
from evals.tracking import Tracker
from valuesim_dspy.errors import MissingDataError

HISTORY, CURVE, PART = "history", "curve.json", re.compile(r"^\w+ \d+: ")
_NUMBERS = ("truth_place", "answer_place", "weight", "n_options", "tokens")
_TABLE, _DETAILS = "table.md", "details.json"
_SAME = ("variant", "teleprompter", "embedder", "fold", "knows")


@dataclass(frozen=True, eq=False)
class _Run:
    """A run of an arm on one fold; without a frame where it has no predictions."""

    summary: Mapping[str, Any]
    job: Job
    frame: pd.DataFrame | None

    @property
    def params(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.summary["params"]
        return found

    @property
    def name(self) -> str:
        """What tables call it, without the fold that an ablation puts before it."""
        return PART.sub("", self.summary["tags"].get(ARM) or self.summary["name"])

    @property
    def measured(self) -> tuple[object, ...]:
        """What two uncompiled runs share that are one arm measured twice."""
        same = (self.name, *(self.params[name] for name in _SAME))
        if self.frame is None or self.params["teleprompter"] != "none":
            return (*same, self.summary["run_id"])
        cases = self.frame[["respondent", "question", "answer", "status"]].astype(str)
        return (*same, *cases.sort_values(["respondent", "question"]).itertuples(index=False))


def read_evidence(tracker: Tracker, run_ids: Iterable[str]) -> Evidence:
    """Read runs back.

    Args:
        tracker: The store.
        run_ids: Runs of jobs, which stand for all their arms, or runs of arms.

    Raises:
        MissingDataError: There is no such run, or a job that should have arms has none.
    """
    jobs: dict[str, Job] = {}
    found: dict[str, tuple[Mapping[str, Any], Job]] = {}
    for run_id in dict.fromkeys(run_ids):
        for arm_id in _arm_ids(tracker, run_id):
            summary = run_summary(tracker, arm_id)
            parent = summary["tags"].get(PARENT, "")
            job = jobs.setdefault(parent, _job(tracker, parent))
            if job.subject not in LOGGED and job.subject != HISTORY:
                found[arm_id] = (summary, job)
    groups: dict[tuple[str, ...], list[tuple[Mapping[str, Any], Job]]] = {}
    for pair in found.values():
        groups.setdefault(_key(*pair), []).append(pair)
    # The testset reports, so it comes first.
    ordered = sorted(groups.items(), key=lambda item: item[0][0] != "test")
    settings = [_setting(tracker, key, members) for key, members in ordered]
    return Evidence(_titled(settings), tuple(jobs.values()))


def _arm_ids(tracker: Tracker, run_id: str) -> list[str]:
    found = arms_of(tracker, run_id)
    known = (tracker.run(arm_id).data.tags.get(LEVEL) for arm_id in found)
    kept = [id for id, level in zip(found, known, strict=True) if level in (None, "arm")]
    if not kept:
        raise MissingDataError(f"run {run_id} has no arms", "give the run of a job or of an arm")
    return kept


def _job(tracker: Tracker, run_id: str) -> Job:
    if not run_id:
        return Job("", "")
    summary = run_summary(tracker, run_id)
    tags, config = summary["tags"], _json(tracker, run_id, CONFIG_FILE)
    subject = tags.get("variant", "") if tags.get("mlflow.source.name") == "evals" else ""
    return Job(
        run_id=run_id,
        name=summary["name"],
        subject=subject,
        config=config,
        details=_json(tracker, run_id, _DETAILS),
        table=_text(tracker, run_id, _TABLE),
        curve=_json(tracker, run_id, CURVE) if subject == HISTORY else {},
        tags=tags,
    )


def _text(tracker: Tracker, run_id: str, file: str) -> str:
    try:
        return tracker.read_text(run_id, file)
    except MissingDataError:
        # A job that was stopped has not written everything, and its arms count all the same.
        return ""


def _json(tracker: Tracker, run_id: str, file: str) -> dict[str, Any]:
    text = _text(tracker, run_id, file)
    return dict(json.loads(text)) if text else {}


def _key(summary: Mapping[str, Any], job: Job) -> tuple[str, ...]:
    """Return what arms have in common that may stand in one table, whatever their folds."""
    params, role = summary["params"], summary["params"]["split"].split()[0]
    drawn = {k: v for k, v in job.config.get("protocol", {}).items() if k not in ("folds", "fold")}
    data = str(job.manifest.get("data", {}).get("digest", ""))
    evidence = summary["tags"].get("evidence", "")
    return (
        *(role, params["split"], params["task_lm"], evidence, data),
        json.dumps(drawn, sort_keys=True),
    )


def _setting(
    tracker: Tracker, key: tuple[str, ...], members: Sequence[tuple[Mapping[str, Any], Job]]
) -> Setting:
    """Put the folds of one arm together, after arms that share a name were told apart."""
    read = [_Run(summary, job, _frame(tracker, summary["run_id"])) for summary, job in members]
    # Jobs with other compile seeds measure the same baselines again.
    first: dict[tuple[object, ...], _Run] = {}
    for run in read:
        first.setdefault(run.measured, run)
    runs = list(first.values())
    groups: dict[tuple[str, str], list[_Run]] = {}
    for run, label in zip(runs, _labelled(runs), strict=True):
        groups.setdefault((run.params["fold"].split("-")[0], label), []).append(run)
    arms = []
    for (strategy, label), found in groups.items():
        folds = sorted(found, key=lambda run: run.params["fold"])
        known = [run.frame for run in folds if run.frame is not None]
        whole = pd.concat(known, ignore_index=True) if len(known) == len(folds) else None
        arms.append(Arm(label, strategy, tuple(r.summary for r in folds), whole, folds[0].job))
    arms.sort(key=lambda arm: STRATEGIES.index(arm.strategy))
    most = arms[0].job.config.get("protocol", {}).get("targets")
    asked = f"at most {most} targets a person" if most else "all targets"
    return Setting(f"{key[0]}set, {key[2]}, {asked}", key[0], tuple(arms))


def _frame(tracker: Tracker, run_id: str) -> pd.DataFrame | None:
    try:
        frame = load_predictions(tracker, run_id)
    except MissingDataError:
        return None
    # A column of which nothing is known comes back as objects.
    return frame.astype({name: "float64" for name in _NUMBERS if name in frame})


def _labelled(runs: Sequence[_Run]) -> list[str]:
    """Return a name for each run; two of one fold never share one, those of five folds do."""
    labels = []
    for run in runs:
        fold = run.params["fold"]
        alike = [o.params for o in runs if (o.name, o.params["fold"]) == (run.name, fold)]
        kinds = ("embedder", "teleprompter")
        differ = [param for param in kinds if len({other[param] for other in alike}) > 1]
        marks = [run.params[param] for param in differ]
        if sum(all(other[p] == run.params[p] for p in differ) for other in alike) > 1:
            marks.append(f"run {run.summary['run_id'][:8]}")
        labels.append(f"{run.name} ({', '.join(marks)})" if marks else run.name)
    return labels


def _titled(settings: Sequence[Setting]) -> tuple[Setting, ...]:
    """Give every setting a title of its own."""
    titled = []
    for place, setting in enumerate(settings, 1):
        lead = f"Setting {place}: " if len(settings) > 1 else ""
        titled.append(replace(setting, title=f"{lead}{setting.title}"))
    return tuple(titled)
