"""What a call sent and received: it is paid for, whether or not an answer was made of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import dspy
from dspy.lm15 import ProviderError, TransportError
from dspy.lm15 import Usage as Told

from valuesim_dspy.bounded import BoundedAsyncTransport, BoundedTransport
from valuesim_dspy.callscope import CallScope, Reported, current_call, predictor_name
from valuesim_dspy.encodable import mended
from valuesim_dspy.paying import PaidCall, priced
from valuesim_dspy.usage import Usage

if TYPE_CHECKING:
    from valuesim_dspy.metered import MeteredLM

MOST = 1_000_000_000
"""Tokens that no call takes: a server that reports more is not believed."""


@dataclass
class Receipts(CallScope):
    """One LM call that also knows what it sent and what came for it.

    Attributes:
        sent: Whether a request went out, after which it must not go out another way.
        reply: The reply being read, where it began.
        unread: What came whole besides the samples, as far as it says what it took.
    """

    sent: bool = False
    reply: Any = None
    unread: list[Reported] = field(default_factory=list)


def receipts() -> Receipts | None:
    """Return what the LM call this code runs under has received, if it runs under one."""
    scope = current_call()
    return scope if isinstance(scope, Receipts) else None


class WatchedTransport(BoundedTransport):
    """Tells the call under way that its request goes out, and which reply it gets."""

    def stream(self, request: Any) -> Any:
        """Send a request."""
        scope = receipts()
        if scope is None:
            return super().stream(request)
        scope.sent, scope.reply = True, None
        scope.reply = super().stream(request)
        return scope.reply


class WatchedAsyncTransport(BoundedAsyncTransport):
    """The same on an event loop."""

    async def _do_stream(self, request: Any) -> Any:
        scope = receipts()
        if scope is None:
            return await super()._do_stream(request)
        scope.sent, scope.reply = True, None
        scope.reply = await super()._do_stream(request)
        return scope.reply


class WatchedLM(dspy.LM):
    """Tells the call under way what came through LiteLLM, by what DSPy does with a reply."""

    def _check_truncation(self, results: Any) -> None:
        if (scope := receipts()) is not None:
            scope.sent = True
            scope.unread.append(told_by(results))
        super()._check_truncation(results)

    def _process_completion(self, response: Any, merged_kwargs: Any) -> Any:
        # Here, since traces and history are made of the outputs before a call returns them.
        return mended(super()._process_completion(response, merged_kwargs))

    def _process_response(self, response: Any) -> Any:
        return mended(super()._process_response(response))


@contextmanager
def reading() -> Iterator[None]:
    """Take down a reply that comes whole, and of which the code inside makes no answer."""
    scope = receipts()
    before = len(scope.samples) if scope is not None else 0
    try:
        yield
    except Exception as error:
        if scope is not None and len(scope.samples) == before and _came(scope.reply, error):
            size = scope.reply.header("content-length") or ""
            written = int(size) // 4 if size.isdecimal() else 0
            scope.unread.append(Reported(1, None, written))
        raise


def _came(reply: Any, error: Exception) -> bool:
    """Whether an answer came whole: neither broken off nor the server's refusal to give one."""
    # Of the kinds of this error, the parent alone is about what an answer says.
    refused = isinstance(error, ProviderError) and type(error) is not ProviderError
    broken = refused or isinstance(error, TransportError)
    return reply is not None and reply.status < 300 and not broken


def told_by(raw: Any) -> Reported:
    """Return what a reply that came through LiteLLM says it took."""
    from dspy.clients.legacy_outputs import value

    usage, hidden = value(raw, "usage") or {}, getattr(raw, "_hidden_params", None) or {}
    read, written = (value(usage, f"{side}_tokens") for side in ("prompt", "completion"))
    return Reported(1, believed(read), believed(written), hidden.get("response_cost"))


def believed(count: Any) -> int | None:
    """Return a number of tokens; None where no call can have taken so many."""
    return count if type(count) is int and 0 <= count <= MOST else None


def credible(usage: Told) -> Told:
    """Return what a reply says it took without what cannot be true."""
    told = {each.name: getattr(usage, each.name) for each in fields(usage)}
    odd = {name: None for name, count in told.items() if count and believed(count) is None}
    return replace(usage, **odd) if odd else usage


def settle(call: PaidCall) -> None:
    """Count what a call that did not end with its answer has received: once, and as paid."""
    scope, lm = call.scope, call.lm
    if not isinstance(scope, Receipts) or not call.reserved:
        return
    told = [
        Reported(1, sample.usage.input_tokens, sample.usage.output_tokens)
        for sample in scope.samples
    ]
    told += scope.unread
    if not told:
        return
    each = call.planned.prompt_tokens // max(1, call.planned.calls)
    read = sum(each if one.prompt_tokens is None else one.prompt_tokens for one in told)
    written = sum(one.completion_tokens or 0 for one in told)
    unsaid = sum(one.prompt_tokens is None or one.completion_tokens is None for one in told)
    costs = [scope.usd] * bool(scope.samples) + [one.usd for one in scope.unread]
    usd = None if None in costs else sum(filter(None, costs))
    rates = None if usd is not None else rates_of(lm)
    if rates is not None:
        usd = (read * rates[0] + written * rates[1]) / 1e6
    usage = priced(lm, Reported(len(told), read, written, usd)) + Usage(estimated_calls=unsaid)
    call.reserved = False
    lm.meter.record(
        usage, paid=True, predictor=predictor_name(), planned=call.planned, key=scope.key
    )


def rates_of(lm: MeteredLM) -> tuple[float, float] | None:
    """Return US dollars per million prompt and completion tokens; None where unknown.

    The role's own prices, else those of the list that answers are priced by: this is known
    before a call.
    """
    role = lm.role
    if role.offline:
        return 0.0, 0.0
    if role.usd_per_million_input is not None and role.usd_per_million_output is not None:
        return role.usd_per_million_input, role.usd_per_million_output
    if lm.native is not None:
        return _listed(lm.native.route.provider, lm.native.route.model, None)
    if not isinstance(lm.engine, str):
        return None
    return _declared(lm) or _listed(role.provider, role.model.rpartition("/")[2], None)


def _declared(lm: MeteredLM) -> tuple[float, float] | None:
    """Return the prices of a provider that was declared to DSPy."""
    from dspy.clients.capabilities import resolve
    from dspy.lm15 import LM15Error, _binding_for

    try:
        route = resolve(lm)
    except LM15Error:
        return None
    binding = _binding_for(lm._providers, route.provider) if route.declared else None
    if binding is None:
        return None
    return _listed(route.provider, route.model, tuple(binding.metadata_namespaces))


# A price that is not there means reading the whole list.
@lru_cache(maxsize=256)
def _listed(
    provider: str, model: str, namespaces: tuple[str, ...] | None
) -> tuple[float, float] | None:
    from dspy.clients.model_metadata import model_info, rate

    info = model_info(provider, model, namespaces=namespaces)
    read = rate(info, "input_cost_per_token")
    written = rate(info, "output_cost_per_token")
    return None if read is None or written is None else (read * 1e6, written * 1e6)
