"""Where a saved program is: a folder, a packaged name, a run's artifact or a registered model."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path

from valuesim_dspy.errors import MissingDataError
from valuesim_dspy.store import MLFLOW_ENVIRONMENT, tracking_uri

MANIFEST_FILE = "manifest.json"


def find_program(source: Path | str) -> Path:
    """Return the folder of a program: a path, a packaged name, or one fetched from MLflow.

    Raises:
        MissingDataError: There is no such program.
    """
    text = str(source)
    if text.startswith(("runs:/", "models:/")):
        return _fetch(text)
    folder = Path(text)
    if (folder / MANIFEST_FILE).is_file():
        return folder
    if text == folder.name:
        packaged = Path(str(importlib.resources.files("valuesim_dspy"))) / "programs" / text
        if (packaged / MANIFEST_FILE).is_file():
            return packaged
    raise MissingDataError(
        f"there is no program at {text}",
        f"give a folder that holds {MANIFEST_FILE}, a packaged name or runs:/<run id>/program",
    )


def _fetch(uri: str) -> Path:
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(tracking_uri())
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise MissingDataError(
            f"MLflow has no program at {uri}: {reason}", "list the runs with `valuesim ui`"
        ) from None
