"""What every test gets: no network but loopback, a home of its own, no keys, no telemetry."""

from __future__ import annotations

import atexit
import ipaddress
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent
for _folder in (TESTS, TESTS.parent):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

# Read by the libraries when they are imported, so set before any test module is.
_DSPY_FOLDER = tempfile.mkdtemp(prefix="valuesim-tests-")
atexit.register(shutil.rmtree, _DSPY_FOLDER, ignore_errors=True)
os.environ.update(
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    LITELLM_MODE="PRODUCTION",
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="1",
    DSPY_CACHEDIR=_DSPY_FOLDER,
)

_REMOVED = re.compile(
    r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?|_API_BASE|_BASE_URL)$|^MLFLOW_TRACKING_|_PROXY$", re.I
)


class BlockedSocketError(RuntimeError):
    """A test tried to reach something other than this machine."""


def _is_here(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(name)).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """Refuse every connection and name look-up beyond loopback."""
    connect, connect_ex, look_up = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.getaddrinfo,
    )

    def check(address: Any) -> None:
        # Addresses of sockets in the file system are no tuples.
        if isinstance(address, tuple) and not _is_here(address[0]):
            raise BlockedSocketError(f"tests may not connect to {address[0]}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(address)
        return connect_ex(self, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        check((host,))
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield


def _move(patch: pytest.MonkeyPatch, home: Path) -> None:
    for name in list(os.environ):
        if _REMOVED.search(name):
            patch.delenv(name)
    for name, folder in {
        "HOME": home,
        "USERPROFILE": home,
        "LOCALAPPDATA": home / "local",
        "XDG_DATA_HOME": home / "data",
        "XDG_CACHE_HOME": home / "cache",
        "XDG_CONFIG_HOME": home / "config",
    }.items():
        patch.setenv(name, str(folder))
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlruns/mlflow.db")


@pytest.fixture(autouse=True, scope="module")
def _home_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give what is made once for a module a home and a store of its own, and no keys."""
    with pytest.MonkeyPatch.context() as patch:
        _move(patch, tmp_path_factory.mktemp("home"))
        yield


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give the test a home and a store of its own, and no keys."""
    _move(monkeypatch, tmp_path_factory.mktemp("home"))


@pytest.fixture
def offline() -> Iterator[Any]:
    """Yield the embedded offline LM, in force for this test only, with a cache in memory.

    Nothing is configured globally: threads a test starts see the LM only if it is passed on.
    """
    import dspy

    from valuesim_dspy.cache import ResponseCache
    from valuesim_dspy.config import LMRole
    from valuesim_dspy.lm import make_lm

    lm = make_lm(LMRole(), name="task_lm")
    with ResponseCache().installed(), dspy.context(lm=lm):
        yield lm


@pytest.fixture
def cache() -> Iterator[Any]:
    """Install a response cache in memory."""
    from valuesim_dspy.cache import ResponseCache

    with ResponseCache().installed() as installed:
        yield installed
