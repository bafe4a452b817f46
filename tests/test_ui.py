import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stores import ARM, job_facts, new_tracker, predictions

from evals.past_runs import load_predictions
from evals.tracking import Tracker
from valuesim_dspy import ui
from valuesim_dspy.errors import ConfigError, ValueSimError
from valuesim_dspy.store import prepare_store, without_credentials
from valuesim_dspy.ui import free_port, is_loopback, run_ui

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


class FakeServer:
    """Stands in for the process of the UI; ``ends`` is what happens while it is waited for."""

    def __init__(self, ends: BaseException | None = None) -> None:
        self.ends = ends
        self.command: list[str] = []
        self.environment: dict[str, str] = {}

    def __call__(self, command: list[str], *, env: dict[str, str], **options: Any) -> Any:
        """Take the place of `subprocess.Popen`."""
        self.command, self.environment = command, env
        return self

    def poll(self) -> None:
        """Run for ever."""

    def wait(self, timeout: float | None = None) -> int:
        """End at once, or with what was asked for."""
        if timeout is None and self.ends is not None:
            raise self.ends
        return 0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """A server that answers at once and is ended with Ctrl-C."""
    fake = FakeServer(KeyboardInterrupt())
    # In its place, not inside it: libraries start processes of their own when imported.
    monkeypatch.setattr(ui, "subprocess", SimpleNamespace(Popen=fake, DEVNULL=0, STDOUT=0))
    monkeypatch.setattr(ui, "_wait_until_up", lambda *args: None)
    monkeypatch.setattr(ui, "_end", lambda server: None)
    return fake


def held_port() -> tuple[socket.socket, int]:
    """Listen on a port, and return it with what holds it."""
    holder = socket.create_server(("127.0.0.1", 0))
    return holder, int(holder.getsockname()[1])


def test_the_ui_serves_our_store_on_this_machine_only(tmp_path: Path, server: FakeServer) -> None:
    """It gets the database and the files' folder, listens on loopback and sends nothing."""
    said: list[str] = []
    run_ui(tmp_path / "store", port=47001, say=said.append)
    command = " ".join(server.command)
    assert f"--backend-store-uri sqlite:///{tmp_path}/store/mlflow.db" in command
    assert f"--default-artifact-root file://{tmp_path}/store/artifacts" in command
    assert "--host 127.0.0.1" in command
    assert server.environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert server.environment["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert server.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert said[0].startswith("MLflow UI: http://127.0.0.1:470")
    assert said[-1] == "the MLflow UI has ended"


def test_what_the_user_has_set_stays_set(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An explicit setting in the environment wins over ours."""
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "DEBUG")
    run_ui(tmp_path, port=47001, say=lambda line: None)
    assert server.environment["MLFLOW_LOGGING_LEVEL"] == "DEBUG"


def test_a_store_with_runs_has_a_link_to_the_arms(tmp_path: Path, server: FakeServer) -> None:
    """An empty store has none: there is no experiment to show."""
    said: list[str] = []
    run_ui(tmp_path / "empty", port=47001, say=said.append)
    assert not any("viewStateShareKey" in line for line in said)
    tracker = new_tracker(tmp_path / "store")
    run_ui(tmp_path / "store", port=47001, say=said.append)
    [link] = [line for line in said if "viewStateShareKey=arms" in line]
    assert f"#/experiments/{tracker.experiment_id}/runs?workflowType=machine_learning" in link


def test_listening_beyond_this_machine_is_said(tmp_path: Path, server: FakeServer) -> None:
    """Whoever opens the store to others reads that they did."""
    said: list[str] = []
    run_ui(tmp_path, port=47001, host="0.0.0.0", say=said.append)
    assert any("whoever reaches this machine" in line for line in said)
    assert "--host 0.0.0.0" in " ".join(server.command)


def test_a_server_elsewhere_is_shown_not_started(server: FakeServer) -> None:
    """A remote store has a UI of its own; its address is told without credentials."""
    said: list[str] = []
    run_ui("https://me:secret@tracking.example.org/mlflow", say=said.append)
    assert said == ["MLflow UI: https://tracking.example.org/mlflow (it has a server of its own)"]
    assert server.command == []


def test_a_ui_that_ends_by_itself_is_an_error(tmp_path: Path, server: FakeServer) -> None:
    """A server that dies later is not taken for one that was stopped."""
    server.ends = None
    with pytest.raises(ValueSimError, match="has ended: it gave no reason"):
        run_ui(tmp_path, port=47001, say=lambda line: None)


def test_a_damaged_store_is_told_before_anything_starts(tmp_path: Path, server: FakeServer) -> None:
    """MLflow would try for hours; here it is one line."""
    (tmp_path / "mlflow.db").write_bytes(b"no database at all " * 100)
    with pytest.raises(ValueSimError, match="move it aside"):
        run_ui(tmp_path, say=lambda line: None)
    assert server.command == []


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    """A file in the way of the store is named."""
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(ValueSimError, match=r"store/mlflow\.db cannot be used"):
        prepare_store(tmp_path / "store")


def test_a_busy_port_gives_the_next_free_one() -> None:
    """The port asked for is the first that is tried."""
    holder, port = held_port()
    with holder:
        assert port < free_port("127.0.0.1", port) <= port + 20
    assert free_port("127.0.0.1", port) == port


def test_no_free_port_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message tells what was tried and why it failed."""
    monkeypatch.setattr(ui, "_PORTS_TRIED", 1)
    holder, port = held_port()
    with holder, pytest.raises(ConfigError, match=rf"--port: no free port from {port} to {port}"):
        free_port("127.0.0.1", port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    """Ports go from 1 to 65535."""
    with pytest.raises(ConfigError, match="is no port"):
        free_port("127.0.0.1", port)


def test_the_reason_of_a_failed_start_is_told(tmp_path: Path) -> None:
    """The last line of the server's output is in the error."""
    output = io.BytesIO(b"Traceback\nImportError: no module named x\n")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(ValueSimError, match="did not start: ImportError: no module named x"):
        ui._wait_until_up(ended, "http://127.0.0.1:1", output)


def test_another_program_on_the_port_is_not_taken_for_the_ui() -> None:
    """What answers without MLflow's health page is not announced."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *args: Any) -> None:
            """Stay quiet."""

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{other.server_port}"
        with pytest.raises(ValueSimError, match="is not MLflow"):
            ui._wait_until_up(FakeServer(), address, io.BytesIO())  # type: ignore[arg-type]
        other.shutdown()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:secret@host:5000/a?token=secret", "https://host:5000/a"),
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
        ("postgresql://me:secret@host/mlflow", "postgresql://host/mlflow"),
    ],
)
def test_credentials_are_not_shown(address: str, shown: str) -> None:
    """User, password and query are left out, the rest is as it was."""
    assert without_credentials(address) == shown


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("a.localhost", True)]
    + [("0.0.0.0", False), ("10.0.0.5", False), ("localhost.example.org", False), ("", False)],
)
def test_loopback_is_only_this_machine(host: str, here: bool) -> None:
    """An address that others can have, or that listens to others, is not loopback."""
    assert is_loopback(host) is here


@pytest.mark.slow
def test_the_ui_comes_up_serves_runs_and_ends_with_all_its_workers(tmp_path: Path) -> None:
    """It answers with the run and its table, takes runs as a local server, ends on SIGTERM."""
    with new_tracker(tmp_path / "store").job(job_facts()) as job, job.arm("rag", ARM) as arm:
        arm.log_predictions(predictions())
    # None of those that a system hands out, and another one for each process.
    port = 20_000 + os.getpid() % 10_000
    script = f"import sys; from valuesim_dspy.ui import run_ui; run_ui(sys.argv[1], port={port})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "store")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        table = f"{address}/get-artifact?run_uuid={arm.run_id}&path=predictions.json"
        with urllib.request.urlopen(table, timeout=60) as answer:
            assert len(json.load(answer)["data"]) == 4
        over_http = Tracker(address)
        assert not over_http.remote
        with over_http.job(job_facts("b" * 16)) as other, other.arm("full", ARM) as second:
            assert second.log_predictions(predictions())
        assert len(load_predictions(Tracker(tmp_path / "store"), second.run_id)) == 4
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=120)
    assert "the MLflow UI has ended" in rest
    assert process.returncode == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/health", timeout=30)
