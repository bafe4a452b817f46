"""How often and after how long a failed call is tried again, and what the log says of it."""

import asyncio
import logging
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest
from loopback import LoopbackServer, Reply

from valuesim_dspy.callscope import stopped_by
from valuesim_dspy.limits import Limits
from valuesim_dspy.lm import MeteredLM, make_lm
from valuesim_dspy.retrying import Attempts, Pauses, asleep, describe_kind, pause, sleep
from valuesim_dspy.roles import LMRole
from valuesim_dspy.throttle import PATIENCE, StoppedError

SERVER = dspy.LMServerError("a secret of a person", status=503)


class Waits:
    """Pauses that take no time and are kept."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.pauses = Pauses(self.slept.append, self.awaited, random.Random(5))

    async def awaited(self, seconds: float) -> None:
        """Keep a pause of an event loop."""
        self.slept.append(seconds)


def remote(server: LoopbackServer, waits: Waits, *, in_flight: int = 4, **known: Any) -> MeteredLM:
    """Make an LM that asks a loopback server and never sleeps."""
    role = LMRole(**{"model": "openai/test", "api_base": server.url, **known})
    return make_lm(role, name="task_lm", limits=Limits(in_flight=in_flight), pauses=waits.pauses)


def test_waits_double_and_are_spread_over_all_of_their_length() -> None:
    """Full jitter: anything from nothing to 1, 2, 4, ... seconds, never more than a minute."""
    assert [pause(SERVER, attempt, 1.0) for attempt in (0, 1, 2, 5, 6, 50)] == [
        1.0,
        2.0,
        4.0,
        32.0,
        PATIENCE,
        PATIENCE,
    ]
    assert pause(SERVER, 9, 0.0) == 0.0
    assert pause(SERVER, 3, 0.25) == 2.0


@pytest.mark.parametrize(
    ("told", "waits"),
    [(7.5, 7.5), (0, 0.0), (1e9, PATIENCE), (-3, 2.0), (float("nan"), 2.0), (None, 2.0)],
)
def test_what_the_endpoint_asks_for_is_kept(told: Any, waits: float) -> None:
    """retry-after rules, up to a minute; what makes no sense is as if nothing was said."""
    error = dspy.LMRateLimitError("busy", retry_after=told)
    assert pause(error, 2, 0.5) == waits


def test_attempts_are_bounded_and_only_what_may_pass_is_tried_again() -> None:
    """So many retries as the role says; errors of the request itself have none."""
    attempts = Attempts("task_lm", 2, Pauses(chance=random.Random(1)))
    found = [attempts.again(SERVER) for _ in range(3)]
    assert found[0] is not None and found[1] is not None and found[2] is None
    assert Attempts("task_lm", 2, Pauses()).again(dspy.LMInvalidRequestError("too long")) is None
    assert Attempts("task_lm", 0, Pauses()).again(SERVER) is None


def test_a_retry_is_logged_in_one_line_without_what_was_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Name, number and kind are told; the server's text, which may repeat a prompt, is not."""
    with caplog.at_level(logging.INFO, "valuesim_dspy.retrying"):
        Attempts("task_lm", 3, Pauses(chance=random.Random(1))).again(SERVER)
    (record,) = caplog.records
    assert record.getMessage().startswith("task_lm: attempt 1 of 4 failed, the next one in ")
    assert record.getMessage().endswith("(LMServerError 503)")
    assert "secret" not in caplog.text
    assert describe_kind(dspy.LMTransportError("x")) == "LMTransportError"


def test_waits_do_not_depend_on_the_global_generator() -> None:
    """Seeding Python's own generator changes nothing here, and nothing here disturbs it."""
    random.seed(3)
    before = random.getstate()
    first = Pauses().chance.random()
    assert random.getstate() == before
    random.seed(3)
    assert Pauses().chance.random() != first


def test_a_call_is_tried_again_until_it_is_answered() -> None:
    """Two failures cost two waits; one call is paid and the retries are counted."""
    waits = Waits()
    with LoopbackServer(script=[Reply(500), 429]) as server:
        lm = remote(server, waits, num_retries=3)
        assert lm("hi") == ["ok"]
    assert len(server.requests) == 3 and len(waits.slept) == 2
    assert lm.throttle is not None
    assert (lm.throttle.retries, lm.throttle.refusals, lm.throttle.under_way) == (2, 1, 0)
    assert (lm.meter.paid.calls, lm.meter.failed) == (1, 0)


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_a_call_that_always_fails_ends_with_its_error(retries: int) -> None:
    """One request more than there are retries, and one failure is counted."""
    waits = Waits()
    with LoopbackServer(lambda _: 503) as server:
        lm = remote(server, waits, num_retries=retries)
        with pytest.raises(dspy.LMServerError):
            lm("hi")
    assert len(server.requests) == retries + 1 and len(waits.slept) == retries
    assert (lm.meter.failed, lm.meter.paid.calls) == (1, 0)


def test_awaited_calls_are_tried_again_too() -> None:
    """The same number of attempts, with pauses that leave the loop alone."""
    waits = Waits()
    with LoopbackServer(script=[500, 503]) as server:
        lm = remote(server, waits, num_retries=2)
        assert asyncio.run(lm.acall("hi")) == ["ok"]
    assert len(server.requests) == 3 and len(waits.slept) == 2
    assert lm.throttle is not None and lm.throttle.under_way == 0


def test_many_awaited_calls_share_a_few_slots() -> None:
    """More tasks than slots all end, none holds a thread, and the limit is kept."""

    async def many(lm: MeteredLM) -> list[Any]:
        return await asyncio.gather(*(lm.acall(f"hi {number}") for number in range(40)))

    with LoopbackServer() as server:
        lm = remote(server, Waits())
        assert asyncio.run(many(lm)) == [["ok"]] * 40
    assert lm.throttle is not None
    assert server.peak <= 4 == lm.throttle.peak and lm.throttle.under_way == 0


def test_a_call_that_sleeps_leaves_its_slot_to_others() -> None:
    """While one waits for its next attempt, another is answered."""
    waits, seen = Waits(), []
    with LoopbackServer(script=[500]) as server:
        lm = remote(server, waits, num_retries=1)
        assert lm.throttle is not None

        def during(seconds: float) -> None:
            seen.append(lm.throttle.under_way)  # type: ignore[union-attr]
            lm("another")

        lm.pauses.sleep = during
        lm("one")
    assert seen == [0] and len(server.requests) == 3


def test_those_who_wait_for_an_answer_of_another_hold_no_slot(cache: Any) -> None:
    """With one slot, many who ask the same and many who ask other things all end."""
    with LoopbackServer("hello") as server, ThreadPoolExecutor(24) as pool:
        role = LMRole(model="openai/test", api_base=server.url)
        lm = make_lm(role, name="task_lm", limits=Limits(in_flight=1))
        server.hold.clear()
        results = [pool.submit(lm, f"question {number % 4}") for number in range(24)]
        assert server.wait_for(1)
        server.hold.set()
        assert [result.result(30) for result in results] == [["hello"]] * 24
    assert (len(server.requests), server.peak) == (4, 1)
    assert lm.throttle is not None and lm.throttle.under_way == 0


@pytest.mark.slow
def test_a_server_that_takes_few_at_once_gets_few_at_once() -> None:
    """Refusals bring the calls down to what the server takes, and every call is answered."""

    def answer(messages: Any) -> Any:
        return "ok" if server._under_way <= 2 else Reply(429, "busy", {"Retry-After": "0.01"})

    waits = Waits()
    with LoopbackServer(answer) as server, ThreadPoolExecutor(16) as pool:
        lm = remote(server, waits, in_flight=16, num_retries=20)
        server.hold.clear()
        results = [pool.submit(lm, f"question {number}") for number in range(60)]
        assert server.wait_for(16)
        server.hold.set()
        assert [result.result(60) for result in results] == [["ok"]] * 60
    assert lm.throttle is not None
    assert lm.throttle.limit < 16 and lm.throttle.refusals == len(waits.slept) > 0
    assert len(server.requests) == 60 + lm.throttle.retries


def test_samples_that_came_are_not_paid_again(cache: Any) -> None:
    """Where the second of three samples fails, the first is kept, and attempts start anew."""
    waits = Waits()
    with LoopbackServer(script=["one", 500, "two", 500, 503, "three"]) as server:
        lm = remote(server, waits, num_retries=2)
        assert lm("hi", n=3, temperature=1.0) == ["one", "two", "three"]
    assert len(server.requests) == 6
    assert (lm.meter.paid.calls, lm.meter.failed) == (3, 0)


def test_a_sample_that_never_comes_ends_the_call() -> None:
    """What came before it gives it no further attempts."""
    waits = Waits()
    with LoopbackServer(lambda _: 500, script=["one", "two"]) as server:
        lm = remote(server, waits, num_retries=2)
        with pytest.raises(dspy.LMServerError):
            lm("hi", n=3, temperature=1.0)
    assert len(server.requests) == 2 + 3 and len(waits.slept) == 2


def test_copies_may_have_other_retries_and_another_time_limit() -> None:
    """`num_retries` and `timeout` of a copy are its own; it takes turns with the original."""
    with LoopbackServer(lambda _: 500) as server:
        lm = remote(server, Waits(), num_retries=5)
        trial = lm.copy(num_retries=0, timeout=1.5)
        with pytest.raises(dspy.LMServerError):
            trial("hi")
    assert len(server.requests) == 1
    assert (trial.seconds, lm.seconds, lm.retries) == (1.5, None, 5)
    assert trial.throttle is lm.throttle and trial.native is lm.native


def test_a_stopped_run_does_not_sleep_on() -> None:
    """The pause between attempts ends with the run, in threads and on event loops."""
    stop = threading.Event()
    stop.set()
    with stopped_by(stop):
        with pytest.raises(StoppedError):
            sleep(3600.0)
        with pytest.raises(StoppedError):
            asyncio.run(asleep(3600.0))
    sleep(0.0)
    asyncio.run(asleep(0.001))


def test_after_a_stop_nothing_more_is_paid() -> None:
    """A program that goes on in its thread gets no further answer."""
    stop = threading.Event()
    with LoopbackServer() as server, stopped_by(stop):
        lm = remote(server, Waits())
        lm("one")
        stop.set()
        with pytest.raises(StoppedError):
            lm("two")
    assert len(server.requests) == 1
