"""The one loop: order, threads, failures, stops, counts, fidelity, the table."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest
from people import case, prompt_of, reply, scripted_lm
from simulating import QUESTIONS, Scripted, examples, local, other, plain, remote

from valuesim_dspy import loop as loop_module
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case
from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    InvalidAnswerError,
    MissingDataError,
    PredictionError,
)
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.program import ValueSim
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.usage import Budget, Meter


def test_outcomes_come_in_the_order_of_the_examples() -> None:
    """One outcome each, with person, question, truth and answer; reported in the same order."""
    seen: list[Outcome] = []
    found = answer_cases(
        Scripted(lambda c: c.question.codes[0]), examples(), on_outcome=seen.append
    )
    assert [outcome.question for outcome in found] == list(QUESTIONS)
    assert seen == found
    for outcome in found:
        assert outcome.respondent == case().profile.key
        assert outcome.answer == load_codebook()[outcome.question].codes[0]
        assert (outcome.truth, outcome.status, outcome.reason) == (2, "answered", "")
        assert outcome.decision == "direct" and outcome.calls == outcome.paid == 0


def test_an_unknown_truth_is_none() -> None:
    """People without an answer of their own are simulated too."""
    unknown = dspy.Example(case=case()).with_inputs("case")
    (outcome,) = answer_cases(Scripted(lambda c: 1), [unknown])
    assert outcome.truth is None and outcome.answer == 1


def test_no_examples_give_no_outcomes() -> None:
    """An empty set is no error."""
    assert answer_cases(Scripted(lambda c: 1), []) == []


def test_threads_change_nothing_but_the_time() -> None:
    """Over HTTP, four cases in flight give what one at a time gives, in the same order."""
    people = [
        *examples(),
        *(dspy.Example(case=Case(other(), each.case.question), answer=1) for each in examples()),
    ]
    found = []
    for threads in (1, 4):
        with remote() as (lm, server):
            found.append(answer_cases(ValueSim(), people, lm=lm, threads=threads))
            assert len(server.requests) == lm.meter.paid.calls
    one, four = ([plain(outcome) for outcome in run] for run in found)
    assert one == four
    assert sum(o.paid for o in found[0]) == sum(o.paid for o in found[1])
    assert {outcome["status"] for outcome in one} == {"answered"}


def test_cases_run_at_once_where_the_model_is_elsewhere() -> None:
    """With four threads, four cases wait for each other; with one this could not end."""
    together = threading.Barrier(4)

    def act(asked: Case) -> int:
        together.wait(timeout=30)
        return 1

    with remote() as (lm, _):
        found = answer_cases(Scripted(act), examples(QUESTIONS[:4]), lm=lm, threads=4)
    assert [outcome.status for outcome in found] == ["answered"] * 4


def test_a_model_in_the_process_is_asked_by_one_thread() -> None:
    """Threads would only contend for the interpreter."""
    names = set()

    def act(asked: Case) -> int:
        names.add(threading.current_thread().name)
        return 1

    answer_cases(Scripted(act), examples(), lm=local([]), threads=8)
    assert names == {threading.current_thread().name}


@pytest.mark.parametrize("threads", [1, 3])
def test_one_failing_case_is_recorded_and_the_others_go_on(threads: int) -> None:
    """A failure is a row of its own: no answer, a reason, what the calls took."""

    def act(asked: Case) -> int:
        if asked.question.id == "Q71":
            raise PredictionError("nothing came back")
        if asked.question.id == "Q72":
            raise ZeroDivisionError("division by zero")
        return 1

    with remote() as (lm, _):
        found = answer_cases(Scripted(act), examples(), lm=lm, threads=threads)
    failed = {o.question: o for o in found if o.status != "answered"}
    assert set(failed) == {"Q71", "Q72"} and len(found) == len(QUESTIONS)
    assert {o.status for o in failed.values()} == {"failed"}
    assert failed["Q71"].reason == "nothing came back"
    assert failed["Q72"].reason == "ZeroDivisionError: division by zero"
    assert failed["Q71"].answer is None and failed["Q71"].views == {}


@pytest.mark.parametrize("kind", [PredictionError, RuntimeError])
def test_no_reason_repeats_what_is_known_of_a_person(kind: type[Exception]) -> None:
    """Also not one that this package words around what a server said."""

    def act(asked: Case) -> int:
        raise kind(f"the embedder failed: input too long: {asked.profile.facts[0].text!r}")

    (outcome,) = answer_cases(Scripted(act), examples(QUESTIONS[:1]))
    said = f"{kind.__name__}: its text repeats what is known of the person"
    assert (outcome.status, outcome.reason) == ("failed", said)


def test_an_engine_that_breaks_fails_its_case_alone() -> None:
    """An error below DSPy is a failed case, and its predecessors' calls are counted."""

    def answer(request: Any) -> Any:
        if "political parties" in prompt_of(request):
            raise OSError("broken")
        return reply(2)

    with ResponseCache().installed():
        lm = local(answer)
        found = answer_cases(ValueSim("single"), examples(("Q71", "Q72", "Q73")), lm=lm)
    assert [outcome.status for outcome in found] == ["answered", "failed", "answered"]
    assert "broken" in found[1].reason and found[1].calls == 0


def test_no_option_after_all_retries_is_invalid() -> None:
    """The status tells a model that names no option from one that fails; the reply is not kept."""
    with ResponseCache().installed():
        lm = local([reply(9), reply(8), reply(7), reply(1)])
        found = answer_cases(ValueSim("single"), examples(("Q69", "Q70")), lm=lm)
    assert [outcome.status for outcome in found] == ["invalid", "answered"]
    assert found[0].answer is None and found[0].calls == found[0].paid == 3
    assert found[0].reason == "Q69: no attempt gave one of the codes offered"


def test_a_spent_budget_stops_and_raises() -> None:
    """What was answered before is reported; not one call more than allowed is sent."""
    seen: list[Outcome] = []
    meter = Meter("run", budget=Budget(calls=3))
    with remote(meter=meter) as (lm, server), pytest.raises(BudgetExceededError):
        answer_cases(ValueSim("single"), examples(), lm=lm, on_outcome=seen.append)
    assert [outcome.question for outcome in seen] == list(QUESTIONS[:3])
    assert len(server.requests) == 3 == meter.paid.calls


def test_a_budget_holds_among_threads() -> None:
    """With cases and perspectives in flight the limit on calls is still exact."""
    meter = Meter("run", budget=Budget(calls=6))
    with remote(meter=meter) as (lm, server), pytest.raises(BudgetExceededError):
        answer_cases(ValueSim(), examples(), lm=lm, threads=4)
    assert len(server.requests) == 6 == meter.paid.calls


class Raising(dspy.Module):
    """A perspective that raises."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, case: Case, inputs: Any) -> dspy.Prediction:
        """Raise."""
        raise self.error


@pytest.mark.parametrize(
    "stop",
    [BudgetExceededError("calls", 1, 1), ConfigError("too long"), MissingDataError("a", "b")],
)
def test_what_ends_the_run_wins_over_an_invalid_answer(stop: Exception) -> None:
    """Where one perspective is invalid and a later one is stopped, the run stops."""
    program = ValueSim("facts-only")
    program.panel.cognitive = Raising(InvalidAnswerError("Q69", "x", (1, 2)))
    program.panel.behavioral = Raising(stop)
    with remote() as (lm, _), pytest.raises(type(stop)):
        answer_cases(program, examples(("Q69",)), lm=lm)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "error", [ConfigError("too long"), MissingDataError("no peers", "bind some")]
)
def test_what_concerns_the_whole_run_ends_it(error: Exception, threads: int) -> None:
    """A configuration that cannot work is no failure of a case."""

    def act(asked: Case) -> int:
        if asked.question.id == "Q71":
            raise error
        return 1

    seen: list[Outcome] = []
    with remote() as (lm, _), pytest.raises(type(error)) as caught:
        answer_cases(Scripted(act), examples(), lm=lm, threads=threads, on_outcome=seen.append)
    assert caught.value is error
    assert [outcome.question for outcome in seen] == ["Q69", "Q70"]


def test_a_context_that_is_too_small_ends_the_run_before_any_call() -> None:
    """It would fail every case the same way."""
    engine = ScriptedEngine([])
    lm = scripted_lm(engine, context=300, max_tokens=100)
    with ResponseCache().installed(), pytest.raises(ConfigError, match=r"task_lm\.context"):
        answer_cases(ValueSim("single"), examples(), lm=lm)
    assert engine.requests == []


class _Watched(ThreadPoolExecutor):
    """Opens a gate once what is queued has been cancelled."""

    gate: threading.Event

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        if cancel_futures:
            self.gate.set()
        super().shutdown(wait=wait)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_leaves_nothing_running(
    stop: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while outcomes come in: what is in flight ends, what is queued never starts."""
    gate = threading.Event()
    _Watched.gate = gate
    monkeypatch.setattr(loop_module, "ThreadPoolExecutor", _Watched)
    started: list[str] = []

    def act(asked: Case) -> int:
        started.append(asked.question.id)
        if asked.question.id != QUESTIONS[0]:
            assert gate.wait(timeout=30)
        return 1

    def interrupt(outcome: Outcome) -> None:
        raise stop

    before = set(threading.enumerate())
    with remote() as (lm, _), pytest.raises(stop) as caught:
        answer_cases(Scripted(act), examples(), lm=lm, threads=3, on_outcome=interrupt)
    assert gate.is_set() and 1 <= len(started) <= 4
    left = {t.name for t in set(threading.enumerate()) - before if t.name.startswith("case")}
    assert left == set() and caught.value.__traceback__ is not None
