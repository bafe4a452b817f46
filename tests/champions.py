"""Compiled arms in a store without a compile job: predictions made by hand, a program saved."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from stores import ARM, job_facts

from evals.tracking import Tracker
from valuesim_dspy.loading import save_program
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.program import ValueSim

COMPILED = ARM | {"kind": "valuesim", "variant": "facts-only", "teleprompter": "bootstrap"}
DRAWN: dict[str, Any] = {
    "fold": {"strategy": "battery", "index": 1, "digest": "f" * 16},
    "split": {"seed": 1, "digest": "5" * 16},
    "data": {"digest": "d" * 64, "rows": 60},
}
PEOPLE = 30
RIGHT, WRONG = (True,) * PEOPLE, (False,) * PEOPLE


def half(start: int = 0) -> tuple[bool, ...]:
    """Return who is answered rightly: every second person."""
    return tuple(place % 2 == start for place in range(PEOPLE))


def frame(right: Sequence[bool], *, question: str = "Q57", failed: int = 0) -> pd.DataFrame:
    """Return scored predictions: one case a person, right or wrong, the last ones failed."""
    kept = len(right) - failed
    made = pd.DataFrame(
        {
            "respondent": [f"{person:012x}" for person in range(len(right))],
            "question": question,
            "truth": 1,
            "answer": [1 if ok else 2 for ok in right[:kept]] + [None] * failed,
            "status": ["answered"] * kept + ["failed"] * failed,
        }
    )
    made["correct"] = (made["answer"] == made["truth"]).astype(float)
    return made.astype({"truth": "Int64", "answer": "Int64"})


def program(folder: Path, variant: str = "facts-only", **known: Any) -> Path:
    """Save an uncompiled program as the one that a teleprompter made."""
    facts = {
        **{"teleprompter": "bootstrap", "lms": {"task_lm": "offline/lexical-1"}},
        **{"evidence": "synthetic-machinery", "codebook": {"id": "wvs7", "version": 1}},
        **DRAWN,
    }
    manifest = Manifest(**{"kind": "valuesim", "variant": variant, **facts, **known})
    return save_program(ValueSim(variant), folder, manifest)


def compiled(
    tracker: Tracker,
    folder: Path,
    right: Sequence[bool],
    *,
    seed: int = 1,
    rag: Sequence[bool] | None = None,
    params: dict[str, Any] | None = None,
    table: pd.DataFrame | None = None,
    evidence: str = "synthetic-machinery",
    keeps_program: bool = True,
    **known: Any,
) -> tuple[str, str]:
    """Leave what a compile job leaves; return the runs of the job and of its compiled arm.

    Args:
        tracker: The store.
        folder: Where the program may be saved.
        right: Whom the compiled arm answers rightly.
        seed: Tells programs, and jobs, apart.
        rag: Whom RAG answers rightly; None for a job without RAG.
        params: What differs from the arm's params.
        table: Predictions to log in place of those of `right`.
        evidence: What was measured on.
        keeps_program: Whether the program is logged.
        known: What differs in the program's manifest.
    """
    tags = {"evidence": evidence, "fold": "battery-1of5", "variant": "facts-only"}
    with tracker.job(job_facts(f"{seed:016x}", tags=tags)) as job:
        if rag is not None:
            with job.arm("rag", ARM) as arm:
                arm.log_predictions(frame(rag))
        with job.arm("facts-only compiled", COMPILED | (params or {})) as arm:
            arm.log_predictions(frame(right) if table is None else table)
            if keeps_program:
                arm.log_program(
                    program(folder / f"program-{seed}", seed=seed, evidence=evidence, **known)
                )
    return job.run_id, arm.run_id


def measured(tracker: Tracker, uri: str, table: pd.DataFrame, **params: Any) -> str:
    """Leave what `evals run` of one registered program leaves; return the run of its arm."""
    tags = {"evidence": "synthetic-machinery", "variant": uri}
    identity = hashlib.sha256(f"{uri} {params}".encode()).hexdigest()[:16]
    with tracker.job(job_facts(identity, command="evals", tags=tags)) as job:
        with job.arm("rag", ARM) as arm:
            arm.log_predictions(table.assign(correct=0.0))
        with job.arm("facts-only compiled", COMPILED | params) as arm:
            arm.log_predictions(table)
    return arm.run_id
