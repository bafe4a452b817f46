"""LM roles as DSPy language models that count what they need and what is paid."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.clients.base_lm import BaseLM

from valuesim_dspy.cache import InFlightError, ResponseCache
from valuesim_dspy.callscope import (
    CallScope,
    Reported,
    call_scope,
    current_call,
    predictor_name,
)
from valuesim_dspy.errors import ConfigError, MissingDataError, ValueSimError
from valuesim_dspy.preflight import describe_error, preflight, require_consent, scrub
from valuesim_dspy.roles import LMRole, endpoint_identity, is_secret_name
from valuesim_dspy.usage import Budget, Meter, Usage, estimate_tokens, text_of

__all__ = [
    "Budget",
    "Meter",
    "MeteredLM",
    "Usage",
    "describe_error",
    "make_lm",
    "preflight",
    "require_consent",
]

# Set before litellm is imported: no fetch of a price list, no reading of a .env file.
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}


class MeteredLM(dspy.LM):
    """A language model that checks its limits before a call and counts it afterwards.

    Responses are cached where a `ResponseCache` is installed; DSPy's own cache, which keeps
    pickles for everyone to read, is never used. Copies (`copy`, deepcopy) count on the same
    meter.

    Args:
        role: What was configured.
        name: The role's name, for messages: task_lm, prompt_lm or teacher_lm.
        meter: Where calls are counted; a new one by default.
        engine: An engine that runs in the process, or how DSPy reaches the endpoint.
        async_engine: The engine for `acall`, where ``engine`` runs in the process.
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
        **settings: Any,
    ) -> None:
        super().__init__(
            role.model,
            max_tokens=role.max_tokens,
            num_retries=role.num_retries,
            engine=engine,
            async_engine=async_engine,
            **settings,
        )
        self.role, self.name = role, name
        self.meter = meter if meter is not None else Meter(name)

    @property
    def in_process(self) -> bool:
        """Whether the model runs in this process, where threads do not help."""
        return self.role.in_process

    @property
    def enforce_choices(self) -> bool:
        """Whether the server enforces schemas and may be given the options as a type."""
        return self.role.enforce_choices

    def with_meter(self, meter: Meter) -> MeteredLM:
        """Return a copy that counts on another meter."""
        return self.copy(meter=meter)

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Answer a prompt or messages as `dspy.LM` does.

        Raises:
            ConfigError: The prompt does not fit the context.
            BudgetExceededError: The answer is not cached and a budget is spent.
        """
        with self._metered(prompt, messages, kwargs, CallScope()) as call:
            return call.answered(super().__call__(prompt, messages=messages, **call.kwargs))

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Answer a prompt or messages as `dspy.LM.acall` does; see `__call__`."""
        import asyncio

        for patience in (2, 1, 0):
            scope = CallScope(waits=False, patience=patience)
            try:
                with self._metered(prompt, messages, kwargs, scope) as call:
                    outputs = await super().acall(prompt, messages=messages, **call.kwargs)
                    return call.answered(outputs)
            except InFlightError as other:
                await asyncio.shield(asyncio.wrap_future(other.flight))
        raise AssertionError("a call without patience waits for no other")

    def update_history(self, entry: dict[str, Any]) -> None:
        """Keep DSPy's history, and take what a call took from it where no cache told."""
        scope = current_call()
        if scope is not None and scope.reported is None:
            usage, response = entry.get("usage") or {}, entry.get("response")
            scope.reported = Reported(
                calls=len(response) if isinstance(response, tuple) else 1,
                prompt_tokens=usage.get("prompt_tokens"),
                completion_tokens=usage.get("completion_tokens"),
                usd=entry.get("cost"),
            )
        super().update_history(entry)

    def dump_state(self) -> dict[str, Any]:
        """Return DSPy's state of an LM without address, key, headers and engine."""
        connection = ("api_base", "base_url", "headers", "extra_headers")
        state = BaseLM.dump_state(self)
        return {k: v for k, v in state.items() if k not in connection and not is_secret_name(k)}

    def __repr__(self) -> str:
        return f"MeteredLM({self.name}: {self.model} at {self.role.host})"

    @contextmanager
    def _metered(
        self, prompt: Any, messages: Any, kwargs: Mapping[str, Any], scope: CallScope
    ) -> Iterator[_Call]:
        planned = self._planned(prompt, messages, kwargs)
        # Only looked up, never made: reading dspy.cache would make DSPy's own cache folder.
        ours = isinstance(vars(dspy).get("cache"), ResponseCache)
        cached = ours and bool(kwargs.get("cache", self.cache))
        call = _Call(self, scope, planned, {**kwargs, "cache": cached})
        scope.endpoint = endpoint_identity(self.kwargs.get("api_base") or self.role.address)
        scope.before_paying = call.reserve
        scope.on_close.append(call.release)
        with call_scope(scope), self._rollout(kwargs, planned.calls):
            try:
                if not cached:
                    call.reserve()
                yield call
            except (ValueSimError, InFlightError):
                raise
            except Exception as error:
                self.meter.fail()
                scrub(error, self.kwargs.get("api_key"))
                raise

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

    def _planned(self, prompt: Any, messages: Any, kwargs: Mapping[str, Any]) -> Usage:
        settings = {**self.kwargs, **kwargs}
        tokens = estimate_tokens(text_of(messages if messages is not None else prompt))
        answer = settings.get("max_tokens") or settings.get("max_completion_tokens")
        answer = answer or self.role.max_tokens
        if tokens + answer > self.role.context:
            raise ConfigError(
                f"a prompt of about {tokens} tokens and max_tokens={answer} for its answer do not "
                f"fit a context of {self.role.context}; give a larger context if the model has "
                "one, or fewer facts or demos",
                key=f"{self.name}.context",
            )
        samples = settings.get("n") or 1
        return self.priced(Reported(samples, samples * tokens, 0, 0.0))

    def priced(self, took: Reported) -> Usage:
        """Return what a call took with its price: the role's, else the one DSPy knows."""
        prompt, completion = took.prompt_tokens or 0, took.completion_tokens or 0
        rates = (self.role.usd_per_million_input, self.role.usd_per_million_output)
        usd = took.usd
        if self.role.offline:
            usd = 0.0
        elif rates[0] is not None and rates[1] is not None:
            usd = (prompt * rates[0] + completion * rates[1]) / 1e6
        return Usage(took.calls, prompt, completion, usd, took.calls if usd is None else 0)


@dataclass
class _Call:
    lm: MeteredLM
    scope: CallScope
    planned: Usage
    kwargs: dict[str, Any]
    reserved: bool = False

    def reserve(self) -> None:
        self.lm.meter.reserve(self.planned)
        self.reserved = True

    def release(self) -> None:
        if self.reserved:
            self.lm.meter.release(self.planned)
            self.reserved = False

    def answered(self, outputs: Any) -> Any:
        """Count the call and hand its outputs on."""
        took = self.scope.reported or Reported(self.planned.calls)
        estimated = took.prompt_tokens is None or took.completion_tokens is None
        if estimated:
            written = estimate_tokens(text_of(outputs))
            took = took._replace(
                prompt_tokens=self.planned.prompt_tokens, completion_tokens=written
            )
        usage = self.lm.priced(took)
        if estimated:
            usage += Usage(estimated_calls=took.calls)
        planned = self.planned if self.reserved else None
        self.reserved = False
        paid, key = not self.scope.hit, self.scope.key
        name = predictor_name()
        self.lm.meter.record(usage, paid=paid, predictor=name, planned=planned, key=key)
        return outputs


def make_lm(
    role: LMRole | str, *, name: str = "task_lm", meter: Meter | None = None, engine: Any = None
) -> MeteredLM:
    """Make the language model of a role.

    Args:
        role: What was configured, or just a model's name.
        name: The role's name, for messages.
        meter: Where calls are counted; a new one by default.
        engine: An engine to run in the process instead of the model's own; for tests.

    Raises:
        ConfigError: There is no such offline model, or DSPy refuses the settings.
        MissingDataError: The environment variable that should hold the key is not set.
    """
    role = LMRole(model=role) if isinstance(role, str) else role
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    if role.offline or engine is not None:
        return _in_process(role, name, meter, engine)
    settings = {"timeout": role.timeout, "temperature": role.temperature, **role.extra}
    if role.api_base:
        settings["api_base"] = role.api_base
    if key := _key(role, name):
        settings["api_key"] = key
    try:
        return MeteredLM(role, name=name, meter=meter, engine=role.engine, **settings)
    except (dspy.LMError, TypeError, ValueError) as error:
        raise ConfigError(describe_error(error), key=name) from error


def _in_process(role: LMRole, name: str, meter: Meter | None, engine: Any) -> MeteredLM:
    from valuesim_dspy.lexical.engine import LEXICAL_MODEL, AsyncEngine, LexicalEngine

    if engine is None and role.model != LEXICAL_MODEL:
        message = f"{role.model} does not run by itself; a scripted model is given its engine"
        raise ConfigError(message, key=f"{name}.model", allowed=[LEXICAL_MODEL])
    engine = engine if engine is not None else LexicalEngine()
    return MeteredLM(
        role,
        name=name,
        meter=meter,
        engine=engine,
        async_engine=AsyncEngine(engine),
        temperature=role.temperature or 0.0,
    )


def _key(role: LMRole, name: str) -> str | None:
    if role.api_key_env is None:
        # Without this, a key meant for the provider would be sent to any address given.
        return "none" if role.api_base else None
    key = os.environ.get(role.api_key_env)
    if not key:
        raise MissingDataError(
            f"{name}: the environment variable {role.api_key_env} is not set",
            f"set it to the key for {role.host}",
        )
    return key
