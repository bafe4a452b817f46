"""Whose turn it is: calls at once, calls and tokens a minute, and how an endpoint is spared."""

import asyncio
import copy
import math
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from valuesim_dspy.callscope import on_trial, stopped_by
from valuesim_dspy.config import parse_job
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.limits import Bucket, Limits
from valuesim_dspy.throttle import PATIENCE, StoppedError, Throttle


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def made(clock: Clock | None = None, **limits: int) -> Throttle:
    """Return a throttle with a clock of the test."""
    return Throttle(Limits(**limits), clock or Clock())


def waiting(throttle: Throttle, count: int) -> None:
    """Wait until so many calls stand in the queue."""
    for _ in range(10_000):
        if len(throttle._queue) == count:
            return
        threading.Event().wait(0.001)
    raise AssertionError(f"{len(throttle._queue)} calls wait, not {count}")


def test_no_more_calls_are_under_way_than_the_limit() -> None:
    """A call beyond the limit waits until one is given back, and the peak is known."""
    throttle = made(in_flight=2)
    first, second = throttle.take(), throttle.take()
    assert throttle.offer() is None and throttle.delay() == math.inf
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(throttle.take)
        waiting(throttle, 1)
        throttle.give_back(first)
        throttle.give_back(third.result(30))
    throttle.give_back(second)
    assert (throttle.under_way, throttle.peak, throttle.limit) == (0, 2, 2)


def test_hundreds_of_threads_share_a_few_slots() -> None:
    """Nobody is forgotten and nobody is let in too much, whoever gives back when."""
    throttle, full = Throttle(Limits(in_flight=3)), threading.Barrier(3)
    seen: list[int] = []

    def call(number: int) -> None:
        slot = throttle.take(10)
        seen.append(throttle.under_way)
        if number < 3:
            full.wait(30)
        throttle.succeeded(slot)
        throttle.give_back(slot, 10)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(call, range(2000)))
    assert len(seen) == 2000 and max(seen) <= 3 == throttle.peak
    assert (throttle.under_way, throttle.answers, len(throttle._queue)) == (0, 2000, 0)


def test_calls_come_in_the_order_of_asking() -> None:
    """First come, first served, also where a newcomer would fit in between."""
    throttle, order = made(in_flight=1), []
    held = throttle.take()
    with ThreadPoolExecutor(3) as pool:

        def ask(number: int) -> None:
            slot = throttle.take()
            order.append(number)
            throttle.give_back(slot)

        for number in range(3):
            pool.submit(ask, number)
            waiting(throttle, number + 1)
        assert throttle.offer() is None
        throttle.give_back(held)
    assert order == [0, 1, 2]


@pytest.mark.parametrize("a_minute", [1, 7, 60, 600])
def test_no_sixty_seconds_hold_more_calls_than_allowed(a_minute: int) -> None:
    """Whatever the minute looked at, calls that start in it stay within the bound."""
    clock = Clock()
    throttle, starts = made(clock, in_flight=4096, calls_per_minute=a_minute), []
    while clock.now < 1000 + 180:
        slot = throttle.offer()
        if slot is None:
            clock.now += throttle.delay() + 1e-6
            continue
        starts.append(clock.now)
        throttle.give_back(slot)
    worst = max(sum(1 for each in starts if at <= each < at + 60) for at in starts[::10])
    assert worst <= a_minute
    assert len(starts) >= 0.9 * 3 * a_minute


def test_tokens_are_paid_in_advance_and_corrected_afterwards() -> None:
    """What a call really took decides when the next one may start."""
    clock = Clock()
    throttle = made(clock, tokens_per_minute=60_000)
    slot = throttle.take(1000)
    assert throttle.delay(1000) == pytest.approx(1000 / 983.35, rel=0.01)
    throttle.give_back(slot, 5000)
    assert throttle.delay(1000) == pytest.approx(5000 / 983.35, rel=0.01)
    clock.now += throttle.delay(1000) + 1e-3
    slot = throttle.take(1000)
    throttle.give_back(slot, 0)
    assert throttle.delay(1000) == 0


def test_several_samples_of_one_call_are_several_calls() -> None:
    """What a call turned out to send counts against the minute."""
    clock = Clock()
    throttle = made(clock, calls_per_minute=60)
    throttle.give_back(throttle.take(), 10, calls=3)
    assert throttle.delay() == pytest.approx(3.0)


def test_a_prompt_larger_than_a_minute_is_sent_alone() -> None:
    """A call that no bucket could ever hold waits for a full one, not for ever."""
    clock = Clock()
    throttle = made(clock, tokens_per_minute=600)
    throttle.give_back(throttle.take(5000), 5000)
    clock.now += throttle.delay(5000) + 1e-3
    assert throttle.take(5000).since == pytest.approx(1000 + 500, rel=0.05)


def test_a_bucket_without_a_bound_never_waits() -> None:
    """None is no limit, however much is spent."""
    bucket = Bucket(None, 0.0)
    bucket.spend(1e9, 0.0)
    assert bucket.wait(1e9, 0.0) == 0


def test_too_many_requests_halve_what_is_allowed_once_a_round_trip() -> None:
    """All calls that were under way together tell one thing; those sent later another."""
    clock = Clock()
    throttle = made(clock, in_flight=64)
    slots = [throttle.take() for _ in range(64)]
    clock.now += 1
    for slot in slots:
        throttle.refused(slot, None)
        throttle.give_back(slot)
    assert (throttle.limit, throttle.refusals) == (32, 64)
    clock.now += 1
    later = throttle.take()
    throttle.refused(later, None)
    assert throttle.limit == 16


def test_what_is_allowed_grows_back_by_one_a_round_trip() -> None:
    """Additive increase: as many successes as are allowed at once bring one more, to the bound."""
    throttle = made(in_flight=8)
    slot = throttle.take()
    throttle.refused(slot, None)
    assert throttle.limit == 4
    for _ in range(5):
        throttle.succeeded(slot)
    assert throttle.limit == 5
    for _ in range(100):
        throttle.succeeded(slot)
    assert throttle.limit == 8


def test_nobody_asks_before_the_time_the_endpoint_told() -> None:
    """retry-after holds everyone, up to a minute; the one that waited for it may go."""
    clock = Clock()
    throttle = made(clock, in_flight=8)
    slot = throttle.take()
    throttle.refused(slot, 7.0)
    throttle.give_back(slot)
    assert throttle.delay() == 7.0 and throttle.offer() is None
    other = throttle.take(0, slot.told)
    throttle.refused(other, 1e9)
    throttle.give_back(other)
    assert throttle.delay() == PATIENCE and throttle.offer(0, slot.told) is None
    clock.now += PATIENCE
    assert throttle.delay() == 0


def test_answers_far_slower_than_usual_reduce_gently() -> None:
    """An overloaded endpoint gets a tenth less a round trip; quick ones are never "slow"."""
    clock = Clock()
    throttle = made(clock, in_flight=100)

    def answered(seconds: float) -> None:
        slot = throttle.take()
        clock.now += seconds
        throttle.succeeded(slot)
        throttle.give_back(slot)

    for _ in range(64):
        answered(0.05)
    for _ in range(16):
        answered(0.9)
    assert throttle.limit == 100
    for _ in range(5):
        answered(30.0)
    assert 50 <= throttle.limit < 95


def test_a_stopped_run_waits_no_longer() -> None:
    """An event ends the waiting of its run's threads, and of no others'."""
    throttle, stop = made(in_flight=1), threading.Event()
    held = throttle.take()

    def inside() -> None:
        with stopped_by(stop):
            throttle.take()

    with ThreadPoolExecutor(2) as pool:
        mine, others = pool.submit(inside), pool.submit(throttle.take)
        waiting(throttle, 2)
        stop.set()
        assert isinstance(mine.exception(30), StoppedError)
        throttle.give_back(held)
        throttle.give_back(others.result(30))
    assert throttle.under_way == 0
    with pytest.raises(StoppedError):
        inside()


def test_an_error_of_the_whole_run_reaches_all_who_wait() -> None:
    """Each gets the same message as an exception of its own."""
    throttle, error = made(in_flight=1), MissingDataError("no key", "give one")
    throttle.take()
    with ThreadPoolExecutor(3) as pool:
        results = [pool.submit(throttle.take) for _ in range(3)]
        waiting(throttle, 3)
        throttle.stop(error)
        caught = [result.exception(30) for result in results]
    assert [str(each) for each in caught] == ["no key; give one"] * 3
    assert all(isinstance(each, MissingDataError) and each is not error for each in caught)
    assert throttle.under_way == 1


def test_an_endpoint_is_dead_after_so_many_failures_in_a_row() -> None:
    """Twice the calls under way, at least twenty, and any success starts the count again."""
    small, large, idle = made(in_flight=4), made(in_flight=50), made(in_flight=4096)
    for slot in [large.take() for _ in range(50)]:
        large.give_back(slot)
    assert (small.patience, large.patience, idle.patience) == (20, 100, 20)
    assert [small.failed() for _ in range(20)] == [False] * 19 + [True]
    assert [large.failed() for _ in range(100)] == [False] * 99 + [True]
    large.succeeded(large.take())
    assert not large.failed()


def test_one_denial_after_successes_is_not_everyones() -> None:
    """What nobody got is denied to all at once; what others got only when it goes on."""
    throttle = made()
    assert throttle.denied()
    throttle.succeeded(throttle.take())
    assert [throttle.denied() for _ in range(3)] == [False, False, True]


def test_calls_that_are_awaited_do_not_block_the_loop() -> None:
    """Waiting tasks let others run, come in order, and leave the queue when cancelled."""

    async def main() -> list[int]:
        throttle, order = made(in_flight=1), []
        held = await throttle.atake()

        async def ask(number: int) -> None:
            slot = await throttle.atake()
            order.append(number)
            throttle.give_back(slot)

        tasks = [asyncio.create_task(ask(number)) for number in range(4)]
        await asyncio.sleep(0)
        assert len(throttle._queue) == 4
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
        throttle.give_back(held)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (throttle.under_way, len(throttle._queue)) == (0, 0)
        return order

    assert asyncio.run(main()) == [0, 2, 3]


def test_awaited_calls_hear_of_the_end_of_the_run() -> None:
    """A stop reaches tasks as it reaches threads."""

    async def main() -> None:
        throttle = made(in_flight=1)
        await throttle.atake()
        task = asyncio.create_task(throttle.atake())
        await asyncio.sleep(0)
        throttle.stop(ConfigError("dead"))
        await task

    with pytest.raises(ConfigError, match="dead"):
        asyncio.run(main())


def closed_with_a_waiter(throttle: Throttle) -> None:
    """Close an event loop on which a call waits for its turn."""
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        task = loop.create_task(throttle.atake())
        # Nobody awaits it any more: that is the case in question.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        kept.append(task)
        await asyncio.sleep(0)

    kept: list[asyncio.Task[Any]] = []
    loop.run_until_complete(begin())
    loop.close()
    KEPT.extend(kept)


KEPT: list[asyncio.Task[Any]] = []
"""Tasks of closed loops; while they exist they stay in the queue."""


def test_a_waiter_whose_event_loop_is_closed_loses_no_turn() -> None:
    """Nobody waits there any more: the turn is the next one's."""
    throttle = made(in_flight=1)
    held = throttle.take()
    closed_with_a_waiter(throttle)
    waiting(throttle, 1)
    with ThreadPoolExecutor(1) as pool:
        next_one = pool.submit(throttle.take)
        waiting(throttle, 2)
        closed_with_a_waiter(throttle)
        throttle.give_back(held)
        throttle.give_back(next_one.result(30))
    assert (throttle.under_way, len(throttle._queue)) == (0, 0)
    assert throttle.offer() is not None


def test_an_end_of_the_run_passes_over_closed_event_loops() -> None:
    """Those behind them still hear of it."""
    throttle = made(in_flight=1)
    throttle.take()
    closed_with_a_waiter(throttle)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(throttle.take)
        waiting(throttle, 2)
        throttle.stop(ConfigError("dead"))
        assert isinstance(other.exception(30), ConfigError)


def test_while_an_endpoint_is_tried_nobody_else_starts() -> None:
    """A trial goes before those who wait, and they go on after it."""
    throttle = made(in_flight=2)
    with ThreadPoolExecutor(1) as pool, throttle.barred():
        other = pool.submit(throttle.take)
        waiting(throttle, 1)
        with on_trial():
            slot = throttle.take(told=math.inf)
        assert not other.done() and throttle.offer() is None
        throttle.give_back(slot)
        assert not other.done() and throttle.under_way == 0
        throttle._barred = False
        throttle.give_back(throttle.take())
        throttle.give_back(other.result(30))
    assert throttle.under_way == 0


def test_limits_are_told_in_the_job_and_are_no_part_of_what_it_finds() -> None:
    """A table of the job file; another pace is the same job."""
    job = parse_job({"limits": {"in_flight": 8, "calls_per_minute": 500}})
    assert job.limits == Limits(in_flight=8, calls_per_minute=500)
    assert job.limits.tokens_per_minute is None
    assert job.digest == parse_job({}).digest != parse_job({"seed": 1}).digest


@pytest.mark.parametrize(
    "limits", [{"in_flight": 0}, {"in_flight": 4097}, {"tokens_per_minute": 0}]
)
def test_limits_that_let_nothing_through_are_refused(limits: dict[str, int]) -> None:
    """The message names the key."""
    with pytest.raises(ConfigError, match=rf"limits\.{next(iter(limits))}"):
        parse_job({"limits": limits})


def test_copies_are_the_throttle_and_another_process_starts_anew() -> None:
    """Copies of an LM take turns with each other; what is sent elsewhere knows the limits only."""
    throttle = made(in_flight=5)
    throttle.take()
    assert copy.copy(throttle) is copy.deepcopy(throttle) is throttle
    sent = pickle.loads(pickle.dumps(throttle))
    assert (sent.limits, sent.under_way) == (Limits(in_flight=5), 0)
