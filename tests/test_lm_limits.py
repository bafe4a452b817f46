from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest
from loopback import LoopbackServer
from models import Echo, remote, scripted

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import BudgetExceededError, ConfigError
from valuesim_dspy.lm import Budget, Meter


def test_calls_without_the_cache_are_counted_from_history(cache: ResponseCache) -> None:
    """With cache=False nothing is looked up or kept, and usage is known all the same."""
    with LoopbackServer("hello") as server:
        lm = remote(server)
        lm("hi", cache=False)
        lm("hi", cache=False)
    assert (len(server.requests), cache.count) == (2, 0)
    assert lm.meter.paid == lm.meter.needed
    assert lm.meter.paid.prompt_tokens == 2
    assert lm.meter.paid.estimated_calls == 0


def test_where_nothing_tells_the_usage_it_is_estimated_and_said(cache: ResponseCache) -> None:
    """A server without usage, or no history, leads to estimates that are counted as such."""
    with LoopbackServer("four", usage=False) as server:
        lm = remote(server)
        lm("eight ch")
    assert lm.meter.paid.prompt_tokens == 2
    assert lm.meter.paid.completion_tokens == 1
    assert lm.meter.paid.estimated_calls == 1
    with LoopbackServer("four") as server, dspy.context(disable_history=True):
        lm = remote(server)
        lm("eight ch", cache=False)
    assert (lm.meter.paid.tokens, lm.meter.paid.estimated_calls) == (3, 1)


def test_an_unknown_price_is_unknown(cache: ResponseCache) -> None:
    """A model without a price makes the total None and is counted; never zero."""
    with LoopbackServer() as server:
        lm = remote(server)
        lm("hi")
    assert (lm.meter.paid.usd, lm.meter.paid.unpriced_calls) == (None, 1)


def test_a_roles_price_is_applied_to_hits_and_calls(cache: ResponseCache) -> None:
    """Dollars per million tokens give the price of what was needed and of what was paid."""
    with LoopbackServer("x" * 400) as server:
        lm = remote(server, usd_per_million_input=1e6, usd_per_million_output=2e6)
        lm("hi")
        lm("hi")
    assert lm.meter.paid.usd == pytest.approx(1 + 2 * 101)
    assert lm.meter.needed.usd == lm.meter.paid.usd
    assert lm.meter.paid.unpriced_calls == 0


def test_dspys_price_is_taken_where_it_knows_one(cache: ResponseCache) -> None:
    """A model in DSPy's price list is priced by it."""
    with LoopbackServer() as server:
        lm = remote(server, model="openai/gpt-4o-mini")
        lm("hi")
    assert lm.meter.paid.usd is not None
    assert 0 < lm.meter.paid.usd < 0.01


@pytest.mark.parametrize("limit", [{"calls": 2}, {"tokens": 24}])
def test_a_spent_budget_stops_calls_and_not_hits(
    cache: ResponseCache, limit: dict[str, int]
) -> None:
    """When the budget is spent, new questions are refused and known ones are answered."""
    engine = Echo()
    lm = scripted(engine).with_meter(Meter(budget=Budget(**limit)))
    lm("one"), lm("two")
    with pytest.raises(BudgetExceededError):
        lm("three")
    assert lm("one") == ["one"]
    assert engine.asked == 2
    assert (lm.meter.paid.calls, lm.meter.needed.calls, lm.meter.failed) == (2, 2, 0)


def test_a_budget_in_dollars_is_held(cache: ResponseCache) -> None:
    """Dollars are counted by the role's price and stop the calls."""
    with LoopbackServer() as server:
        meter = Meter(budget=Budget(usd=2.5))
        lm = remote(server, usd_per_million_input=1e6, usd_per_million_output=0, meter=meter)
        for number in range(3):
            lm(f"q {number}")
        with pytest.raises(BudgetExceededError) as caught:
            lm("q 4")
    assert caught.value.what == "usd"
    assert len(server.requests) == 3


def test_threads_do_not_overrun_a_budget_of_calls(cache: ResponseCache) -> None:
    """Calls under way count: exactly as many are sent as were allowed."""
    with LoopbackServer() as server, ThreadPoolExecutor(16) as pool:
        lm = remote(server, meter=Meter(budget=Budget(calls=5)))
        results = [pool.submit(lm, f"question {number}") for number in range(40)]
        errors = [result.exception(30) for result in results]
    assert len(server.requests) == 5
    assert sum(isinstance(error, BudgetExceededError) for error in errors) == 35


def test_many_equal_calls_fit_a_budget_of_one(cache: ResponseCache) -> None:
    """Those that wait for an answer do not use up the budget."""
    with LoopbackServer() as server, ThreadPoolExecutor(8) as pool:
        lm = remote(server, meter=Meter(budget=Budget(calls=1)))
        results = [pool.submit(lm, "hi") for _ in range(8)]
        assert [result.result(30) for result in results] == [["ok"]] * 8


def test_a_budget_holds_without_a_cache_too() -> None:
    """Without any cache every call is paid, and the limit holds."""
    engine = Echo()
    lm = scripted(engine).with_meter(Meter(budget=Budget(calls=1)))
    lm("hi")
    with pytest.raises(BudgetExceededError):
        lm("hi")
    assert engine.asked == 1


def test_a_prompt_over_the_context_is_refused_before_the_call(cache: ResponseCache) -> None:
    """The error has the numbers, nothing is sent, and a prompt that fits just so is sent."""
    engine = Echo()
    lm = scripted(engine, context=200, max_tokens=100)
    with pytest.raises(ConfigError, match=r"task_lm\.context: .* 101 tokens .*100.* 200"):
        lm("x" * 401)
    assert engine.asked == 0
    assert lm("x" * 400) == ["x" * 400]


def test_the_calls_own_length_of_answer_counts_for_the_context(cache: ResponseCache) -> None:
    """max_tokens of the call wins over the role's; messages count with all their parts."""
    lm = scripted(Echo(), context=200, max_tokens=100)
    messages = [{"role": "system", "content": "x" * 200}, {"role": "user", "content": "y" * 300}]
    with pytest.raises(ConfigError):
        lm(messages=messages)
    assert lm(messages=messages, max_tokens=50) == ["y" * 300]
