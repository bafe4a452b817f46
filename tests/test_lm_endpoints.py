from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest
from loopback import LoopbackServer
from models import remote

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import MissingDataError
from valuesim_dspy.lm import MeteredLM, Usage, make_lm
from valuesim_dspy.roles import LMRole

CANARY = "canary-0123456789"


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"n": 3}, {"logprobs": True}])
def test_litellm_responses_are_cached_as_json(tmp_path: Path, settings: dict[str, Any]) -> None:
    """With LiteLLM the response comes back from the file with outputs, usage and history."""
    cache = ResponseCache(tmp_path / "r.db")
    with LoopbackServer("hello") as server, cache.installed():
        lm = remote(server, engine="litellm")
        first, second = lm("hi", **settings), lm("hi", **settings)
    assert [each if isinstance(each, str) else each["text"] for each in first] == (
        [each if isinstance(each, str) else each["text"] for each in second]
    )
    assert len(server.requests) == 1
    assert lm.meter.needed == lm.meter.paid
    assert (lm.meter.paid.calls, lm.meter.paid.prompt_tokens) == (1, 1)
    assert lm.meter.paid.completion_tokens == 2 * len(first)
    assert lm.history[-1]["response"].choices[0].message.content == "hello"
    if "logprobs" in settings:
        assert first[0]["logprobs"].content[0].logprob == -0.5
        assert second[0]["logprobs"].content[0].logprob == -0.5


@pytest.mark.slow
def test_litellm_failures_are_not_cached_and_hold_no_key(
    cache: ResponseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused key is told without the key, whatever the server echoes; nothing is kept."""
    monkeypatch.setenv("CANARY_API_KEY", CANARY)
    with LoopbackServer(key="other") as server:
        lm = remote(server, engine="litellm", api_key_env="CANARY_API_KEY")
        with pytest.raises(MissingDataError) as caught:
            lm("hi")
    # The call, and the trial that shows that it is not what was asked.
    assert server.keys == [CANARY] * 2
    assert CANARY not in _all_texts(caught.value)
    assert cache.count == 0


def _all_texts(error: BaseException | None) -> str:
    texts = []
    while error is not None:
        texts += [str(error), repr(error.args), str(getattr(error, "message", ""))]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_a_key_is_sent_and_never_kept_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The key goes to the server; files, logs, errors, repr and history do not hold it."""
    monkeypatch.setenv("CANARY_API_KEY", CANARY)
    cache = ResponseCache(tmp_path / "r.db")
    with caplog.at_level(logging.DEBUG), cache.installed():
        with LoopbackServer(script=["hello"], answer=lambda _: 401) as server:
            lm = remote(server, api_key_env="CANARY_API_KEY")
            lm("hi")
            with pytest.raises(MissingDataError) as caught:
                lm("other")
        with LoopbackServer(key="other") as echoing, pytest.raises(MissingDataError) as echoed:
            remote(echoing, api_key_env="CANARY_API_KEY")("hi")
    # The third is the trial that shows that it is not what was asked.
    assert server.keys == [CANARY] * 3
    cache.close()
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"hello" in content
    assert CANARY.encode() not in content
    told = [_all_texts(caught.value), _all_texts(echoed.value), repr(lm), caplog.text]
    assert "[blanked]" in told[1]
    assert CANARY not in "\n".join(told)
    assert CANARY not in repr([{**entry, "response": None} for entry in lm.history])


def test_ambient_keys_are_not_sent_to_an_address_of_the_users(
    cache: ResponseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key meant for a provider does not go to a server that was given by address alone."""
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    with LoopbackServer() as server:
        remote(server)("hi")
    assert server.keys == ["none"]


@pytest.mark.parametrize("status", [400, 500])
def test_failures_are_counted_and_never_cached(cache: ResponseCache, status: int) -> None:
    """An error is neither needed nor paid nor kept: the next call asks again."""
    with LoopbackServer(script=[status]) as server:
        lm = remote(server)
        with pytest.raises((dspy.LMError, MissingDataError)):
            lm("hi")
        assert (lm.meter.failed, lm.meter.needed, cache.count) == (1, Usage(), 0)
        assert lm("hi") == ["ok"]
    assert (lm.meter.failed, lm.meter.paid.calls, len(server.requests)) == (1, 1, 2)


def test_a_body_that_is_no_response_is_an_lm_error(cache: ResponseCache) -> None:
    """Garbage from the server is told as an error of the LM and is not kept."""
    with LoopbackServer(script=[b"<html>no</html>"]) as server, pytest.raises(dspy.LMError):
        remote(server)("hi")
    assert cache.count == 0


def test_an_empty_answer_is_paid_and_not_kept(cache: ResponseCache) -> None:
    """Nothing said is no answer: it is counted, and the next call asks again."""
    with LoopbackServer(script=[""]) as server:
        lm = remote(server)
        assert lm("hi") == [""]
        assert lm("hi") == ["ok"]
    assert (lm.meter.paid.calls, cache.count) == (2, 1)


def test_retries_cost_one_call(cache: ResponseCache) -> None:
    """Too many requests are tried again as often as the role says."""
    with LoopbackServer(script=[429, 500]) as server:
        lm = remote(server, num_retries=2)
        assert lm("hi") == ["ok"]
    assert len(server.requests) == 3
    assert (lm.meter.paid.calls, lm.meter.failed) == (1, 0)


def test_thirty_two_threads_asking_the_same_pay_once(cache: ResponseCache) -> None:
    """Equal calls under way are sent once, the others wait and find the answer."""
    with LoopbackServer("hello") as server, ThreadPoolExecutor(32) as pool:
        lm = remote(server)
        server.hold.clear()
        results = [pool.submit(lm, "hi") for _ in range(32)]
        assert server.wait_for(1)
        server.hold.set()
        assert [result.result(30) for result in results] == [["hello"]] * 32
    assert len(server.requests) == 1
    assert (lm.meter.needed.calls, lm.meter.paid.calls) == (1, 1)


def test_when_the_first_of_many_fails_the_next_one_asks(cache: ResponseCache) -> None:
    """One failure costs its own thread only; one more request serves all the others."""
    with LoopbackServer("hello", script=[500]) as server, ThreadPoolExecutor(8) as pool:
        lm = remote(server)
        server.hold.clear()
        results = [pool.submit(lm, "hi") for _ in range(8)]
        assert server.wait_for(1)
        server.hold.set()
        errors = [result.exception(30) for result in results]
    assert sum(error is not None for error in errors) == 1
    assert len(server.requests) == 2
    assert (lm.meter.failed, lm.meter.needed.calls, lm.meter.paid.calls) == (1, 1, 1)


def test_different_calls_are_under_way_at_once(cache: ResponseCache) -> None:
    """Only equal calls wait for each other."""
    with LoopbackServer() as server, ThreadPoolExecutor(4) as pool:
        lm = remote(server)
        server.hold.clear()
        results = [pool.submit(lm, f"question {number}") for number in range(4)]
        assert server.wait_for(4)
        server.hold.set()
        assert [result.result(30) for result in results] == [["ok"]] * 4
    assert server.peak == 4


def test_awaited_calls_pay_once_too(cache: ResponseCache) -> None:
    """Equal calls on an event loop wait for each other without blocking it."""

    async def many(lm: MeteredLM) -> list[Any]:
        calls = [asyncio.create_task(lm.acall("hi")) for _ in range(20)]
        await asyncio.to_thread(server.wait_for, 1)
        server.hold.set()
        return await asyncio.gather(*calls)

    with LoopbackServer("hello") as server:
        server.hold.clear()
        lm = remote(server)
        assert asyncio.run(many(lm)) == [["hello"]] * 20
    assert len(server.requests) == 1
    assert (lm.meter.needed.calls, lm.meter.paid.calls) == (1, 1)


def test_awaited_failures_are_counted_and_the_next_one_asks(cache: ResponseCache) -> None:
    """On an event loop, too, a failure costs its own call only."""

    async def many(lm: MeteredLM) -> list[Any]:
        calls = [asyncio.create_task(lm.acall("hi")) for _ in range(5)]
        await asyncio.to_thread(server.wait_for, 1)
        server.hold.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    with LoopbackServer("hello", script=[500]) as server:
        server.hold.clear()
        lm = remote(server)
        results = asyncio.run(many(lm))
    assert sum(isinstance(result, Exception) for result in results) == 1
    assert (lm.meter.failed, lm.meter.paid.calls) == (1, 1)


def test_rollouts_and_endpoints_are_paid_on_their_own(cache: ResponseCache) -> None:
    """Another rollout id, or the same question elsewhere, is another call."""
    with LoopbackServer("one") as one, LoopbackServer("two") as two:
        lm = remote(one)
        for rollout in (1, 2, 1):
            lm("hi", rollout_id=rollout, temperature=1.0)
        assert len(one.requests) == 2
        assert remote(one)("hi") != remote(two)("hi")


@pytest.mark.slow
def test_calls_go_where_the_environment_says_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The address that is agreed to is the one that is asked, whichever variable it is."""
    with LoopbackServer("hello") as server:
        for variable in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
            monkeypatch.setenv(variable, server.url)
            monkeypatch.setenv("OPENAI_API_KEY", "quietkey")
            role = LMRole(model="openai/test", num_retries=0)
            assert role.host == server.host
            make_lm(role)("hi", cache=False)
            monkeypatch.delenv(variable)
        assert server.keys == ["quietkey"] * 2
