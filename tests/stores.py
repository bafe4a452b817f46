"""Stores of runs for tests: made once a process, because the first migrations take seconds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from evals.job_facts import DataFacts, JobFacts
from evals.tracking import Tracker

ARM = {
    **{"kind": "rag", "variant": "rag", "teleprompter": "none", "task_lm": "offline/lexical-1"},
    **{"embedder": "lexical", "fold": "battery-1of5", "split": "dev 0123abcd"},
    **{"knows": "cold", "people": 2, "questions": 2},
}


@lru_cache(maxsize=1)
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="valuesim-store-"))
    Tracker(folder)
    return folder


def new_tracker(folder: Path, **options: Any) -> Tracker:
    """Return a tracker on a new store in a folder; MLFLOW_TRACKING_URI must not be set."""
    if not folder.exists():
        shutil.copytree(_template(), folder)
    return Tracker(folder, **options)


def job_facts(identity: str = "a" * 16, **changes: Any) -> JobFacts:
    """Return the facts of a small job."""
    known: dict[str, Any] = {
        "identity": identity,
        "name": "demo",
        "command": "optimize",
        "config": {"name": "demo", "seed": 42},
        "data": DataFacts("synthetic", "0123456789abcdef", 60),
        "tags": {"evidence": "synthetic-machinery", "fold": "battery-1of5"},
        "details": {"versions": {"dspy": "3.4.1"}},
    }
    return JobFacts(**(known | changes))


def predictions(answers: tuple[int | None, ...] = (1, 2, None, 4)) -> pd.DataFrame:
    """Return a table of predictions such as `score_frame` makes; keys look like numbers."""
    views: Mapping[str, Any] = {"view_cognitive": [1, 2, 3, 4], "view_affective": [1, 2, 3, 1]}
    frame = pd.DataFrame(
        {
            "respondent": ["000000000012", "000000000012", "0000000001e5", "0000000001e5"],
            "question": ["Q1", "Q2", "Q1", "Q2"],
            "truth": [1, 3, 3, 4],
            "answer": list(answers),
            "status": ["failed" if answer is None else "answered" for answer in answers],
            "fidelity": [1 / 3, 1 / 3, None, None],
            "calls": [5, 5, 5, 5],
            **views,
        }
    )
    frame["correct"] = [float(a == t) for a, t in zip(answers, frame["truth"], strict=True)]
    frame["answered"] = frame["status"] == "answered"
    codes = ["truth", "answer", *views]
    return frame.astype(dict.fromkeys(codes, "Int64") | {"fidelity": float})
