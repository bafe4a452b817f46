"""MLflow's model registry: programs as versions of one model, the champion, looks at devsets."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.store_folder import one_at_a_time
from evals.tracking import Tracker
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.loading import read_manifest
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.registered import PARAMS
from valuesim_dspy.store import artifact_root

MODEL, ALIAS = "valuesim", "champion"
MODEL_FOLDER, DATA = "model", "program"
LOADER = "valuesim_dspy.registered"
LOOKS = "valuesim.looks."
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_PACKAGES = ("valuesim-dspy", "dspy", "litellm", "pydantic", "pandas", "pyarrow", "numpy", "pyyaml")


@dataclass(frozen=True)
class Version:
    """A registered program.

    Attributes:
        number: Its version, counted from 1.
        run_id: The run of the arm that it was registered from.
        tags: What is known of it.
    """

    number: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        """What `load_program` takes; it always means this version."""
        return f"models:/{MODEL}/{self.number}"


class Registry:
    """The registered model of a store.

    Args:
        tracker: The store; its rules on rows of people hold here too.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one promotion at a time read and move the champion and count its look.

        On a local store only. A tracking server offers nothing to hold on to: of two promotions
        at the same instant the later one wins there, and a look may be lost.
        """
        with one_at_a_time(artifact_root(self.tracker.uri)):
            yield

    def champion(self) -> Version | None:
        """Return the version that bears the alias; None where none does."""
        from mlflow.exceptions import MlflowException

        with self.tracker._clear_errors():
            try:
                found = self.tracker.client.get_model_version_by_alias(MODEL, ALIAS)
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                return None
        return Version(int(found.version), str(found.run_id or ""), dict(found.tags))

    def crown(self, version: Version) -> None:
        """Give the alias to a version; the one that had it loses it."""
        with self.tracker._clear_errors():
            self.tracker.client.set_registered_model_alias(MODEL, ALIAS, str(version.number))

    def register(
        self, folder: Path, run_id: str, *, tags: Mapping[str, str], note: str = ""
    ) -> Version:
        """Make a program a new version of the model; its files are the run's.

        Args:
            folder: The program: two JSON files.
            run_id: The run of the arm; `model` in it is where the files go.
            tags: What is known of it.
            note: Its description.

        Raises:
            ConfigError: The server is on another machine and the program may hold answers of
                real people, which were not allowed to go there.
        """
        manifest = read_manifest(folder)
        held = manifest.demos_hold_survey_data or manifest.instructions_saw_survey_data
        if held and not self.tracker.rows_allowed:
            raise ConfigError(
                "the program may hold answers of real people and the tracking server is on "
                "another machine; compile it with --share-rows to let it go there",
                key="share_rows",
            )
        self._ensure_model()
        with tempfile.TemporaryDirectory(prefix="valuesim-model-") as draft:
            model = write_model(folder, Path(draft) / MODEL_FOLDER)
            self.tracker.log_folder(run_id, model, MODEL_FOLDER)
        with self.tracker._clear_errors():
            # By its run, which is found again where the store has moved.
            made = self.tracker.client.create_model_version(
                MODEL,
                f"runs:/{run_id}/{MODEL_FOLDER}",
                run_id,
                tags=dict(tags),
                description=note[:5000],
            )
        return Version(int(made.version), run_id, dict(tags))

    def looks(self, key: str) -> int:
        """Return how often promotions have read a devset."""
        return int(self._model_tags().get(LOOKS + key, "0"))

    def count_look(self, key: str) -> int:
        """Count one more reading of a devset by a promotion and return their number.

        Args:
            key: Names the devset: the digests of data, fold and split.
        """
        self._ensure_model()
        count = self.looks(key) + 1
        with self.tracker._clear_errors():
            self.tracker.client.set_registered_model_tag(MODEL, LOOKS + key, str(count))
        return count

    def _model_tags(self) -> dict[str, str]:
        from mlflow.exceptions import MlflowException

        with self.tracker._clear_errors():
            try:
                return dict(self.tracker.client.get_registered_model(MODEL).tags)
            except MlflowException as error:
                if error.error_code not in _ABSENT:
                    raise
                return {}

    def _ensure_model(self) -> None:
        from mlflow.exceptions import MlflowException

        with self.tracker._clear_errors():
            try:
                self.tracker.client.create_registered_model(MODEL)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise


def write_model(folder: Path, place: Path) -> Path:
    """Write a program as an MLflow model: texts that name what loads it, and its two JSONs.

    Args:
        folder: The program's folder.
        place: Where to; must not exist.

    Returns:
        The place.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    with tempfile.TemporaryDirectory() as nothing:
        copy = Path(nothing) / DATA
        copy.mkdir(mode=0o700)
        for file in ("manifest.json", "program.json"):
            (copy / file).write_bytes((folder / file).read_bytes())
        mlflow.pyfunc.save_model(
            place,
            loader_module=LOADER,
            data_path=str(copy),
            mlflow_model=Model(signature=_signature(), metadata=_metadata(read_manifest(folder))),
            # Given, so that nothing is inferred: MLflow would load the model to see its imports,
            # and take along the lock file of whatever project it is run in.
            pip_requirements=requirements(),
            uv_project_path=nothing,
        )
    return place


def requirements() -> list[str]:
    """Return the packages that a registered program needs, with the versions in use."""
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(name)
    return found


def _signature() -> Any:
    """Return the params that `predict` takes.

    Columns are not listed: a list would make each code a float where one is missing, and MLflow
    repeats the whole table, which is people's answers, in the error when one does not fit.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ParamSchema, ParamSpec

    specs = [ParamSpec(name, kind, default) for name, (kind, default) in PARAMS.items()]
    return ModelSignature(params=ParamSchema(specs))


def _metadata(manifest: Manifest) -> dict[str, Any]:
    return {
        "variant": manifest.variant,
        "teleprompter": manifest.teleprompter,
        "lms": dict(manifest.lms),
        "evidence": manifest.evidence,
    }
