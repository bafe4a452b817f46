"""A connection to a Ray cluster, or a private Ray on this machine for as long as it is needed."""

from __future__ import annotations

import importlib
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from valuesim_dspy.ending import passing_folder
from valuesim_dspy.errors import ConfigError, MissingDataError

STORE_BYTES = 80 * 2**20
"""Memory for Ray's objects, near the least it takes; rows are sent directly and need none."""

CONNECT_SECONDS = 10.0

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # What Ray prints on the driver's output when a worker dies; the driver says it itself.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed",
}
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where it is "0", Ray takes 127.0.0.1 for this machine's address and its servers listen there."""

HERE = ("127.0.0.1", "localhost", "[::1]")

SILENT = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}


@contextmanager
def ray_session(workers: int | None) -> Iterator[Any]:
    """Yield the module `ray`, connected; what was started or connected here ends with the block.

    A Ray that the caller has initialised is used as it is; else the cluster at `RAY_ADDRESS`;
    else one is started on this machine, for this process alone. A cluster is never looked for
    by itself: what runs on a shared machine may be somebody else's.

    Args:
        workers: Processes of a Ray that is started here; one for each processor by default.

    Raises:
        MissingDataError: Ray is not installed.
        ConfigError: The cluster at `RAY_ADDRESS` cannot be used.
    """
    address = os.environ.get("RAY_ADDRESS") or "local"
    ray = _imported(alone=address == "local")
    if ray.is_initialized():
        yield ray
    elif address == "local":
        yield from _local(ray, workers)
    else:
        _connect(ray, address)
        try:
            yield ray
        finally:
            ray.shutdown()


def _imported(*, alone: bool) -> Any:
    """Return Ray; it reads these variables when it is imported, and its processes inherit them."""
    if "ray" not in sys.modules:
        os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
        if alone:
            os.environ[LOOPBACK] = "0"
            if not any(name.startswith("RAY_AUTH_") for name in os.environ):
                # Left to itself, Ray writes one to the home folder, for everybody to read.
                os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise MissingDataError(
            "Ray is not installed", "install it with pip install 'valuesim-dspy[scale]'"
        ) from None


def _local(ray: Any, workers: int | None) -> Iterator[Any]:
    if os.environ.get(LOOPBACK) != "0":
        raise ConfigError(
            "Ray was imported before with other settings and would listen to the network; "
            "initialise it yourself, set RAY_ADDRESS, or do not import it first",
            key="ray",
        )
    # Ray opens its folder to everybody, so it lies in a private one. The paths of its sockets
    # may have about a hundred letters.
    roots = [tempfile.gettempdir(), *(["/tmp"] if os.name == "posix" else [])]
    with passing_folder("valuesim-ray-", within=min(roots, key=len)) as folder:
        try:
            ray.init(
                address="local",
                num_cpus=workers or os.cpu_count() or 1,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                _temp_dir=str(folder / "r"),
                **SILENT,
            )
            yield ray
        finally:
            ray.shutdown()


def _check_where_it_looks(host: str, port: int) -> None:
    """Find out whether a cluster listens where Ray takes this machine's own address to be."""
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise OSError(
            f"Ray looks for it at {host}:{port}, {error}; for one that listens to this machine "
            f"alone, set {LOOPBACK}=0"
        ) from None


def _connect(ray: Any, address: str) -> None:
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon and port.isdigit():
            # Ray itself would try for two minutes.
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
            if host in HERE and not address.startswith("ray://"):
                _check_where_it_looks(ray.util.get_node_ip_address(), int(port))
        ray.init(address=address, **SILENT)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"the Ray cluster at {address} cannot be used ({reason}); start it with "
            "`ray start --head`, or unset the variable to use this machine alone",
            key="RAY_ADDRESS",
        ) from None
