"""Runs read back: their numbers, their predictions, and how often the testset was read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from evals.tracked_runs import ARM, CASE, LEVEL, PARENT, PREDICTIONS_FILE
from evals.tracking import Tracker
from valuesim_dspy.errors import MissingDataError
from valuesim_dspy.store import artifact_root, prepare_store, store_error

if TYPE_CHECKING:
    from evals.study import Study

_FLOATS = ("correct", "error", "fidelity", "seconds", "disagree")


def find_runs(tracker: Tracker, tags: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the runs of arms that carry these tags, the latest first.

    Args:
        tracker: Where to look.
        tags: Such as `{"evidence": "survey", "fold": "battery-1of5"}`.
    """
    return [_summary(run) for run in tracker.runs({LEVEL: "arm", **(tags or {})})]


def arms_of(tracker: Tracker, run_id: str) -> list[str]:
    """Return the arms' runs of a job in the order in which they began; an arm is its own.

    Raises:
        MissingDataError: There is no such run, or the job has no arms.
    """
    if tracker.run(run_id).data.tags.get(LEVEL) != "job":
        return [run_id]
    found = tracker.find({PARENT: run_id})
    if not found:
        raise MissingDataError(f"job {run_id} has no arms", "run it again; it is continued")
    return found[::-1]


def run_summary(tracker: Tracker, run_id: str) -> dict[str, Any]:
    """Return a run: `run_id`, `name`, `arm`, `status`, `params`, `metrics` and `tags`.

    Raises:
        MissingDataError: There is no such run.
    """
    return _summary(tracker.run(run_id))


def load_predictions(tracker: Tracker, run_id: str, file: str = PREDICTIONS_FILE) -> pd.DataFrame:
    """Return the table of predictions of an arm's run, with the types it was logged with.

    Raises:
        MissingDataError: There is no such run, or it has no predictions.
    """
    # Not read_json: it takes a salted key of digits for a number.
    table = json.loads(tracker.read_text(run_id, file))
    frame = pd.DataFrame(table["data"], columns=table["columns"]).drop(columns=CASE)
    for name in frame.columns:
        if name in ("truth", "answer") or name.startswith("view_"):
            frame[name] = frame[name].astype("Int64")
        elif name in _FLOATS:
            frame[name] = frame[name].astype("float64")
    return frame


def count_reading(study: Study) -> int:
    """Count a reading of the testset and return how often it was read.

    To be called before its first case is asked: a job that is stopped has read it too.
    """
    key = f"{study.respondents.digest[:16]}-{study.fold.digest}-{study.split.digest}"
    return count_test_read(study.config.store, key)


def count_test_read(store: str | Path | None, key: str) -> int:
    """Count one more reading of a testset and return how often it has been read.

    Args:
        store: A folder or a tracking URI; see `valuesim_dspy.store.store_location`.
        key: Names the testset: the digests of data, fold and split.

    Raises:
        ValueSimError: The store cannot be used.
    """
    root = artifact_root(store)
    if root is None:
        return _count_on_server(store, key)
    prepare_store(store)
    path = root.parent / "testset_reads.db"
    try:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as db:
            path.chmod(0o600)
            # Taken before reading, so that two jobs at once count two.
            db.execute("BEGIN IMMEDIATE")
            db.execute("CREATE TABLE IF NOT EXISTS reads (key TEXT PRIMARY KEY, n INTEGER)")
            db.execute("INSERT OR IGNORE INTO reads VALUES (?, 0)", (key,))
            db.execute("UPDATE reads SET n = n + 1 WHERE key = ?", (key,))
            count = db.execute("SELECT n FROM reads WHERE key = ?", (key,)).fetchone()[0]
            db.execute("COMMIT")
    except (OSError, sqlite3.Error) as error:
        raise store_error(str(path), error) from None
    return int(count)


def _count_on_server(store: str | Path | None, key: str) -> int:
    tracker = Tracker(store)
    name = f"valuesim.testset_reads.{key}"
    count = int(tracker.experiment_tags().get(name, "0")) + 1
    tracker.set_experiment_tag(name, str(count))
    return count


def _summary(run: Any) -> dict[str, Any]:
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "arm": run.data.tags.get(ARM, ""),
        "status": run.info.status,
        "params": dict(run.data.params),
        "metrics": dict(run.data.metrics),
        "tags": dict(run.data.tags),
    }
