"""Small compile jobs for tests: a config, a home, an engine that counts or stops, what was left."""

from __future__ import annotations

import contextlib
import csv
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackServer, Messages
from mlflow.tracking._tracking_service import utils as mlflow_service
from stores import new_tracker

import evals.study
from evals.tracking import Tracker
from optimize.compile import Job, run_job
from valuesim_dspy.config import JobConfig, parse_job
from valuesim_dspy.lexical.engine import LexicalEngine
from valuesim_dspy.lm import make_lm
from valuesim_dspy.survey.synthetic import write_synthetic

SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"respondents": 250},
    "protocol": {"train": 6, "val": 4, "dev": 6, "test": 4, "targets": 2},
    "baselines": ["rag", "country-mode"],
    "compile": {"teleprompter": "labeled-few-shot", "arms": ["rag"], "options": {"k": 3}},
}
BOOTSTRAP = {"teleprompter": "bootstrap", "options": {"max_demos": 2}}


class _Forgetful(OrderedDict[str, Any]):
    """What MLflow keeps of where a run's files are, by its id: in a copied store, elsewhere."""

    def __setitem__(self, run_id: str, place: Any) -> None:
        """Keep nothing, so that a test on a copy leaves the files of the original alone."""


mlflow_service._artifact_repos_cache = _Forgetful()


def tables(**changes: Any) -> dict[str, Any]:
    """Return the tables of a small job; those given are laid over its own, key by key."""
    made = json.loads(json.dumps(SMALL))
    for name, value in changes.items():
        if isinstance(value, Mapping) and name in made and name != "options":
            made[name] |= value
        else:
            made[name] = value
    return dict(made)


def small_job(**changes: Any) -> JobConfig:
    """Return the config of a small job."""
    return parse_job(tables(**changes))


def job_file(path: Path, **changes: Any) -> Path:
    """Write a small job as TOML."""
    lines: list[str] = []
    _write(lines, tables(**changes), "")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _write(lines: list[str], table: Mapping[str, Any], name: str) -> None:
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines += [f"[{name}]"] if name else []
    lines += [f"{key} = {json.dumps(table[key])}" for key in table if key not in inner]
    for key, value in inner.items():
        _write(lines, value, f"{name}.{key}" if name else key)


def survey_file(path: Path, *, ids: str = "id") -> Path:
    """Write synthetic people as a file that is not marked as such; interview numbers are texts."""
    write_synthetic(path, 200, seed=8)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for place, row in enumerate(rows):
        row |= {"D_INTERVIEW": f"{ids}{place:04}", "version": "6-0", "doi": "10.14281/18241.24"}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@contextlib.contextmanager
def living_in(folder: Path) -> Iterator[Path]:
    """Keep runs, caches and the home in a folder; yield the store, which is ready for use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        new_tracker(folder / "mlruns")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlruns/mlflow.db")
        for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(folder / name.lower()))
        yield folder / "mlruns"


def tracker_of(store: Path) -> Tracker:
    """Return a tracker on a store, whatever the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Tracker(store)


class Stopping(LexicalEngine):
    """The embedded model, which counts what it is asked and raises an error at one call."""

    def __init__(self, at: int | None = None, error: BaseException | None = None) -> None:
        self.asked, self.answered, self.at = 0, 0, at
        self.error = error or KeyboardInterrupt()
        self.requests: list[Any] = []

    def complete(self, request: Any) -> Any:
        """Return the embedded model's reply, or raise."""
        self.asked += 1
        if self.at is not None and self.asked >= self.at:
            raise self.error
        self.requests.append(request)
        reply = super().complete(request)
        self.answered += 1
        return reply


@contextlib.contextmanager
def answered_by(engine: Any) -> Iterator[Any]:
    """Let an engine answer for the offline model in every study opened meanwhile."""

    def make(role: Any, **known: Any) -> Any:
        return make_lm(role, engine=engine if role.offline else None, **known)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evals.study, "make_lm", make)
        yield engine


@dataclass(frozen=True, eq=False)
class Done:
    """A job that was run: what it returned, and where it left what."""

    job: Job
    store: Path
    engine: Stopping

    @property
    def tracker(self) -> Tracker:
        """A tracker on the job's store."""
        return tracker_of(self.store)

    @property
    def program(self) -> Path:
        """The folder of the compiled program."""
        return self.job.programs["full"]


def run(folder: Path, config: JobConfig, engine: Stopping | None = None) -> Done:
    """Run a job in a folder with the embedded model, whose calls are counted."""
    with living_in(folder) as store, answered_by(engine or Stopping()) as counting:
        return Done(run_job(config), store, counting)


def program_bytes(folder: Path) -> dict[str, bytes]:
    """Return the files of a program."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def lexical_server(**options: Any) -> LoopbackServer:
    """Return a server whose answers are those of the embedded model."""
    from valuesim_dspy.config import LMRole

    lm, lock = make_lm(LMRole(max_tokens=8192), name="task_lm"), threading.Lock()

    def answer(messages: Messages) -> str:
        with lock:
            return str(lm(messages=messages, cache=False)[0])

    return LoopbackServer(answer, **options)
