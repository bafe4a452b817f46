"""How Ray is started or found: private, quiet, on this machine alone, and never by guessing."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_ray import cache_as_before  # noqa: F401

from valuesim_dspy import ending
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.ray_engine.session import LOOPBACK, QUIET, ray_session

VARIABLES = (*QUIET, LOOPBACK, "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")


class Recorded:
    """Stands in for the module: records what it is asked for."""

    def __init__(self, error: Exception | None = None, *, running: bool = False) -> None:
        self.error, self.running = error, running
        self.asked: dict[str, Any] = {}
        self.folder: Path | None = None
        self.mode = 0
        self.ended = 0
        self.util = SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")

    def is_initialized(self) -> bool:
        """Whether the caller has connected before."""
        return self.running

    def init(self, **asked: Any) -> None:
        """Start or connect."""
        self.asked = asked
        if "_temp_dir" in asked:
            self.folder = Path(asked["_temp_dir"]).parent
            self.mode = self.folder.stat().st_mode & 0o777
        if self.error is not None:
            raise self.error

    def shutdown(self) -> None:
        """End."""
        self.ended += 1


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Put something in the place of Ray, which is not imported yet."""
    for name in VARIABLES:
        # Set first, so that what the engine sets is taken back.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))

    def stand_in(ray: Any) -> Any:
        def load(name: str) -> Any:
            assert name == "ray"
            if isinstance(ray, Exception):
                raise ray
            return ray

        monkeypatch.setattr(importlib, "import_module", load)
        return ray

    return stand_in


def test_a_private_ray_is_started_and_ended(use: Callable[[Any], Any]) -> None:
    """Quiet, without a dashboard, in a folder that only its owner can enter and that goes."""
    ray = use(Recorded())
    with ray_session(2) as connected:
        assert connected is ray and ray.ended == 0
        assert ray.folder is not None and ray.folder.exists()
    assert ray.ended == 1 and not ray.folder.exists() and ray.mode == 0o700
    expected = {"address": "local", "num_cpus": 2, "include_dashboard": False}
    assert expected.items() <= ray.asked.items()
    assert ray.asked["log_to_driver"] is False
    assert 75 * 2**20 <= ray.asked["object_store_memory"] <= 2**27


def test_before_ray_is_imported_its_environment_is_set(use: Callable[[Any], Any]) -> None:
    """No statistics are sent, nothing listens to the network, and strangers have no token."""
    use(Recorded())
    with ray_session(1):
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert os.environ[LOOPBACK] == "0"
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert len(os.environ["RAY_AUTH_TOKEN"]) >= 32


def test_what_the_user_has_set_stays(
    use: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their token is theirs."""
    use(Recorded())
    os.environ.update(RAY_USAGE_STATS_ENABLED="1", RAY_AUTH_TOKEN_PATH="mine")
    with ray_session(1):
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
        assert "RAY_AUTH_TOKEN" not in os.environ and "RAY_AUTH_MODE" not in os.environ


def test_paths_of_sockets_are_short_enough(
    use: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A long folder for temporary files would end Ray's start."""
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    ray = use(Recorded())
    with ray_session(1):
        tail = "/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
        assert len(ray.asked["_temp_dir"] + tail) < 104


def test_a_start_that_fails_leaves_nothing(use: Callable[[Any], Any]) -> None:
    """The folder goes, too."""
    ray = use(Recorded(RuntimeError("no memory")))
    with pytest.raises(RuntimeError), ray_session(1):
        pass
    assert ray.folder is not None and not ray.folder.exists()


def test_an_error_in_the_block_ends_ray(use: Callable[[Any], Any]) -> None:
    """As does Ctrl-C."""
    ray = use(Recorded())
    with pytest.raises(KeyboardInterrupt), ray_session(1):
        raise KeyboardInterrupt
    assert ray.ended == 1


def test_a_ray_of_the_callers_is_used_and_left(use: Callable[[Any], Any]) -> None:
    """Who started it ends it."""
    ray = use(Recorded(running=True))
    os.environ["RAY_ADDRESS"] = "127.0.0.1:1"
    with ray_session(1) as connected:
        assert connected is ray
    assert ray.asked == {} and ray.ended == 0


def test_a_cluster_is_where_the_environment_says(use: Callable[[Any], Any]) -> None:
    """It is connected to and disconnected from, and no address is changed."""
    ray = use(Recorded())
    with socket.create_server(("127.0.0.1", 0)) as server:
        os.environ["RAY_ADDRESS"] = address = f"127.0.0.1:{server.getsockname()[1]}"
        with ray_session(7):
            assert LOOPBACK not in os.environ and "RAY_AUTH_TOKEN" not in os.environ
    assert ray.asked["address"] == address and "num_cpus" not in ray.asked
    assert ray.ended == 1


def test_a_running_cluster_is_found_where_that_is_asked_for(use: Callable[[Any], Any]) -> None:
    """Only then: what runs on a machine may be somebody else's."""
    ray = use(Recorded())
    os.environ["RAY_ADDRESS"] = "auto"
    with ray_session(1):
        pass
    assert ray.asked["address"] == "auto"


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_not_there_is_told_at_once(
    use: Callable[[Any], Any], scheme: str
) -> None:
    """Ray itself would try for two minutes."""
    ray = use(Recorded())
    with socket.create_server(("127.0.0.1", 0)) as server:
        os.environ["RAY_ADDRESS"] = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
    told = r"RAY_ADDRESS: the Ray cluster at .* cannot be used"
    with pytest.raises(ConfigError, match=told), ray_session(1):
        pass
    assert ray.asked == {}


def test_a_cluster_that_listens_elsewhere_than_ray_looks_is_told_at_once(
    use: Callable[[Any], Any],
) -> None:
    """Ray takes an address of this machine in a network for 127.0.0.1, and tries for minutes."""
    ray = use(Recorded())
    ray.util.get_node_ip_address = lambda: "127.0.0.2"
    with socket.create_server(("127.0.0.1", 0)) as server:
        os.environ["RAY_ADDRESS"] = f"127.0.0.1:{server.getsockname()[1]}"
        told = rf"Ray looks for it at 127\.0\.0\.2:\d+, .*set {LOOPBACK}=0"
        with pytest.raises(ConfigError, match=told), ray_session(1):
            pass
    assert ray.asked == {}


def test_what_ray_says_of_a_cluster_is_one_line(use: Callable[[Any], Any]) -> None:
    """Another version, no cluster to be found."""
    use(Recorded(ConnectionError("Could not find\nany running Ray instance.")))
    os.environ["RAY_ADDRESS"] = "auto"
    told = r"\(Could not find any running Ray instance\.\); start"
    with pytest.raises(ConfigError, match=told), ray_session(1):
        pass


def test_a_ray_that_is_not_installed_is_named_with_its_extra(use: Callable[[Any], Any]) -> None:
    """The command that installs it is in the message."""
    use(ModuleNotFoundError("No module named 'ray'"))
    told = r"pip install 'valuesim-dspy\[scale\]'"
    with pytest.raises(MissingDataError, match=told), ray_session(1):
        pass


def test_a_ray_that_would_listen_to_the_network_is_not_started(
    use: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was imported before its environment could be set."""
    ray = use(Recorded())
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(ConfigError, match="would listen to the network"), ray_session(1):
        pass
    assert ray.asked == {}


def test_a_second_signal_removes_the_folder_too(use: Callable[[Any], Any]) -> None:
    """The block is not left then; what Ray's processes still write is not found again."""
    ray = use(Recorded())
    with ray_session(1):
        folder = Path(ray.asked["_temp_dir"]).parent
        assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
        (folder / "r").mkdir()
        ending._remove_passing()
        assert not list(folder.parent.glob(f"{folder.name}*"))
