from __future__ import annotations

import sys
from pathlib import Path

import pytest

from valuesim_dspy.store import cache_location, store_location


@pytest.fixture(autouse=True)
def _no_uri(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_tracking_uri_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment decides over a config and over folders nearby."""
    (tmp_path / "mlruns").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example.org")
    assert store_location("elsewhere") == "http://tracking.example.org"


def test_a_configured_folder_comes_next(tmp_path: Path) -> None:
    """A folder in the config is taken before one nearby, and made absolute."""
    (tmp_path / "mlruns").mkdir()
    assert store_location("runs") == tmp_path / "runs"
    assert store_location("sqlite:///x.db") == "sqlite:///x.db"


def test_the_nearest_mlruns_is_found_from_below(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Going up from the working folder, the first mlruns is the store."""
    (tmp_path / "mlruns").mkdir()
    below = tmp_path / "project" / "deep"
    (below.parent / "mlruns").mkdir(parents=True)
    below.mkdir()
    monkeypatch.chdir(below)
    assert store_location() == below.parent / "mlruns"


@pytest.mark.skipif(sys.platform != "linux", reason="the folders of this platform")
def test_otherwise_the_users_data_folder_is_the_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """XDG_DATA_HOME is honoured where it is absolute; nothing is created."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert store_location() == tmp_path / "data" / "valuesim"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_location() == tmp_path / ".local/share/valuesim"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("platform", "data", "cache"),
    [
        ("linux", ".local/share/valuesim", ".cache/valuesim"),
        ("darwin", "Library/Application Support/valuesim", "Library/Caches/valuesim"),
        ("win32", "AppData/Local/valuesim", "AppData/Local/Cache/valuesim"),
    ],
)
def test_folders_follow_the_platform(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, data: str, cache: str
) -> None:
    """Each platform has its own places for data and for caches."""
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert store_location() == tmp_path / data
    assert cache_location() == tmp_path / cache / "responses" / "responses.db"
