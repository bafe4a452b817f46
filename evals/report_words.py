"""What a report says in words: methods from the config, limits, and digests of the prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from evals.baselines import SAVED
from evals.intervals import MIN_DRAWS
from evals.metrics import METRICS, MIN_COVERAGE
from evals.report import MACHINERY
from evals.report_arms import Arm, Job, Setting
from evals.tracked_runs import PROGRAM_FOLDER
from evals.tracking import Tracker
from valuesim_dspy.errors import MissingDataError
from valuesim_dspy.manifest import default_signatures, versions
from valuesim_dspy.program import VARIANTS, ValueSim

NOT_KEPT, NO_PROMPT = "not kept", "no prompt"
FOLDS = {
    "question": "on question folds single questions are hidden, siblings of their batteries stay",
    "battery": "on battery folds whole batteries and a target's twins are hidden",
    "topic": "on topic folds whole topics and a target's twins are hidden",
    "paper": "on the published folds 58 questions are the targets and 232 the profile",
}
SHOWN = ("accuracy", "nmae")


def is_machinery(setting: Setting) -> bool:
    """Whether people are synthetic or the embedded model answered."""
    return any(
        arm.runs[0]["tags"].get("evidence") == "synthetic-machinery"
        or arm.params["task_lm"].startswith("offline/")
        for arm in setting.arms
    )


def prompt_digests(tracker: Tracker, arms: Iterable[Arm]) -> dict[tuple[str, str], str]:
    """Return 12 hex digits of what each arm is prompted with, by strategy and label.

    Of a program that was kept, its file; else the instructions and fields that this code gives
    the arm; "not kept" for a compiled arm without its program, "no prompt" without an LM.
    """
    return {(arm.strategy, arm.label): _digest(tracker, arm) for arm in arms}


def prompts_digest(digests: Mapping[tuple[str, str], str]) -> str:
    """Return 12 hex digits of all arms' prompts together."""
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()[:12]


def _digest(tracker: Tracker, arm: Arm) -> str:
    try:
        saved = tracker.read_text(arm.runs[0]["run_id"], f"{PROGRAM_FOLDER}/program.json")
        return hashlib.sha256(saved.encode()).hexdigest()[:12]
    except MissingDataError:
        kind, variant = arm.params["kind"], arm.params["variant"]
    if arm.is_compiled:
        return NOT_KEPT
    if kind == ValueSim.kind and variant in VARIANTS:
        signatures = default_signatures(ValueSim(variant))
    elif kind in SAVED:
        signatures = default_signatures(SAVED[kind]())
    else:
        return NO_PROMPT
    return hashlib.sha256(json.dumps(signatures, sort_keys=True).encode()).hexdigest()[:12]


def methods(setting: Setting) -> list[str]:
    """Return what was done, as paragraphs: data, protocol, arms, scores, software."""
    jobs = list({arm.job.run_id: arm.job for arm in setting.arms}.values())
    job = jobs[0]
    parts = [_data(job), _protocol(setting, job), _arms(setting, jobs), _scores()]
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    parts.append(
        f"Software that wrote this report: {used}. Jobs: "
        f"{', '.join(f'{j.name} ({j.run_id[:8]})' for j in jobs)}; "
        f"seed {job.config.get('seed', 'unknown')}."
    )
    return [part for part in parts if part]


def _data(job: Job) -> str:
    data, book = job.manifest.get("data", {}), job.manifest.get("codebook", {})
    if not data:
        return "What data the runs are of is not in the store."
    worded = f", wording {book['wording']}" if book.get("wording") else ""
    drawn = _sentence(job.details.get("drawn", {}).get("split"))
    return (
        f"Data: {data.get('stamp') or 'a survey file'}, {data.get('rows', 0):,} respondents, "
        f"sha256 {str(data.get('digest', ''))[:12]}; codebook {book.get('id', 'unknown')} version "
        f"{book.get('version', '?')}{worded}. {drawn}"
    ).strip()


def _protocol(setting: Setting, job: Job) -> str:
    drawn = job.config.get("protocol", {})
    folds = sorted({fold for arm in setting.arms for fold in arm.folds})
    hidden = "; ".join(FOLDS[name] for name in setting.strategies)
    kinds = ", ".join(drawn.get("kinds", ())) or "all kinds"
    most = drawn.get("targets")
    asked = f"at most {most} targets a person" if most else "all targets of a person"
    limit = drawn.get("dependence")
    twins = f" Questions whose dependence reaches V = {limit} count as twins." if limit else ""
    reads = [
        n for j in {arm.job.run_id: arm.job for arm in setting.arms}.values() for n in j.test_reads
    ]
    told = ""
    if setting.role == "test":
        told = (
            f" The testset had been read {_times(max(reads))} by then."
            if reads
            else (" How often the testset had been read is not in these runs.")
        )
    return (
        f"Protocol: folds {', '.join(folds)}, of questions about: {kinds}; {asked}; {hidden}. "
        f"Seed of folds and split: {drawn.get('seed', 'unknown')}.{twins} The devset selects, the "
        f"testset reports; these numbers are of the {setting.role}set.{told}"
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _arms(setting: Setting, jobs: list[Job]) -> str:
    lms: dict[str, None] = {}
    for job in jobs:
        lms |= dict.fromkeys(f"{role} {name}" for role, name in job.manifest.get("lms", {}).items())
    models = "; ".join(lms) or f"task_lm {setting.arms[0].params['task_lm']}"
    embedders = ", ".join(dict.fromkeys(arm.params["embedder"] for arm in setting.arms))
    told = sorted({arm.params["teleprompter"] for arm in setting.arms if arm.is_compiled})
    compiled = "no arm is compiled"
    if told:
        options = dict.fromkeys(_options(job.config.get("compile", {})) for job in jobs)
        by = f"{', '.join(told)} ({'; '.join(filter(None, options)) or 'no options'})"
        compiled = f"compiled arms by {by}, on train and val people only"
    return (
        f"Arms: {models}; facts for RAG are found by {embedders}; {compiled}. Every arm with a "
        "language model gets the same facts, encoding, options, parser and retry rule. Cold arms "
        "were fitted on nobody's answers to a target; warm ones were, and are never in one table."
    )


def _options(compiling: Mapping[str, Any]) -> str:
    options = compiling.get("options", {})
    return ", ".join(f"{name} {value}" for name, value in options.items())


def _scores() -> str:
    what = " ".join(f"{name}: {METRICS[name].what}" for name in SHOWN)
    return (
        f"Scores: {what} Failures count as wrong; below {MIN_COVERAGE:.0%} answered a result is "
        f"invalid and has no score. Intervals: 95 %, percentile bootstrap, {MIN_DRAWS:,} draws of "
        "whole respondents; differences are paired by case; crossed intervals draw questions as "
        "well (Owen 2007)."
    )


def _sentence(text: object) -> str:
    told = str(text or "")
    return f"{told[:1].upper()}{told[1:].rstrip('.')}." if told else ""


def limits(setting: Setting) -> list[str]:
    """Return what these numbers do not show, in plain words."""
    job = setting.arms[0].job
    found = [MACHINERY] if is_machinery(setting) else []
    embedders = {arm.params["embedder"] for arm in setting.arms if arm.params["variant"] == "rag"}
    if any(name.startswith("lexical") for name in embedders) and not is_machinery(setting):
        found.append(
            "RAG finds facts by shared words here. With a real model that is a weak baseline: a "
            "difference to it may be the embedder's."
        )
    if setting.role != "test":
        found.append(
            "These are numbers of the devset, which selects variants and programs: they flatter "
            "whatever was selected. What is to be claimed is measured on the testset."
        )
    people = max(int(arm.params["people"]) for arm in setting.arms)
    if people < 100:
        found.append(
            f"{people} people are few: intervals are wide, and below about 20 people too narrow "
            "for what they claim."
        )
    found.append(
        "A language model may have read the survey's published tables. Accuracy on questions "
        "whose shares it can recite says little; `python -m evals contamination` measures it."
    )
    worded = job.manifest.get("codebook", {}).get("wording")
    found.append(
        "Questions are put in "
        + ("the wording of a file of one's own" if worded else "this project's own English wording")
        + ", people were asked in the languages of their countries: what was lost in translation "
        "counts as the arms' error."
    )
    found += [
        "One wave at one time: nobody was asked twice, so that nothing here says how often people "
        "would agree with themselves, and no accuracy of 1 can be expected.",
        "Countries are as many as the sample has; what holds on average may fail in one of them. "
        "Read the tables by group, with their sizes, before saying anything of a group.",
        "Of many arms the best looks better than it is: one interval in twenty leaves out 0 by "
        "chance.",
        "These are averages over people and questions. They license no decision about a person, "
        "do not replace a poll, and are no ground for addressing people one by one.",
    ]
    return found
