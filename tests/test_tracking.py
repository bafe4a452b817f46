import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stores import ARM, job_facts, new_tracker, predictions

from evals.past_runs import load_predictions
from evals.tracking import Tracker
from valuesim_dspy.errors import ConfigError, MissingDataError, ValueSimError
from valuesim_dspy.store import artifact_root, tracking_uri

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """A tracker on a store of its own."""
    return new_tracker(tmp_path / "store")


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_importing_the_tracker_does_not_import_mlflow() -> None:
    """MLflow takes seconds to import: that waits until a tracker is made."""
    script = "import sys, evals.tracking, evals.past_runs; print('mlflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_a_new_store_is_private_quiet_and_has_its_files_beside_its_database(
    tmp_path: Path,
) -> None:
    """A first use says nothing, and makes files and folders that only their owner can read."""
    store = tmp_path / "new" / "store"
    script = (
        "import os, sys; from evals.tracking import Tracker; t = Tracker(sys.argv[1]);"
        "print(os.environ['MLFLOW_DISABLE_TELEMETRY'], t.remote)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(store)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert (done.stdout.strip(), done.stderr) == ("true False", "")
    assert mode(store) == mode(store / "artifacts") == 0o700
    assert mode(store / "mlflow.db") == 0o600


def test_an_open_folder_is_closed_to_others(tmp_path: Path) -> None:
    """The folder of a checkout, which anyone can read, is made private on first use."""
    store = tmp_path / "mlruns"
    new_tracker(store)
    store.chmod(0o755)
    new_tracker(store)
    assert mode(store) == 0o700


def test_the_database_of_a_folder_has_an_absolute_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder named relatively is the same store from everywhere."""
    monkeypatch.chdir(tmp_path)
    assert tracking_uri("runs") == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert artifact_root("runs") == tmp_path / "runs" / "artifacts"


def test_the_environment_names_the_store_before_the_config_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MLFLOW_TRACKING_URI is taken as given, and a server keeps its own files."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracking.example.org")
    assert tracking_uri("runs") == "https://tracking.example.org"
    assert artifact_root("runs") is None


def test_a_job_of_the_same_identity_is_continued(tracker: Tracker) -> None:
    """The second run of a job is the same run with the same arms, not a second one."""
    for _ in range(2):
        with tracker.job(job_facts()) as job, job.arm("rag", ARM) as arm:
            arm.log_metrics({"accuracy": 0.5})
    assert (job.continued, len(tracker.runs({}))) == (True, 2)
    assert tracker.find({"valuesim.level": "arm"}) == [arm.run_id]


def test_another_identity_is_another_run(tracker: Tracker) -> None:
    """A changed config gives a run of its own, with arms of its own."""
    ids = []
    for identity in ("a", "b"):
        with tracker.job(job_facts(identity)) as job, job.arm("rag", ARM) as arm:
            ids += [job.run_id, arm.run_id]
    assert len(set(ids)) == len(tracker.runs({})) == 4


def test_a_deleted_job_is_not_continued(tracker: Tracker) -> None:
    """A run that was deleted in the UI is gone; the job begins anew."""
    with tracker.job(job_facts()) as first:
        pass
    tracker.client.delete_run(first.run_id)
    with tracker.job(job_facts()) as second:
        pass
    assert second.run_id != first.run_id


def test_a_param_that_would_change_is_refused(tracker: Tracker) -> None:
    """Params are what arms are compared by: the message names the param and both values."""
    with tracker.job(job_facts()) as job:
        with job.arm("rag", ARM):
            pass
        with pytest.raises(ValueSimError, match="people = 2, not 3"):
            job.arm("rag", {**ARM, "people": 3})


def test_a_point_logged_again_is_replaced_and_not_doubled(tracker: Tracker) -> None:
    """The same value at the same step stays one point; a new value is what the UI then shows."""
    with tracker.job(job_facts()) as job:
        for value in (0.5, 0.5, 0.75, 0.25):
            tracker.log_points(job.run_id, [("accuracy", value, 0)])
    history = tracker.client.get_metric_history(job.run_id, "accuracy")
    assert sorted(point.value for point in history) == [0.25, 0.5, 0.75]
    assert tracker.run(job.run_id).data.metrics["accuracy"] == 0.25


def test_tags_with_quotes_are_found(tracker: Tracker) -> None:
    """An arm named after a path with a quote in it is continued like any other."""
    with tracker.job(job_facts()) as job:
        ids = [job.arm(name, ARM).run_id for name in ("it's/a", "it's/b", "it's/a")]
    assert ids[0] == ids[2] != ids[1]


def test_more_runs_than_a_page_are_found(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is found, however many pages MLflow gives."""
    made = {tracker.begin(f"run {i}", {"n": str(i)}) for i in range(5)}
    whole = tracker.client.search_runs

    def paged(*args: Any, **kwargs: Any) -> Any:
        return whole(*args, **kwargs, max_results=2)

    monkeypatch.setattr(tracker.client, "search_runs", paged)
    assert set(tracker.find({})) == made


def test_an_unknown_run_is_missing_data(tracker: Tracker) -> None:
    """A run id that is not there gives one line that says so."""
    for run_id in ("0" * 32, "no such run"):
        with pytest.raises(MissingDataError, match="there is no run"):
            tracker.run(run_id)


def test_a_damaged_store_gives_one_clear_error(tmp_path: Path) -> None:
    """MLflow would try again for hours; the message names the file and what to do."""
    (tmp_path / "mlflow.db").write_bytes(b"no database at all " * 100)
    with pytest.raises(ValueSimError, match=r"mlflow\.db .*not a database.*move it aside") as error:
        Tracker(tmp_path)
    assert "\n" not in str(error.value)


def test_a_locked_store_gives_one_clear_error(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that another process holds is told apart from a damaged one."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **_: connect(path, timeout=0))
    holder = connect(tmp_path / "store" / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(ValueSimError, match="another process holds it"):
            Tracker(tmp_path / "store")
    finally:
        holder.close()


def test_a_store_of_another_mlflow_gives_one_clear_error(tracker: Tracker, tmp_path: Path) -> None:
    """A schema that this version does not know names the remedy."""
    tracker.client._tracking_client.store._dispose_engine()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "store", copy)
    with sqlite3.connect(copy / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(ValueSimError, match="another version of MLflow made it"):
        Tracker(copy)


def test_a_file_store_uri_gives_one_clear_error(tmp_path: Path) -> None:
    """MLflow no longer keeps runs in plain files; its own explanation is one line of ours."""
    with pytest.raises(ConfigError, match="without file:") as error:
        Tracker(f"file://{tmp_path}/mlruns")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "mysql+pymysql", "mssql"])
def test_a_database_needs_a_server_before_it(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says what to start, without the password, and nothing is opened or written."""
    monkeypatch.chdir(tmp_path)
    address = f"{scheme}://me:s3cretword@127.0.0.1:9/runs"
    with pytest.raises(
        ConfigError, match=r"store.*mlflow server.*--artifacts-destination"
    ) as error:
        Tracker(address)
    assert "s3cretword" not in str(error.value) and "\n" not in str(error.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(ConfigError, match=r"^MLFLOW_TRACKING_URI: "):
        Tracker()
    assert list(tmp_path.iterdir()) == []


def test_errors_show_no_credentials(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address in a message has no user, password or query."""
    from mlflow.exceptions import MlflowException

    monkeypatch.setattr(tracker, "uri", "https://me:secret@tracking.example.org/x?token=secret")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise MlflowException("503 Service Unavailable")

    monkeypatch.setattr(tracker.client, "create_run", refuse)
    with pytest.raises(ValueSimError, match=r"https://tracking\.example\.org/x .*503") as error:
        tracker.begin("demo", {})
    assert "secret" not in str(error.value)


def test_a_moved_store_takes_its_runs_along(tracker: Tracker, tmp_path: Path) -> None:
    """MLflow keeps absolute addresses: they follow the folder, and new files go to the new one."""
    with tracker.job(job_facts()) as job, job.arm("rag", ARM) as arm:
        arm.log_predictions(predictions())
    moved = tmp_path / "elsewhere" / "mlruns"
    moved.parent.mkdir()
    (tmp_path / "store").rename(moved)
    again = Tracker(moved)
    assert len(load_predictions(again, arm.run_id)) == 4
    with again.job(job_facts("b" * 16)) as other:
        other.log_text("hello", "note.txt")
    assert not (tmp_path / "store").exists()
    kept = {path.name for path in (moved / "artifacts").iterdir()}
    assert {arm.run_id, other.run_id} <= kept


def test_a_deleted_experiment_is_restored(tracker: Tracker, tmp_path: Path) -> None:
    """Deleting the experiment in the UI does not lock the store for good."""
    tracker.client.delete_experiment(tracker.experiment_id)
    again = Tracker(tmp_path / "store")
    with again.job(job_facts()) as job:
        pass
    assert again.run(job.run_id).info.status == "FINISHED"


def test_the_experiment_carries_the_view_that_the_ui_opens(tracker: Tracker) -> None:
    """The saved view leads with the headline metric and its interval."""
    view = tracker.experiment_tags()["mlflow.sharedViewState.arms"]
    assert view.index("accuracy`") < view.index("accuracy_low") < view.index("nmae")


def test_the_data_is_recorded_by_digest_once(tracker: Tracker) -> None:
    """A run names its data by name, digest and size, also when it is continued."""
    for _ in range(2):
        with tracker.job(job_facts()) as job:
            pass
    [used] = tracker.run(job.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("synthetic", "0123456789abcdef")
    assert used.dataset.profile == '{"num_rows": 60}'
