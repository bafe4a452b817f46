"""Too many requests: waited for by all, none of a call's attempts, and not for ever."""

from __future__ import annotations

import logging
import threading
from typing import Any

import dspy
import pytest
from loopback import LoopbackServer, Reply
from misbehaving import Messages
from people import person

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.faults import HINTS, LONG, PATIENCE, Busy, Faults
from valuesim_dspy.limits import Limits
from valuesim_dspy.lm import MeteredLM, make_lm
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.paying import REFUSALS
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrying import Pauses
from valuesim_dspy.roles import LMRole
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.suspecting import TRIES
from valuesim_dspy.throttle import Throttle

GOOD = "[[ ## analysis ## ]]\nx\n\n[[ ## answer ## ]]\n1\n\n[[ ## completed ## ]]"


class Time:
    """A clock that moves on when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        with self._lock:
            self.now += seconds
            self.slept.append(seconds)

    async def asleep(self, seconds: float) -> None:
        """The same on an event loop."""
        self.sleep(seconds)


class Silent(LoopbackServer):
    """A server that never says when to come again."""

    def serve(self, path: str, body: dict[str, Any], key: str) -> Reply:
        """Answer without that header."""
        reply = super().serve(path, body, key)
        kept = {name: value for name, value in reply.headers.items() if name != "Retry-After"}
        return Reply(reply.status, reply.body, kept, reply.delay)


def remote(url: str, time: Time, *, in_flight: int = 1, **known: Any) -> MeteredLM:
    """Make an LM whose waits take no time, by the clock of the test."""
    role = LMRole(**{"model": "openai/test", "api_base": url, **known})
    pauses = Pauses(time.sleep, time.asleep)
    lm = make_lm(role, name="task_lm", limits=Limits(in_flight=in_flight), pauses=pauses)
    lm.throttle = Throttle(Limits(in_flight=in_flight), time)
    return lm


@pytest.mark.parametrize("in_flight", [1, 8])
def test_a_quota_of_the_minute_is_waited_for(in_flight: int) -> None:
    """Every case is answered, whatever the attempts of a call, as soon as there is more."""
    time, begun, count = Time(), [0.0], [0]
    lock = threading.Lock()

    def answer(messages: Messages) -> str | int:
        with lock:
            if time.now >= begun[0] + 60:
                begun[0], count[0] = time.now, 0
            count[0] += 1
            return GOOD if count[0] <= 10 else 429

    codebook = load_codebook()
    asked = [
        dspy.Example(case=Case(person(), each)).with_inputs("case")
        for each in list(codebook.questions.values())[60:95]
    ]
    with Silent(answer) as server, ResponseCache().installed():
        lm = remote(server.url, time, in_flight=in_flight, num_retries=0)
        outcomes = answer_cases(ValueSim("single"), asked, lm=lm, threads=in_flight)
        assert {outcome.status for outcome in outcomes} == {"answered"}
        assert len(server.requests) <= 35 + 3 * 12 * in_flight
    assert time.now - 1000 >= 3 * 60 - 1
    assert lm.throttle is not None and lm.throttle.refusals == len(time.slept)


def test_what_lasts_for_minutes_ends_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """After five of them, a trial, and few requests; it was told before that calls wait."""
    time = Time()
    with Silent(lambda messages: 429) as server, caplog.at_level(logging.WARNING):
        lm = remote(server.url, time)
        with pytest.raises(ConfigError) as caught:
            lm("hi")
        assert 8 <= len(server.requests) <= 16
    assert 300 <= time.now - 1000 <= 420
    assert '"too many requests" for 5 minutes and nothing else' in str(caught.value)
    assert "what was done is kept" in str(caught.value)
    assert [each.message.split(":")[0] for each in caplog.records] == ["waiting"]
    assert lm.throttle is not None and lm.throttle.under_way == 0


def test_other_faults_of_a_trial_tell_nothing_better() -> None:
    """Nothing was answered for five minutes all the same."""
    time = Time()

    def answer(messages: Messages) -> int:
        return 500 if "word ready" in messages[-1]["content"] else 429

    with Silent(answer) as server:
        with pytest.raises(ConfigError, match="too many requests"):
            remote(server.url, time)("hi")
        last = [body["messages"][-1]["content"] for body in server.requests[-1 - TRIES :]]
    assert last == ["Reply with the word ready."] * (1 + TRIES)


def test_a_prompt_that_alone_is_refused_fails_alone() -> None:
    """The trial is answered; from then on such prompts have the attempts of all others."""
    time = Time()

    def answer(messages: Messages) -> str | int:
        return 429 if "large" in messages[-1]["content"] else "fine"

    with Silent(answer) as server:
        lm = remote(server.url, time, num_retries=2)
        with pytest.raises(dspy.LMRateLimitError):
            lm("large 1")
        waited, sent = time.now, len(server.requests)
        for number in range(2, 6):
            time.sleep(PATIENCE)
            with pytest.raises(dspy.LMRateLimitError):
                lm(f"large {number}")
        assert len(server.requests) - sent <= 4 * 4 + 1
        assert time.now - waited < 4 * 60 + 4 * PATIENCE
        time.sleep(PATIENCE)
        assert lm("small") == ["fine"]


def test_a_prompt_that_is_refused_while_others_are_answered_fails_soon() -> None:
    """Its refusals count then, and are bounded; the others are answered all along."""
    time = Time()

    def answer(messages: Messages) -> str | int:
        return 429 if "large" in messages[-1]["content"] else "fine"

    with Silent(answer) as server:
        lm = remote(server.url, time, in_flight=2, num_retries=2)
        number = [0]

        def others(seconds: float) -> None:
            time.sleep(seconds)
            number[0] += 1
            assert lm(f"small {number[0]}") == ["fine"]

        lm.pauses.sleep = others
        with pytest.raises(dspy.LMRateLimitError):
            lm("large")
        assert len(server.requests) == 2 * REFUSALS + 3
    assert time.now - 1000 < 60


def test_a_billing_kind_of_refusal_ends_the_run_at_once() -> None:
    """Waiting brings no money."""
    body = b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    time = Time()
    with LoopbackServer(lambda messages: Reply(429, body)) as server:
        with pytest.raises(MissingDataError, match="wants to be paid"):
            remote(server.url, time)("hi")
        assert len(server.requests) == 1 and time.slept == []


def test_waits_double_up_to_a_minute_and_are_spread() -> None:
    """From half to all of 1, 2, 4, ... seconds; an answer begins anew."""
    busy = Busy()
    assert [busy.wait(None, 1.0, 0.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    busy.answered()
    assert [busy.wait(None, 0.0, 0.0) for _ in range(3)] == [0.5, 1, 2]
    assert (busy.lasted, busy.last) == (1.5, 2.0) and not busy.is_over(0.0)


def test_a_hint_is_believed_until_it_proves_wrong() -> None:
    """Up to a minute; "at once", again and again, is no time to come again."""
    busy = Busy()
    assert busy.wait(7.0, 1.0, 0.0) == 7 and busy.wait(1e9, 1.0, 0.0) == PATIENCE
    assert busy.wait(float("nan"), 1.0, 0.0) == 4 and busy.wait(-1.0, 1.0, 0.0) == 8
    busy.answered()
    waits = [busy.wait(0.0, 1.0, 0.0) for _ in range(HINTS + 2)]
    assert waits == [0.0] * HINTS + [16, 32]


def test_it_is_over_by_the_clock_too(caplog: pytest.LogCaptureFixture) -> None:
    """Also where the endpoint takes its time to refuse; it is told once that calls wait."""
    busy = Busy(patience=100.0)
    assert not busy.is_over(1e6)
    busy.wait(None, 0.0, 1000.0)
    assert not busy.is_over(1099.0) and busy.is_over(1100.0)
    for _ in range(LONG + 2):
        busy.wait(None, 0.0, 1000.0)
    assert len(caplog.records) == 1


def test_refusals_of_one_round_are_one_wait() -> None:
    """What was under way together tells one thing; the next round waits twice as long."""
    time = Time()
    throttle = Throttle(Limits(in_flight=8), time)
    slots = [throttle.take() for _ in range(8)]
    time.sleep(0.125)
    assert {throttle.refused(slot, None) for slot in slots} == {1.0}
    for slot in slots:
        throttle.give_back(slot)
    assert throttle.delay() == 1.0 and throttle.limit == 4
    time.sleep(1.0)
    late = throttle.take()
    time.sleep(0.125)
    assert throttle.refused(late, None) == 2.0
    throttle.succeeded(late)
    throttle.give_back(late)
    time.sleep(2.0)
    assert throttle.refused(throttle.take(), None) == 1.0


def test_rows_get_longer_with_each_answered_trial_and_shorter_with_answers() -> None:
    """Twice as long each time; at most sixteen times where others are answered."""
    faults = Faults()
    assert [faults.denied(is_sure=False) for _ in range(3)] == [False, False, True]
    faults.refuted()
    assert [faults.denied(is_sure=False) for _ in range(6)] == [False] * 5 + [True]
    assert [faults.failed(20) for _ in range(40)] == [False] * 39 + [True]
    for _ in range(10):
        faults.refuted()
    faults.answered()
    row = 1
    while not faults.denied(is_sure=True):
        row += 1
    assert row == 16
    for _ in range(500):
        faults.answered()
    assert faults.denied(is_sure=True)
