"""A small synthetic study to compile on, and models that record what they are asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import dspy
from jobs import small_job
from people import prompt_of, scripted_lm

from evals.metrics import SCORES
from evals.study import draw, open_survey
from optimize.teleprompters import (
    TELEPROMPTERS,
    Compilation,
    Compiled,
    as_metric,
    compile_program,
)
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import make_cases
from valuesim_dspy.lexical.engine import LexicalEngine
from valuesim_dspy.program import ValueSim
from valuesim_dspy.usage import Budget, Meter


class Recording(LexicalEngine):
    """The embedded model, which keeps what it is asked."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def complete(self, request: Any) -> Any:
        """Return the embedded model's reply."""
        self.prompts.append(prompt_of(request))
        return super().complete(request)


@lru_cache(maxsize=1)
def small_study() -> dict[str, list[dspy.Example]]:
    """Return a trainset of 16 cases of 8 synthetic people, and a valset of 12 of 6 others."""
    config = small_job(protocol={"train": 8, "val": 6, "dev": 2, "test": 2, "targets": 2})
    respondents = open_survey(config.data)
    fold, split = draw(config, respondents)
    return {
        role: make_cases(respondents, getattr(split, role), fold, role, max_targets=2, seed=1)
        for role in ("train", "val")
    }


class Compiling:
    """One compilation on the small study: what came of it, and what was asked of whom.

    Args:
        name: The teleprompter.
        options: Its options.
        variant: The student's.
        budget: Calls of task LM and prompt LM together.
        known: Further fields of the compilation.
    """

    def __init__(
        self,
        name: str,
        options: dict[str, Any] | None = None,
        *,
        variant: str = "facts-only",
        budget: int | None = None,
        **known: Any,
    ) -> None:
        self.task, self.prompt = Recording(), Recording()
        self.teleprompter = TELEPROMPTERS[name]
        self.options = self.teleprompter.parse(options or {})
        meter = Meter("test", budget=Budget(calls=budget))
        sets = small_study()
        self.given = Compilation(
            **{
                "student": ValueSim(variant),
                "trainset": sets["train"],
                "valset": sets["val"],
                "score": as_metric(SCORES["exact"]),
                "seed": 1,
                "task_lm": scripted_lm(self.task, meter=meter.child("task"), context=10**6),
                "prompt_lm": scripted_lm(self.prompt, meter=meter.child("prompt"), context=10**6),
                "options": self.options,
                **known,
            }
        )
        self.cache = ResponseCache()

    def run(self) -> Compiled:
        """Compile, with a cache in memory."""
        with self.cache.installed():
            return compile_program(self.teleprompter, self.given)

    def runs(self, predictors: int) -> tuple[int, int]:
        """Return the least and the most runs that the teleprompter says it makes."""
        sizes = (len(self.given.trainset), len(self.given.valset))
        return self.teleprompter.runs(self.options, *sizes, predictors)

    def prompts(self, predictors: int) -> tuple[int, int]:
        """Return the least and the most calls of the prompt LM that it says it makes."""
        sizes = (len(self.given.trainset), len(self.given.valset))
        return self.teleprompter.prompts(self.options, *sizes, predictors)


def compiled(name: str, options: dict[str, Any] | None = None, **known: Any) -> Compiled:
    """Compile on the small study."""
    return Compiling(name, options, **known).run()


def likes_change(example: Any, prediction: Any, trace: Any = None) -> float | bool:
    """Score by the wording, for tests that need a compiled candidate to win by merit.

    The embedded model seldom gains from what is compiled, and a tie goes to the uncompiled.
    """
    if trace is not None:
        return True
    told = " ".join(view["analysis"] for view in prediction.views.values())
    return float(sum(map(ord, told or prediction.analysis)) % 97) / 97


def state(program: Any) -> str:
    """Return all that would be saved of a program."""
    return json.dumps(program.dump_state(), sort_keys=True)


def instructions(program: Any) -> dict[str, str]:
    """Return the instruction of every predictor."""
    return {name: p.signature.instructions for name, p in program.named_predictors()}


def names_nobody(prompts: Sequence[str], examples: Sequence[dspy.Example]) -> bool:
    """Tell whether prompts hold no case, no key and no whole profile of anybody."""
    text = "\n".join(prompts)
    marks = {example.case.profile.key for example in examples}
    marks |= {example.case.profile.facts_text for example in examples}
    return not any(mark in text for mark in (*marks, "Case(", "Profile(", "Example({"))


def read(path: Path) -> str:
    """Return what a log holds."""
    return path.read_text(encoding="utf-8", errors="replace")


SMALL: dict[str, dict[str, Any]] = {
    "bootstrap-optuna": {"trials": 4, "pool": 6},
    "mipro-v2": {"auto": "explicit", "candidates": 3, "trials": 4},
    "gepa": {"auto": "explicit", "runs": 30},
    "simba": {"batch": 4, "candidates": 2, "steps": 2},
    "copro": {"breadth": 2, "depth": 1},
    "infer-rules": {"candidates": 2},
    "ensemble": {"of": "bootstrap", "size": 2},
}
