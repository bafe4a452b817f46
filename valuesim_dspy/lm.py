"""LM roles as DSPy language models that count what they need and what is paid."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import dspy
from dspy.clients.backend_selection import CLIENT_KEYS

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.limits import Limits
from valuesim_dspy.metered import MeteredLM
from valuesim_dspy.native import behind_proxy, native_engine
from valuesim_dspy.preflight import describe_error, preflight, require_consent
from valuesim_dspy.retrying import Pauses
from valuesim_dspy.roles import LMRole, is_here
from valuesim_dspy.usage import Budget, Meter, Usage

__all__ = [
    "Budget",
    "Limits",
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


def make_lm(
    role: LMRole | str,
    *,
    name: str = "task_lm",
    meter: Meter | None = None,
    engine: Any = None,
    limits: Limits | None = None,
    pauses: Pauses | None = None,
) -> MeteredLM:
    """Make the language model of a role.

    Args:
        role: What was configured, or just a model's name.
        name: The role's name, for messages.
        meter: Where calls are counted; a new one by default.
        engine: An engine to run in the process instead of the model's own; for tests.
        limits: How fast it may be asked, where it does not run in the process.
        pauses: What waits between attempts; for tests.

    Raises:
        ConfigError: There is no such offline model, or DSPy refuses the settings.
        MissingDataError: The environment variable that should hold the key is not set.
    """
    role = LMRole(model=role) if isinstance(role, str) else role
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    if role.offline or engine is not None:
        return _in_process(role, name, meter, engine, limits, pauses)
    settings = {"timeout": role.timeout, "temperature": role.temperature, **role.extra}
    if address := role.address:
        # Said, also where the environment gives it: clients do not agree on which variable wins.
        settings["api_base"] = address
        _keep_here(address)
    if key := _key(role, name):
        settings["api_key"] = key
    known: dict[str, Any] = {"name": name, "meter": meter, "limits": limits, "pauses": pauses}
    try:
        native = native_engine(role, limits or Limits(), settings)
        if native is None:
            _check_name(role, name)
            return MeteredLM(role, **known, engine=role.engine, **settings)
        rest = {key: value for key, value in settings.items() if key not in CLIENT_KEYS}
        return MeteredLM(role, **known, engine=native, async_engine=native.asynchronous(), **rest)
    except (dspy.LMError, TypeError, ValueError) as error:
        raise ConfigError(describe_error(error), key=name) from error


def _check_name(role: LMRole, name: str) -> None:
    """Refuse a bare name that DSPy does not know; LiteLLM would look for it for seconds."""
    if "/" in role.model or role.address or role.engine != "auto":
        return
    if native_engine(role, Limits(), {}) is None:
        message = f"{role.model} names no provider; give provider/model, for example "
        raise ConfigError(f"{message}openai/gpt-4o-mini", key=f"{name}.model")


def _keep_here(address: str) -> None:
    """Let no client put a proxy of the environment before an address on this machine."""
    host = urlsplit(address).hostname or ""
    if not behind_proxy() or not is_here(address) or proxy_bypass(host):
        return
    # Clients differ in which of the two they read.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), host)))


def _in_process(
    role: LMRole,
    name: str,
    meter: Meter | None,
    engine: Any,
    limits: Limits | None,
    pauses: Pauses | None,
) -> MeteredLM:
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
        limits=limits,
        pauses=pauses,
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
