"""MLflow: the tracker, by which runs are begun, continued, found again and read back."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evals.job_facts import DataFacts, JobFacts
from evals.store_folder import follow_move, is_remote, one_at_a_time
from evals.tracked_runs import JobRun
from valuesim_dspy.errors import MissingDataError, ValueSimError
from valuesim_dspy.store import (
    MLFLOW_ENVIRONMENT,
    artifact_root,
    prepare_store,
    store_error,
    without_credentials,
)
from valuesim_dspy.ui import EXPERIMENT, EXPERIMENT_TAGS

LOGGED_TABLES = "mlflow.loggedArtifacts"


class Tracker:
    """The one border to MLflow: an experiment of a store, with errors in one clear line.

    `job` is where a job begins; the rest is what runs and readers need.

    Args:
        store: A folder or a tracking URI; see `valuesim_dspy.store.store_location`.
        share_rows: Let rows of people go to a remote tracking server.

    Raises:
        ValueSimError: The store cannot be used.
    """

    def __init__(self, store: str | Path | None = None, *, share_rows: bool = False) -> None:
        self.uri = prepare_store(store)
        root = artifact_root(store)
        with one_at_a_time(root):
            self.client = _client(self.uri)
            with self._clear_errors():
                experiment = self._experiment(root)
        self.experiment_id: str = experiment.experiment_id
        self.remote = is_remote(self.uri) or is_remote(experiment.artifact_location)
        self.rows_allowed = share_rows or not self.remote

    def job(self, facts: JobFacts) -> JobRun:
        """Begin a job's run, or continue the one of the same identity; use it as a context."""
        return JobRun.start(self, facts)

    def begin(self, name: str, tags: Mapping[str, str]) -> str:
        """Begin a run and return its id."""
        with self._clear_errors():
            run = self.client.create_run(self.experiment_id, run_name=name, tags=dict(tags))
        return str(run.info.run_id)

    def resume(self, run_id: str, name: str) -> None:
        """Set an ended run under way again."""
        with self._clear_errors():
            self.client.update_run(run_id, status="RUNNING", name=name)

    def end(self, run_id: str, status: str) -> None:
        """End a run: FINISHED, FAILED or KILLED."""
        with self._clear_errors():
            self.client.set_terminated(run_id, status)

    def find(self, tags: Mapping[str, str]) -> list[str]:
        """Return the ids of the runs that carry these tags, the latest first."""
        return [str(run.info.run_id) for run in self.runs(tags)]

    def runs(self, tags: Mapping[str, str]) -> list[Any]:
        """Return the runs, as MLflow has them, that carry these tags, the latest first."""
        found: list[Any] = []
        token = None
        # Values go through Python where they hold what the filter language cannot quote.
        exact = {k: v for k, v in tags.items() if "'" not in v}
        where = " and ".join(f"tags.`{name}` = '{value}'" for name, value in exact.items())
        with self._clear_errors():
            while token != "":
                page = self.client.search_runs(
                    [self.experiment_id], where, order_by=["start_time DESC"], page_token=token
                )
                found += page
                token = page.token or ""
        return [run for run in found if tags.items() <= run.data.tags.items()]

    def run(self, run_id: str) -> Any:
        """Return a run as MLflow has it.

        Raises:
            MissingDataError: There is no such run.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise store_error(self.where, error) from None
        raise MissingDataError(f"there is no run {run_id}", "list the runs with `valuesim ui`")

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        from mlflow.entities import RunTag

        with self._clear_errors():
            entities = [RunTag(key, value) for key, value in tags.items()]
            self.client.log_batch(run_id, tags=entities)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Log params; MLflow never changes one.

        Raises:
            ValueSimError: The run holds another value already.
        """
        from mlflow.entities import Param

        held = self.run(run_id).data.params
        for name, value in params.items():
            if held.get(name, value) != value:
                raise ValueSimError(
                    f"run {run_id} was made with {name} = {held[name]}, not {value}; "
                    "delete it in the UI, or run the job as it was"
                )
        new = [Param(name, value) for name, value in params.items() if name not in held]
        with self._clear_errors():
            self.client.log_batch(run_id, params=new)

    def log_points(self, run_id: str, points: Sequence[tuple[str, float, int]]) -> None:
        """Log (metric, value, step); a point that is there already is replaced, not doubled."""
        from mlflow.entities import Metric

        known = self._points(run_id, {name for name, _, _ in points})
        now = int(time.time() * 1000)
        new = []
        for name, value, step in points:
            before, stamp = known.get((name, step), (None, 0))
            if before != value:
                # Of two values at one step MLflow shows the one with the later time.
                new.append(Metric(name, value, max(now, stamp + 1), step))
        with self._clear_errors():
            for start in range(0, len(new), 500):
                self.client.log_batch(run_id, metrics=new[start : start + 500])

    def _points(self, run_id: str, names: set[str]) -> dict[tuple[str, int], tuple[float, int]]:
        names &= set(self.run(run_id).data.metrics)
        points: dict[tuple[str, int], tuple[float, int]] = {}
        with self._clear_errors():
            histories = [self.client.get_metric_history(run_id, name) for name in sorted(names)]
        for point in sorted((p for h in histories for p in h), key=lambda p: p.timestamp):
            points[point.key, point.step] = (point.value, point.timestamp)
        return points

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Keep a text as a file of the run, replacing one of the same name."""
        with self._clear_errors():
            self.client.log_text(run_id, text, file)

    def mark_table(self, run_id: str, file: str) -> None:
        """Tell the UI that a file of the run is a table."""
        logged = json.loads(self.run(run_id).data.tags.get(LOGGED_TABLES, "[]"))
        entry = {"path": file, "type": "table"}
        if entry not in logged:
            self.set_tags(run_id, {LOGGED_TABLES: json.dumps([*logged, entry])})

    def log_folder(self, run_id: str, folder: Path, name: str) -> None:
        """Keep a folder's files under a name of their own."""
        with self._clear_errors():
            self.client.log_artifacts(run_id, str(folder), name)

    def log_data(self, run_id: str, data: DataFacts) -> None:
        """Record which data a run used: name and digest, no rows."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        size = json.dumps({"num_rows": data.rows})
        dataset = Dataset(data.name, data.digest, "local", "{}", profile=size)
        tags = [InputTag("mlflow.data.context", data.context)]
        with self._clear_errors():
            self.client.log_inputs(run_id, [DatasetInput(dataset, tags)])

    def read_text(self, run_id: str, file: str) -> str:
        """Return a file of a run.

        Raises:
            MissingDataError: There is no such run, or it has no such file.
        """
        from mlflow.exceptions import MlflowException

        self.run(run_id)
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = self.client.download_artifacts(run_id, file, folder)
                return Path(path).read_text(encoding="utf-8")
            except (MlflowException, OSError):
                what = f"run {run_id} has no {file}"
        raise MissingDataError(what, "it was not finished, or rows were not to be shared")

    @property
    def where(self) -> str:
        """The store's address without credentials."""
        return without_credentials(self.uri)

    def experiment_tags(self) -> dict[str, str]:
        """Return the experiment's tags."""
        with self._clear_errors():
            return dict(self.client.get_experiment(self.experiment_id).tags)

    def set_experiment_tag(self, name: str, value: str) -> None:
        """Set a tag of the experiment."""
        with self._clear_errors():
            self.client.set_experiment_tag(self.experiment_id, name, value)

    def _experiment(self, root: Path | None) -> Any:
        from mlflow.exceptions import MlflowException

        location = root.as_uri() if root else None
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            try:
                self.client.create_experiment(EXPERIMENT, location, tags=EXPERIMENT_TAGS)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        elif found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        if location and found and found.artifact_location != location:
            follow_move(self.uri, found.artifact_location, location)
        found = self.client.get_experiment_by_name(EXPERIMENT)
        for name, value in EXPERIMENT_TAGS.items():
            if found.tags.get(name) != value:
                self.client.set_experiment_tag(found.experiment_id, name, value)
        return found

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise store_error(self.where, error) from None


def _client(uri: str) -> Any:
    """Return a client; the first on a new database also makes its tables (1 to 2 s)."""
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return MlflowClient(uri)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise store_error(without_credentials(uri), error) from None
