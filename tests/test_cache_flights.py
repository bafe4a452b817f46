from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from valuesim_dspy.cache import InFlightError, ResponseCache
from valuesim_dspy.callscope import CallScope, call_scope

REQUEST: dict[str, Any] = {
    "model": "openai/m",
    "messages": [{"role": "user", "content": "hi"}],
    "temperature": 0.0,
    "_fn_identifier": "dspy.clients.lm.litellm_completion",
}
RECORD: dict[str, Any] = {
    "_dspy_format": "dspy-lm15-result-v1",
    "responses": [{}],
    "outputs": ["hello"],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    "cost": 0.25,
    "raw": None,
    "response_model": "m",
}


def in_thread(work: Callable[[], Any]) -> Future[Any]:
    """Start work in a thread of its own."""
    pool = ThreadPoolExecutor(1)
    result = pool.submit(work)
    pool.shutdown(wait=False)
    return result


def test_a_second_call_waits_for_the_answer_of_the_first() -> None:
    """While one call fetches an answer, an equal one waits and then finds it."""
    cache, waiting = ResponseCache(), threading.Event()
    scope = CallScope()

    def second() -> Any:
        with call_scope(scope):
            waiting.set()
            return cache.get(REQUEST)

    with call_scope(CallScope()):
        assert cache.get(REQUEST) is None
        result = in_thread(second)
        assert waiting.wait(30)
        cache.put(REQUEST, RECORD)
    assert result.result(30) == RECORD
    assert scope.hit


def test_when_the_first_call_fails_the_next_one_asks() -> None:
    """A failed leader is followed by exactly one other; the rest wait for that one."""
    cache = ResponseCache()
    lead, order = threading.Barrier(3), []

    def follower() -> Any:
        with call_scope(CallScope()) as scope:
            lead.wait()
            found = cache.get(REQUEST)
            if found is None:
                order.append("asked")
                cache.put(REQUEST, RECORD)
            return scope.hit

    with call_scope(CallScope()):
        assert cache.get(REQUEST) is None
        threads = [in_thread(follower) for _ in range(2)]
        lead.wait()
    assert sorted(result.result(30) for result in threads) == [False, True]
    assert order == ["asked"]


def test_a_call_without_patience_asks_by_itself() -> None:
    """After two failed others a call no longer waits, so that failures do not queue up."""
    cache = ResponseCache()
    with call_scope(CallScope()):
        assert cache.get(REQUEST) is None
        result = in_thread(lambda: _get_with(cache, CallScope(patience=0)))
        assert result.result(30) is None


def _get_with(cache: ResponseCache, scope: CallScope) -> Any:
    with call_scope(scope):
        return cache.get(REQUEST)


def test_a_call_that_must_not_block_is_told_instead() -> None:
    """An event loop gets something to await in place of a blocked thread."""
    cache = ResponseCache()
    with call_scope(CallScope()):
        cache.get(REQUEST)
        with pytest.raises(InFlightError) as caught:
            _get_with(cache, CallScope(waits=False))
        assert not caught.value.flight.done()
    assert caught.value.flight.done()


def test_an_event_loop_can_await_the_other_call() -> None:
    """What `InFlightError` carries can be awaited, and is done when the other call ends."""
    cache = ResponseCache()

    async def follow(flight: Future[None]) -> Any:
        await asyncio.wrap_future(flight)
        return cache.get(REQUEST)

    with call_scope(CallScope()):
        cache.get(REQUEST)
        with pytest.raises(InFlightError) as caught:
            _get_with(cache, CallScope(waits=False))
        cache.put(REQUEST, RECORD)
    assert asyncio.run(follow(caught.value.flight)) == RECORD


def test_without_a_call_nobody_waits() -> None:
    """Code outside of LM calls gets its miss at once, also while a call is under way."""
    cache = ResponseCache()
    with call_scope(CallScope()):
        cache.get(REQUEST)
        result = in_thread(lambda: cache.get(REQUEST))
        assert result.result(30) is None
