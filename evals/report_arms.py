"""What a report is made of: jobs, arms, and settings in which arms were measured alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from evals.metrics import MIN_COVERAGE

STRATEGIES = ("question", "battery", "topic", "paper")
LOGGED = {"robustness": "Robustness", "contamination": "Contamination"}
"""Jobs whose own tables are shown, by subject; their arms are no arms of the first table."""


@dataclass(frozen=True, eq=False)
class Job:
    """A job's run: what it was told and what it wrote.

    Attributes:
        run_id: Its run; "" for an arm that is no job's.
        name: As in its config.
        subject: What it was about, such as `history`; "" where that is not known.
        config: The resolved config.
        details: Manifest, what was drawn, versions.
        table: The table it printed; "" without.
        curve: The learning curves' numbers of `evals history`; empty for other jobs.
        tags: The run's tags.
    """

    run_id: str
    name: str
    subject: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    table: str = ""
    curve: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What is known of data, fold, split, codebook and versions; may be empty."""
        found: Mapping[str, Any] = self.details.get("manifest", {})
        return found

    @property
    def test_reads(self) -> list[int]:
        """How often the testset had been read, for each table that this job made of it."""
        return [int(n) for n in re.findall(r"reading (\d+) of this\s+testset", self.table)]


@dataclass(frozen=True, eq=False)
class Arm:
    """One arm on the folds of one strategy.

    Attributes:
        label: What tables call it; its own within setting and strategy.
        strategy: How its folds are made: question, battery, topic or paper.
        runs: Its runs, one a fold, as `run_summary` gives them.
        frame: Their predictions; None where a run has none.
        job: The job of its first run.
    """

    label: str
    strategy: str
    runs: tuple[Mapping[str, Any], ...]
    frame: pd.DataFrame | None
    job: Job

    @property
    def params(self) -> Mapping[str, str]:
        """The params of its first run."""
        found: Mapping[str, str] = self.runs[0]["params"]
        return found

    @property
    def is_compiled(self) -> bool:
        """Whether a teleprompter made it."""
        return self.params["teleprompter"] != "none"

    @property
    def folds(self) -> tuple[str, ...]:
        """The folds that it was measured on, such as `battery-1of5`."""
        return tuple(run["params"]["fold"] for run in self.runs)

    @cached_property
    def coverage(self) -> float:
        """The share of cases answered; NaN where nothing says it."""
        if self.frame is not None:
            return float((self.frame["status"] == "answered").mean())
        return min(run["metrics"].get("coverage", float("nan")) for run in self.runs)

    @property
    def is_valid(self) -> bool:
        """Whether enough was answered for a score to be shown."""
        return not self.coverage < MIN_COVERAGE

    def total(self, metric: str) -> float:
        """Return the sum of a metric over its runs; NaN where one lacks it."""
        return float(sum(run["metrics"].get(metric, float("nan")) for run in self.runs))


@dataclass(frozen=True, eq=False)
class Setting:
    """Arms that were measured alike: same data, people, protocol and task LM.

    Attributes:
        title: What tells it from other settings.
        role: dev or test.
        arms: In the order of strategies, then as they were run.
    """

    title: str
    role: str
    arms: tuple[Arm, ...]

    @property
    def strategies(self) -> list[str]:
        """The strategies that there are arms of."""
        return [name for name in STRATEGIES if any(arm.strategy == name for arm in self.arms)]

    def of(self, strategy: str, knows: str = "") -> list[Arm]:
        """Return the arms of a strategy, cold or warm or all."""
        found = [arm for arm in self.arms if arm.strategy == strategy]
        return [arm for arm in found if knows in ("", arm.params["knows"])]


@dataclass(frozen=True)
class Evidence:
    """Everything a report is made from."""

    settings: tuple[Setting, ...]
    jobs: tuple[Job, ...]
