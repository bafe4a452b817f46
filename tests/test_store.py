from __future__ import annotations

import sys
from pathlib import Path

import pytest

from valuesim_dspy.store import (
    cache_location,
    reason_of,
    store_error,
    store_location,
    without_credentials,
)


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


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://u:p/w@host/a", "http://host/a"),
        ("postgresql://u:p@w@h/db?password=x", "postgresql://h/db"),
        ("postgresql://u:p?w#x@h/db", "postgresql://h/db"),
        ("postgresql://h/db?user=u&password=hunter22", "postgresql://h/db"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("journal:/home/me@work/a.log", "journal:/home/me@work/a.log"),
    ],
)
def test_an_address_is_shown_without_what_stands_before_its_last_at(
    address: str, shown: str
) -> None:
    """A password may hold any sign; the path of a local file may hold an @."""
    assert without_credentials(address) == shown


@pytest.mark.parametrize(
    "text",
    [
        "API request to http://bob:s3cretpw@host:9/api failed",
        "cannot reach postgresql://bob:s3cretpw/x@host/db",
        "cannot reach http://host/api?pw=s3cretpw&b=1 now",
        "login of bob with s3cretpw failed",
        "x" * 285 + " http://bob:s3cretpw@host",
    ],
)
def test_the_reason_of_a_store_holds_no_password(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """In an address, cut off in the middle of one, or by itself."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:s3cretpw@host")
    said = str(store_error("http://host", OSError(text)))
    assert "s3c" not in said
    assert said.startswith("the store http://host cannot be used (")


def test_a_password_is_known_as_written_and_decoded() -> None:
    """Libraries decode the address before they repeat a part of it."""
    error = OSError("no login with p@ss/word or p%40ss%2Fword; host h")
    said = reason_of(error, "postgresql://u:p%40ss%2Fword@h/db")
    assert said == "no login with [blanked] or [blanked]; host h"


def test_a_reason_is_one_short_line() -> None:
    """The first line; where the error says nothing, its kind."""
    assert reason_of(OSError("first\nsecond")) == "first"
    assert reason_of(TimeoutError()) == "TimeoutError"
    assert reason_of(OSError("x" * 900)) == "x" * 300
    assert reason_of(OSError("at http://host:5000/a, b?")) == "at http://host:5000/a, b?"
