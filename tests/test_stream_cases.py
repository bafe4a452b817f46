"""Cases as a stream: taken lazily, given back as they end, stopped at once; who comes when."""

import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import case, example
from simulating import QUESTIONS, Scripted, examples, local, plain, remote

from benchmarks.prefix_share import prompt_text, repeated_lengths
from benchmarks.simulate_runs import people
from valuesim_dspy import loop as loop_module
from valuesim_dspy.callscope import stop_event
from valuesim_dspy.case import Case
from valuesim_dspy.errors import BudgetExceededError, ConfigError, MissingDataError
from valuesim_dspy.loop import QUEUED, answer_cases, staggered, stream_cases, threads_for
from valuesim_dspy.modules import chat_adapter
from valuesim_dspy.program import ValueSim
from valuesim_dspy.usage import Budget, Meter

THREADS = 3
WAIT = 30


def endless(taken: list[int]) -> Iterator[tuple[int, dspy.Example]]:
    """Yield numbered cases without end, and take down which were taken."""
    for number in count():
        taken.append(number)
        yield number, example(QUESTIONS[number % len(QUESTIONS)])


def left_over() -> set[str]:
    """Return the names of threads that answer cases."""
    return {each.name for each in threading.enumerate() if each.name.startswith("case")}


def test_a_slow_case_holds_up_no_other() -> None:
    """The first case ends only after all others came: it comes last, with its number."""
    others_came = threading.Event()

    def act(asked: Case) -> int:
        if asked.question.id == QUESTIONS[0]:
            assert others_came.wait(WAIT)
        return 1

    seen = []
    rows = [(100 + at, each) for at, each in enumerate(examples())]
    with remote() as (lm, _):
        for number, outcome in stream_cases(Scripted(act), rows, lm=lm, threads=THREADS):
            seen.append(number)
            assert outcome.question == QUESTIONS[number - 100] and outcome.status == "answered"
            if len(seen) == len(rows) - 1:
                others_came.set()
    assert sorted(seen) == [number for number, _ in rows] and seen[-1] == 100


def test_cases_are_taken_as_there_is_room() -> None:
    """Of cases without end only a few more are taken than were answered; closing ends it."""
    taken: list[int] = []
    with remote() as (lm, _):
        stream = stream_cases(Scripted(lambda c: 1), endless(taken), lm=lm, threads=THREADS)
        with closing(stream):
            for answered, _ in enumerate(islice(stream, 200), 1):
                assert len(taken) <= answered + THREADS + QUEUED
        assert left_over() == set()
    assert 200 <= len(taken) <= 200 + THREADS + QUEUED


def test_in_the_process_a_case_is_taken_once_the_last_is_answered() -> None:
    """One at a time, in order, none ahead."""
    taken: list[int] = []
    stream = stream_cases(Scripted(lambda c: 1), endless(taken), lm=local([]), threads=8)
    for number, _ in islice(stream, 20):
        assert taken == list(range(number + 1))
    stream.close()
    assert len(taken) == 20


def test_closing_ends_waits_and_starts_nothing() -> None:
    """Cases in flight are told to stop, and what was queued never starts."""
    started: list[str] = []

    def act(asked: Case) -> int:
        started.append(asked.question.id)
        stop = stop_event()
        assert stop is not None
        if len(started) > 1:
            assert stop.wait(WAIT)
        return 1

    with remote() as (lm, _):
        stream = stream_cases(Scripted(act), endless([]), lm=lm, threads=THREADS)
        next(stream)
        stream.close()
    assert len(started) <= 1 + THREADS and left_over() == set()
    assert stop_event() is None


@pytest.mark.parametrize(
    "stop",
    [BudgetExceededError("calls", 1, 1), ConfigError("too long"), MissingDataError("a", "b")],
)
def test_what_is_in_flight_when_the_run_ends_is_not_lost(stop: Exception) -> None:
    """Cases that end after the error of another still come; then the error is raised."""
    both = threading.Barrier(2)

    def act(asked: Case) -> int:
        if asked.question.id not in QUESTIONS[:2]:
            return 1
        both.wait(WAIT)
        if asked.question.id == QUESTIONS[0]:
            raise stop
        told = stop_event()
        assert told is not None and told.wait(WAIT)
        return 1

    seen = []
    with remote() as (lm, _), pytest.raises(type(stop)) as caught:
        stream = stream_cases(Scripted(act), enumerate(examples()), lm=lm, threads=2)
        seen.extend(number for number, _ in stream)
    assert caught.value is stop and 1 in seen and 0 not in seen and left_over() == set()


def test_after_an_error_no_further_case_is_taken() -> None:
    """The rows are read no further than they were when the run ended."""
    taken: list[int] = []

    def act(asked: Case) -> int:
        raise ConfigError("nothing works")

    with remote() as (lm, _), pytest.raises(ConfigError, match="nothing works"):
        list(stream_cases(Scripted(act), endless(taken), lm=lm, threads=THREADS))
    assert len(taken) <= THREADS + QUEUED


def test_an_error_of_the_rows_ends_the_run() -> None:
    """Rows that cannot be read are no failed case."""

    def rows() -> Iterator[tuple[int, dspy.Example]]:
        yield 0, example()
        raise OSError("the file is gone")

    with remote() as (lm, _), pytest.raises(OSError, match="the file is gone"):
        list(stream_cases(Scripted(lambda c: 1), rows(), lm=lm, threads=THREADS))
    assert left_over() == set()


@pytest.mark.parametrize("threads", [1, 4])
def test_a_stream_says_what_the_loop_says(threads: int) -> None:
    """Whatever the order, each number has the outcome that `answer_cases` gives."""
    rows = examples(QUESTIONS[:4])
    with remote() as (lm, _):
        listed = answer_cases(ValueSim("vote"), rows, lm=lm, threads=threads)
        found = dict(stream_cases(ValueSim("vote"), enumerate(rows), lm=lm, threads=threads))
    assert [plain(found[at]) for at in range(len(listed))] == [plain(each) for each in listed]


def test_a_budget_ends_a_stream_with_exactly_its_calls() -> None:
    """Not one call more than allowed is sent, and the answers paid for come before the error."""
    meter = Meter("run", budget=Budget(calls=5))
    seen = []
    with remote(meter=meter) as (lm, server), pytest.raises(BudgetExceededError):
        rows = enumerate(examples())
        for _, outcome in stream_cases(ValueSim("single"), rows, lm=lm, threads=THREADS):
            seen.append(outcome)
    assert len(server.requests) == 5 == meter.paid.calls == sum(each.paid for each in seen)


def test_stories_are_remembered_while_their_people_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is kept of earlier people is bounded; who was asked last is forgotten last."""
    measured: list[str] = []

    def count_up(facts: Any, backstory: str) -> float:
        measured.append(backstory)
        return 0.5

    monkeypatch.setattr(loop_module, "backstory_fidelity", count_up)
    monkeypatch.setattr(loop_module, "STORIES", 2)
    faithful = loop_module._Fidelities()
    for story in ("a", "b", "a", "c", "a", "b"):
        assert faithful(case().profile, dspy.Prediction(backstory=story)) == 0.5
    assert measured == ["a", "b", "c", "b"] and len(faithful._known) == 2


def test_threads_are_more_than_calls_and_one_in_the_process() -> None:
    """Some cases wait for a backstory or are between calls."""
    assert threads_for(None) == threads_for(local([])) == 1
    for limit in (1, 8, 64):
        throttle = SimpleNamespace(limits=SimpleNamespace(in_flight=limit))
        lm: Any = SimpleNamespace(in_process=False, throttle=throttle)
        assert limit < threads_for(lm) <= 2 * limit


items = st.lists(st.lists(st.integers(), max_size=4), max_size=8)


@given(items, st.integers(0, 10))
def test_staggering_keeps_every_item_and_each_persons_order(
    asked: list[list[int]], ahead: int
) -> None:
    """Nothing is lost or twice, and a person's items stay in order."""
    numbered = [[(who, at) for at in range(len(each))] for who, each in enumerate(asked)]
    found = list(staggered(numbered, ahead))
    assert sorted(found) == [item for each in numbered for item in each]
    for each in numbered:
        assert [item for item in found if item in each] == each


@given(st.integers(0, 5), st.integers(1, 12))
def test_first_items_come_so_many_people_ahead(ahead: int, n: int) -> None:
    """Before a person's second item, the first of the next `ahead` people came, and no more."""
    found = list(staggered([[f"{who}a", f"{who}b", f"{who}c"] for who in range(n)], ahead))
    for who in range(n):
        before = found[: found.index(f"{who}b")]
        begun = [item for item in before if item.endswith("a")]
        assert begun == [f"{each}a" for each in range(min(n, who + ahead + 1))]


def test_people_are_read_as_far_as_they_are_needed() -> None:
    """Of people without end, no more are read than come early."""
    read: list[int] = []

    def everyone() -> Iterator[list[int]]:
        for who in count():
            read.append(who)
            yield [who] * 10

    found = staggered(everyone(), 2)
    assert list(islice(found, 3)) == [0, 1, 2] and read == [0, 1, 2]
    assert list(islice(found, 9)) == [0] * 9 and read == [0, 1, 2]
    assert list(staggered([[1, 2], [3, 4]], 0)) == [1, 2, 3, 4]


def read_anew(who: list[int], kept: int) -> int:
    """Return how many prompts a server reads in full that keeps the last so many prefixes."""
    prefixes: list[int] = []
    anew = 0
    for each in who:
        anew += each not in prefixes
        prefixes = [*(other for other in prefixes if other != each), each][-kept:]
    return anew


def test_staggering_costs_no_shared_prefix() -> None:
    """As many characters repeat an earlier prompt as one by one; few people's are kept."""
    signature = ValueSim("single").direct.answer.signature

    def prompt(each: dspy.Example) -> str:
        inputs = ValueSim("single").inputs(each.case)
        return prompt_text(chat_adapter().format(signature, [], inputs))

    asked = [[prompt(each) for each in person] for person in people(20, 5)]
    repeated = [sum(repeated_lengths(staggered(asked, ahead))) for ahead in (0, 3)]
    assert repeated[1] >= repeated[0] > 0.7 * sum(len(text) for each in asked for text in each)
    for ahead in range(4):
        who = list(staggered([[at] * 10 for at in range(20)], ahead))
        assert read_anew(who, kept=2 * ahead + 1) == 20
    assert read_anew([*range(20)] * 10, kept=4) == 200


def test_as_many_are_begun_at_the_start_as_can_be() -> None:
    """Nobody's backstory is there yet, so all of them are written at once; then as ever."""
    people = [[f"{person}{item}" for item in range(3)] for person in "abcde"]
    found = list(staggered(people, 1, begin=3))
    assert found[:4] == ["a0", "b0", "c0", "d0"]
    assert found[4:11] == ["a1", "a2", "b1", "b2", "c1", "c2", "e0"]
    assert sorted(found) == sorted(item for person in people for item in person)
    assert list(staggered(people, 1, begin=1)) == list(staggered(people, 1))
    assert list(staggered(people[:2], 1, begin=9)) == ["a0", "b0", "a1", "a2", "b1", "b2"]
