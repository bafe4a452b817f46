"""The one loop over cases: every benchmark and every simulation runs here."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dspy

from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    InvalidAnswerError,
    MissingDataError,
)
from valuesim_dspy.fidelity import backstory_fidelity
from valuesim_dspy.lm import MeteredLM, describe_error

if TYPE_CHECKING:
    import pandas as pd

    from valuesim_dspy.case import Case, Profile

STOPS = (BudgetExceededError, ConfigError, MissingDataError)
"""Errors that concern the whole run: they end it, everything else fails one case."""


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Args:
        respondent: The salted key of the person.
        question: The question's id.
        truth: The code the respondent gave, or None when it is not known.
        answer: The code predicted, or None when the case failed.
        status: `answered`; `invalid`, no option after all retries; `failed`, anything else.
        reason: Why it failed, in one line without a respondent's data; "" when answered.
        decision: `direct`, `agreement`, `coordinator` or `vote`; "" when it failed.
        views: Perspective to code.
        fidelity: Share of the facts that the backstory keeps, in [0, 1]; None without one.
        calls: Language-model calls that the case needed, the backstory included.
        paid: Those of them that no cache answered.
        tokens: Prompt and completion tokens needed.
        seconds: Wall-clock time.
    """

    respondent: str
    question: str
    truth: int | None
    answer: int | None
    status: str
    reason: str = ""
    decision: str = ""
    views: Mapping[str, int] = field(default_factory=dict)
    fidelity: float | None = None
    calls: int = 0
    paid: int = 0
    tokens: int = 0
    seconds: float = 0.0


def simulate(
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
    """
    faithful = _Fidelities()

    def one(example: dspy.Example) -> Outcome:
        return _guarded(program, example, lm, faithful)

    outcomes = []
    for outcome in _in_order(one, examples, 1 if lm is None or lm.in_process else threads):
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
    return outcomes


def _in_order(
    one: Callable[[dspy.Example], Outcome], examples: Sequence[dspy.Example], threads: int
) -> Iterator[Outcome]:
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
    }
    try:
        with dspy.context(**own_lm):
            prediction = program(case=case)
        known |= _success(prediction, faithful(case.profile, prediction))
    except STOPS:
        raise
    except InvalidAnswerError as error:
        reason = f"{error.question}: no attempt gave one of the codes offered"
        known |= {"answer": None, "status": "invalid", "reason": reason}
    except Exception as error:  # noqa: BLE001 - the one guard that records a failure and goes on
        known |= {"answer": None, "status": "failed", "reason": describe_error(error)}
    if meter is not None:
        needed = meter.needed
        known |= {
            "calls": needed.calls,
            "paid": meter.paid.calls,
            "tokens": needed.prompt_tokens + needed.completion_tokens,
        }
    return Outcome(**known, seconds=time.perf_counter() - start)


def _success(prediction: dspy.Prediction, fidelity: float | None) -> dict[str, Any]:
    views = prediction.get("views") or {}
    return {
        "answer": int(prediction.answer),
        "status": "answered",
        "decision": prediction.get("decision") or "direct",
        "views": {name: int(view["answer"]) for name, view in views.items()},
        "fidelity": fidelity,
    }


class _Fidelities:
    """Measure the backstory of each person once in a run."""

    def __init__(self) -> None:
        self._known: dict[tuple[Profile, int], float] = {}

    def __call__(self, profile: Profile, prediction: dspy.Prediction) -> float | None:
        backstory = prediction.get("backstory")
        if not backstory or not profile.facts:
            return None
        key = (profile, hash(backstory))
        if key not in self._known:
            self._known[key] = backstory_fidelity(profile.facts, backstory)
        return self._known[key]


def outcomes_frame(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return the outcomes as a table, one row each, views spread over `view_*` columns."""
    import pandas as pd

    rows = []
    for outcome in outcomes:
        row = {name: getattr(outcome, name) for name in Outcome.__dataclass_fields__}
        views = row.pop("views")
        rows.append(row | {f"view_{name}": code for name, code in views.items()})
    frame = pd.DataFrame(rows)
    names = [str(name) for name in frame]
    codes = [name for name in names if name in ("truth", "answer") or name.startswith("view_")]
    return frame.astype(dict.fromkeys(codes, "Int64"))
