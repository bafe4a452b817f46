"""The one loop over cases: every benchmark and every simulation runs here."""

from __future__ import annotations

import contextvars
import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import dspy

from valuesim_dspy.callscope import stopped_by
from valuesim_dspy.ending import Patience
from valuesim_dspy.errors import InvalidAnswerError, ValueSimError
from valuesim_dspy.fidelity import backstory_fidelity
from valuesim_dspy.lm import MeteredLM, describe_error
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.panel import calls_in_flight, spare_threads
from valuesim_dspy.preflight import STOPS as STOPS
from valuesim_dspy.throttle import StoppedError

if TYPE_CHECKING:
    from valuesim_dspy.case import Case, Profile

T = TypeVar("T")

QUEUED = 16
"""Cases that are taken before a thread is free, so that none waits for who reads the outcomes."""
STORIES = 1024
"""Backstories whose fidelity is remembered: more than there are people in flight."""
RUN = 4
"""Words in a row that an error and a fact may not share: a server may echo what it was sent."""

_WORD = re.compile(r"\w+")


def stream_cases(
    program: dspy.Module,
    numbered: Iterable[tuple[int, dspy.Example]],
    *,
    lm: MeteredLM | None = None,
    threads: int = 1,
) -> Generator[tuple[int, Outcome]]:
    """Put numbered cases to the program and yield each outcome as soon as it is there.

    Cases are taken lazily, a few more than are in flight, so that a million of them need no more
    memory than a thousand, and a slow one holds up no other. Closing the generator ends it: what
    is queued never starts, and what is in flight starts no further call that would be paid.
    DSPy's history, which keeps prompts, is the caller's to switch off (`disable_history`).

    Args:
        program: Anything of the call shape `predict(case) -> Prediction(answer, ...)`.
        numbered: A number, for the caller to tell by, and an example with `case` and, where
            known, `answer`; read in the thread that reads the outcomes.
        lm: Answers the calls and meters them; None for programs without a language model.
        threads: Cases in flight, see `threads_for`; 1 where the language model runs in this
            process.

    Yields:
        The number and what became of the case, in the order in which they end; in that of the
        cases where one is in flight at a time.

    Raises:
        BudgetExceededError: The budget is spent; what was answered is in the response cache.
        ConfigError: The run as a whole cannot work, such as a context budget too small.
        MissingDataError: Something the run needs is absent.
        ProgramStateError: The program was compiled for another model and says so.
    """
    if lm is not None and (require := getattr(program, "require_model", None)):
        require(lm.model)
    faithful, stop = _Fidelities(), threading.Event()

    def one(example: dspy.Example) -> Outcome:
        return _guarded(program, example, lm, faithful, stop)

    if lm is None or lm.in_process or threads <= 1:
        for number, example in numbered:
            yield number, one(example)
    else:
        with Patience(lm) as patience:
            yield from _at_once(one, numbered, threads, stop, patience)


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
        program: See `stream_cases`, also for what is raised.
        examples: Examples with `case` and, where known, `answer`.
        lm: See `stream_cases`.
        threads: Cases in flight; 1 where the language model runs in this process.
        on_outcome: Called in order as outcomes come in, for progress.
    """
    outcomes: list[Outcome] = []
    early: dict[int, Outcome] = {}
    # Closed at once, also where `on_outcome` raises: else its threads would go on asking.
    with closing(stream_cases(program, enumerate(examples), lm=lm, threads=threads)) as stream:
        for number, outcome in stream:
            early[number] = outcome
            while len(outcomes) in early:
                outcomes.append(early.pop(len(outcomes)))
                if on_outcome is not None:
                    on_outcome(outcomes[-1])
    return outcomes


def threads_for(lm: MeteredLM | None) -> int:
    """Return how many cases in flight keep as many calls in flight as the LM allows.

    Some cases wait for a backstory that another one has asked for, or are between two calls.
    """
    if lm is None or lm.in_process:
        return 1
    return spare_threads(calls_in_flight(lm))


def staggered(people: Iterable[Sequence[T]], ahead: int, begin: int = 0) -> Iterator[T]:
    """Put the first items of the next people before the rest of the current one's.

    A person's first question writes the backstory, for which all others wait; asked early, it is
    there when they come. Threads by questions a person, and one more, are enough for stories
    that take ten times as long as answers; a server that shares prefixes has to remember those
    of twice as many people.

    Args:
        people: The items of each person; read lazily, `ahead` people further than yielded.
        ahead: How many people's first items come early; 0 changes nothing.
        begin: How many are begun at the very start, where there is nothing else to do yet: as
            many as calls are in flight.

    Yields:
        Every item once, those of one person in their order.
    """
    begun: deque[Sequence[T]] = deque()
    most = max(ahead, begin)
    for person in people:
        if not person:
            continue
        yield person[0]
        begun.append(person)
        if len(begun) > most:
            most = ahead
        while len(begun) > most:
            yield from begun.popleft()[1:]
    for person in begun:
        yield from person[1:]


def _at_once(
    one: Callable[[dspy.Example], Outcome],
    numbered: Iterable[tuple[int, dspy.Example]],
    threads: int,
    stop: threading.Event,
    patience: Patience,
) -> Generator[tuple[int, Outcome]]:
    """Run cases in threads; after an error that ends the run, what is in flight still comes."""
    done: SimpleQueue[tuple[int, Future[Outcome]]] = SimpleQueue()
    cases, under_way, error = iter(numbered), 0, None
    with ThreadPoolExecutor(threads, thread_name_prefix="case") as pool:

        def begin(number: int, example: dspy.Example) -> None:
            # A context each: DSPy's settings are the caller's, and no case sees another's.
            future = pool.submit(contextvars.copy_context().run, one, example)
            future.add_done_callback(lambda ended: done.put((number, ended)))

        try:
            while True:
                wanted = threads + QUEUED - under_way if error is None else 0
                for number, example in islice(cases, wanted):
                    begin(number, example)
                    under_way += 1
                if not under_way:
                    break
                number, ended = done.get()
                under_way -= 1
                if ended.cancelled():
                    continue
                if failure := ended.exception():
                    pool.shutdown(wait=False, cancel_futures=True)
                    stop.set()
                    patience.begin(failure)
                    # What the others were stopped by, and not that they were.
                    if error is None or isinstance(error, StoppedError):
                        error = failure
                else:
                    yield number, ended.result()
        except BaseException as told:
            # Ctrl-C, or nobody reads on: what is in flight ends, what is queued never starts.
            pool.shutdown(wait=False, cancel_futures=True)
            stop.set()
            patience.begin(told)
            raise
    if error is not None:
        raise error


def _guarded(
    program: dspy.Module,
    example: dspy.Example,
    lm: MeteredLM | None,
    faithful: _Fidelities,
    stop: threading.Event,
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
        with dspy.context(**own_lm, trace=None), stopped_by(stop):
            prediction = program(case=case)
        known |= _success(prediction, faithful(case.profile, prediction))
    except STOPS:
        # Here, and not where outcomes are read: until then this thread would begin other cases.
        stop.set()
        raise
    except InvalidAnswerError as error:
        reason = f"{error.question}: no attempt gave one of the codes offered"
        known |= {"answer": None, "status": "invalid", "reason": reason}
    except Exception as error:  # noqa: BLE001 - the one guard that records a failure and goes on
        known |= {"answer": None, "status": "failed", "reason": _reason(error, case.profile)}
    if meter is not None:
        known |= {
            "calls": meter.needed.calls,
            "paid": meter.paid.calls,
            "tokens": meter.needed.tokens,
            "paid_tokens": meter.paid.tokens,
        }
    return Outcome(**known, seconds=time.perf_counter() - start)


def _reason(error: Exception, profile: Profile) -> str:
    """Describe an error; one whose text repeats what is known of the person by its type alone."""
    text = describe_error(error)
    told = f" {' '.join(_WORD.findall(text.lower()))} "
    facts: list[str] = []
    # Those that cannot be worded were told to nobody.
    with suppress(ValueSimError):
        facts = profile.facts_text.splitlines()
    for line in facts:
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
    """Measure the backstory of each person once, while their questions are asked."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, float] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, profile: Profile, prediction: dspy.Prediction) -> float | None:
        backstory = prediction.get("backstory")
        if not backstory or not profile.facts:
            return None
        # A hash, since a profile would keep all of the person's answers.
        key = hash((profile, backstory))
        with self._lock:
            if key not in self._known:
                self._known[key] = backstory_fidelity(profile.facts, backstory)
            self._known.move_to_end(key)
            while len(self._known) > STORIES:
                self._known.popitem(last=False)
            return self._known[key]
