"""Measuring small jobs in tests: a home for a module's runs, what a run says, when it is refused.

    from measuring import living_there, measured, one_home  # noqa: F401

makes everything that a module runs share a store and a cache: the fixtures `home` and `store`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jobs import Stopping, answered_by, lexical_server, living_in, small_job

from evals.past_runs import count_reading
from evals.study import open_study
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import ConfigError


@pytest.fixture(scope="module", name="home")
def one_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds store and cache for the whole module."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True, name="store")
def living_there(home: Path) -> Iterator[Path]:
    """Keep everything a test runs in that folder."""
    with living_in(home) as folder:
        yield folder


@dataclass(frozen=True, eq=False)
class Ran:
    """A run: its text and the engine that answered."""

    text: str
    engine: Any

    @property
    def words(self) -> str:
        """The text without its line breaks."""
        return " ".join(self.text.split())

    @property
    def run_id(self) -> str:
        """The job's MLflow run."""
        return str(re.findall(r"MLflow run (\w+)", self.text)[0])

    @property
    def reading(self) -> int:
        """Which reading of its testset it says it is."""
        return int(re.findall(r"Reading (\d+) of this testset", self.words)[0])


def measured(measure: Callable[[JobConfig], str], engine: Any = None, **changes: Any) -> Ran:
    """Measure a small job with an engine, which is the embedded model unless given."""
    config = small_job(**{"variant": "single", **changes})
    with answered_by(engine or Stopping()) as answering:
        return Ran(measure(config), answering)


def unasked_estimate(
    measure: Callable[[JobConfig], str], capsys: pytest.CaptureFixture[str]
) -> list[list[str]]:
    """Assert that many calls want a word of consent before any; return the estimate's lines."""
    with lexical_server() as server:
        lm = {"model": "openai/test", "api_base": server.url}
        config = small_job(variant="single", task_lm=lm, confirm_calls=5)
        with pytest.raises(ConfigError, match=r"^confirm_calls: up to [\d,]+ calls .*--yes"):
            measure(config)
        assert server.requests == []
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def readings_of_stopped(run: Callable[..., Ran], folder: Path) -> int:
    """Stop a run on the devset and one on the testset; return which reading the next one is."""
    with living_in(folder):
        for role in ("dev", "test"):
            with pytest.raises(KeyboardInterrupt):
                run(Stopping(at=1), role=role)
        with open_study(small_job(variant="single")) as study:
            return count_reading(study)
