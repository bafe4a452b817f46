"""Where a saved program is: a folder, a packaged name, a run's artifact or a registered model."""

from __future__ import annotations

import atexit
import importlib.resources
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from valuesim_dspy.ending import passing_folder
from valuesim_dspy.errors import MissingDataError, shown
from valuesim_dspy.store import (
    MLFLOW_ENVIRONMENT,
    artifact_root,
    reason_of,
    require_server,
    tracking_uri,
    without_credentials,
)

MANIFEST_FILE = "manifest.json"


def find_program(source: Path | str, store: Path | str | None = None) -> Path:
    """Return the folder of a program: a path, a packaged name, or one fetched from MLflow.

    Args:
        source: A folder, the name of a packaged program, `runs:/<run id>/program`, or a
            registered one: `models:/valuesim@champion`, `models:/valuesim/3`.
        store: Where the runs are; see `valuesim_dspy.store.store_location`.

    Returns:
        A folder that holds a manifest. What was fetched is a private copy, removed when the
        process ends; whoever only reads it takes `opened_program`, which leaves none to a kill.

    Raises:
        MissingDataError: There is no such program.
    """
    kept = ExitStack()
    folder = kept.enter_context(opened_program(source, store))
    atexit.register(kept.close)
    return folder


@contextmanager
def opened_program(source: Path | str, store: Path | str | None = None) -> Iterator[Path]:
    """Yield the folder of a program as `find_program` does; what was fetched ends with the block.

    Demos in it may be answers of people.

    Args:
        source: As for `find_program`.
        store: As for `find_program`.

    Raises:
        MissingDataError: There is no such program.
    """
    text = str(source)
    if not text.startswith(("runs:/", "models:/")):
        yield _lying_here(text)
        return
    with passing_folder("valuesim-program-") as folder:
        yield _program_in(_fetch(text, store, folder), text)


def _lying_here(text: str) -> Path:
    folder = Path(text)
    packaged = Path(str(importlib.resources.files("valuesim_dspy"))) / "programs" / text
    # A name that no file can have is the name of none.
    with suppress(OSError):
        if (folder / MANIFEST_FILE).is_file():
            return folder
        if text == folder.name and (packaged / MANIFEST_FILE).is_file():
            return packaged
    raise MissingDataError(
        f"there is no program at {shown(text)}",
        f"give a folder that holds {MANIFEST_FILE}, a packaged name, runs:/<run id>/program or "
        "models:/valuesim@champion",
    )


def _program_in(folder: Path, uri: str) -> Path:
    """Return what was fetched, or in a registered model the folder that is its data."""
    if (folder / MANIFEST_FILE).is_file():
        return folder
    found = sorted(path.parent for path in folder.glob(f"data/*/{MANIFEST_FILE}"))
    if len(found) == 1:
        return found[0]
    raise MissingDataError(
        f"{shown(uri)} holds no program of ValueSim",
        "give runs:/<run id>/program, or a model that `python -m optimize promote` registered",
    )


def _fetch(uri: str, store: Path | str | None, folder: Path) -> Path:
    where = tracking_uri(store)
    root = artifact_root(store)
    if root is None:
        require_server(where)
    if root is not None and not (root.parent / where.rpartition("/")[2]).is_file():
        # Asked for what is not there, MLflow would make a store.
        place = without_credentials(where)
        raise MissingDataError(
            f"MLflow has no program at {shown(uri)}: there is no store {place}",
            "name the store in MLFLOW_TRACKING_URI or work where its mlruns/ is",
        )
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        plain = _version_uri(uri, where) if uri.startswith("models:/") else uri
        found = download_artifacts(artifact_uri=plain, dst_path=str(folder), tracking_uri=where)
    except (MlflowException, OSError) as error:
        raise MissingDataError(
            f"MLflow has no program at {shown(uri)}: {reason_of(error, where)}",
            "list the runs with `valuesim ui`",
        ) from None
    return Path(found)


def _version_uri(uri: str, where: str) -> str:
    """Return where the files of a registered model are.

    MLflow's own download looks names and aliases up in the process's store, not in the one given.
    """
    from mlflow import MlflowClient
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
    from mlflow.store.artifact.utils.models import get_model_name_and_version

    client = MlflowClient(where)
    model, inner = ModelsArtifactRepository.split_models_uri(uri)
    named = get_model_name_and_version(client, model)
    if len(named) == 1:
        source = client.get_logged_model(named[0]).artifact_location
    else:
        source = client.get_model_version_download_uri(*named)
    return f"{source}/{inner}" if inner else str(source)
