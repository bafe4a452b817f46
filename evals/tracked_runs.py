"""One job and its arms as runs: begun once, continued by identity, ended with what happened."""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from evals.job_facts import ARM_PARAMS, JobFacts
from valuesim_dspy.errors import BudgetExceededError, ConfigError, ValueSimError
from valuesim_dspy.loading import read_manifest

if TYPE_CHECKING:
    import pandas as pd

    from evals.tracking import Tracker

log = logging.getLogger(__name__)

IDENTITY, LEVEL, ARM = "valuesim.identity", "valuesim.level", "valuesim.arm"
PARENT, NOTE, SOURCE = "mlflow.parentRunId", "mlflow.note.content", "mlflow.source.name"
KEPT_BACK, CASE = "kept_back", "case"
PREDICTIONS_FILE, PROGRAM_FOLDER, CONFIG_FILE = "predictions.json", "program", "config.json"
PICTURES = "pictures"
STOPPED = "stopped"
"""The tag of a job's run: `budget` where that ended it (its status is then KILLED), else `no`."""


class TrackedRun:
    """A run that is under way; as a context it ends as finished, failed or killed."""

    def __init__(self, tracker: Tracker, run_id: str, name: str) -> None:
        self.tracker, self.run_id, self.name = tracker, run_id, name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "FAILED"
        is_spent = kind is not None and issubclass(kind, BudgetExceededError)
        if kind is not None and (is_spent or not issubclass(kind, Exception)):
            # Not failed: it can go on. Not finished either.
            status = "KILLED"
        try:
            if is_spent:
                self.set_tags({STOPPED: "budget"})
            self.tracker.end(self.run_id, status)
        except ValueSimError as problem:
            if kind is None:
                raise
            # What ended the run is what the reader has to be told.
            log.warning("run %s could not be marked as %s: %s", self.run_id, status, problem)

    def log_metrics(self, metrics: Mapping[str, float], *, prefix: str = "", step: int = 0) -> None:
        """Log numbers; what is already logged at this step is replaced.

        Args:
            metrics: Name to value; NaN where a metric does not apply, which is left out.
            prefix: The set they belong to, such as `val`; "" for the set that is reported.
            step: Where on a curve.
        """
        lead = f"{prefix}." if prefix else ""
        self._log_points([(f"{lead}{name}", value, step) for name, value in metrics.items()])

    def log_curve(self, name: str, values: Sequence[float], *, first: int = 1) -> None:
        """Log a series, one value a step: for example the valset score of each candidate."""
        self._log_points([(name, value, first + i) for i, value in enumerate(values)])

    def _log_points(self, points: Sequence[tuple[str, float, int]]) -> None:
        known = [point for point in points if math.isfinite(point[1])]
        self.tracker.log_points(self.run_id, [(name, _short(v), step) for name, v, step in known])

    def log_text(self, text: str, file: str) -> None:
        """Keep a text, such as the table of a job; it must hold nothing of a respondent."""
        self.tracker.log_text(self.run_id, text, file)

    def log_json(self, content: object, file: str) -> None:
        """Keep plain values as a JSON file; they must hold nothing of a respondent."""
        self.tracker.log_text(self.run_id, json.dumps(content, indent=1, sort_keys=True), file)

    def log_pictures(self, pictures: Mapping[str, bytes]) -> None:
        """Keep pictures, file name to content; they must show nothing of a respondent."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in pictures.items():
                Path(folder, name).write_bytes(content)
            self.tracker.log_folder(self.run_id, Path(folder), PICTURES)

    def note(self, markdown: str) -> None:
        """Set the description that the UI shows on the run's page."""
        self.set_tags({NOTE: markdown[:5000]})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, replacing those of the same name."""
        self.tracker.set_tags(self.run_id, tags)

    def log_predictions(self, frame: pd.DataFrame, file: str = PREDICTIONS_FILE) -> bool:
        """Keep the table of predictions, replacing an earlier one.

        Args:
            frame: One row a case, respondents by salted key.
            file: Its name; it ends in `.json`.

        Returns:
            Whether it was kept: rows of people do not go to a remote server unless allowed.
        """
        if not self.tracker.rows_allowed:
            return self._keep_back("predictions")
        # Not MLflow's log_table: it appends, which doubles the rows of a job that goes on.
        shown = _shown(frame)
        text = shown.to_json(orient="split", index=False, date_format="iso", double_precision=15)
        self.tracker.log_text(self.run_id, str(text), file)
        self.tracker.mark_table(self.run_id, file)
        self._sent("predictions")
        return True

    def log_program(self, folder: Path) -> bool:
        """Keep a saved program, for `load_program("runs:/<run id>/program")`.

        Returns:
            Whether it was kept: a program whose demos or instructions may hold answers of real
            people does not go to a remote server unless allowed.
        """
        manifest = read_manifest(folder)
        held = manifest.demos_hold_survey_data or manifest.instructions_saw_survey_data
        if held and not self.tracker.rows_allowed:
            return self._keep_back("program")
        self.tracker.log_folder(self.run_id, folder, PROGRAM_FOLDER)
        self._sent("program")
        return True

    def _keep_back(self, what: str) -> bool:
        log.warning("%s of %s: not sent to the tracking server (--share-rows)", what, self.name)
        self.set_tags({f"{KEPT_BACK}.{what}": "yes"})
        return False

    def _sent(self, what: str) -> None:
        if self.tracker.remote:
            # The run may be one that kept it back the last time.
            self.set_tags({f"{KEPT_BACK}.{what}": "no"})


class ArmRun(TrackedRun):
    """The run of one arm, a child of its job's."""


class JobRun(TrackedRun):
    """The run of a job."""

    def __init__(self, tracker: Tracker, run_id: str, facts: JobFacts, *, continued: bool) -> None:
        super().__init__(tracker, run_id, facts.name)
        self.facts, self.continued = facts, continued

    @classmethod
    def start(cls, tracker: Tracker, facts: JobFacts) -> JobRun:
        """Begin the job's run, or continue the one of the same identity."""
        key = {IDENTITY: facts.identity, LEVEL: "job"}
        tags = {**facts.tags, "job": facts.name, SOURCE: facts.command, STOPPED: "no", **key}
        run_id, continued = begin_or_continue(tracker, facts.name, key, tags)
        job = cls(tracker, run_id, facts, continued=continued)
        tracker.log_params(run_id, {name: str(value) for name, value in facts.params.items()})
        tracker.log_data(run_id, facts.data)
        job.log_json(dict(facts.config), CONFIG_FILE)
        job.log_json(dict(facts.details), "details.json")
        return job

    def arm(self, name: str, params: Mapping[str, object]) -> ArmRun:
        """Begin the run of an arm, or continue it.

        Args:
            name: What tables call it; one run of that name in a job.
            params: A value for each of `ARM_PARAMS` but `arm`.

        Raises:
            ConfigError: A param is missing, or one is not among `ARM_PARAMS`.
        """
        whole = {"arm": name, **params}
        if set(whole) != set(ARM_PARAMS):
            wrong = ", ".join(sorted(set(whole) ^ set(ARM_PARAMS)))
            raise ConfigError(f"arm {name} lacks or adds {wrong}", allowed=ARM_PARAMS)
        key = {PARENT: self.run_id, ARM: name}
        own = {k: str(whole[k]) for k in ("variant", "teleprompter", "knows")}
        own |= {"job": self.name, SOURCE: self.facts.command, LEVEL: "arm", STOPPED: "no"}
        tags = {**self.facts.tags, **own, **key}
        run_id, _ = begin_or_continue(self.tracker, name, key, tags)
        self.tracker.log_params(run_id, {k: str(whole[k]) for k in ARM_PARAMS})
        self.tracker.log_data(run_id, self.facts.data)
        return ArmRun(self.tracker, run_id, name)


def begin_or_continue(
    tracker: Tracker, name: str, key: Mapping[str, str], tags: Mapping[str, str]
) -> tuple[str, bool]:
    """Return the id of the run that bears these tags, and whether it was there before."""
    found = tracker.find(key)
    if not found:
        return tracker.begin(name, tags), False
    tracker.resume(found[0], name)
    tracker.set_tags(found[0], tags)
    return found[0], True


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Put first what the UI takes to line up the arms' tables: the case, and then the answer."""
    first = ("answer", "truth", "correct", "status", "decision")
    lead = [name for name in first if name in frame]
    shown = frame[[*lead, *(name for name in frame if name not in lead)]]
    shown.insert(0, CASE, frame["respondent"] + " " + frame["question"])
    return shown


def _short(value: float) -> float:
    """Return a number as a column can show it: whole, or to 5 significant digits."""
    value = float(value)
    return value if value.is_integer() else float(f"{value:.5g}")
