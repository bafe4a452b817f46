"""What a report is made of: runs read back as arms, those of the same cases in one setting."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd

from evals.metrics import MIN_COVERAGE
from evals.past_runs import arms_of, load_predictions, run_summary
from evals.tracked_runs import ARM, CONFIG_FILE, LEVEL, PARENT
from evals.tracking import Tracker
from valuesim_dspy.errors import MissingDataError

STRATEGIES = ("question", "battery", "topic", "paper")
LOGGED = {"robustness": "Robustness", "contamination": "Contamination"}
"""Jobs whose own tables are shown, by subject; their arms are no arms of the first table."""
HISTORY, CURVE, PART = "history", "curve.json", re.compile(r"^(?:\w+) \d+: ")
_NUMBERS = ("truth_place", "answer_place", "weight", "n_options", "tokens")
_TABLE, _DETAILS = "table.md", "details.json"


@dataclass(frozen=True, eq=False)
class Job:
    """A job's run: what it was told and what it wrote.

    Attributes:
        run_id: Its run; "" for an arm that is no job's.
        name: As in its config.
        subject: What it was about, such as `history`; "" where that is not known.
        config: The resolved config.
        details: Manifest, what was drawn, versions.
        table: The table it printed; "" without.
        curve: The learning curves' numbers of `evals history`; empty for other jobs.
        tags: The run's tags.
    """

    run_id: str
    name: str
    subject: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    table: str = ""
    curve: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What is known of data, fold, split, codebook and versions; may be empty."""
        found: Mapping[str, Any] = self.details.get("manifest", {})
        return found

    @property
    def test_reads(self) -> list[int]:
        """How often the testset had been read, for each table that this job made of it."""
        return [int(n) for n in re.findall(r"reading (\d+) of this\s+testset", self.table)]


@dataclass(frozen=True, eq=False)
class Arm:
    """One arm on the folds of one strategy.

    Attributes:
        label: What tables call it; its own within setting and strategy.
        strategy: How its folds are made: question, battery, topic or paper.
        runs: Its runs, one a fold, as `run_summary` gives them.
        frame: Their predictions; None where a run has none.
        job: The job of its first run.
    """

    label: str
    strategy: str
    runs: tuple[Mapping[str, Any], ...]
    frame: pd.DataFrame | None
    job: Job

    @property
    def params(self) -> Mapping[str, str]:
        """The params of its first run."""
        found: Mapping[str, str] = self.runs[0]["params"]
        return found

    @property
    def is_compiled(self) -> bool:
        """Whether a teleprompter made it."""
        return self.params["teleprompter"] != "none"

    @property
    def folds(self) -> tuple[str, ...]:
        """The folds that it was measured on, such as `battery-1of5`."""
        return tuple(run["params"]["fold"] for run in self.runs)

    @cached_property
    def coverage(self) -> float:
        """The share of cases answered; NaN where nothing says it."""
        if self.frame is not None:
            return float((self.frame["status"] == "answered").mean())
        return min(run["metrics"].get("coverage", float("nan")) for run in self.runs)

    @property
    def is_valid(self) -> bool:
        """Whether enough was answered for a score to be shown."""
        return not self.coverage < MIN_COVERAGE

    def total(self, metric: str) -> float:
        """Return the sum of a metric over its runs; NaN where one lacks it."""
        return float(sum(run["metrics"].get(metric, float("nan")) for run in self.runs))


@dataclass(frozen=True, eq=False)
class Setting:
    """Arms that were measured alike: same data, people, protocol and task LM.

    Attributes:
        title: What tells it from other settings.
        role: dev or test.
        arms: In the order of strategies, then as they were run.
    """

    title: str
    role: str
    arms: tuple[Arm, ...]

    @property
    def strategies(self) -> list[str]:
        """The strategies that there are arms of."""
        return [name for name in STRATEGIES if any(arm.strategy == name for arm in self.arms)]

    def of(self, strategy: str, knows: str = "") -> list[Arm]:
        """Return the arms of a strategy, cold or warm or all."""
        found = [arm for arm in self.arms if arm.strategy == strategy]
        return [arm for arm in found if knows in ("", arm.params["knows"])]


@dataclass(frozen=True)
class Evidence:
    """Everything a report is made from."""

    settings: tuple[Setting, ...]
    jobs: tuple[Job, ...]


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
    named = _labelled([summary for summary, _ in members])
    groups: dict[tuple[str, str], list[tuple[Mapping[str, Any], Job]]] = {}
    for (summary, job), label in zip(members, named, strict=True):
        strategy = summary["params"]["fold"].split("-")[0]
        groups.setdefault((strategy, label), []).append((summary, job))
    arms = []
    for (strategy, label), runs in groups.items():
        by_fold = sorted(runs, key=lambda pair: str(pair[0]["params"]["fold"]))
        frames = [_frame(tracker, summary["run_id"]) for summary, _ in by_fold]
        known = [frame for frame in frames if frame is not None]
        whole = pd.concat(known, ignore_index=True) if len(known) == len(frames) else None
        arms.append(Arm(label, strategy, tuple(one for one, _ in by_fold), whole, by_fold[0][1]))
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


def _labelled(summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name for each run; two of one fold never share one, those of five folds do."""
    bare = [PART.sub("", summary["tags"].get(ARM) or summary["name"]) for summary in summaries]
    labels = []
    for summary, name in zip(summaries, bare, strict=True):
        params = summary["params"]
        alike = [
            other
            for other, label in zip(summaries, bare, strict=True)
            if (label, other["params"]["fold"]) == (name, params["fold"])
        ]
        differ = [
            param
            for param in ("embedder", "teleprompter")
            if len({other["params"][param] for other in alike}) > 1
        ]
        marks = [params[param] for param in differ]
        if sum(all(o["params"][p] == params[p] for p in differ) for o in alike) > 1:
            marks.append(f"run {summary['run_id'][:8]}")
        labels.append(f"{name} ({', '.join(marks)})" if marks else name)
    return labels


def _titled(settings: Sequence[Setting]) -> tuple[Setting, ...]:
    """Give every setting a title of its own."""
    titled = []
    for place, setting in enumerate(settings, 1):
        lead = f"Setting {place}: " if len(settings) > 1 else ""
        titled.append(replace(setting, title=f"{lead}{setting.title}"))
    return tuple(titled)
