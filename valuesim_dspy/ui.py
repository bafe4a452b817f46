"""The MLflow UI of the store, for this machine only unless told otherwise; needs no network."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import IO

from valuesim_dspy.ending import told_to_end
from valuesim_dspy.errors import ConfigError, ValueSimError
from valuesim_dspy.store import (
    MLFLOW_ENVIRONMENT,
    artifact_root,
    prepare_store,
    without_credentials,
)

EXPERIMENT = "valuesim"
VIEW = "arms"
"""The key of the experiment's saved view: the columns and the order in which runs are shown."""
# What the link of `valuesim ui` shows: the columns that tell which arm is best, and their widths.
_COLUMNS = {
    "metrics.`accuracy`": 90,
    "metrics.`accuracy_low`": 110,
    "metrics.`accuracy_high`": 115,
    "metrics.`accuracy_minus_rag`": 155,
    "metrics.`nmae`": 75,
    "metrics.`invalid_rate`": 100,
    "metrics.`calls_needed`": 105,
    "params.`task_lm`": 140,
    "params.`fold`": 110,
    "params.`split`": 120,
    "params.`people`": 75,
    "params.`knows`": 70,
    "tags.`job`": 120,
}
_VIEW_STATE = {
    "searchFilter": "tags.`valuesim.level` = 'arm'",
    "selectedColumns": list(_COLUMNS),
    "columnOrder": list(_COLUMNS),
    "columnWidths": _COLUMNS,
    # This spelling, unlike `attributes.start_time`, does not fold arms away under their job.
    "orderByKey": "attributes.`Created`",
    "orderByAsc": False,
}
EXPERIMENT_TAGS = {f"mlflow.sharedViewState.{VIEW}": json.dumps(_VIEW_STATE)}

_PORTS_TRIED = 20
_START_SECONDS = 90.0


def run_ui(
    store: str | Path | None = None,
    port: int = 5000,
    host: str = "127.0.0.1",
    *,
    say: Callable[[str], object] = print,
) -> None:
    """Serve the MLflow UI of the store until Ctrl-C.

    Args:
        store: A folder or a tracking URI; see `valuesim_dspy.store.store_location`.
        port: The port, or the first of 20 tried until one is free.
        host: The address to listen on; anything but loopback lets others read the store.
        say: Tells the address once the UI answers.

    Raises:
        ConfigError: No port is free.
        ValueSimError: The store cannot be used, or the UI does not start.
    """
    uri = prepare_store(store)
    if uri.startswith(("http://", "https://")):
        say(f"MLflow UI: {without_credentials(uri)} (it has a server of its own)")
        return
    port = free_port(host, port)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    with tempfile.TemporaryFile() as output, told_to_end(is_process=False):
        server = subprocess.Popen(
            _command(uri, artifact_root(store), host, port),
            env={**MLFLOW_ENVIRONMENT, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its own group: Ctrl-C reaches it through us, and its workers end with it.
            start_new_session=True,
        )
        try:
            _wait_until_up(server, address, output)
            say(f"MLflow UI: {address}")
            link = _view_link(uri)
            if link:
                say(f"  arms side by side: {address}/{link}")
            if not is_loopback(host):
                say("  whoever reaches this machine can read and change what is in the store")
            say("  Ctrl-C ends it")
            server.wait()
            raise ValueSimError(f"the MLflow UI has ended: {_last_line(output)}")
        except KeyboardInterrupt:
            say("the MLflow UI has ended")
        finally:
            _end(server)


def free_port(host: str, port: int) -> int:
    """Return the first free port from ``port`` on.

    Raises:
        ConfigError: None of 20 is free, or the host is not an address of this machine.
    """
    if not 1 <= port <= 65535:
        raise ConfigError(f"{port} is no port", key="--port", value=port, allowed=["1 to 65535"])
    tried = range(port, min(port + _PORTS_TRIED, 65536))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason = ""
    for candidate in tried:
        with socket.socket(family) as probe:
            # As servers do: a port whose last connections still linger counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError as error:
                reason = error.strerror or str(error)
            else:
                return candidate
    raise ConfigError(
        f"no free port from {tried[0]} to {tried[-1]} on {host} ({reason}); give another one",
        key="--port",
        value=port,
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _command(uri: str, root: Path | None, host: str, port: int) -> list[str]:
    where = ["--default-artifact-root", root.as_uri()] if root else []
    return [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, *where),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def _wait_until_up(server: subprocess.Popen[bytes], address: str, output: IO[bytes]) -> None:
    # An opener of its own: a proxy in the environment must not be asked for loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ValueSimError(f"the MLflow UI did not start: {_last_line(output)}")
        try:
            with opener.open(f"{address}/health", timeout=2):
                return
        except urllib.error.HTTPError as error:
            raise ValueSimError(f"{address} answers, but is not MLflow: {error}") from None
        except OSError:
            time.sleep(0.1)
    raise ValueSimError(f"the MLflow UI did not answer within {_START_SECONDS:g} s")


def _last_line(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it gave no reason"


def _view_link(uri: str) -> str:
    """Return the path of the saved view, or "" where nothing has been logged yet."""
    if not uri.startswith("sqlite:///"):
        return ""
    query = "SELECT experiment_id FROM experiments WHERE name = ?"
    try:
        with closing(sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=5)) as connection:
            found = connection.execute(query, (EXPERIMENT,)).fetchone()
    except sqlite3.Error:
        return ""
    # Without its workflow type MLflow opens pages for traces and prompts.
    view = f"runs?workflowType=machine_learning&viewStateShareKey={VIEW}"
    return f"#/experiments/{found[0]}/{view}" if found else ""


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers: gently, then for certain."""
    for number in ("SIGTERM", "SIGKILL"):
        if os.name == "posix":
            try:
                os.killpg(server.pid, getattr(signal, number))
            except ProcessLookupError:
                break
        else:
            server.kill()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
        break
