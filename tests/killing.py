"""Commands in processes that are ended from outside, at a request or at an event.

with LoopbackServer(model := Model()) as server, Nursery(SIMULATION) as nursery:
    end = nursery.run(home, ["simulate", ...], model, request=7)
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loopback import Messages

from benchmarks.prefix_share import lexical_reply

ROOT = Path(__file__).resolve().parent.parent
ASKING = (signal.SIGINT, signal.SIGTERM)
"""Signals that ask a command to end: it waits for what is under way."""

SIMULATION = """
import dspy, openai, pandas, pyarrow.parquet
import valuesim_dspy.simulation, valuesim_dspy.together
from valuesim_dspy.__main__ import main

def begins(values):
    return ".journal" in str(values[0])
"""
"""The command `valuesim`; its events count from the journal's beginning on."""

COMPILATION = """
import dspy, gepa, mlflow, optuna, pandas
import mlflow.tracking, sqlalchemy, optimize.compile
from evals.tracking import Tracker
from optimize.__main__ import main

begun, begin = [], Tracker.job

def job(self, facts):
    begun.append(True)
    return begin(self, facts)

def begins(values):
    return bool(begun)

Tracker.job = job
"""
"""The command `optimize`; its events count from the beginning of the MLflow run on."""

# A process that has imported what takes seconds and makes a child for each order: the child runs
# the command, and kills itself at one of the events that Python reports (files opened, renamed,
# connected to) from where they begin to count, where the order says so; else it leaves their
# number behind.
_NURSERY = """
import json, os, resource, signal, sys

EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "shutil.rmtree", "sqlite3.connect"}

def child(order):
    os.environ.update(order["environment"])
    os.chdir(order["home"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if order["largest"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"], resource.RLIM_INFINITY))
    seen = [0]

    def count(name, values):
        if name in EVENTS and (seen[0] or begins(values)):
            seen[0] += 1
            if seen[0] == order["event"]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    status = main(order["arguments"])
    with open("events", "w") as file:
        file.write(str(seen[0]))
    return status

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = child(json.loads(line))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(eq=False)
class Model:
    """The embedded model behind a server; at one of its requests it ends who asks."""

    asked: int = 0
    at: int = 0
    pid: int = 0
    signal: int = signal.SIGKILL
    lock: threading.Lock = field(default_factory=threading.Lock)
    replies: dict[str, str] = field(default_factory=dict)

    def __call__(self, messages: Messages) -> str:
        """Return the embedded model's reply."""
        if "word ready" in messages[-1]["content"]:
            return "ready"
        with self.lock:
            self.asked += 1
            if self.pid and 0 < self.at <= self.asked:
                self._end()
                self.at = 0
            asked = json.dumps(messages)
            if asked not in self.replies:
                self.replies[asked] = lexical_reply(messages)
            return self.replies[asked]

    def _end(self) -> None:
        """Send the signal; where it ends the process at once, answer nobody before it is gone."""
        os.kill(self.pid, self.signal)
        latest = time.monotonic() + 30
        while self.signal not in ASKING and time.monotonic() < latest:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.001)


def copy_code(folder: Path) -> Path:
    """Copy the code, for work that would be other work if the code changed meanwhile."""
    for package in ("valuesim_dspy", "evals", "optimize"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


class Nursery:
    """Runs a command in processes of their own, one at a time.

    Args:
        command: What a process imports, with the command and where its events begin to count:
            `SIMULATION` or `COMPILATION`.
        code: The folder of the code that is run.
    """

    def __init__(self, command: str, code: Path = ROOT) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", command + _NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=code,
            env={**os.environ, "PYTHONPATH": str(code)},
        )

    def run(
        self,
        home: Path,
        arguments: Sequence[str],
        model: Model,
        *,
        request: int = 0,
        event: int = 0,
        largest: int = 0,
    ) -> int:
        """Run the command; return its exit status, -9 where it was killed.

        It gets the variables that are set at the call. What it prints is in the files `out` and
        `err` of its home; the number of events of one that was not killed is in `events`.

        Args:
            home: Where it lives, and its working folder.
            arguments: The command's.
            model: Whom it asks.
            request: End it at so many requests from now, by `model.signal`; 0 for never.
            event: Kill it at so many events; 0 for never.
            largest: Bytes that a file of its may have; 0 for no limit.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        names = ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
        order = {
            "environment": {**os.environ, **{name: str(home / name.lower()) for name in names}},
            "home": str(home),
            "arguments": list(arguments),
            "event": event,
            "largest": largest,
        }
        with model.lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            model.pid = int(self._process.stdout.readline())
            model.at = model.asked + request if request else 0
        status = int(self._process.stdout.readline())
        with model.lock:
            model.pid = 0
        return status

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)
