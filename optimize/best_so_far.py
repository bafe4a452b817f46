"""The best candidate of a search that was stopped: every score is remembered as it is given."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import dspy

State = tuple[str, str]
"""The stage that a program is in, and its predictors' state as JSON."""


class BestSoFar:
    """Remembers which program scored what on which case; safe to use from many threads.

    DSPy's teleprompters keep their candidates to themselves until they end. Each of them runs a
    program and then scores the prediction in the same thread, and that is enough to know them.

    Args:
        cases: The set that candidates are compared on: the valset, or the trainset where a
            teleprompter has no other.
    """

    def __init__(self, cases: Sequence[dspy.Example] = ()) -> None:
        self._wanted = {_key(example.case) for example in cases}
        self._scores: dict[State, dict[tuple[str, str], float]] = {}
        self._last = threading.local()
        self._lock = threading.Lock()

    def ran(self, program: Any, case: Any, prediction: object | None) -> None:
        """Note that a program answered a case; None stands for a failure, which scores 0."""
        key = ("", "") if case is None else _key(case)
        if key not in self._wanted:
            return
        state = state_of(program)
        self._last.run = (prediction, state, key)
        with self._lock:
            scores = self._scores.setdefault(state, {})
            if prediction is None:
                scores[key] = 0.0

    def scored(self, prediction: object, score: float) -> None:
        """Note the score of the prediction that this thread ran last."""
        run: tuple[object, State, tuple[str, str]] | None = getattr(self._last, "run", None)
        if run is not None and run[0] is prediction:
            with self._lock:
                self._scores[run[1]][run[2]] = score

    def best(self, student: dspy.Module) -> tuple[dspy.Module, float, float] | None:
        """Return the best whole-scored candidate, its score and that of the student.

        Args:
            student: The uncompiled program.

        Returns:
            None where no candidate was scored on all cases, or none better than the student; ties
            go to the earlier. In a search in stages the last stage with such a candidate counts.
        """
        whole: dict[str, dict[str, float]] = {}
        for (stage, state), scores in self._scores.items():
            if len(scores) == len(self._wanted):
                found = whole.setdefault(stage, {})
                found[state] = sum(scores.values()) / len(scores)
        own = state_of(student)[1]
        for found in reversed(list(whole.values())):
            state = max(found, key=lambda name: found[name])
            before = found.get(own)
            if before is not None and found[state] > before:
                program = student.reset_copy()
                program.load_state(json.loads(state))
                return program, found[state], before
        return None


def state_of(program: Any) -> State:
    """Return a program's stage and the state of its predictors."""
    stage = getattr(program, "_stage", None)
    name = "" if stage is None else getattr(stage, "__name__", "stage")
    return name, json.dumps(program.dump_state(), sort_keys=True)


def _key(case: Any) -> tuple[str, str]:
    return case.profile.key, case.question.id
