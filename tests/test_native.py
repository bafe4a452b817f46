"""DSPy's own client as ValueSim uses it: bounded, looked up once, and left where it cannot."""

import asyncio
import copy
import pickle
import socket
from typing import Any

import dspy
import pytest
from dspy.clients import model_metadata
from loopback import LoopbackServer
from misbehaving import MisbehavingServer
from models import Echo, remote

from valuesim_dspy.bounded import (
    REPLY,
    BoundedTransport,
    _BoundedSocket,
    _Connection,
    allowed,
)
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.callscope import CallScope, call_scope
from valuesim_dspy.limits import Limits
from valuesim_dspy.lm import MeteredLM, make_lm
from valuesim_dspy.native import NativeEngine, behind_proxy, native_engine
from valuesim_dspy.roles import LMRole

KEY = "canary-0123456789"


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the models whose entry in DSPy's catalogue was looked for."""
    seen: list[str] = []
    known = model_metadata.model_info

    def look(provider: str, model: str, **more: Any) -> Any:
        seen.append(model)
        return known(provider, model, **more)

    for module in ("valuesim_dspy.native", "dspy.clients.costs", "dspy.clients.capabilities"):
        monkeypatch.setattr(f"{module}.model_info", look)
    return seen


def test_a_model_outside_the_catalogue_is_looked_up_once(looked_up: list[str]) -> None:
    """For a local server's model every look-up reads the whole list: not in every call."""
    with LoopbackServer() as server:
        lm = remote(server)
        signature = dspy.Predict("question -> answer")
        for number in range(5):
            with dspy.context(lm=lm), pytest.raises(Exception, match="LM Response"):
                signature(question=f"{number}")
        lm("hi")
    assert 0 < len(looked_up) <= 3 and set(looked_up) == {"test"}
    assert (lm.meter.paid.usd, lm.meter.paid.unpriced_calls) == (None, lm.meter.paid.calls)


def test_capabilities_are_those_that_dspy_would_find(looked_up: list[str]) -> None:
    """Adapters see the same, from one look-up."""
    lm = make_lm(LMRole(model="openai/gpt-4o-mini"), name="task_lm")
    plain = dspy.LM("openai/gpt-4o-mini")
    for _ in range(3):
        assert lm.supports_response_schema is plain.supports_response_schema is True
        assert lm.supports_function_calling is plain.supports_function_calling is True
        assert lm.supports_reasoning is plain.supports_reasoning is False
        assert lm.supported_params == plain.supported_params != set()
    assert looked_up.count("gpt-4o-mini") == 1 + 3 * 4


@pytest.mark.parametrize(
    ("settings", "native"),
    [
        ({"api_base": "http://127.0.0.1:9/v1"}, True),
        ({"api_base": "http://127.0.0.1:9/v1", "engine": "lm15"}, True),
        ({"api_base": "http://127.0.0.1:9/v1", "engine": "litellm"}, False),
        ({"model": "unheard-of/model"}, False),
        ({"extra": {"extra_headers": {"X-Team": "a"}}}, False),
        ({"extra": {"model_type": "text"}}, False),
    ],
)
def test_dspys_choice_of_client_is_kept(settings: dict[str, Any], native: bool) -> None:
    """What DSPy would send through LiteLLM still goes there, and all else is bounded."""
    lm = make_lm(LMRole(**{"model": "openai/test", **settings}), name="task_lm")
    assert (lm.native is not None) == native
    assert lm.throttle is not None and lm.prefixes is not None


def test_a_gateway_of_the_environment_stays_with_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in DSPy, an address in the environment is the compatibility client's."""
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/v1")
    assert make_lm(LMRole(model="openai/test"), name="task_lm").native is None


def test_a_declared_provider_keeps_its_declaration() -> None:
    """Providers that a user registers with DSPy go the way they were declared."""
    from dspy.lm15 import (
        AccessPolicy,
        OpenAIChatCompat,
        ProviderDefinition,
        register_provider,
        unregister_provider,
    )

    access = AccessPolicy(provider="mine", env_keys=("A_KEY",), base_url="http://127.0.0.1:9/v1")
    register_provider(ProviderDefinition.chat(access, compat=OpenAIChatCompat()))
    try:
        role, limits = LMRole(model="mine/model"), Limits()
        assert native_engine(role, limits, {}) is None
    finally:
        unregister_provider("mine")


def test_a_copy_may_have_another_engine() -> None:
    """The copy asks that one, and its original the endpoint as before."""
    with LoopbackServer() as server:
        lm = remote(server)
        other = lm.copy(engine=Echo(), async_engine=None)
        assert (other("hi there"), lm("hi there")) == (["hi there"], ["ok"])
    assert other.native is None and lm.native is not None


def test_settings_of_the_connection_may_come_with_a_call_or_a_copy(cache: ResponseCache) -> None:
    """Another key or time limit for one call or copy goes to the server, as in DSPy."""
    with LoopbackServer() as server:
        lm = remote(server)
        assert lm("one", api_key="sk-one", timeout=30) == ["ok"]
        assert lm.copy(api_key="sk-two")("two") == ["ok"]
        assert lm("three") == ["ok"]
    assert server.keys == ["sk-one", "sk-two", "none"]
    assert lm.meter.paid.calls == 3


@pytest.mark.slow
def test_what_the_client_cannot_express_is_left_to_litellm(cache: ResponseCache) -> None:
    """A request with a setting that is LiteLLM's alone is sent, counted and cached as others."""
    kinds = {"modalities": ["text"]}
    with LoopbackServer() as server:
        lm = remote(server)
        assert lm("hi", **kinds) == lm("hi", **kinds) == ["ok"]
    assert len(server.requests) == 1 and server.requests[0]["modalities"] == ["text"]
    assert (lm.meter.paid.calls, lm.meter.needed.calls, lm.meter.failed) == (1, 1, 0)
    assert lm.throttle is not None and lm.throttle.under_way == 0


def test_a_client_that_was_asked_for_by_name_refuses(cache: ResponseCache) -> None:
    """With `engine = "lm15"` nothing is sent another way."""
    with LoopbackServer() as server, pytest.raises(dspy.LMError):
        remote(server, engine="lm15")("hi", modalities=["text"])
    assert not server.requests


def test_copies_share_connections_and_another_process_has_its_own() -> None:
    """One pool for an LM and its copies; what is sent elsewhere opens its own."""
    with LoopbackServer() as server:
        lm = remote(server)
        for each in (lm, lm.copy(temperature=1.0), copy.deepcopy(lm)):
            each(f"{each.kwargs}")
        assert lm.native is not None
        assert lm.native._transport.pool_stats()["total_opened"] == 1
        sent: MeteredLM = pickle.loads(pickle.dumps(lm))
        assert sent.native is not None and sent.native is not lm.native
        assert sent("hi") == ["ok"]
        lm.close()
        assert lm.native._transport.pool_stats()["idle"] == 0


def test_as_many_connections_are_open_as_calls_may_be_under_way() -> None:
    """The pool never makes a call wait that the throttle let go."""
    role = LMRole(model="openai/test", api_base="http://127.0.0.1:9/v1")
    engine = native_engine(role, Limits(in_flight=300), {"api_base": role.api_base, "api_key": "x"})
    assert isinstance(engine, NativeEngine)
    assert engine._transport.max_connections >= 300


def test_a_call_may_have_less_time_than_its_model() -> None:
    """The trial call before a run is impatient, on the same connections."""
    assert allowed(120.0) == 120.0
    with call_scope(CallScope(seconds=3.0)):
        assert allowed(120.0) == 3.0
    with MisbehavingServer(faults=["timeout"]) as server:
        lm = make_lm(LMRole(model="openai/test", api_base=server.url, num_retries=0))
        with pytest.raises(dspy.LMTransportError, match=r"within 0\.05 s"):
            lm.copy(timeout=0.05)("hi")


def test_proxies_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment decides when the LM is made, in whatever case it is written."""
    assert not behind_proxy()
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert not behind_proxy()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert behind_proxy() and behind_proxy("http://192.0.2.1/v1")
    assert not behind_proxy("http://localhost:8000/v1")


@pytest.fixture
def dead_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment name proxies that are not there."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "" if name.lower() == "no_proxy" else "http://127.0.0.1:1")


@pytest.mark.usefixtures("dead_proxies")
def test_no_proxy_comes_before_this_machine() -> None:
    """No consent is asked for it, so nothing leaves: in threads, awaited, and in other copies."""
    with LoopbackServer() as server:
        lm = remote(server)
        assert lm("one") == asyncio.run(lm.acall("two")) == lm("three", api_key="sk-x") == ["ok"]
    assert len(server.requests) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("dead_proxies")
def test_litellm_takes_no_proxy_to_this_machine_either() -> None:
    """The environment is told which host needs none."""
    with LoopbackServer() as server:
        lm = remote(server, engine="litellm")
        assert lm("one") == asyncio.run(lm.acall("two")) == ["ok"]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "told"), [("large", "larger than"), ("drip", "no whole answer"), ("timeout", "whole")]
)
def test_awaited_calls_are_bounded_too(fault: str, told: str) -> None:
    """Size and time have the same bounds on an event loop."""
    with MisbehavingServer(faults=[fault]) as server:
        role = LMRole(model="openai/test", api_base=server.url, num_retries=0, timeout=0.2)
        with pytest.raises(dspy.LMTransportError, match=told):
            asyncio.run(make_lm(role).acall("hi"))
    assert server.requests == 1


def test_awaited_calls_with_a_cache_take_turns(cache: ResponseCache) -> None:
    """Many tasks, few slots, the same questions twice: each is paid once and none hangs."""

    async def many(lm: MeteredLM) -> list[Any]:
        calls = [lm.acall(f"question {number % 30}") for number in range(60)]
        return await asyncio.gather(*calls)

    with LoopbackServer() as server:
        role = LMRole(model="openai/test", api_base=server.url)
        lm = make_lm(role, limits=Limits(in_flight=3))
        assert asyncio.run(many(lm)) == [["ok"]] * 60
        assert asyncio.run(many(lm)) == [["ok"]] * 60
    assert len(server.requests) == 30 and server.peak <= 3
    assert lm.throttle is not None and lm.throttle.under_way == 0


def test_connections_are_used_again_where_a_thousand_files_are_open() -> None:
    """Whether the other side closed is known for files of any number."""
    fcntl, resource = pytest.importorskip("fcntl"), pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2000:
        pytest.skip("too few files may be open here")
    ours, theirs = socket.socketpair()
    with theirs, socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD, 1500)) as high:
        ours.close()
        connection = _Connection(("http", "x", 1), _BoundedSocket(high, REPLY))
        assert high.fileno() >= 1500 and not connection.is_stale()
        theirs.send(b"x")
        assert connection.is_stale()
        connection.close()
        assert connection.is_stale()


def test_the_transport_reads_no_more_than_it_may() -> None:
    """A copy of the client, which DSPy makes when a notebook closed it, has the bounds too."""
    transport = BoundedTransport(seconds=5.0)
    again = transport.copy()
    assert isinstance(again, BoundedTransport) and again._size == REPLY
