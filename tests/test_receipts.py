"""What was received is paid for once, and what was sent is not sent again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import dspy
import pytest
from loopback import LoopbackServer, Reply, completion
from models import remote
from people import example

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.lm import Budget, Meter, MeteredLM, make_lm
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.program import ValueSim
from valuesim_dspy.receipts import MOST, rates_of
from valuesim_dspy.roles import LMRole

HALF = "\ud83d"
ANSWER = f"[[ ## analysis ## ]]\nx{HALF}\n\n[[ ## answer ## ]]\n2\n\n[[ ## completed ## ]]"
STORY = f"[[ ## backstory ## ]]\nI keep bees {HALF} here.\n\n[[ ## completed ## ]]"


def body(path: tuple[Any, ...] = (), value: Any = None, *, text: str = "ok") -> bytes:
    """Return a whole answer in which one thing is another."""
    made: Any = completion(text, {"messages": [{"content": "hi"}], "model": "test"})
    place = made
    for name in path[:-1]:
        place = place[name]
    if path:
        place[path[-1]] = value
    return json.dumps(made).encode()


UNREADABLE = {
    "usage is text": body(("usage", "prompt_tokens"), "abc"),
    "usage is a list": body(("usage",), [1]),
    "choices are text": body(("choices",), "x"),
    "a tool without a name": body(("choices", 0, "message", "tool_calls"), [{"id": "1"}]),
    "two choices": body(("choices",), json.loads(body())["choices"] * 2),
    "a list": b"[1]",
    "no JSON": b"<html>hello</html>",
    "nothing": b"",
}


def asked(lm: MeteredLM, prompt: str, awaited: bool, **known: Any) -> Any:
    """Ask in a thread or on an event loop."""
    return asyncio.run(lm.acall(prompt, **known)) if awaited else lm(prompt, **known)


@pytest.fixture(params=[False, True], ids=["called", "awaited"])
def awaited(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Both ways to ask."""
    yield request.param


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_reply_is_paid_once_and_asked_once(
    kind: str, cached: bool, awaited: bool, cache: ResponseCache
) -> None:
    """It fails its call, counts with estimated tokens, and goes no other way."""
    with LoopbackServer(lambda _: UNREADABLE[kind]) as server:
        lm = remote(server, num_retries=2)
        with pytest.raises(dspy.LMError):
            asked(lm, "eight ch", awaited, cache=cached)
        assert len(server.requests) == 1
    paid = lm.meter.paid
    assert (paid.calls, paid.prompt_tokens, paid.estimated_calls) == (1, 2, 1)
    assert paid.completion_tokens == len(UNREADABLE[kind]) // 4
    assert (lm.meter.needed, lm.meter.failed, lm.meter._under_way.calls) == (paid, 1, 0)
    assert lm.throttle is not None and lm.throttle.under_way == 0


@pytest.mark.parametrize("status", [400, 422, 500, 200])
def test_a_refusal_is_not_paid(status: int, awaited: bool) -> None:
    """Neither by its status nor told in the body of a 200."""
    told = json.dumps({"error": {"message": f"no {HALF}", "code": "server_error"}}).encode()
    with LoopbackServer(lambda _: Reply(status, told, {})) as server:
        lm = remote(server)
        with pytest.raises(dspy.LMError) as caught:
            asked(lm, "hi", awaited)
    str(caught.value).encode()
    assert (lm.meter.paid.calls, lm.meter.failed, len(server.requests)) == (0, 1, 1)


def test_what_broke_off_is_not_paid(awaited: bool) -> None:
    """A reply that is shorter than it says never came."""
    with LoopbackServer(lambda _: Reply(200, b"{", {"Content-Length": "50"})) as server:
        lm = remote(server, timeout=0.5)
        with pytest.raises(dspy.LMError):
            asked(lm, "hi", awaited)
    assert lm.meter.paid.calls == 0


def test_samples_that_came_before_a_failure_are_paid(awaited: bool) -> None:
    """Two of three, at what they say they took; the third was refused."""
    with LoopbackServer("four", script=["four", "four", 400]) as server:
        lm = remote(server, usd_per_million_input=1e6, usd_per_million_output=1e6)
        with pytest.raises(dspy.LMError):
            asked(lm, "eight ch", awaited, n=3)
    paid = lm.meter.paid
    assert (paid.calls, paid.prompt_tokens, paid.completion_tokens) == (2, 6, 4)
    assert (paid.usd, paid.estimated_calls, paid.unpriced_calls) == (10.0, 0, 0)
    assert (lm.meter.failed, lm.meter._under_way.calls) == (1, 0)


def test_samples_and_an_unreadable_one_are_paid_together(awaited: bool) -> None:
    """The price of what says nothing is that of the estimate."""
    with LoopbackServer("four", script=["four", b"[1]"]) as server:
        lm = remote(server, model="openai/gpt-4o-mini")
        with pytest.raises(dspy.LMError):
            asked(lm, "eight ch", awaited, n=2)
    rates = rates_of(lm)
    assert rates is not None
    assert (lm.meter.paid.calls, lm.meter.paid.tokens) == (2, 3 + 2 + 2 + 0)
    assert lm.meter.paid.usd == pytest.approx((5 * rates[0] + 2 * rates[1]) / 1e6)


def broken(*_: Any, **__: Any) -> None:
    """Keep nothing."""
    raise ValueError("no room")


def test_an_error_after_the_reply_is_paid_and_not_asked_again(
    awaited: bool, cache: ResponseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails once it came, such as the cache or the history, does not send it again."""
    monkeypatch.setattr(cache, "put", broken)
    with LoopbackServer("four") as server:
        lm = remote(server)
        with pytest.raises(ValueError, match="no room"):
            asked(lm, "hi", awaited)
    assert (lm.meter.paid.calls, lm.meter.paid.completion_tokens) == (1, 2)
    assert (len(server.requests), lm.meter.failed) == (1, 1)


@pytest.mark.slow
def test_what_came_through_litellm_is_paid_too(
    awaited: bool, cache: ResponseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails after the reply leaves it counted as the reply says."""
    monkeypatch.setattr(cache, "put", broken)
    with LoopbackServer("four") as server:
        lm = remote(server, engine="litellm", usd_per_million_input=1e6, usd_per_million_output=0)
        with pytest.raises(ValueError, match="no room"):
            asked(lm, "eight ch", awaited)
    paid = lm.meter.paid
    assert (paid.calls, paid.prompt_tokens, paid.completion_tokens) == (1, 3, 2)
    assert (paid.usd, paid.estimated_calls, len(server.requests)) == (3.0, 0, 1)


def test_unreadable_replies_use_up_a_budget(cache: ResponseCache) -> None:
    """As many are asked for as the budget has, and no more."""
    with LoopbackServer(lambda _: b"[1]") as server:
        lm = remote(server, meter=Meter(budget=Budget(calls=3)))
        for number in range(3):
            with pytest.raises(dspy.LMError):
                lm(f"q {number}")
        with pytest.raises(BudgetExceededError):
            lm("q 4")
    assert len(server.requests) == lm.meter.paid.calls == 3


@pytest.mark.parametrize("engine", ["auto", pytest.param("litellm", marks=pytest.mark.slow)])
def test_half_an_emoji_is_replaced_and_asked_for_once(
    engine: str, awaited: bool, cache: ResponseCache
) -> None:
    """Output, history and what the cache gives back can all be written."""
    with LoopbackServer(f"x{HALF}") as server:
        lm = remote(server, engine=engine)
        first, second = (asked(lm, "hi", awaited) for _ in range(2))
    assert first == second == ["x\ufffd"]
    assert [entry["outputs"] for entry in lm.history] == [["x\ufffd"]] * 2
    assert (len(server.requests), lm.meter.paid.calls, lm.meter.needed.calls) == (1, 1, 1)


@pytest.mark.parametrize("variant", ["single", "full"])
def test_a_row_with_half_an_emoji_is_answered(variant: str, cache: ResponseCache) -> None:
    """An analysis or a backstory that holds one does not fail its row, and is paid once."""

    def answer(messages: list[dict[str, Any]]) -> str:
        return STORY if "`answer`" not in messages[0]["content"] else ANSWER

    with LoopbackServer(answer) as server:
        lm = remote(server)
        outcomes = answer_cases(ValueSim(variant), [example("Q69"), example("Q70")], lm=lm)
        again = answer_cases(ValueSim(variant), [example("Q69"), example("Q70")], lm=lm)
    assert [each.status for each in (*outcomes, *again)] == ["answered"] * 4
    assert {each.answer for each in outcomes} == {2}
    assert len(server.requests) == lm.meter.paid.calls
    for sent in server.requests:
        json.dumps(sent, ensure_ascii=False).encode()


def test_counts_that_cannot_be_true_are_estimated(cache: ResponseCache) -> None:
    """A server that reports more tokens than there are is not believed."""
    reply = body(("usage", "prompt_tokens"), MOST + 1)
    with LoopbackServer(lambda _: reply) as server:
        lm = remote(server)
        assert lm("eight ch") == ["ok"]
    assert (lm.meter.paid.prompt_tokens, lm.meter.paid.estimated_calls) == (2, 1)


@pytest.mark.parametrize("engine", ["auto", pytest.param("litellm", marks=pytest.mark.slow)])
def test_no_call_is_made_where_dollars_cannot_be_counted(
    engine: str, awaited: bool, cache: ResponseCache
) -> None:
    """A limit in dollars, a model without a price: refused before the first request."""
    with LoopbackServer() as server:
        lm = remote(server, engine=engine, meter=Meter(budget=Budget(usd=1.0)).child("row"))
        with pytest.raises(ConfigError, match="usd_per_million_input"):
            asked(lm, "hi", awaited)
        assert not server.requests
        lm = remote(server, engine=engine, meter=Meter("without a limit"))
        assert asked(lm, "hi", awaited) == ["ok"]
        known = Meter(budget=Budget(usd=1.0))
        assert asked(remote(server, engine=engine, meter=known), "hi", awaited) == ["ok"]
    assert (len(server.requests), known.paid.calls) == (1, 0)


@pytest.mark.parametrize(
    ("role", "is_known"),
    [
        ({"model": "openai/gpt-4o-mini", "api_base": "http://127.0.0.1:9/v1"}, True),
        ({"model": "openai/gpt-4o-mini", "engine": "litellm"}, True),
        ({"model": "openai/none-of-that-name"}, False),
        ({"model": "offline/lexical-1"}, True),
        (
            {"model": "openai/x", "usd_per_million_input": 1, "usd_per_million_output": 0},
            True,
        ),
    ],
)
def test_prices_are_known_before_a_call(
    role: dict[str, Any], is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role's, the offline model's, and those of the list that answers are priced by."""
    monkeypatch.setenv("A_NAME", "sk-test-only")
    given = {} if role["model"].startswith("offline") else {"api_key_env": "A_NAME"}
    assert (rates_of(make_lm(LMRole(**given, **role))) is not None) is is_known


def test_a_declared_provider_is_priced_by_its_declaration() -> None:
    """Its own names in the price list count, and no others."""
    from dspy.lm15 import (
        AccessPolicy,
        OpenAIChatCompat,
        ProviderDefinition,
        register_provider,
        unregister_provider,
    )

    access = AccessPolicy(provider="mine", env_keys=("A_KEY",), base_url="http://127.0.0.1:9/v1")
    made = ProviderDefinition.chat(access, compat=OpenAIChatCompat())
    found: list[Callable[[], Any] | Any] = []
    for names in (("openai",), ()):
        register_provider(made, metadata_namespaces=names)
        try:
            found.append(rates_of(make_lm(LMRole(model="mine/gpt-4o-mini"))))
        finally:
            unregister_provider("mine")
    assert found[0] is not None and found[1] is None


@pytest.mark.parametrize("samples", [3, 10])
def test_a_call_with_more_samples_than_the_budget_has_is_refused(
    samples: int, awaited: bool, cache: ResponseCache
) -> None:
    """Nothing of it is sent; what fits is, to the last call."""
    with LoopbackServer() as server:
        lm = remote(server, meter=Meter(budget=Budget(calls=3)))
        asked(lm, "q", awaited)
        with pytest.raises(BudgetExceededError, match=rf"spent \(1\); {samples} samples"):
            asked(lm, "hello", awaited, n=samples)
        assert asked(lm, "hello", awaited, n=2) == ["ok", "ok"]
    assert len(server.requests) == lm.meter.paid.calls == 3
