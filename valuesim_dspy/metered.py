"""A DSPy language model that counts what calls need, what is paid, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dspy
from dspy.clients.base_lm import BaseLM

from valuesim_dspy.cache import InFlightError, ResponseCache
from valuesim_dspy.callscope import CallScope, Reported, call_scope, current_call
from valuesim_dspy.encodable import mended, mending_errors
from valuesim_dspy.errors import ValueSimError
from valuesim_dspy.limits import Limits
from valuesim_dspy.native import NativeEngine, connection_of
from valuesim_dspy.paying import NoSlotError, PaidCall, planned
from valuesim_dspy.prefixes import Prefixes, cached_tokens
from valuesim_dspy.preflight import hush, scrub
from valuesim_dspy.receipts import Receipts, WatchedLM, rates_of, receipts, settle
from valuesim_dspy.retrying import Attempts, Pauses
from valuesim_dspy.roles import LMRole, endpoint_identity, is_secret_name
from valuesim_dspy.throttle import Slot, Throttle
from valuesim_dspy.usage import Meter, Usage, text_of

REFUSED = (dspy.LMUnsupportedFeatureError, TypeError, ValueError)
"""What DSPy raises for a request that its own client cannot express; also for an odd reply."""


class MeteredLM(WatchedLM):
    """A language model that checks its limits before a call and counts it afterwards.

    Responses are cached where a `ResponseCache` is installed; DSPy's own cache, which keeps
    pickles for everyone to read, is never used. Copies (`copy`, deepcopy) count on the same
    meter and take turns with each other. Failed attempts are tried again here and not in DSPy.

    Args:
        role: What was configured.
        name: The role's name, for messages: task_lm, prompt_lm or teacher_lm.
        meter: Where calls are counted; a new one by default.
        engine: An engine that runs in the process, or how DSPy reaches the endpoint.
        async_engine: The engine for `acall`, where ``engine`` runs in the process.
        limits: How fast it may be asked, where it does not run in the process.
        pauses: What waits between attempts.
        settings: What else `dspy.LM` takes: address, key, time limit, sampling.
    """

    def __init__(
        self,
        role: LMRole,
        *,
        name: str,
        meter: Meter | None = None,
        engine: Any = "auto",
        async_engine: Any = None,
        limits: Limits | None = None,
        pauses: Pauses | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            role.model,
            max_tokens=role.max_tokens,
            num_retries=0,
            engine=engine,
            async_engine=async_engine,
            **settings,
        )
        self.role, self.name, self.retries, self.seconds = role, name, role.num_retries, None
        self.native = engine if isinstance(engine, NativeEngine) else None
        self.meter = meter if meter is not None else Meter(name)
        self.throttle = None if role.in_process else Throttle(limits or Limits())
        self.prefixes = None if role.in_process else Prefixes()
        self.pauses = pauses or Pauses()

    @property
    def in_process(self) -> bool:
        """Whether the model runs in this process, where threads do not help."""
        return self.role.in_process

    @property
    def enforce_choices(self) -> bool:
        """Whether the server enforces schemas and may be given the options as a type."""
        return self.role.enforce_choices

    @property
    def connection(self) -> dict[str, Any]:
        """How the endpoint is reached: address, key, time limit."""
        return dict(self.native.clients) if self.native is not None else connection_of(self.kwargs)

    def with_meter(self, meter: Meter) -> MeteredLM:
        """Return a copy that counts on another meter."""
        return self.copy(meter=meter)

    def copy(self, **kwargs: Any) -> MeteredLM:
        """Return a copy with other settings, as `dspy.LM.copy` does.

        Args:
            kwargs: ``num_retries`` and ``timeout`` (the seconds of one attempt) besides DSPy's.
        """
        retries, seconds = kwargs.pop("num_retries", self.retries), kwargs.get("timeout")
        if self.native is not None:
            kwargs.pop("timeout", None)
            if connection_of(kwargs):
                return self.without_engine().copy(**kwargs)
        copied: MeteredLM = super().copy(**kwargs)
        copied.retries, copied.seconds = retries, seconds or self.seconds
        copied.native = copied.engine if isinstance(copied.engine, NativeEngine) else None
        return copied

    def without_engine(self) -> MeteredLM:
        """Return a copy for which DSPy chooses the client call by call."""
        plain: MeteredLM = super().copy(engine=self.role.engine, async_engine=None)
        plain.kwargs.update(self.connection)
        plain.native = None
        return plain

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Answer a prompt or messages as `dspy.LM` does.

        Raises:
            ConfigError: The prompt does not fit the context, the endpoint is dead, or it does
                not know the model.
            MissingDataError: The key is absent or refused.
            BudgetExceededError: The answer is not cached and a budget is spent.
        """
        with self._metered(prompt, messages, kwargs, Receipts()) as call:
            while True:
                try:
                    with mending_errors():
                        outputs = mended(self._once(prompt, messages, call.kwargs))
                    return call.answered(outputs)
                except dspy.LMError as error:
                    seconds = call.failed(error)
                    if seconds is None:
                        raise
                call.rest()
                self.pauses.sleep(seconds)
                call.reserve()

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Answer a prompt or messages as `dspy.LM.acall` does; see `__call__`."""
        patience, slot = 2, None
        while True:
            scope = Receipts(waits=False, patience=patience)
            try:
                with self._metered(prompt, messages, kwargs, scope, slot) as call:
                    slot = None
                    return await self._awaited(call, prompt, messages)
            except InFlightError as other:
                patience -= 1
                await asyncio.shield(asyncio.wrap_future(other.flight))
            except NoSlotError as late:
                assert self.throttle is not None
                slot = await self.throttle.atake(late.tokens)

    async def _awaited(self, call: PaidCall, prompt: Any, messages: Any) -> Any:
        while True:
            try:
                with mending_errors():
                    outputs = mended(await self._aonce(prompt, messages, call.kwargs))
                return call.answered(outputs)
            except dspy.LMError as error:
                seconds = await call.afailed(error)
                if seconds is None:
                    raise
            call.rest()
            await self.pauses.asleep(seconds)
            if self.throttle is not None:
                call.slot = await self.throttle.atake(call.planned.prompt_tokens, call.told)
            call.reserve()

    def _once(self, prompt: Any, messages: Any, kwargs: Mapping[str, Any]) -> Any:
        if self.native is not None and not connection_of(kwargs):
            try:
                return super().__call__(prompt, messages=messages, **kwargs)
            except REFUSED:
                if self._is_final():
                    raise
        elif self.native is None:
            return super().__call__(prompt, messages=messages, **kwargs)
        # What the client of our own cannot express is left to DSPy, which may take LiteLLM.
        return dspy.LM.__call__(self.without_engine(), prompt, messages=messages, **kwargs)

    async def _aonce(self, prompt: Any, messages: Any, kwargs: Mapping[str, Any]) -> Any:
        if self.native is not None and not connection_of(kwargs):
            try:
                return await super().acall(prompt, messages=messages, **kwargs)
            except REFUSED:
                if self._is_final():
                    raise
        elif self.native is None:
            return await super().acall(prompt, messages=messages, **kwargs)
        return await dspy.LM.acall(self.without_engine(), prompt, messages=messages, **kwargs)

    def _is_final(self) -> bool:
        """Whether a request that was refused here may not go another way: it may be paid."""
        scope = receipts()
        return self.role.engine != "auto" or (scope is not None and scope.sent)

    def update_history(self, entry: dict[str, Any]) -> None:
        """Keep DSPy's history, and take what a call took from it where no cache told."""
        scope = current_call()
        if scope is not None and entry.get("cost") is None:
            entry["cost"] = scope.usd
        if scope is not None and scope.reported is None:
            usage, response = entry.get("usage") or {}, entry.get("response")
            scope.reported = Reported(
                calls=len(response) if isinstance(response, tuple) else 1,
                prompt_tokens=usage.get("prompt_tokens"),
                completion_tokens=usage.get("completion_tokens"),
                usd=entry.get("cost"),
                cached_tokens=cached_tokens(usage),
            )
        super().update_history(entry)

    def close(self) -> None:
        """Close the connections of calls made so far; calls under way must be over."""
        super().close()
        if self.native is not None:
            self.native.close()

    def dump_state(self) -> dict[str, Any]:
        """Return DSPy's state of an LM without address, key, headers and engine."""
        connection = ("api_base", "base_url", "headers", "extra_headers")
        state = {**BaseLM.dump_state(self), "num_retries": self.retries}
        return {k: v for k, v in state.items() if k not in connection and not is_secret_name(k)}

    def __repr__(self) -> str:
        return f"MeteredLM({self.name}: {self.model} at {self.role.host})"

    @contextmanager
    def _metered(
        self,
        prompt: Any,
        messages: Any,
        kwargs: Mapping[str, Any],
        scope: CallScope,
        slot: Slot | None = None,
    ) -> Iterator[PaidCall]:
        text = text_of(messages if messages is not None else prompt)
        # Only looked up, never made: reading dspy.cache would make DSPy's own cache folder.
        ours = isinstance(vars(dspy).get("cache"), ResponseCache)
        cached = ours and bool(kwargs.get("cache", self.cache))
        attempts = Attempts(self.name, self.retries, self.pauses)
        settings = {**kwargs, "cache": cached}
        call = PaidCall(self, scope, Usage(), text, settings, attempts, slot=slot)
        scope.endpoint, scope.seconds = self._endpoint, self.seconds
        scope.before_paying, scope.received = call.reserve, call.received
        scope.on_close += [lambda: settle(call), call.release]
        with call_scope(scope):
            call.planned = self._planned(text, kwargs)
            with self._rollout(kwargs, call.planned.calls):
                try:
                    if not cached:
                        call.reserve()
                    yield call
                except (ValueSimError, InFlightError, NoSlotError):
                    raise
                except Exception as error:
                    self.meter.fail()
                    scrub(error, self.connection.get("api_key"))
                    hush(error, text)
                    raise

    def _planned(self, text: str, kwargs: Mapping[str, Any]) -> Usage:
        plan = planned(self, text, kwargs)
        if self.meter.in_dollars and rates_of(self) is None:
            return replace(plan, usd=None, unpriced_calls=plan.calls)
        return plan

    @property
    def _endpoint(self) -> str:
        known = self.connection
        return endpoint_identity(
            known.get("api_base") or known.get("base_url") or self.role.address
        )

    @contextmanager
    def _rollout(self, kwargs: Mapping[str, Any], samples: int) -> Iterator[None]:
        """Tell the offline engine what tells this call apart; DSPy keeps that from engines."""
        if not self.in_process:
            yield
            return
        from valuesim_dspy.lexical.engine import ROLLOUT

        token = ROLLOUT.set((kwargs.get("rollout_id", self.kwargs.get("rollout_id")), samples))
        try:
            yield
        finally:
            ROLLOUT.reset(token)
