"""Killed at random moments, by kill -9, compile jobs go on: same program, nothing paid twice."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from compiling import SMALL
from jobs import job_file, living_in, program_bytes, tracker_of
from killing import COMPILATION, Model, Nursery, copy_code
from loopback import LoopbackServer

from evals.past_runs import arms_of, run_summary
from evals.tracked_runs import LEVEL

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


@dataclass(frozen=True, eq=False)
class World:
    """Where jobs are run: a nursery, the model they ask, and its address."""

    nursery: Nursery
    model: Model
    url: str

    def job(self, home: Path, name: str) -> Path:
        """Write the job of a teleprompter into a new home."""
        home.mkdir()
        lm = {"model": "openai/test", "api_base": self.url, "num_retries": 0}
        compiled = {"teleprompter": name, "options": OPTIONS[name], "arms": []}
        return job_file(home / "job.toml", **TINY, task_lm=lm, compile=compiled)

    def run(self, home: Path, job: Path, **ending: int) -> int:
        """Run it, with what ends it; return its status."""
        with living_in(home):
            return self.nursery.run(home, ["compile", str(job)], self.model, **ending)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One nursery and one server for all tests."""
    code, model = copy_code(tmp_path_factory.mktemp("code")), Model()
    with LoopbackServer(model) as server, Nursery(COMPILATION, code) as nursery:
        yield World(nursery, model, server.url)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["bootstrap-random-search", "bootstrap-optuna", "mipro-v2", "gepa", "simba"]
)
def test_killed_twice_a_job_ends_as_if_undisturbed(tmp_path: Path, world: World, name: str) -> None:
    """Amid calls and amid writing: the same files, one run, and no answered call paid again."""
    calm, home, model = tmp_path / "calm", tmp_path / "home", world.model
    model.asked = 0
    assert world.run(calm, world.job(calm, name)) == 0
    whole, rng = model.asked, random.Random(f"kills of {name}")
    job, model.asked = world.job(home, name), 0
    assert world.run(home, job, request=rng.randint(1, whole - 1)) == -signal.SIGKILL
    assert world.run(home, job, event=rng.randint(1, 80)) == -signal.SIGKILL
    assert world.run(home, job) == 0
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
