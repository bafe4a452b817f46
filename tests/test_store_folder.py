import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from evals import store_folder
from evals.store_folder import follow_move, is_remote, one_at_a_time
from valuesim_dspy.errors import ValueSimError

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("uri", "remote"),
    [
        ("sqlite:////home/me/mlruns/mlflow.db", False),
        ("file:///home/me/mlruns", False),
        ("/home/me/mlruns", False),
        ("C:/mlruns", False),
        ("mlflow-artifacts:/1", False),
        ("http://127.0.0.1:5000", False),
        ("http://localhost:5000", False),
        ("https://[::1]:5000", False),
        ("http://user:secret@127.0.0.1:5000", False),
        ("https://tracking.example.org", True),
        ("http://127.0.0.1.example.org", True),
        ("http://10.0.0.5:5000", True),
        ("mlflow-artifacts://tracking.example.org/1", True),
        ("postgresql://db.example.org/mlflow", True),
        ("s3://bucket/artifacts", True),
        ("databricks", True),
        ("databricks://profile", True),
    ],
)
def test_only_what_stays_on_the_machine_is_local(uri: str, remote: bool) -> None:
    """Files and loopback servers are local; every other address is remote."""
    assert is_remote(uri) is remote


def database(path: Path, location: str) -> Path:
    """Make the two tables that hold addresses, with one experiment and two runs."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE experiments (name, artifact_location)")
        db.execute("CREATE TABLE runs (artifact_uri)")
        db.execute("INSERT INTO experiments VALUES ('valuesim', ?)", (location,))
        rows = [(f"{location}/1/artifacts",), (f"{location}-other/2/artifacts",)]
        db.executemany("INSERT INTO runs VALUES (?)", rows)
    return path


def addresses(path: Path) -> list[str]:
    """Return every address in the database."""
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT artifact_location FROM experiments").fetchall()
        return [row[0] for row in rows + db.execute("SELECT artifact_uri FROM runs").fetchall()]


def test_addresses_follow_a_move_and_no_others_change(tmp_path: Path) -> None:
    """Only what lay in the old folder moves; a folder whose name begins alike stays."""
    path = database(tmp_path / "mlflow.db", "file:///old")
    follow_move(f"sqlite:///{path}", "file:///old", "file:///new/place")
    assert addresses(path) == [
        "file:///new/place",
        "file:///new/place/1/artifacts",
        "file:///old-other/2/artifacts",
    ]


def test_files_kept_elsewhere_stay_there(tmp_path: Path) -> None:
    """An experiment whose files somebody put into a bucket is left alone."""
    path = database(tmp_path / "mlflow.db", "s3://bucket")
    follow_move(f"sqlite:///{path}", "s3://bucket", "file:///new")
    assert addresses(path)[0] == "s3://bucket"


def test_a_second_opener_waits_and_then_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one opens the store another cannot; after it anyone can again."""
    monkeypatch.setattr(store_folder, "_OPENING_SECONDS", 0.0)
    root = tmp_path / "artifacts"
    refused = pytest.raises(ValueSimError, match="another process holds it")
    with one_at_a_time(root), refused, one_at_a_time(root):
        pass
    with one_at_a_time(root), one_at_a_time(None):
        pass


def test_an_opener_that_dies_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock belongs to the process and ends with it, however it ends."""
    monkeypatch.setattr(store_folder, "_OPENING_SECONDS", 0.0)
    script = (
        "import os, sys; from pathlib import Path; from evals.store_folder import one_at_a_time\n"
        "with one_at_a_time(Path(sys.argv[1])): os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], cwd=ROOT)
    assert done.returncode == 9
    with one_at_a_time(tmp_path / "a"):
        pass


@pytest.mark.slow
def test_two_jobs_may_begin_on_a_new_store_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first migrations are made once, and both get the same experiment."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    script = "import sys; from evals.tracking import Tracker; print(Tracker(sys.argv[1]).uri)"
    command = [sys.executable, "-c", script, str(tmp_path / "store")]
    jobs = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    answers = {job.communicate()[0] for job in jobs}
    assert answers == {f"sqlite:///{tmp_path}/store/mlflow.db\n".encode()}
