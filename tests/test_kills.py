"""Killed at random moments, by kill -9, compile jobs go on: same program, nothing paid twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from compiling import SMALL
from jobs import job_file, living_in, program_bytes, tracker_of
from loopback import LoopbackServer, Messages

from evals.past_runs import arms_of, run_summary
from evals.tracked_runs import LEVEL
from valuesim_dspy.lm import make_lm
from valuesim_dspy.roles import LMRole

ROOT = Path(__file__).resolve().parent.parent
THREADS = 2
IN_FLIGHT = 3 * THREADS
"""Calls that may be answered and not yet kept when a process dies: three perspectives a case."""
TINY: dict[str, Any] = {
    "variant": "facts-only",
    "baselines": [],
    "threads": THREADS,
    "embedder": {"model": "lexical"},
    "protocol": {"train": 4, "val": 3, "dev": 3, "targets": 2},
}
OPTIONS: dict[str, dict[str, Any]] = {
    **SMALL,
    "bootstrap-random-search": {"max_demos": 2, "candidates": 2},
    "gepa": {"auto": "explicit", "runs": 20},
    "simba": {"batch": 3, "candidates": 2, "steps": 1},
}

# A process that has imported what takes seconds and makes a child for each order: the child runs
# the command, and kills itself at one of the events that Python reports (files opened, renamed,
# connected to) where the order says so, counted from the beginning of the MLflow run on.
NURSERY = """
import json, os, signal, sys
import dspy, gepa, mlflow, optuna, pandas
import mlflow.tracking, sqlalchemy, optimize.compile
from evals.tracking import Tracker
from optimize.__main__ import main

EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "shutil.rmtree", "sqlite3.connect"}

def child(order):
    os.environ.update(order["environment"])
    os.chdir(order["home"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    left, armed, begin = [order["event"]], [], Tracker.job

    def job(self, facts):
        armed.append(True)
        return begin(self, facts)

    def count(name, _):
        if armed and name in EVENTS:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    Tracker.job = job
    if order["event"]:
        sys.addaudithook(count)
    return main(["compile", order["job"]])

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = child(json.loads(line))
        finally:
            sys.stdout.flush()
            os._exit(status)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(eq=False)
class Model:
    """The embedded model behind a server; at one of its requests it kills who asks."""

    asked: int = 0
    at: int = 0
    pid: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    replies: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lm = make_lm(LMRole(max_tokens=8192), name="task_lm")

    def __call__(self, messages: Messages) -> str:
        """Return the embedded model's reply."""
        with self.lock:
            if "word ready" not in messages[-1]["content"]:
                self.asked += 1
            if self.pid and 0 < self.at <= self.asked:
                os.kill(self.pid, signal.SIGKILL)
                self.at = 0
            asked = json.dumps(messages)
            if asked not in self.replies:
                self.replies[asked] = str(self._lm(messages=messages, cache=False)[0])
            return self.replies[asked]


class Nursery:
    """Runs jobs in processes of their own, one at a time."""

    def __init__(self, code: Path, model: Model) -> None:
        self.model = model
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=code,
            env={**os.environ, "PYTHONPATH": str(code)},
        )

    def run(self, home: Path, job: Path, *, request: int = 0, event: int = 0) -> int:
        """Run a job; return its exit status, -9 where it was killed.

        Args:
            home: Where it lives.
            job: The job file.
            request: Kill it at so many requests from now; 0 for never.
            event: Kill it at so many events; 0 for never.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        with living_in(home):
            order = {
                "environment": dict(os.environ),
                "home": str(home),
                "job": str(job),
                "event": event,
            }
        with self.model.lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            self.model.pid = int(self._process.stdout.readline())
            self.model.at = self.model.asked + request if request else 0
        status = int(self._process.stdout.readline())
        self.model.pid = 0
        return status

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code: a job whose code changes meanwhile would be another job."""
    folder = tmp_path_factory.mktemp("code")
    for package in ("valuesim_dspy", "evals", "optimize"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def served(code: Path) -> Iterator[tuple[Nursery, Model, str]]:
    """Where jobs are run, the model they ask, and its address."""
    model = Model()
    with LoopbackServer(model) as server:
        nursery = Nursery(code, model)
        yield nursery, model, server.url
        nursery.close()


def _job(home: Path, name: str, url: str) -> Path:
    home.mkdir()
    lm = {"model": "openai/test", "api_base": url, "num_retries": 0}
    compiled = {"teleprompter": name, "options": OPTIONS[name], "arms": []}
    return job_file(home / "job.toml", **TINY, task_lm=lm, compile=compiled)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["bootstrap-random-search", "bootstrap-optuna", "mipro-v2", "gepa", "simba"]
)
def test_killed_twice_a_job_ends_as_if_undisturbed(
    tmp_path: Path, served: tuple[Nursery, Model, str], name: str
) -> None:
    """Amid calls and amid writing: the same files, one run, and no answered call paid again."""
    nursery, model, url = served
    calm, home = tmp_path / "calm", tmp_path / "home"
    model.asked = 0
    assert nursery.run(calm, _job(calm, name, url)) == 0
    whole, rng = model.asked, random.Random(f"kills of {name}")
    job, model.asked = _job(home, name, url), 0
    assert nursery.run(home, job, request=rng.randint(1, whole - 1)) == -signal.SIGKILL
    assert nursery.run(home, job, event=rng.randint(1, 80)) == -signal.SIGKILL
    assert nursery.run(home, job) == 0
    assert whole <= model.asked <= whole + 2 * IN_FLIGHT
    tracker = tracker_of(home / "mlruns")
    (run_id,) = tracker.find({LEVEL: "job"})
    assert run_summary(tracker, run_id)["status"] == "FINISHED"
    arms = [run_summary(tracker, arm) for arm in arms_of(tracker, run_id)]
    assert [arm["name"] for arm in arms] == ["facts-only", "facts-only compiled"]
    assert {arm["status"] for arm in arms} == {"FINISHED"}
    (one,) = (calm / "mlruns" / "programs").glob("*/facts-only")
    (other,) = (home / "mlruns" / "programs").glob("*/facts-only")
    assert program_bytes(one) == program_bytes(other)
    _paid_is_told(tracker.read_text(run_id, "costs.json"), model.asked)


def _paid_is_told(text: str, asked: int) -> None:
    """What three processes paid, killed or not, is known but for what was in flight."""
    costs = json.loads(text)
    trials = costs["phases"]["trial calls"]["paid"]["calls"]
    assert trials == 3
    assert asked - 2 * IN_FLIGHT <= costs["all"]["paid"]["calls"] - trials <= asked
