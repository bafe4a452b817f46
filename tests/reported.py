"""Runs for tests of the report: arms whose answers are made up, in a store of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stores import job_facts, new_tracker

from evals.metrics import METRICS, score_frame
from evals.report_arms import Arm, Job, Setting
from evals.tracked_runs import JobRun
from evals.tracking import Tracker
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.survey.codebook import load_codebook

BOOK = load_codebook()
QUESTIONS = ("Q1", "Q2", "Q69", "Q70", "Q106", "Q152")
PEOPLE = 24
CONFIG: Mapping[str, Any] = {
    "name": "demo",
    "seed": 42,
    "variant": "full",
    "protocol": {"folds": "battery", "fold": 1, "kinds": ["value"], "targets": 6, "seed": 7},
    "compile": {"teleprompter": "bootstrap", "options": {"max_demos": 2}},
}
DETAILS: Mapping[str, Any] = {
    "manifest": {
        "data": {"digest": "ab" * 32, "rows": 4321, "stamp": "survey 6-0"},
        "codebook": {"id": "wvs7", "version": 1},
        "lms": {"task_lm": "openai/some-model-2026"},
    },
    "drawn": {"split": "random split, seed 7: 20 train, 24 dev of 4321 people"},
}
SURVEY = {"evidence": "survey", "task_lm": "openai/some-model-2026"}


def key(place: int) -> str:
    """Return the salted key of a made-up person; it looks like a real one."""
    return f"{place:04}deadbeef"


def frame(
    right: float,
    *,
    seed: int = 0,
    questions: tuple[str, ...] = QUESTIONS,
    people: int = PEOPLE,
    failed: Mapping[int, str] | None = None,
    said: bool = False,
) -> pd.DataFrame:
    """Return a scored table of an arm that is right so often; truths depend on nothing else.

    Args:
        right: The probability of the true answer.
        seed: Of the answers.
        questions: What is asked.
        people: Of how many people.
        failed: Places of cases that fail, to the reason.
        said: Whether answers come with probabilities.
    """
    rng = np.random.default_rng(seed)
    outcomes = []
    for person in range(people):
        for place, id in enumerate(questions):
            codes = BOOK[id].codes
            truth = codes[(person * 5 + place * 3 + person // 7) % len(codes)]
            wrong = [code for code in codes if code != truth]
            is_right = rng.random() < right
            answer = truth if is_right else wrong[int(rng.integers(len(wrong)))]
            known: dict[str, Any] = {"respondent": key(person), "question": id, "truth": truth}
            case = person * len(questions) + place
            if failed and case in failed:
                outcomes.append(Outcome(**known, answer=None, status="failed", reason=failed[case]))
                continue
            shares = {code: 0.4 / (len(codes) - 1) for code in codes} | {answer: 0.6}
            told = {"probabilities": shares} if said else {}
            country = "JPN" if person % 3 else "BRA"
            outcomes.append(
                Outcome(**known, answer=answer, status="answered", country=country, **told)
            )
    scored = score_frame(outcomes, BOOK)
    places = [int(name[:4]) for name in scored["respondent"]]
    sexes = ["female" if place % 2 else "male" for place in places]
    return scored.assign(weight=1.0, sex=sexes, age="under 30", education="tertiary")


def numbers(table: pd.DataFrame, **more: float) -> dict[str, float]:
    """Return what an arm's run holds of a table."""
    found = {name: metric.compute(table) for name, metric in METRICS.items()}
    return found | {"calls_needed": 3.0 * len(table), "tokens_needed": 900.0 * len(table)} | more


def start(tracker: Tracker, *, subject: str = "full", **changes: Any) -> JobRun:
    """Begin a job whose arms were made by `evals` on a survey."""
    facts = {
        "command": "evals",
        "identity": json.dumps(changes, sort_keys=True, default=str) + subject,
        "config": CONFIG,
        "details": DETAILS,
        "tags": {**SURVEY, "variant": subject},
    }
    return tracker.job(job_facts(**(facts | changes)))


def log_arm(
    job: JobRun,
    name: str,
    table: pd.DataFrame | None,
    *,
    metrics: Mapping[str, float] | None = None,
    **params: Any,
) -> str:
    """Log an arm and return its run's id; without a table it has numbers and no predictions."""
    variant = name.split(": ")[-1].removesuffix(" compiled")
    known = {
        "kind": "rag" if variant.startswith("rag") else "valuesim",
        "variant": variant,
        "teleprompter": "bootstrap" if name.endswith("compiled") else "none",
        "task_lm": "openai/some-model-2026",
        "embedder": "sentence-transformers/mini",
        "fold": "battery-1of5",
        "split": "dev 0123abcd",
        "knows": "cold",
        "people": PEOPLE,
        "questions": len(QUESTIONS),
    }
    with job.arm(name, known | params) as child:
        if table is not None:
            child.log_predictions(table)
        own = metrics if metrics is not None else numbers(table) if table is not None else {}
        child.log_metrics(own)
        return child.run_id


def arm(
    label: str,
    table: pd.DataFrame | None,
    *,
    metrics: Mapping[str, float] | None = None,
    folds: tuple[str, ...] = ("battery-1of5",),
    job: Job | None = None,
    **params: Any,
) -> Arm:
    """Return an arm as it is read back, without a store."""
    variant = label.removesuffix(" compiled")
    known = {
        "kind": "rag" if variant.startswith("rag") else "valuesim",
        "variant": variant,
        "teleprompter": "bootstrap" if label.endswith("compiled") else "none",
        "task_lm": "openai/some-model-2026",
        "embedder": "sentence-transformers/mini",
        "split": "dev 0123abcd",
        "knows": "cold",
        "people": str(PEOPLE),
        "questions": str(len(QUESTIONS)),
    }
    own = metrics if metrics is not None else numbers(table) if table is not None else {}
    runs = tuple(
        {"run_id": "0" * 32, "params": {**known, "fold": fold, **params}, "metrics": dict(own)}
        | {"tags": dict(SURVEY), "name": label}
        for fold in folds
    )
    made = job or Job("f" * 32, "demo", config=CONFIG, details=DETAILS, tags=SURVEY)
    return Arm(label, folds[0].split("-")[0], runs, table, made)


def setting(*arms: Arm, role: str = "dev") -> Setting:
    """Return arms as those of one setting."""
    return Setting(f"{role}set, openai/some-model-2026, all targets", role, arms)


def usual() -> Setting:
    """Return most arms of the first table on battery folds, and one warm arm."""
    return setting(
        arm("rag", frame(0.45, seed=1)),
        arm("rag compiled", frame(0.5, seed=2)),
        arm("single", frame(0.5, seed=3)),
        arm("full", frame(0.5, seed=4)),
        arm("full compiled", frame(0.8, seed=5)),
        arm("country-mode", frame(0.6, seed=6), kind="country-mode", knows="warm"),
        arm("mode", frame(0.5, seed=7), kind="mode", knows="warm"),
    )


def full_job(tracker: Tracker) -> str:
    """Log a job with most arms on battery folds, one of them warm, and return its id."""
    with start(tracker) as job:
        log_arm(job, "rag", frame(0.45, seed=1))
        log_arm(job, "rag compiled", frame(0.5, seed=2))
        log_arm(job, "single", frame(0.5, seed=3))
        log_arm(job, "full", frame(0.5, seed=4, failed={0: "Q1: no answer '7' of 0012deadbeef"}))
        log_arm(job, "full compiled", frame(0.7, seed=5, said=True))
        warm = {"kind": "country-mode", "knows": "warm"}
        log_arm(job, "country-mode", frame(0.6, seed=6), **warm)
        job.log_text("a table", "table.md")
    return job.run_id


def store(folder: Path) -> Tracker:
    """Return a tracker on a new store, whatever the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return new_tracker(folder)
