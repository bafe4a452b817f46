"""A search and its trials as runs: begun once, continued by identity, never doubled."""

from __future__ import annotations

from pathlib import Path

import pytest
from stores import job_facts, new_tracker

from evals.past_runs import find_runs, run_summary
from evals.tracked_runs import LEVEL, PARENT
from evals.tracking import Tracker
from evals.trial_runs import STATE, TRIAL, SearchRun

PARAMS = {"variant": "full", "compile.options.k": 3}


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """A tracker on a store of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return new_tracker(tmp_path / "mlruns")


def test_a_search_is_a_run_of_its_own_level(tracker: Tracker) -> None:
    """With config, data and details, as a job; lists of jobs and arms do not show it."""
    with SearchRun.start(tracker, job_facts()) as run:
        pass
    assert tracker.find({LEVEL: "search"}) == [run.run_id]
    assert tracker.find({LEVEL: "job"}) == [] and find_runs(tracker) == []
    assert '"seed": 42' in tracker.read_text(run.run_id, "config.json")
    assert run_summary(tracker, run.run_id)["status"] == "FINISHED"


def test_a_search_is_continued_by_identity(tracker: Tracker) -> None:
    """Another identity is another search."""
    first = SearchRun.start(tracker, job_facts())
    second = SearchRun.start(tracker, job_facts())
    other = SearchRun.start(tracker, job_facts("b" * 16))
    assert (first.continued, second.continued) == (False, True)
    assert first.run_id == second.run_id != other.run_id


def test_a_trial_is_a_child_with_what_was_sampled(tracker: Tracker) -> None:
    """Its number and state as tags, its values as params, its metrics."""
    run = SearchRun.start(tracker, job_facts())
    with run.trial(7, "trial 7", PARAMS, {"variant": "full"}) as child:
        child.log_metrics({"accuracy": 0.5}, prefix="val")
        child.state("pruned")
    found = run_summary(tracker, child.run_id)
    assert found["params"] == {"variant": "full", "compile.options.k": "3"}
    assert found["metrics"] == {"val.accuracy": 0.5}
    assert found["tags"][TRIAL] == "7" and found["tags"][STATE] == "pruned"
    assert found["tags"][PARENT] == run.run_id and found["tags"]["variant"] == "full"
    assert found["name"] == "trial 7" and found["status"] == "FINISHED"


def test_a_trial_taken_up_again_is_the_same_run(tracker: Tracker) -> None:
    """By its number in its search; the state begins anew."""
    run = SearchRun.start(tracker, job_facts())
    other = SearchRun.start(tracker, job_facts("b" * 16))
    with pytest.raises(KeyboardInterrupt), run.trial(1, "trial 1", PARAMS, {}) as first:
        raise KeyboardInterrupt
    assert run_summary(tracker, first.run_id)["status"] == "KILLED"
    again = run.trial(1, "trial 1", PARAMS, {})
    assert again.run_id == first.run_id
    assert run_summary(tracker, again.run_id)["tags"][STATE] == "running"
    assert run.trial(2, "trial 2", PARAMS, {}).run_id != first.run_id
    assert other.trial(1, "trial 1", PARAMS, {}).run_id != first.run_id


def test_a_failed_trial_says_why(tracker: Tracker) -> None:
    """As a tag, where lists can show it."""
    run = SearchRun.start(tracker, job_facts())
    child = run.trial(1, "trial 1", {}, {})
    child.state("failed", "no answers")
    tags = run_summary(tracker, child.run_id)["tags"]
    assert tags[STATE] == "failed" and tags["reason"] == "no answers"


def test_pictures_are_files_of_the_run(tracker: Tracker, tmp_path: Path) -> None:
    """Those of the same name are replaced."""
    run = SearchRun.start(tracker, job_facts())
    run.log_pictures({"a.png": b"old", "b.png": b"b"})
    run.log_pictures({"a.png": b"new"})
    folder = tmp_path / "mlruns" / "artifacts" / run.run_id / "artifacts" / "pictures"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "a.png": b"new",
        "b.png": b"b",
    }
