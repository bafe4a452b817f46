"""One paid call: when its turn ends, when it finds nobody, and what is told of its errors."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest
from dspy.lm15 import Response
from loopback import LoopbackServer, Messages, Reply
from misbehaving import GOOD, MisbehavingServer
from people import example

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.limits import Limits
from valuesim_dspy.lm import MeteredLM, make_lm
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.native import NativeEngine
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrying import Pauses
from valuesim_dspy.roles import LMRole
from valuesim_dspy.suspecting import TRIES


async def _no_pause(seconds: float) -> None:
    """Wait no time."""


def remote(url: str, *, in_flight: int = 64, **known: Any) -> MeteredLM:
    """Make an LM that asks a server and never sleeps."""
    role = LMRole(**{"model": "openai/test", "api_base": url, "timeout": 2.0, **known})
    pauses = Pauses(lambda seconds: None, _no_pause)
    return make_lm(role, name="task_lm", limits=Limits(in_flight=in_flight), pauses=pauses)


@pytest.fixture
def gone() -> str:
    """Return an address at which nobody is any more."""
    with LoopbackServer() as server:
        pass
    return server.url


@pytest.fixture
def pricing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Take down turns and answers at each price that is looked for, after a reply was read."""
    seen: list[tuple[int, int]] = []
    real = NativeEngine._price
    throttles: list[Any] = []

    def price(self: NativeEngine, request: Any, response: Response) -> float | None:
        seen.append((throttles[0].under_way, throttles[0].answers))
        return real(self, request, response)

    def take(self: Any, *given: Any) -> Any:
        throttles.append(self)
        return known(self, *given)

    from valuesim_dspy.throttle import Throttle

    known = Throttle.offer
    monkeypatch.setattr(Throttle, "offer", take)
    monkeypatch.setattr(NativeEngine, "_price", price)
    yield seen


def test_a_turn_ends_when_the_reply_was_read(
    cache: ResponseCache, pricing: list[tuple[int, int]]
) -> None:
    """Parsing, pricing and caching hold up no other call, and the answer is counted once."""
    with LoopbackServer() as server:
        lm = remote(server.url)
        assert lm("hi") == ["ok"]
    assert pricing == [(0, 1)]
    assert lm.throttle is not None
    assert (lm.throttle.answers, lm.throttle.under_way, lm.throttle.peak) == (1, 0, 1)
    assert lm.meter.paid.calls == 1


def test_several_samples_are_one_turn(pricing: list[tuple[int, int]]) -> None:
    """It ends with the last of them, and is one success."""
    with LoopbackServer() as server:
        lm = remote(server.url)
        assert lm("hi", n=3, temperature=1.0) == ["ok"] * 3
    assert sorted(pricing) == [(0, 1), (1, 0), (1, 0)]
    assert lm.throttle is not None and lm.throttle.under_way == 0
    assert lm.meter.paid.calls == 3


def test_awaited_calls_end_their_turn_as_early(pricing: list[tuple[int, int]]) -> None:
    """The same on an event loop."""
    with LoopbackServer() as server:
        lm = remote(server.url)
        assert asyncio.run(lm.acall("hi")) == ["ok"]
    assert lm.throttle is not None
    assert (lm.throttle.answers, lm.throttle.under_way) == (1, 0)


@pytest.mark.parametrize("usage", [True, False])
def test_tokens_of_a_turn_are_those_that_are_paid(usage: bool) -> None:
    """Reported or estimated, what a minute is charged is what the meter counts."""
    with LoopbackServer("some words of an answer", usage=usage) as server:
        lm = remote(server.url)
        assert lm.throttle is not None
        spent: list[int | None] = []
        known = lm.throttle.give_back

        def give_back(slot: Any, used: int | None = None, calls: int = 1) -> None:
            spent.append(used)
            known(slot, used, calls)

        lm.throttle.give_back = give_back  # type: ignore[method-assign]
        lm("hi there")
    assert spent == [lm.meter.paid.tokens] != [0]


def test_no_more_requests_are_on_the_wire_than_allowed() -> None:
    """Turns that end early are still turns."""
    with LoopbackServer() as server:
        lm = remote(server.url, in_flight=3)
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(lm, map(str, range(60)))) == [["ok"]] * 60
    # The server is done with a request a moment after its client has read the reply.
    assert lm.throttle is not None and lm.throttle.peak <= 3
    assert lm.throttle.answers == 60


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_an_address_at_which_nobody_is_ends_the_run(gone: str, retries: int) -> None:
    """A call that never found anybody is no failure of its case, however few cases there are."""
    cases = [example("Q69"), example("Q70")]
    lm = remote(gone, num_retries=retries)
    with ResponseCache().installed(), pytest.raises(ConfigError, match="cannot be reached"):
        answer_cases(ValueSim("single"), cases, lm=lm, threads=2)
    assert lm.throttle is not None and lm.throttle.under_way == 0


def test_awaited_calls_find_out_too(gone: str) -> None:
    """The stop is the same on an event loop."""
    with pytest.raises(ConfigError, match="cannot be reached"):
        asyncio.run(remote(gone).acall("hi"))


def test_an_endpoint_that_is_killed_ends_a_small_run() -> None:
    """The cut connection, and then nobody: what was done is kept, and nothing counts as failed."""
    with MisbehavingServer(rate=0.0) as server:
        lm = remote(server.url)
        assert lm("hi") == [GOOD]
    with pytest.raises(ConfigError, match=r"does not answer any more: 4 attempts .*refused") as it:
        lm("hi again")
    assert "what was done is kept" in str(it.value) and lm.meter.failed == 1


def test_an_answer_to_another_call_tells_that_somebody_is_there(
    monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """One call that cannot connect while others are answered fails alone."""
    lm = remote(gone)
    throttle = lm.throttle
    assert throttle is not None

    def others(seconds: float) -> None:
        throttle.succeeded(slot := throttle.take())
        throttle.give_back(slot)

    monkeypatch.setattr(lm.pauses, "sleep", others)
    with pytest.raises(dspy.LMTransportError):
        lm("hi")


def test_a_prompt_that_makes_the_server_hang_up_fails_alone() -> None:
    """A connection that was cut had come about."""
    with MisbehavingServer(faults=["cut before"]) as server:
        lm = remote(server.url)
        with pytest.raises(dspy.LMTransportError):
            lm("poison")
    assert server.requests == 4


def test_an_endpoint_that_only_fails_ends_a_small_run() -> None:
    """Twice as many failures as calls were ever under way, and a trial, however many may be."""
    with LoopbackServer(lambda _: 503) as server:
        lm = remote(server.url, in_flight=1000)
        with pytest.raises(ConfigError, match="does not answer any more: 20 "):
            for number in range(20):
                with pytest.raises(dspy.LMServerError):
                    lm(f"{number}")
    assert len(server.requests) == 20 + 1 + TRIES


@pytest.mark.parametrize("status", [400, 500])
def test_what_a_server_repeats_of_a_backstory_is_told_to_nobody(status: int) -> None:
    """Also what no fact says: the kind of the error stays, in the reason and in every cause."""
    story = "I grew up beside the old harbour"

    def answer(messages: Messages) -> Reply:
        return Reply(status, f"cannot read: {messages[-1]['content']}")

    with LoopbackServer(answer) as server:
        lm = remote(server.url, num_retries=0)
        with pytest.raises(dspy.LMError) as caught:
            lm(f"[[ ## backstory ## ]]\n{story}")
    error: BaseException | None = caught.value
    assert "its text repeats the prompt" in str(error)
    while error is not None:
        assert "harbour" not in str(error) and "harbour" not in repr(error.args)
        error = error.__cause__


def test_a_message_of_the_servers_own_stays() -> None:
    """What helps to find the fault is still told."""
    with LoopbackServer(lambda _: Reply(400, "the context is too small")) as server:
        lm = remote(server.url, num_retries=0)
        with pytest.raises(dspy.LMError, match="the context is too small"):
            lm("how are you today")


def test_a_stop_reaches_the_calls_that_wait(gone: str) -> None:
    """Whoever waits for a turn hears that nobody is there."""
    lm = remote(gone, in_flight=1, num_retries=0)
    ready = threading.Barrier(8)

    def ask(number: int) -> str:
        ready.wait(30)
        try:
            return str(lm(f"{number}"))
        except ConfigError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(ask, range(8)))
    assert all("cannot be reached" in each for each in told)


def test_good_answers_are_as_before() -> None:
    """The loop's outcomes count calls, money and tokens as they did."""
    with MisbehavingServer(rate=0.0) as server, ResponseCache().installed():
        lm = remote(server.url)
        (outcome,) = answer_cases(ValueSim("single"), [example("Q69")], lm=lm)
    assert GOOD and (outcome.status, outcome.calls, outcome.paid) == ("answered", 1, 1)
    assert outcome.paid_tokens == outcome.tokens > 0
