import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from stores import ARM, job_facts, new_tracker, predictions

from evals.past_runs import arms_of, count_test_read, find_runs, load_predictions, run_summary
from evals.tracking import Tracker
from valuesim_dspy.errors import MissingDataError, ValueSimError


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """A tracker on a store of its own."""
    return new_tracker(tmp_path / "store")


def test_predictions_come_back_as_they_went(tracker: Tracker) -> None:
    """Values and types survive: codes may be missing, keys of digits stay text."""
    frame = predictions()
    with tracker.job(job_facts()) as job, job.arm("rag", ARM) as arm:
        arm.log_predictions(frame)
    back = load_predictions(tracker, arm.run_id)
    pd.testing.assert_frame_equal(back[list(frame)], frame)
    assert set(back) == set(frame)


def test_a_run_without_predictions_is_missing_data(tracker: Tracker) -> None:
    """The message names the run and what it lacks; an unknown run is told apart."""
    with tracker.job(job_facts()) as job:
        pass
    with pytest.raises(MissingDataError, match=r"has no predictions\.json"):
        load_predictions(tracker, job.run_id)
    with pytest.raises(MissingDataError, match="there is no run"):
        load_predictions(tracker, "0" * 32)


def test_a_summary_tells_what_a_run_is_and_found(tracker: Tracker) -> None:
    """Arm, status, params and metrics in one dictionary of plain values."""
    with tracker.job(job_facts()) as job, job.arm("rag", ARM) as arm:
        arm.log_metrics({"accuracy": 0.5})
    summary = run_summary(tracker, arm.run_id)
    assert (summary["arm"], summary["status"], summary["name"]) == ("rag", "FINISHED", "rag")
    assert summary["metrics"] == {"accuracy": 0.5}
    assert summary["params"]["people"] == "2"
    assert run_summary(tracker, job.run_id)["arm"] == ""


def test_runs_are_found_by_their_tags(tracker: Tracker) -> None:
    """Arms only, of every job, narrowed by tags."""
    for identity, fold in (("a", "battery-1of5"), ("b", "battery-2of5")):
        facts = job_facts(identity, tags={"fold": fold})
        with tracker.job(facts) as job, job.arm("rag", ARM), job.arm("full", ARM):
            pass
    assert len(find_runs(tracker)) == 4
    found = find_runs(tracker, {"fold": "battery-2of5"})
    assert sorted(run["arm"] for run in found) == ["full", "rag"]
    assert find_runs(tracker, {"fold": "battery-3of5"}) == []


def test_a_job_stands_for_its_arms(tracker: Tracker) -> None:
    """A job's id gives its arms, an arm's id itself; a job without arms is missing data."""
    with tracker.job(job_facts()) as job, job.arm("rag", ARM) as rag, job.arm("full", ARM) as full:
        pass
    assert set(arms_of(tracker, job.run_id)) == {rag.run_id, full.run_id}
    assert arms_of(tracker, rag.run_id) == [rag.run_id]
    with tracker.job(job_facts("b")) as empty:
        pass
    with pytest.raises(MissingDataError, match="no arms"):
        arms_of(tracker, empty.run_id)


def test_readings_of_a_testset_are_counted_in_the_store(tmp_path: Path) -> None:
    """Every testset has a count of its own, which outlives the process."""
    counts = [count_test_read(tmp_path / "store", key) for key in ("a", "a", "b", "a")]
    assert counts == [1, 2, 1, 3]
    assert count_test_read(tmp_path / "other", "a") == 1


def test_readings_at_once_are_all_counted(tmp_path: Path) -> None:
    """Jobs that read at the same time are not taken for one."""
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: count_test_read(tmp_path / "store", "a"), range(24)))
    assert sorted(counts) == list(range(1, 25))


def test_a_damaged_count_gives_one_clear_error(tmp_path: Path) -> None:
    """A count that cannot be read is never a silent zero."""
    (tmp_path / "testset_reads.db").write_bytes(b"no database at all " * 100)
    with pytest.raises(ValueSimError, match=r"testset_reads\.db .*move it aside"):
        count_test_read(tmp_path, "a")


def test_the_count_survives_an_interrupted_reading(tmp_path: Path) -> None:
    """A process that dies while it counts leaves the count as it was."""
    assert count_test_read(tmp_path, "a") == 1
    dying = sqlite3.connect(tmp_path / "testset_reads.db", isolation_level=None)
    dying.execute("BEGIN IMMEDIATE")
    dying.execute("UPDATE reads SET n = 99")
    dying.close()
    assert count_test_read(tmp_path, "a") == 2


def test_a_server_keeps_the_count_itself(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder of ours the count is a tag of the experiment."""
    monkeypatch.setattr("evals.past_runs.artifact_root", lambda store: None)
    counts = [count_test_read(tracker.uri, "abc") for _ in range(2)]
    assert counts == [1, 2]
    assert Tracker(tracker.uri).experiment_tags()["valuesim.testset_reads.abc"] == "2"
