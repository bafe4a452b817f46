"""What may become the champion: a compiled arm's run with its program and its predictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.past_runs import arms_of, load_predictions, run_summary
from evals.tracked_runs import CONFIG_FILE, PARENT, PROGRAM_FOLDER
from evals.tracking import Tracker
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.finding import find_program
from valuesim_dspy.loading import load_program, read_manifest
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.program import ValueSim

if TYPE_CHECKING:
    import pandas as pd

ROWS_KEPT = "runs of a remote server keep no predictions unless rows were shared (--share-rows)"


@dataclass(frozen=True, eq=False)
class Candidate:
    """An arm's run whose program may become the champion.

    Attributes:
        run_id: The run.
        job_id: The run of its job; "" where it has none.
        name: What tables call the arm.
        params: As `evals.job_facts.ARM_PARAMS`.
        evidence: `survey`, or `synthetic-machinery`.
        frame: Its devset predictions, scored.
        folder: Its program.
        manifest: The program's manifest.
    """

    run_id: str
    job_id: str
    name: str
    params: Mapping[str, str]
    evidence: str
    frame: pd.DataFrame
    folder: Path
    manifest: Manifest

    @property
    def devset(self) -> str:
        """Digests of data, fold and split: what the devset is drawn from."""
        known = self.manifest
        parts = (known.data, known.fold, known.split)
        return "-".join(str(part.get("digest", "none"))[:16] for part in parts)

    @property
    def program(self) -> str:
        """sha256 of the program's files."""
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

    @property
    def about(self) -> dict[str, str]:
        """What a version's tags say of it."""
        told = ("variant", "teleprompter", "task_lm", "fold", "split", "knows")
        return {
            **{name: self.params[name] for name in told},
            "evidence": self.evidence,
            "devset": self.devset,
            "program": self.program,
            "accuracy": f"{self.frame['correct'].mean():.4f}",
        }


def arm_run(tracker: Tracker, run: str, arm: str | None) -> dict[str, Any]:
    """Return the run of the arm that is meant.

    Raises:
        ConfigError: The job has no such compiled arm, or several and none is named.
    """
    arms = [run_summary(tracker, run_id) for run_id in arms_of(tracker, run)]
    if len(arms) == 1 and arms[0]["run_id"] == run:
        return arms[0]
    compiled = [one for one in arms if one["params"].get("teleprompter", "none") != "none"]
    wanted = arm or run_summary(tracker, run)["tags"].get("variant", "")
    named = [one for one in compiled if one["name"] in (wanted, f"{wanted} compiled")]
    if not named and arm is None and len(compiled) == 1:
        named = compiled
    if not named:
        raise ConfigError(
            "the job has no such compiled arm",
            key="--arm",
            value=wanted,
            allowed=[one["name"] for one in compiled] or ["none: the job compiled nothing"],
        )
    return named[0]


def read_candidate(tracker: Tracker, summary: dict[str, Any]) -> Candidate:
    """Read what an arm's run holds.

    Raises:
        ConfigError: It is no finished arm measured on a devset.
        MissingDataError: It has no program or no predictions.
        ProgramStateError: The program does not fit this code, or is a baseline.
    """
    run_id, params, tags = summary["run_id"], summary["params"], summary["tags"]
    if "split" not in params:
        raise ConfigError("this run is no arm of a job", key="run", value=run_id)
    if params["split"].split()[0] != "dev":
        raise ConfigError(
            "this run was measured on the testset, which reports and never selects; give the "
            "run of a compile job",
            key="run",
            value=run_id,
        )
    if summary["status"] != "FINISHED":
        how = "run its job again; it goes on where it was"
        raise MissingDataError(f"run {run_id} has not ended well ({summary['status']})", how)
    if tags.get("kept_back.program") == "yes":
        raise MissingDataError(f"run {run_id} kept its program back", ROWS_KEPT)
    folder = find_program(f"runs:/{run_id}/{PROGRAM_FOLDER}", store=tracker.uri)
    if read_manifest(folder).single.kind != ValueSim.kind:
        raise ConfigError(
            "a champion is a ValueSim program, this is a baseline; it stays where it is compared",
            key="--arm",
            value=summary["name"],
        )
    manifest: Manifest = load_program(folder).manifest
    return Candidate(
        run_id=run_id,
        job_id=tags.get(PARENT, ""),
        name=summary["name"],
        params=params,
        evidence=tags.get("evidence", manifest.evidence),
        frame=load_predictions(tracker, run_id),
        folder=folder,
        manifest=manifest,
    )


def rows_shared(tracker: Tracker, job_id: str) -> bool:
    """Whether the job was allowed to send rows of people to its server."""
    return bool(job_id) and bool(json.loads(tracker.read_text(job_id, CONFIG_FILE))["share_rows"])
