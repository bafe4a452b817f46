"""Where a search keeps its trials; credentials stay in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from optimize.search_space import SearchConfig
from optimize.search_storage import file_of, folder_of, opened_alone, storage_address
from valuesim_dspy.errors import ConfigError, ValueSimError


def search(storage: str | None) -> SearchConfig:
    """Return a search with a storage."""
    tables = {"space": {"variant": ["full"]}, "storage": storage}
    return SearchConfig.model_validate(tables, strict=True)


def test_by_default_trials_are_beside_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One folder holds a store; it is made where it is missing."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    address, where = storage_address(search(None), str(tmp_path / "mlruns"))
    assert address == where == f"sqlite:///{tmp_path}/mlruns/optuna.db"
    assert (tmp_path / "mlruns").is_dir()


def test_beside_a_tracking_server_trials_are_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where runs go to a server there is no folder of runs."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    address, _ = storage_address(search(None), None)
    assert address == f"sqlite:///{tmp_path}/valuesim/optuna.db"


def test_an_address_may_be_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its password, which is left out of what is shown."""
    monkeypatch.setenv("OWN_STORAGE", "postgresql://me:s3cretword@db.example.org/trials?x=1")
    address, where = storage_address(search("env:OWN_STORAGE"), None)
    assert address.startswith("postgresql://me:s3cretword@")
    assert where == "postgresql://db.example.org/trials"
    monkeypatch.delenv("OWN_STORAGE")
    with pytest.raises(ConfigError, match=r"search\.storage.*OWN_STORAGE is not set"):
        storage_address(search("env:OWN_STORAGE"), None)


@pytest.mark.parametrize("storage", ["trials.db", "", "/tmp/trials"])
def test_what_is_no_address_is_refused(storage: str) -> None:
    """With what would be one."""
    with pytest.raises(ConfigError, match=r"search\.storage.*journal:"):
        storage_address(search(storage), None)


def test_local_files_are_known(tmp_path: Path) -> None:
    """Of a database and of a journal; a server has none."""
    assert file_of(f"sqlite:///{tmp_path}/a.db?mode=rw") == tmp_path / "a.db"
    assert file_of(f"journal:{tmp_path}/a.log") == tmp_path / "a.log"
    assert file_of("postgresql://db.example.org/trials") is None
    assert folder_of("postgresql://db.example.org/trials") is None


def test_the_folder_of_a_local_storage_is_made_and_private(tmp_path: Path) -> None:
    """What it holds are values and scores of one's own work."""
    found = folder_of(f"journal:{tmp_path}/new/a.log")
    assert found is not None and found.parent == tmp_path / "new"
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_one_process_at_a_time_opens_a_local_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes second waits, and is told so when it takes too long."""
    monkeypatch.setattr("evals.store_folder._OPENING_SECONDS", 0.0)
    address = f"sqlite:///{tmp_path}/a.db"
    refused = pytest.raises(ValueSimError, match="another process")
    with opened_alone(address), refused, opened_alone(address):
        pass
    with opened_alone(address), opened_alone("mysql://db.example.org/trials"):
        pass


def test_a_missing_driver_is_left_to_who_opens_the_storage() -> None:
    """The same clear line for every database."""
    with opened_alone("postgresql+nosuchdriver://db.example.org/trials"):
        pass
