"""Machines share runs, trials and people in one PostgreSQL: tried for real where there is one.

The server of a test is its own, on loopback, with a password; see `postgres.running`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import postgres
import pytest
from jobs import job_file, lexical_server, survey_file
from loopback import LoopbackServer
from people import person as profile_of
from searching import search_file
from sqlalchemy import func, select

from evals.tracked_runs import LEVEL
from evals.tracking import Tracker
from evals.trial_runs import TRIAL
from optimize.__main__ import main
from optimize.search import counted
from optimize.search_storage import opened_alone
from valuesim_dspy.commitments import Commitments
from valuesim_dspy.errors import ConfigError, ValueSimError
from valuesim_dspy.loading import load_program
from valuesim_dspy.people import People
from valuesim_dspy.people_tables import ANSWERS
from valuesim_dspy.store import MLFLOW_ENVIRONMENT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        postgres.binaries() is None, reason="needs PostgreSQL's initdb and pg_ctl, and psycopg2"
    ),
]

ROOT = Path(__file__).resolve().parent.parent
FAR = "runs.valuesim.test"
"""A host that is not loopback by its name, so that what goes there leaves the machine."""
CANARY = f"canary{secrets.token_hex(8)}"
"""A key and a password that must turn up nowhere."""
WRITER = """
import sys, threading
from valuesim_dspy.people import People

me = People(sys.argv[1]).person("zq")

def write(thread):
    for place in range(int(sys.argv[3])):
        me.observe("Q57", 1 + place % 2, source=f"{sys.argv[2]}.{thread}.{place}")

threads = [threading.Thread(target=write, args=(thread,)) for thread in range(3)]
for each in threads:
    each.start()
for each in threads:
    each.join()
"""


@dataclass(frozen=True)
class Shared:
    """A server of runs: its address as a client far away has it, and the folder of its files."""

    address: str
    files: Path
    cluster: postgres.Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL for the tests of this file."""
    with postgres.running() as found:
        yield found


@pytest.fixture(scope="module")
def shared(cluster: postgres.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """MLflow's server on PostgreSQL, which keeps the runs' files itself."""
    folder = tmp_path_factory.mktemp("server")
    files, port = folder / "files", postgres.free_port()
    # In the environment: a command line can be read by everybody on the machine.
    known = {**MLFLOW_ENVIRONMENT, **os.environ, "MLFLOW_BACKEND_STORE_URI": cluster.make("mlflow")}
    command = [*(sys.executable, "-m", "mlflow", "server"), "--artifacts-destination", str(files)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--allowed-hosts", f"{FAR}:*,127.0.0.1:*"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, env=known, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", server)
        yield Shared(f"http://me:{CANARY}@{FAR}:{port}", files, cluster)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def _wait(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=2):
            return
        time.sleep(0.1)
    raise AssertionError("MLflow's server did not start")


@pytest.fixture
def _far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the name of the far host lead here: to the code it is another machine."""
    look_up = socket.getaddrinfo

    def here(host: Any, *args: Any, **known: Any) -> Any:
        return look_up("127.0.0.1" if host == FAR else host, *args, **known)

    monkeypatch.setattr(socket, "getaddrinfo", here)


@pytest.fixture
def model_server() -> Iterator[LoopbackServer]:
    """A model that asks for a key."""
    with lexical_server(key=CANARY) as server:
        yield server


def files_of(tracker: Tracker, run_id: str, folder: str = "") -> set[str]:
    """Return the names of a run's files, by the server."""
    found: set[str] = set()
    for file in tracker.client.list_artifacts(run_id, folder):
        found |= files_of(tracker, run_id, file.path) if file.is_dir else {file.path}
    return found


def kept(tracker: Tracker, others: Collection[str]) -> dict[str, set[str]]:
    """Return the files of every run by the run's name, but for those of other tests."""
    runs = [run for run in tracker.runs({}) if run.info.run_id not in others]
    return {run.info.run_name: files_of(tracker, run.info.run_id) for run in runs}


def everything(*folders: Path) -> bytes:
    """Return every byte below folders."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.usefixtures("_far")
def test_runs_of_a_shared_server_keep_rows_of_people_back_until_they_are_shared(
    shared: Shared,
    model_server: LoopbackServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Runs, params, metrics and programs are on the server; rows and secrets are not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared.address)
    monkeypatch.setenv("OWN_KEY", CANARY)
    survey = survey_file(tmp_path / "people.csv", ids="zqperson")
    model = {"model": "openai/test", "api_base": model_server.url, "api_key_env": "OWN_KEY"}
    job = job_file(tmp_path / "job.toml", data={"survey": str(survey)}, task_lm=model)
    others = {run.info.run_id for run in Tracker().runs({})}
    assert main(["compile", str(job)]) == 0
    assert set(model_server.keys) == {CANARY}
    tracker = Tracker()
    assert tracker.remote and not tracker.rows_allowed
    found = kept(tracker, others)
    assert found["small"] == {
        *("config.json", "costs.json", "details.json", "table.md", "usage.json")
    }
    arms = ("rag", "full", "country-mode", "rag compiled", "full compiled")
    assert [name for name in arms if found[name]] == []
    assert b"zqperson" not in everything(shared.files)
    mine = [run for run in tracker.runs({LEVEL: "arm"}) if run.info.run_id not in others]
    compiled = next(run for run in mine if run.info.run_name == "full compiled")
    assert compiled.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert compiled.data.params["variant"] == "full" and "accuracy" in compiled.data.metrics
    assert compiled.data.tags["kept_back.program"] == "yes"
    assert not tracker.client.search_traces(locations=[tracker.experiment_id])

    assert main(["compile", str(job), "--share-rows"]) == 0
    found = kept(Tracker(), others)
    assert all("predictions.json" in found[name] for name in arms)
    assert "program/program.json" in found["full compiled"] & found["rag compiled"]
    again = tracker.run(compiled.info.run_id)
    assert again.data.tags["kept_back.program"] == "no"
    program: Any = load_program(f"runs:/{compiled.info.run_id}/program")
    assert program.variant == "full"

    said = capsys.readouterr()
    told = f"{said.out}{said.err}{caplog.text}{shared.cluster.dump('mlflow')}".encode()
    told += everything(tmp_path, shared.files, Path(os.environ["HOME"]))
    for secret in (CANARY, shared.cluster.password):
        assert secret.encode() not in told
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.usefixtures("_far")
def test_a_program_without_rows_of_people_is_on_the_shared_server(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was compiled on synthetic people is nobody's: it goes there, and comes back."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared.address)
    job = job_file(tmp_path / "job.toml", baselines=[], compile={"arms": []})
    assert main(["compile", str(job), "--set", "name=nobody"]) == 0
    tracker = Tracker()
    run = tracker.runs({"job": "nobody", LEVEL: "arm", "teleprompter": "labeled-few-shot"})[0]
    assert files_of(tracker, run.info.run_id) == {"program/manifest.json", "program/program.json"}
    program: Any = load_program(f"runs:/{run.info.run_id}/program")
    assert any(predictor.demos for predictor in program.predictors())


def test_a_server_on_this_machine_keeps_rows(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing leaves the machine for loopback."""
    port = shared.address.rpartition(":")[2]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    assert Tracker().rows_allowed


def test_a_database_without_a_server_is_refused_in_one_line(
    cluster: postgres.Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """MLflow would scatter the files of the runs; nothing is written, here or there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", cluster.make("direct"))
    job = job_file(tmp_path / "job.toml")
    assert main(["compile", str(job)]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("error: ") and "mlflow server" in line and "MLFLOW_TRACKING_URI" in line
    assert cluster.password not in line
    assert [path.name for path in tmp_path.iterdir()] == ["job.toml"]
    assert "CREATE TABLE" not in cluster.dump("direct")
    with pytest.raises(ConfigError, match="mlflow server"):
        load_program(f"runs:/{'0' * 32}/program")


def test_two_processes_share_a_search(
    cluster: postgres.Cluster, shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trial is run once, in one run; the address is in the environment, and nowhere else."""
    search = search_file(tmp_path / "tiny.toml", {"storage": "env:TRIALS", "trials": 6})
    known = {**os.environ, "TRIALS": cluster.make("optuna"), "PYTHONPATH": str(ROOT)}
    known["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{shared.address.rpartition(':')[2]}"
    command = [sys.executable, "-m", "optimize", "search", str(search)]
    running = [
        subprocess.Popen(
            command, env=known, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    # Both may begin what would be the seventh at once: such a one is marked, and does not count.
    trials = counted(optuna.load_study(study_name="tiny", storage=known["TRIALS"]))
    assert [trial.number for trial in trials] == [*range(6)]
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert len(re.findall(r"^trial \d+ ", "\n".join(said), re.MULTILINE)) == 6
    assert any("best of 6 trials on the devset" in text for text in said)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", known["MLFLOW_TRACKING_URI"])
    tracker = Tracker()
    (run,) = tracker.runs({LEVEL: "search"})
    assert run.info.status == "FINISHED"
    assert sorted(each.data.tags[TRIAL] for each in tracker.runs({LEVEL: "trial"})) == [*"012345"]
    written = everything(tmp_path, Path(os.environ["HOME"])) + "".join(said).encode()
    assert cluster.password.encode() not in written
    assert cluster.password not in cluster.dump("optuna")


def together(count: int, act: Callable[[int], object]) -> list[object]:
    """Do something in threads that begin at the same moment; return values and errors."""
    start = threading.Barrier(count)

    def one(place: int) -> object:
        start.wait()
        try:
            return act(place)
        except ValueSimError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_new_database_of_trials_may_be_opened_by_all_at_once(cluster: postgres.Cluster) -> None:
    """The tables are made once: who comes second waits."""
    address = cluster.make("opening")

    def open_it(_: int) -> str:
        with opened_alone(address):
            storage = optuna.storages.RDBStorage(address)
            study = optuna.create_study(study_name="one", storage=storage, load_if_exists=True)
        return str(study.study_name)

    assert together(4, open_it) == ["one"] * 4


def test_people_in_a_database_lose_nothing(cluster: postgres.Cluster) -> None:
    """Threads of several processes add to one person's history; every answer is kept, in order."""
    address = cluster.make("people")
    me = People(address).add("zq", profile_of())
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, address, str(process), "8"], cwd=ROOT)
        for process in range(2)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    with me.store.changing() as db:
        rows = db.execute(select(ANSWERS.c.number, ANSWERS.c.source)).tuples().all()
    written = {
        f"{process}.{thread}.{n}" for process in "01" for thread in range(3) for n in range(8)
    }
    assert written <= {source for _, source in rows}
    assert len({number for number, _ in rows}) == len(rows)
    newest = me.kept.answers[-1]
    assert newest.code in (1, 2) and newest.source in written


def test_people_in_a_database_are_begun_and_settled_once(cluster: postgres.Cluster) -> None:
    """Who comes second at the same moment is told so; one salt, one person, one true answer."""
    address = cluster.make("begun")
    stores = together(4, lambda _: People(address))
    assert all(isinstance(store, People) for store in stores), stores
    keys = {store.store.key("zq") for store in stores if isinstance(store, People)}
    assert len(keys) == 1
    people = People(address)
    added = together(4, lambda _: people.add("zq", profile_of()))
    refused = [each for each in added if isinstance(each, ConfigError)]
    assert len(refused) == 3 and all("remembered already" in str(each) for each in refused)
    me = people.person("zq")
    commitments, question = Commitments(me, "full"), people.codebook["Q57"]
    guess = commitments.commit("Q57", {"ValueSim": 1})
    settled = together(4, lambda _: commitments.settle(guess, question, 1, "test"))
    assert [type(each) for each in settled].count(type(None)) == 1
    with people.store.changing() as db:
        count = db.execute(select(func.count()).where(ANSWERS.c.source == "test")).scalar_one()
    assert count == 1
    me.forget("all")
    assert "zq" not in people and json.dumps(people.store.name).count(cluster.password) == 0
