"""Where programs are looked for, and what is said of an address that holds a password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.artifacts
import pytest
from mlflow.exceptions import MlflowException

from valuesim_dspy.errors import MissingDataError
from valuesim_dspy.finding import find_program

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
