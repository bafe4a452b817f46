"""The one loop: order, threads, failures, stops, counts, fidelity, the table."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import dspy
import pandas as pd
import pytest
from loopback import LoopbackServer, Reply
from people import case, example, prompt_of, reply, scripted_lm

from benchmarks.prefix_share import lexical_reply
from valuesim_dspy import simulate as simulate_module
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case, Profile
from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    InvalidAnswerError,
    MissingDataError,
    PredictionError,
)
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.lm import MeteredLM, make_lm
from valuesim_dspy.own import own_profile
from valuesim_dspy.program import ValueSim
from valuesim_dspy.roles import LMRole
from valuesim_dspy.simulate import Outcome, outcomes_frame, simulate
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.usage import Budget, Meter

QUESTIONS = ("Q69", "Q70", "Q71", "Q72", "Q73", "Q74", "Q241", "Q8")
STORY = {"backstory": "You live in Japan. Family is very important in your life."}
KEY = "sk-canary-0123456789abcdef"


class Scripted(dspy.Module):
    """A program of the call shape that does what a test says, without a language model."""

    def __init__(self, act: Callable[[Case], Any]) -> None:
        super().__init__()
        self.act = act

    def forward(self, case: Case) -> dspy.Prediction:
        """Answer, or raise."""
        answer = self.act(case)
        return dspy.Prediction(answer=answer, analysis="", backstory="", views={})


def examples(questions: tuple[str, ...] = QUESTIONS) -> list[dspy.Example]:
    """Return one example a question, all of one person."""
    return [example(question, 2) for question in questions]


@contextmanager
def remote(
    answer: Any = lexical_reply, *, meter: Meter | None = None, **server: Any
) -> Iterator[tuple[MeteredLM, LoopbackServer]]:
    """Yield an LM behind a loopback server that computes its answers, and the server."""
    with LoopbackServer(answer, **server) as running, ResponseCache().installed():
        role = LMRole(model="openai/test", api_base=running.url, num_retries=0)
        yield make_lm(role, name="task_lm", meter=meter), running


def local(answers: Any, **known: Any) -> MeteredLM:
    """Return an LM in the process with prepared answers."""
    return scripted_lm(ScriptedEngine(answers), **known)


def plain(outcome: Outcome) -> dict[str, Any]:
    """Return what does not depend on the clock or on who paid first."""
    fields = dataclasses.asdict(outcome)
    return {name: fields[name] for name in fields if name not in ("seconds", "paid")}


def test_outcomes_come_in_the_order_of_the_examples() -> None:
    """One outcome each, with person, question, truth and answer; reported in the same order."""
    seen: list[Outcome] = []
    found = simulate(Scripted(lambda c: c.question.codes[0]), examples(), on_outcome=seen.append)
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
    (outcome,) = simulate(Scripted(lambda c: 1), [unknown])
    assert outcome.truth is None and outcome.answer == 1


def test_no_examples_give_no_outcomes() -> None:
    """An empty set is no error."""
    assert simulate(Scripted(lambda c: 1), []) == []


def test_threads_change_nothing_but_the_time() -> None:
    """Over HTTP, four cases in flight give what one at a time gives, in the same order."""
    people = [
        *examples(),
        *(dspy.Example(case=Case(other(), each.case.question), answer=1) for each in examples()),
    ]
    found = []
    for threads in (1, 4):
        with remote() as (lm, server):
            found.append(simulate(ValueSim(), people, lm=lm, threads=threads))
            assert len(server.requests) == lm.meter.paid.calls
    one, four = ([plain(outcome) for outcome in run] for run in found)
    assert one == four
    assert sum(o.paid for o in found[0]) == sum(o.paid for o in found[1])
    assert {outcome["status"] for outcome in one} == {"answered"}


def other() -> Profile:
    """Return another person than `people.person`."""
    return own_profile({"Q1": 3, "Q57": 1, "Q64": 1, "Q65": 1, "Q182": 2}, country="DEU")


def test_cases_run_at_once_where_the_model_is_elsewhere() -> None:
    """With four threads, four cases wait for each other; with one this could not end."""
    together = threading.Barrier(4)

    def act(asked: Case) -> int:
        together.wait(timeout=30)
        return 1

    with remote() as (lm, _):
        found = simulate(Scripted(act), examples(QUESTIONS[:4]), lm=lm, threads=4)
    assert [outcome.status for outcome in found] == ["answered"] * 4


def test_a_model_in_the_process_is_asked_by_one_thread() -> None:
    """Threads would only contend for the interpreter."""
    names = set()

    def act(asked: Case) -> int:
        names.add(threading.current_thread().name)
        return 1

    simulate(Scripted(act), examples(), lm=local([]), threads=8)
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
        found = simulate(Scripted(act), examples(), lm=lm, threads=threads)
    failed = {o.question: o for o in found if o.status != "answered"}
    assert set(failed) == {"Q71", "Q72"} and len(found) == len(QUESTIONS)
    assert {o.status for o in failed.values()} == {"failed"}
    assert failed["Q71"].reason == "nothing came back"
    assert failed["Q72"].reason == "ZeroDivisionError: division by zero"
    assert failed["Q71"].answer is None and failed["Q71"].views == {}


def test_an_engine_that_breaks_fails_its_case_alone() -> None:
    """An error below DSPy is a failed case, and its predecessors' calls are counted."""

    def answer(request: Any) -> Any:
        if "political parties" in prompt_of(request):
            raise OSError("broken")
        return reply(2)

    with ResponseCache().installed():
        lm = local(answer)
        found = simulate(ValueSim("single"), examples(("Q71", "Q72", "Q73")), lm=lm)
    assert [outcome.status for outcome in found] == ["answered", "failed", "answered"]
    assert "broken" in found[1].reason and found[1].calls == 0


def test_no_option_after_all_retries_is_invalid() -> None:
    """The status tells a model that names no option from one that fails; the reply is not kept."""
    with ResponseCache().installed():
        lm = local([reply(9), reply(8), reply(7), reply(1)])
        found = simulate(ValueSim("single"), examples(("Q69", "Q70")), lm=lm)
    assert [outcome.status for outcome in found] == ["invalid", "answered"]
    assert found[0].answer is None and found[0].calls == found[0].paid == 3
    assert found[0].reason == "Q69: no attempt gave one of the codes offered"


def test_a_spent_budget_stops_and_raises() -> None:
    """What was answered before is reported; not one call more than allowed is sent."""
    seen: list[Outcome] = []
    meter = Meter("run", budget=Budget(calls=3))
    with remote(meter=meter) as (lm, server), pytest.raises(BudgetExceededError):
        simulate(ValueSim("single"), examples(), lm=lm, on_outcome=seen.append)
    assert [outcome.question for outcome in seen] == list(QUESTIONS[:3])
    assert len(server.requests) == 3 == meter.paid.calls


def test_a_budget_holds_among_threads() -> None:
    """With cases and perspectives in flight the limit on calls is still exact."""
    meter = Meter("run", budget=Budget(calls=6))
    with remote(meter=meter) as (lm, server), pytest.raises(BudgetExceededError):
        simulate(ValueSim(), examples(), lm=lm, threads=4)
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
        simulate(program, examples(("Q69",)), lm=lm)


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
        simulate(Scripted(act), examples(), lm=lm, threads=threads, on_outcome=seen.append)
    assert caught.value is error
    assert [outcome.question for outcome in seen] == ["Q69", "Q70"]


def test_a_context_that_is_too_small_ends_the_run_before_any_call() -> None:
    """It would fail every case the same way."""
    engine = ScriptedEngine([])
    lm = scripted_lm(engine, context=300, max_tokens=100)
    with ResponseCache().installed(), pytest.raises(ConfigError, match=r"task_lm\.context"):
        simulate(ValueSim("single"), examples(), lm=lm)
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
    monkeypatch.setattr(simulate_module, "ThreadPoolExecutor", _Watched)
    started: list[str] = []

    def act(asked: Case) -> int:
        started.append(asked.question.id)
        if asked.question.id != QUESTIONS[0]:
            assert gate.wait(timeout=5)
        return 1

    def interrupt(outcome: Outcome) -> None:
        raise stop

    before = set(threading.enumerate())
    with remote() as (lm, _), pytest.raises(stop) as caught:
        simulate(Scripted(act), examples(), lm=lm, threads=3, on_outcome=interrupt)
    assert gate.is_set() and 1 <= len(started) <= 4
    left = {t.name for t in set(threading.enumerate()) - before if t.name.startswith("case")}
    assert left == set() and caught.value.__traceback__ is not None


def test_every_row_counts_its_own_calls() -> None:
    """Calls needed include the backstory, calls paid do not pay for it twice."""
    with ResponseCache().installed():
        lm = local([STORY, reply(1), reply(1), reply(1), reply(1), reply(2), reply(3), reply(4)])
        first, second = simulate(ValueSim(), examples(("Q69", "Q70")), lm=lm)
    assert (first.calls, first.paid, first.decision) == (4, 4, "agreement")
    assert (second.calls, second.paid, second.decision) == (5, 4, "coordinator")
    assert first.views == {"cognitive": 1, "affective": 1, "behavioral": 1}
    assert second.views == {"cognitive": 1, "affective": 2, "behavioral": 3}
    assert second.answer == 4 and lm.meter.paid.calls == first.paid + second.paid
    assert second.tokens > first.tokens > 0 and first.seconds > 0


def test_tokens_are_those_of_the_calls_a_row_needed() -> None:
    """Prompt and completion tokens as the server reports them."""
    with remote() as (lm, _):
        (outcome,) = simulate(ValueSim("single"), examples(("Q69",)), lm=lm)
        assert outcome.tokens == lm.meter.needed.tokens > 0


@pytest.mark.parametrize("threads", [1, 4])
def test_a_warm_cache_changes_what_is_paid_and_nothing_else(threads: int) -> None:
    """The second run needs what the first needed, pays nothing and says the same."""
    with remote() as (lm, server):
        cold = simulate(ValueSim(), examples(), lm=lm, threads=threads)
        asked = len(server.requests)
        warm = simulate(ValueSim(), examples(), lm=lm, threads=threads)
        assert len(server.requests) == asked == sum(outcome.paid for outcome in cold)
    assert [plain(outcome) for outcome in warm] == [plain(outcome) for outcome in cold]
    assert [outcome.paid for outcome in warm] == [0] * len(QUESTIONS)


@pytest.mark.parametrize("threads", [1, 4])
def test_fidelity_is_measured_once_a_person(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One backstory serves all questions of a person, and so does its measure."""
    measured: list[int] = []
    real = simulate_module.backstory_fidelity

    def count(facts: Any, backstory: str) -> float:
        measured.append(len(facts))
        return real(facts, backstory)

    monkeypatch.setattr(simulate_module, "backstory_fidelity", count)
    both = [*examples(), *(dspy.Example(case=Case(other(), e.case.question)) for e in examples())]
    with remote() as (lm, _):
        found = simulate(ValueSim("vote"), both, lm=lm, threads=threads)
    assert sorted(measured) == sorted([len(case().profile.facts), len(other().facts)])
    assert all(outcome.fidelity is not None for outcome in found)


def test_two_threads_do_not_measure_one_story_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case that comes while its person's story is being measured waits for the figure."""
    faithful = simulate_module._Fidelities()
    story = dspy.Prediction(backstory="You live in Japan.")
    found: list[float | None] = []
    second = threading.Thread(target=lambda: found.append(faithful(case().profile, story)))
    measured: list[str] = []

    def slow(facts: Any, backstory: str) -> float:
        measured.append(backstory)
        if not second.ident:
            second.start()
            second.join(timeout=0.2)
        return 0.5

    monkeypatch.setattr(simulate_module, "backstory_fidelity", slow)
    assert faithful(case().profile, story) == 0.5
    second.join(timeout=30)
    assert found == [0.5] and len(measured) == 1


def test_fidelity_is_none_where_there_is_no_story() -> None:
    """No backstory, no facts: nothing to measure, which is not the same as 0."""
    with ResponseCache().installed():
        (single,) = simulate(ValueSim("single"), examples(("Q69",)), lm=local([reply(1)]))
        nobody = dspy.Example(case=Case(own_profile({}), load_codebook()["Q69"]))
        (blank,) = simulate(ValueSim("vote"), [nobody], lm=local([reply(1)] * 3))
        (kept,) = simulate(ValueSim("vote"), examples(("Q69",)), lm=local([STORY] + [reply(1)] * 3))
    assert single.fidelity is None and blank.fidelity is None
    assert kept.fidelity == 2 / len(case().profile.facts)


def test_the_lm_in_force_is_the_one_given_and_only_meanwhile() -> None:
    """A run sets nothing globally."""
    before = dspy.settings.lm
    with ResponseCache().installed():
        simulate(ValueSim("single"), examples(("Q69",)), lm=local([reply(1)]))
    assert dspy.settings.lm is before


def echo(messages: Any) -> Reply:
    """Refuse a request as some servers do: with all of it in the message."""
    return Reply(422, "invalid input: " + messages[-1]["content"].replace("\n", " "))


@pytest.mark.parametrize(
    "error",
    [
        lambda c: ValueError(f"cannot use {c.profile.facts[1].text!r}"),
        lambda c: KeyError(c.profile.facts_text),
        lambda c: RuntimeError(f"prompt: {c.profile.facts_text.upper()}"),
        lambda c: InvalidAnswerError("Q69", c.profile.facts_text, (1, 2)),
    ],
)
def test_a_reason_tells_nothing_of_a_person(error: Callable[[Case], Exception]) -> None:
    """Whatever an error quotes, its reason is one line without a fact."""

    def act(asked: Case) -> int:
        raise error(asked)

    (outcome,) = simulate(Scripted(act), examples(("Q69",)))
    assert outcome.reason and "\n" not in outcome.reason
    for fact in case().profile.facts:
        for part in (fact.text, fact.text[:24], fact.text[-24:]):
            assert part.casefold() not in outcome.reason.casefold()


def test_a_server_that_echoes_the_prompt_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message is left out, its kind and status stay, and no key shows."""
    monkeypatch.setenv("MY_KEY", KEY)
    with LoopbackServer(echo) as server, ResponseCache().installed():
        role = LMRole(model="openai/x", api_base=server.url, api_key_env="MY_KEY", num_retries=0)
        lm = make_lm(role, name="task_lm")
        (outcome,) = simulate(ValueSim("single"), examples(("Q69",)), lm=lm)
        assert server.keys == [KEY]
    assert outcome.status == "failed" and "important in your life" not in outcome.reason
    assert outcome.reason.endswith("its text repeats what is known of the person")
    assert KEY not in outcome.reason and "\n" not in outcome.reason


def test_a_program_whose_facts_cannot_be_made_fails_that_case() -> None:
    """An answer that the codebook does not know fails its case, and describing it fails not."""
    broken = Profile("k", {"Q9999": 1}, load_codebook())
    bad = dspy.Example(case=Case(broken, load_codebook()["Q69"]), answer=1)
    with ResponseCache().installed():
        found = simulate(ValueSim("single"), [bad, example("Q69")], lm=local([reply(1)]))
    assert [outcome.status for outcome in found] == ["failed", "answered"]


ROWS = (
    Outcome("a", "Q1", 1, 2, "answered", "", "agreement", {"cognitive": 2}, 0.5, 4, 3, 100, 0.1),
    Outcome("a", "Q2", None, None, "failed", "no answer"),
    Outcome("b", "Q1", 3, 3, "answered", "", "vote", {"cognitive": 1, "affective": 3}),
)
TYPES = {
    "truth": "Int64",
    "answer": "Int64",
    "view_cognitive": "Int64",
    "view_affective": "Int64",
    "fidelity": "float64",
    "seconds": "float64",
    "calls": "int64",
    "paid": "int64",
    "tokens": "int64",
}


def test_the_table_has_one_row_each_and_typed_columns() -> None:
    """Codes are integers that may be missing; nothing turns into a float or an object."""
    frame = outcomes_frame(ROWS)
    assert len(frame) == 3 and "views" not in frame
    assert {name: str(frame[name].dtype) for name in TYPES} == TYPES
    for name in ("respondent", "question", "status", "reason", "decision"):
        assert pd.api.types.is_string_dtype(frame[name]), name
    assert frame["answer"].isna().tolist() == [False, True, False]
    assert frame["view_affective"].tolist()[2] == 3
    assert frame["fidelity"].isna().tolist() == [False, True, True]
    assert frame["reason"].tolist() == ["", "no answer", ""]


@pytest.mark.parametrize("rows", [(), ROWS[1:2]])
def test_the_table_has_its_columns_whatever_the_rows(rows: tuple[Outcome, ...]) -> None:
    """No rows, or failed ones alone, give the same columns and types, without views."""
    frame = outcomes_frame(rows)
    assert len(frame) == len(rows)
    types = {name: kind for name, kind in TYPES.items() if not name.startswith("view_")}
    assert {name: str(frame[name].dtype) for name in types} == types
    assert frame.columns.tolist()[:5] == ["respondent", "question", "truth", "answer", "status"]
