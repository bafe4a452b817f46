"""Who reads from several sides, and who decides between them."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from math import ceil
from typing import Any

import dspy

from valuesim_dspy.case import Case, plain_text
from valuesim_dspy.modules import DEMO_FACTS, Answerer, Inputs
from valuesim_dspy.preflight import STOPS
from valuesim_dspy.survey.codebook import Question

Reading = tuple[dspy.Prediction, list[Any]]

LEAF_THREADS = 32
"""Leaf calls at once where the language model does not say how many calls it allows."""

SPARE = 128
"""Threads beyond one for each call in flight, at most."""

_pool_lock = threading.Lock()
_pool: tuple[int, ThreadPoolExecutor] | None = None


def calls_in_flight(lm: object) -> int:
    """Return how many calls a language model allows at once; `LEAF_THREADS` if it does not say."""
    throttle = getattr(lm, "throttle", None)
    return LEAF_THREADS if throttle is None else int(throttle.limits.in_flight)


def spare_threads(calls: int) -> int:
    """Return how many threads keep so many calls in flight: half as many more, to `SPARE`.

    What ends is followed by a call that is ready, while others wait for each other or for the
    interpreter.
    """
    return calls + min(ceil(calls / 2), SPARE)


def leaf_threads(lm: object) -> int:
    """Return how many threads leaf calls to a language model are given."""
    if getattr(lm, "throttle", None) is None:
        return LEAF_THREADS
    return spare_threads(calls_in_flight(lm))


def _submit(threads: int, read: Callable[[], Reading]) -> Future[Reading]:
    """Run a leaf call in the pool of leaf calls: one a process, never the pool of cases.

    A perspective waits for no other task, so the pool cannot deadlock. Where more threads are
    asked for than it has, a larger one follows it, and it ends with what it was given.
    """
    global _pool
    with _pool_lock:
        if _pool is None or _pool[0] < threads:
            if _pool is not None:
                _pool[1].shutdown(wait=False)
            _pool = threads, ThreadPoolExecutor(threads, thread_name_prefix="perspective")
        # Within the lock: a pool that has ended takes nothing.
        return _pool[1].submit(contextvars.copy_context().run, read)


class PerspectivePanel(dspy.Module):
    """Read one case from several sides, independently and at the same time.

    Args:
        signatures: Name of each perspective, in canonical order, to how it reads.
        demo_facts: See `Answerer`.
    """

    def __init__(
        self, signatures: Mapping[str, type[dspy.Signature]], *, demo_facts: int = DEMO_FACTS
    ) -> None:
        super().__init__()
        self.names = tuple(signatures)
        for name, signature in signatures.items():
            setattr(self, name, Answerer(signature, demo_facts=demo_facts))

    def forward(self, case: Case, inputs: Inputs) -> dict[str, dspy.Prediction]:
        """Return one prediction for each perspective, in canonical order.

        Sequential where the language model runs in this process, since threads would only
        contend for the interpreter; concurrent otherwise.

        Raises:
            PredictionError: A perspective gave no valid answer.
        """
        if len(self.names) < 2 or getattr(dspy.settings.lm, "in_process", False):
            return {name: getattr(self, name)(case=case, inputs=inputs) for name in self.names}
        threads = leaf_threads(dspy.settings.lm)
        waiting = {
            name: _submit(threads, partial(self._read, name, case, inputs)) for name in self.names
        }
        errors = [error for future in waiting.values() if (error := future.exception())]
        if errors:
            # What ends the run goes before what fails this case alone.
            raise min(errors, key=lambda error: not isinstance(error, STOPS))
        results = {name: future.result() for name, future in waiting.items()}
        if dspy.settings.trace is not None:
            for _, steps in results.values():
                dspy.settings.trace.extend(steps)
        return {name: prediction for name, (prediction, _) in results.items()}

    def _read(self, name: str, case: Case, inputs: Inputs) -> Reading:
        """Run one perspective with a trace of its own, joined in order by the caller."""
        steps: list[Any] | None = None if dspy.settings.trace is None else []
        with dspy.context(trace=steps):
            prediction = getattr(self, name)(case=case, inputs=inputs)
        return prediction, steps or []


class Coordinator(Answerer):
    """Decide where perspectives disagree: weigh their analyses and the person."""


def views_text(question: Question, views: Mapping[str, dspy.Prediction]) -> str:
    """Render what each perspective foresaw, in canonical order, for the coordinator."""
    return "\n\n".join(
        f"The {name} reader answers {view.answer} ({plain_text(question.label(view.answer))})"
        f"{f': {told}' if (told := plain_text(str(view.get('analysis', '')))) else '.'}"
        for name, view in views.items()
    )
