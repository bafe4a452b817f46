"""DSPy's own client for one model: bounded in time and size, with prices and prefix marks.

It is handed to `dspy.LM` as an engine. DSPy looks up routes, capabilities and prices again for
every call, which for a model outside its catalogue takes longer than all the rest.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from typing import Any

import dspy
from dspy._vendor.lm15.transports import TransportError as ClientError
from dspy.clients.backend_selection import CLIENT_KEYS, select_backend
from dspy.clients.call_result import usage_dict
from dspy.clients.capabilities import Capabilities, capabilities
from dspy.clients.costs import estimate_cost
from dspy.clients.engines.lm15_engine import AsyncLM15Engine, LM15Engine
from dspy.clients.model_metadata import model_info
from dspy.lm15 import (
    LM15Error,
    Request,
    Response,
    RouterConfig,
    TransportError,
)

from valuesim_dspy.bounded import allowed, within
from valuesim_dspy.callscope import Shared, current_call
from valuesim_dspy.encodable import mended
from valuesim_dspy.limits import Limits
from valuesim_dspy.prefixes import marked, takes_marks
from valuesim_dspy.receipts import WatchedAsyncTransport, WatchedTransport, credible, reading
from valuesim_dspy.roles import LMRole, is_here

__all__ = ["AsyncNativeEngine", "NativeEngine", "connection_of", "native_engine"]


def connection_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those settings of an LM that say how its endpoint is reached."""
    return {name: value for name, value in settings.items() if name in CLIENT_KEYS}


def native_engine(role: LMRole, limits: Limits, settings: Mapping[str, Any]) -> NativeEngine | None:
    """Make the engine of a role, where DSPy would use its own client for it.

    Args:
        role: The model.
        limits: How many connections may be open.
        settings: What `dspy.LM` would be given.

    Returns:
        The engine; None where the endpoint is LiteLLM's, or DSPy refuses the settings.
    """
    if role.engine == "litellm":
        return None
    probe = dspy.LM(role.model, engine=role.engine, max_tokens=role.max_tokens, **settings)
    try:
        selected = select_backend(probe)
    except LM15Error:
        return None
    route = selected.resolution
    # A provider that was declared to DSPy keeps the ways that its declaration gave it.
    if not selected.native or route.declared or probe.model_type == "text":
        return None
    return NativeEngine(role, limits, dict(selected.clients), probe.model_type)


def behind_proxy(address: str | None = None) -> bool:
    """Whether the environment names a proxy; looking for it again in every call takes long.

    Args:
        address: What is asked; no proxy comes before what is on this machine.
    """
    named = (name.lower() for name in os.environ)
    return not is_here(address) and any(
        name.endswith("_proxy") and name != "no_proxy" for name in named
    )


class _Native(Shared):
    """What both engines know of their model."""

    def __init__(
        self, role: LMRole, limits: Limits, clients: dict[str, Any], model_type: str = "chat"
    ) -> None:
        self.given = (role, limits, clients, model_type)
        self.role, self.limits, self.clients, self.model_type = self.given
        probe = LM15Engine(RouterConfig(env={}), model_type=model_type)
        self.route = probe.resolve(role.model)
        self.marks = role.prompt_cache and takes_marks(self.route)
        self.proxied = behind_proxy(clients.get("api_base") or clients.get("base_url"))
        self._unpriced: set[str] = set()

    def config(self, transport: Any) -> Any:
        key, url = self.clients.get("api_key"), self.clients.get("api_base")
        url = url or self.clients.get("base_url")
        provider = self.route.provider
        return RouterConfig(
            api_keys={provider: key} if key is not None else None,
            base_urls={provider: url} if url else None,
            transport=transport,
        )

    def prepared(self, request: Request) -> Request:
        return marked(request) if self.marks else request

    def finished(self, request: Request, response: Response) -> Response:
        """Keep a sample and its price, and count tokens as all providers' are counted."""
        response = mended(replace(response, usage=credible(response.usage)))
        told, answer = usage_dict(response, self.route.provider), response
        usage = replace(
            response.usage,
            input_tokens=told.get("prompt_tokens"),
            output_tokens=told.get("completion_tokens"),
        )
        response = replace(response, usage=usage)
        scope = current_call()
        if scope is None:
            return response
        known = scope.usd is not None or not scope.samples
        scope.samples.append(response)
        scope.at += 1
        scope.received()
        cost = self._price(request, answer)
        scope.usd = (scope.usd or 0.0) + cost if known and cost is not None else None
        return response

    def _price(self, request: Request, response: Response) -> float | None:
        provider, name = self.route.provider, str(response.model)
        if self.role.usd_per_million_input is not None or name in self._unpriced:
            return None
        # Looking for a price that is not there means reading the whole list.
        if not model_info(provider, name) and not model_info(provider, self.route.model):
            if len(self._unpriced) < 100:
                self._unpriced.add(name)
            return None
        asked = replace(request, model=self.route.model)
        cost, _ = estimate_cost(
            response, provider=provider, requested_model=self.route.model, request=asked
        )
        return None if cost is None else float(cost)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.given


class NativeEngine(_Native):
    """One attempt at a time, in a thread.

    Args:
        role: The model.
        limits: How many connections may be open.
        clients: Address, key and time limit.
        model_type: DSPy's name of the protocol's kind.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        transport = WatchedTransport(
            seconds=self.role.timeout,
            max_connections=self.limits.in_flight + 8,
            trust_env=self.proxied,
        )
        self._transport = transport
        self._engine = LM15Engine(self.config(transport), model_type=self.model_type)
        self._known: Capabilities | None = None

    def complete(self, request: Request) -> Response:
        """Return the answer to a request; samples that an earlier attempt paid for first."""
        scope = current_call()
        if scope is not None and scope.at < len(scope.samples):
            scope.at += 1
            return scope.samples[scope.at - 1]
        with reading():
            return self.finished(request, self._engine.complete(self.prepared(request)))

    def stream(self, request: Request) -> Iterator[Any]:
        """Yield the events of an answer."""
        return self._engine.stream(self.prepared(request))

    def close(self) -> None:
        """Close all connections; the engine is not used afterwards."""
        self._engine.close()
        self._transport.close()

    def asynchronous(self) -> AsyncNativeEngine:
        """Return the same for event loops."""
        return AsyncNativeEngine(*self.given)

    @property
    def capabilities(self) -> Capabilities:
        """What DSPy knows of the model; looked up once."""
        if self._known is None:
            probe = dspy.LM(
                self.role.model, engine=self.role.engine, model_type=self.model_type,
                max_tokens=self.role.max_tokens, **self.clients,
            )  # fmt: skip
            self._known = capabilities(probe)
        return self._known

    @property
    def supports_function_calling(self) -> bool:
        """Whether the model takes tools."""
        return bool(self.capabilities.function_calling)

    @property
    def supports_reasoning(self) -> bool:
        """Whether the model may be told how much to think."""
        return bool(self.capabilities.reasoning)

    @property
    def supports_response_schema(self) -> bool:
        """Whether the server enforces schemas."""
        return bool(self.capabilities.response_schema)

    @property
    def supported_params(self) -> frozenset[str]:
        """The settings that reach the model."""
        return frozenset(self.capabilities.params)


class AsyncNativeEngine(_Native):
    """The same on event loops; connections belong to the loop that opened them."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._engines: dict[asyncio.AbstractEventLoop, Any] = {}
        self._lock = threading.Lock()

    async def complete(self, request: Request) -> Response:
        """Return the answer to a request; samples that an earlier attempt paid for first."""
        scope = current_call()
        if scope is not None and scope.at < len(scope.samples):
            scope.at += 1
            return scope.samples[scope.at - 1]
        engine = self._engine()
        with reading():
            try:
                async with within(allowed(self.role.timeout)):
                    response = await engine.complete(self.prepared(request))
            except ClientError as error:
                raise TransportError(str(error)) from error
            return self.finished(request, response)

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        """Yield the events of an answer."""
        async for event in self._engine().stream(self.prepared(request)):
            yield event

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.aclose()
            await engine.config.transport.aclose()

    def _engine(self) -> Any:
        loop = asyncio.get_running_loop()
        with self._lock:
            for other in [each for each in self._engines if each.is_closed()]:
                # What it held is closed when it is collected.
                del self._engines[other]
            if loop not in self._engines:
                seconds = self.role.timeout
                transport = WatchedAsyncTransport(
                    max_connections=self.limits.in_flight + 8,
                    connect_timeout=min(10.0, seconds),
                    read_timeout=seconds,
                    write_timeout=seconds,
                    trust_env=self.proxied,
                )
                self._engines[loop] = AsyncLM15Engine(
                    self.config(transport), model_type=self.model_type
                )
            return self._engines[loop]
