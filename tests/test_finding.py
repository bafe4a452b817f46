"""Where programs are looked for, and what is said of an address that holds a password."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import mlflow.artifacts
import pytest
from mlflow.exceptions import MlflowException
from saving import compiled, manifest

from valuesim_dspy.errors import MissingDataError, ProgramStateError
from valuesim_dspy.finding import find_program, opened_program
from valuesim_dspy.loading import load_program, save_program

RUN = "runs:/0123456789abcdef0123456789abcdef/program"


@pytest.fixture(autouse=True)
def _no_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking server that is away, told of as MLflow tells it: with the whole address."""

    def download(artifact_uri: str, dst_path: str, tracking_uri: str) -> Any:
        raise MlflowException(f"API request to {tracking_uri}/api/2.0 failed; retry {tracking_uri}")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)


@pytest.mark.parametrize(
    "address",
    [
        "http://bob:s3cretpw@tracking.example.org",
        "http://bob:s3cretpw/more@tracking.example.org",
        "http://bob:s3cretpw@more@tracking.example.org",
        "http://s3cretpw@tracking.example.org",
        "https://tracking.example.org?token=s3cretpw",
    ],
)
@pytest.mark.parametrize("in_environment", [True, False])
def test_the_password_of_a_tracking_server_is_in_no_message(
    failing: None, monkeypatch: pytest.MonkeyPatch, address: str, in_environment: bool
) -> None:
    """The reason is MLflow's, host and all, without what the address holds of secrets."""
    if in_environment:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(MissingDataError, match=r"API request to .*tracking\.example") as caught:
        find_program(RUN, None if in_environment else address)
    said = str(caught.value)
    assert "s3cret" not in said and "more" not in said and "bob" not in said
    assert said.startswith(f"MLflow has no program at {RUN}: ")
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_an_address_that_holds_no_secret_is_told_whole(failing: None) -> None:
    """The reader sees which server was asked."""
    with pytest.raises(MissingDataError, match=r"http://127\.0\.0\.1:5000/api/2\.0 failed"):
        find_program(RUN, "http://127.0.0.1:5000")


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Asking a folder for a run leaves it as it was."""
    with pytest.raises(MissingDataError, match="there is no store"):
        find_program(RUN, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_what_is_no_program_says_what_may_be_given(tmp_path: Path) -> None:
    """A folder without a manifest is no program, nor is a name that is not packaged."""
    for source in (tmp_path, "no-such-name"):
        with pytest.raises(MissingDataError, match="give a folder that holds manifest"):
            find_program(source)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let MLflow hold a program, and return the folder that temporary ones are made in."""
    within = tmp_path / "temporary"
    within.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(within))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("valuesim_dspy.finding.require_server", lambda where: None)

    def download(artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        return str(save_program(compiled("single"), Path(dst_path) / "program", manifest("single")))

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    return within


def test_what_is_fetched_is_gone_once_it_is_read(fetched: Path) -> None:
    """Demos may be answers of people: nothing is left to whoever ends the process."""
    program = load_program(RUN)
    assert program.manifest.variant == "single" and list(fetched.iterdir()) == []
    with opened_program(RUN) as folder:
        assert folder.is_relative_to(fetched) and (folder / "program.json").is_file()
    assert list(fetched.iterdir()) == []
    assert find_program(RUN).is_relative_to(fetched)


def test_what_is_wrong_with_a_fetched_program_is_told_by_where_it_came_from(
    fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its copy is gone."""

    def fetch(uri: str, store: Any, folder: Path) -> Path:
        save_program(compiled("single"), folder / "program", manifest("single"))
        (folder / "program" / "program.json").write_text("[]")
        return folder / "program"

    monkeypatch.setattr("valuesim_dspy.finding._fetch", fetch)
    with pytest.raises(ProgramStateError, match=RUN):
        load_program(RUN)
    assert list(fetched.iterdir()) == []


def test_a_fetch_that_fails_leaves_no_folder(fetched: Path, failing: None, tmp_path: Path) -> None:
    """Nor does one that is interrupted."""
    with pytest.raises(MissingDataError, match="MLflow has no program"):
        find_program(RUN)
    assert list(fetched.iterdir()) == []
