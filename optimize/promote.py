"""Champions: a compiled program takes the alias only where it is shown better than its holder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.intervals import Interval, paired_difference, same_cases
from evals.metrics import MIN_COVERAGE
from evals.past_runs import load_predictions, run_summary
from evals.registry import Registry, Version
from evals.report import MACHINERY
from evals.tracked_runs import LEVEL, PARENT
from evals.tracking import Tracker
from optimize.candidates import ROWS_KEPT, Candidate, arm_run, read_candidate, rows_shared
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.manifest import shown

if TYPE_CHECKING:
    import pandas as pd

SEED = 0
FEW = 20
"""Respondents below which a percentile interval covers too little; see `evals.intervals`."""
REFERENCE = "rag"


def promote_run(
    run: str, *, arm: str | None = None, store: str | Path | None = None, force: bool = False
) -> str:
    """Make a run's program the champion where it is shown better than the one there is.

    Args:
        run: The MLflow run of an arm, or of a compile job.
        arm: Which arm of a job; by default the variant that was compiled.
        store: Where the runs are; see `valuesim_dspy.store.store_location`.
        force: Promote it whatever the comparison says, or where there can be none; the version
            is tagged.

    Returns:
        What was found and done, as printed.

    Raises:
        ConfigError: The run is none that can be promoted, or it cannot be compared.
        MissingDataError: There is no such run, it has no program, or the champion has not been
            measured on its devset.
    """
    tracker = Tracker(store)
    candidate = read_candidate(tracker, arm_run(tracker, run, arm))
    if tracker.remote:
        tracker = Tracker(store, share_rows=rows_shared(tracker, candidate.job_id))
    registry = Registry(tracker)
    with registry.alone():
        return _promote(tracker, registry, candidate, force=force)


def _promote(tracker: Tracker, registry: Registry, candidate: Candidate, *, force: bool) -> str:
    champion = registry.champion()
    if champion is not None and candidate.program == champion.tags.get("program"):
        return f"{candidate.name} is the champion already: {champion.uri}"
    lines = [f"{candidate.name} of run {candidate.run_id}: {_accuracy(candidate.frame)}"]
    objection = _coverage_objection(candidate.name, candidate.frame)
    if champion is None:
        lines.append("there is no champion yet: this is the first, compared with none")
        lines += _beside_rag(tracker, candidate)
    else:
        try:
            found = _compare(tracker, candidate, champion)
        except (ConfigError, MissingDataError) as error:
            if not force:
                raise
            objection = f"not compared: {error}"
        else:
            lines += found.lines
            objection = objection or found.objection
    look = registry.count_look(candidate.devset)
    lines.append(_look_line(look))
    if objection:
        lines.append(objection)
    if objection and not force:
        holder = champion.uri if champion else "none"
        lines.append(f"not promoted; the champion stays {holder} (--force promotes all the same)")
        return "\n".join(lines + _caution(candidate))
    tags = candidate.about | {"looks": str(look)}
    if force:
        lines.append("forced: promoted without regard to the comparison" if objection else "forced")
        tags |= {"forced": "yes"}
    version = registry.register(
        candidate.folder, candidate.run_id, tags=tags, note="\n\n".join(lines)
    )
    registry.crown(version)
    before = f", before it {champion.uri}" if champion else ""
    lines.append(f"champion: {version.uri}, models:/valuesim@champion{before}")
    return "\n".join(lines + _caution(candidate))


@dataclass(frozen=True)
class _Comparison:
    lines: tuple[str, ...]
    objection: str


def _compare(tracker: Tracker, candidate: Candidate, champion: Version) -> _Comparison:
    """Compare a candidate with the champion on the same cases.

    Raises:
        ConfigError: They are of other evidence, or one is cold and the other warm.
        MissingDataError: The champion has not been measured on these cases.
    """
    mine = {"evidence": candidate.evidence, "knows": candidate.params["knows"]}
    for name, value in mine.items():
        if champion.tags.get(name) != value:
            raise ConfigError(
                f"{name} is {value}, the champion's is {shown(champion.tags.get(name))}: "
                f"the two are not compared (champion {champion.uri}; --force puts it aside)",
                key="run",
                value=candidate.run_id,
            )
    frame, task_lm = _champion_frame(tracker, candidate, champion)
    gap = paired_difference(candidate.frame, frame, seed=SEED)
    lines = [
        f"champion {champion.uri}, {champion.tags.get('variant')} compiled with "
        f"{champion.tags.get('teleprompter')}: {_accuracy(frame)}",
        f"difference: {_interval(gap)}",
    ]
    if task_lm != candidate.params["task_lm"]:
        lines.append(f"other task LMs answered: {candidate.params['task_lm']} and {task_lm}")
    if gap.clusters < FEW:
        lines.append(f"fewer than {FEW} respondents: such an interval is too narrow")
    objection = _coverage_objection("the champion", frame)
    if not objection and not gap.low > 0:
        objection = "the interval's lower bound is not above 0: it is not shown to be better"
    return _Comparison(tuple(lines), objection)


def _champion_frame(
    tracker: Tracker, candidate: Candidate, champion: Version
) -> tuple[pd.DataFrame, str]:
    """Return the champion's predictions on the candidate's cases, and which task LM answered."""
    fitting: list[tuple[bool, pd.DataFrame, str]] = []
    for summary in _measurements(tracker, champion):
        params = summary["params"]
        if any(params.get(name) != candidate.params[name] for name in ("fold", "split")):
            continue
        try:
            frame = load_predictions(tracker, summary["run_id"])
            same_cases(candidate.frame, frame)
        except (ConfigError, MissingDataError):
            continue
        other = params["task_lm"] != candidate.params["task_lm"]
        fitting.append((other, frame, params["task_lm"]))
    if fitting:
        # The same task LM first: what is compared are programs.
        _, frame, task_lm = min(fitting, key=lambda entry: entry[0])
        return frame, task_lm
    if champion.tags.get("devset") != candidate.devset:
        raise MissingDataError(
            f"the champion {champion.uri} was compiled on other data, another fold or another "
            "split, so that it may have been fitted on the people and questions of this devset",
            "compile the candidate on the champion's (`python -m optimize show "
            f"{champion.uri}` names them), or --force",
        )
    how = f"measure it: python -m evals run {champion.uri} --config JOB.toml"
    raise MissingDataError(
        f"the champion {champion.uri} has no predictions on the cases of run {candidate.run_id}",
        f"{how}; {ROWS_KEPT}" if tracker.remote else how,
    )


def _measurements(tracker: Tracker, champion: Version) -> Iterator[dict[str, Any]]:
    """Yield the runs that measured the champion: its own, then those of `evals run`."""
    with contextlib.suppress(MissingDataError):
        yield run_summary(tracker, champion.run_id)
    for job in tracker.runs({LEVEL: "job", "variant": champion.uri}):
        for run_id in tracker.find({PARENT: job.info.run_id}):
            summary = run_summary(tracker, run_id)
            if summary["name"] != REFERENCE:
                yield summary


def _beside_rag(tracker: Tracker, candidate: Candidate) -> list[str]:
    """Say how a first champion stands against RAG as is, where its job measured that."""
    for run_id in tracker.find({PARENT: candidate.job_id}) if candidate.job_id else ():
        summary = run_summary(tracker, run_id)
        same = all(summary["params"].get(p) == candidate.params[p] for p in ("split", "knows"))
        if summary["name"] == REFERENCE and same:
            gap = paired_difference(candidate.frame, load_predictions(tracker, run_id), seed=SEED)
            return [f"minus RAG as is: {_interval(gap)}"]
    return []


def _coverage_objection(name: str, frame: pd.DataFrame) -> str:
    coverage = float((frame["status"] == "answered").mean())
    if coverage >= MIN_COVERAGE:
        return ""
    return f"{name} answered {coverage:.1%} of the cases, fewer than {MIN_COVERAGE:.0%}: invalid"


def _accuracy(frame: pd.DataFrame) -> str:
    cases = f"{len(frame):,} devset cases of {frame['respondent'].nunique():,} respondents"
    return f"accuracy {frame['correct'].mean():.1%} on {cases}"


def _interval(gap: Interval) -> str:
    if gap.low != gap.low:
        return f"{gap.estimate * 100:+.1f} points of accuracy, no interval from so few people"
    return (
        f"{gap.estimate * 100:+.1f} points of accuracy [{gap.low * 100:.1f}, "
        f"{gap.high * 100:.1f}], {gap.level:.0%} interval, paired, clustered by "
        f"{gap.clusters} respondents"
    )


def _look_line(look: int) -> str:
    if look == 1:
        return "look 1 at this devset"
    return f"look {look} at this devset: with every look one is likelier to win by chance"


def _caution(candidate: Candidate) -> list[str]:
    offline = candidate.params["task_lm"].startswith("offline/")
    return [MACHINERY] if offline or candidate.evidence != "survey" else []
