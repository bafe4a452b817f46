"""The one loop over cases: every benchmark and every simulation runs here."""

from __future__ import annotations

import contextvars
import re
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import dspy

from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    InvalidAnswerError,
    MissingDataError,
    ValueSimError,
)
from valuesim_dspy.fidelity import backstory_fidelity
from valuesim_dspy.lm import MeteredLM, describe_error
from valuesim_dspy.outcomes import Outcome

if TYPE_CHECKING:
    from valuesim_dspy.case import Case, Profile

RUN = 4
"""Words in a row that an error and a fact may not share: a server may echo what it was sent."""

_WORD = re.compile(r"\w+")

STOPS = (BudgetExceededError, ConfigError, MissingDataError)
"""Errors that concern the whole run: they end it, everything else fails one case."""


def answer_cases(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    *,
    lm: MeteredLM | None = None,
    threads: int = 1,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Put every case to the program and return one outcome each, in the given order.

    Args:
        program: Anything of the call shape `predict(case) -> Prediction(answer, ...)`.
        examples: Examples with `case` and, where known, `answer`.
        lm: Answers the calls and meters them; None for programs without a language model.
        threads: Cases in flight; 1 where the language model runs in this process.
        on_outcome: Called in order as outcomes come in, for progress.

    Raises:
        BudgetExceededError: The budget is spent; what was answered is in the response cache.
        ConfigError: The run as a whole cannot work, such as a context budget too small.
        ProgramStateError: The program was compiled for another model and says so.
    """
    if lm is not None and (require := getattr(program, "require_model", None)):
        require(lm.model)
    faithful = _Fidelities()

    def one(example: dspy.Example) -> Outcome:
        return _guarded(program, example, lm, faithful)

    outcomes = []
    # Closed at once, also where `on_outcome` raises: else its threads would go on asking.
    with closing(_in_order(one, examples, 1 if lm is None or lm.in_process else threads)) as found:
        for outcome in found:
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    return outcomes


def _in_order(
    one: Callable[[dspy.Example], Outcome], examples: Sequence[dspy.Example], threads: int
) -> Generator[Outcome]:
    if threads <= 1:
        yield from map(one, examples)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="case") as pool:
        waiting = [pool.submit(contextvars.copy_context().run, one, ex) for ex in examples]
        try:
            for future in waiting:
                yield future.result()
        except BaseException:
            # A stop, Ctrl-C included: what is in flight ends, what is queued never starts.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _guarded(
    program: dspy.Module, example: dspy.Example, lm: MeteredLM | None, faithful: _Fidelities
) -> Outcome:
    """Turn one failed case into a recorded failure."""
    case: Case = example.case
    meter = lm.meter.child(case.question.id) if lm is not None else None
    own_lm = {"lm": lm.with_meter(meter)} if lm is not None and meter is not None else {}
    start = time.perf_counter()
    known: dict[str, Any] = {
        "respondent": case.profile.key,
        "question": case.question.id,
        "truth": example.get("answer"),
        "country": case.profile.country or "",
    }
    try:
        # Nobody learns from these calls: a trace would be condensed and kept for nothing.
        with dspy.context(**own_lm, trace=None):
            prediction = program(case=case)
        known |= _success(prediction, faithful(case.profile, prediction))
    except STOPS:
        raise
    except InvalidAnswerError as error:
        reason = f"{error.question}: no attempt gave one of the codes offered"
        known |= {"answer": None, "status": "invalid", "reason": reason}
    except Exception as error:  # noqa: BLE001 - the one guard that records a failure and goes on
        known |= {"answer": None, "status": "failed", "reason": _reason(error, case.profile)}
    if meter is not None:
        needed = meter.needed
        known |= {
            "calls": needed.calls,
            "paid": meter.paid.calls,
            "tokens": needed.prompt_tokens + needed.completion_tokens,
        }
    return Outcome(**known, seconds=time.perf_counter() - start)


def _reason(error: Exception, profile: Profile) -> str:
    """Describe an error; one whose text repeats what is known of the person by its type alone."""
    text = describe_error(error)
    if isinstance(error, ValueSimError):
        return text
    told = f" {' '.join(_WORD.findall(text.lower()))} "
    for line in profile.facts_text.splitlines():
        words = _WORD.findall(line.lower())
        runs = (words[start : start + RUN] for start in range(max(1, len(words) - RUN + 1)))
        if any(f" {' '.join(run)} " in told for run in runs):
            return f"{type(error).__name__}: its text repeats what is known of the person"
    return text


def _success(prediction: dspy.Prediction, fidelity: float | None) -> dict[str, Any]:
    views, told = prediction.get("views") or {}, prediction.get("probabilities") or {}
    return {
        "answer": int(prediction.answer),
        "status": "answered",
        "decision": prediction.get("decision") or "direct",
        "views": {name: int(view["answer"]) for name, view in views.items()},
        "fidelity": fidelity,
        "probabilities": {int(code): float(told[code]) for code in sorted(told)},
    }


class _Fidelities:
    """Measure the backstory of each person once in a run."""

    def __init__(self) -> None:
        self._known: dict[tuple[Profile, int], float] = {}
        self._lock = threading.Lock()

    def __call__(self, profile: Profile, prediction: dspy.Prediction) -> float | None:
        backstory = prediction.get("backstory")
        if not backstory or not profile.facts:
            return None
        key = (profile, hash(backstory))
        with self._lock:
            if key not in self._known:
                self._known[key] = backstory_fidelity(profile.facts, backstory)
            return self._known[key]
