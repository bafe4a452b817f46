"""Before the first call and after a failed one: consent, a trial call, and errors in one line."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import dspy
from dspy._vendor.lm15.transports import ConnectError
from dspy.utils.exceptions import AdapterParseError

from valuesim_dspy.bounded import LATE
from valuesim_dspy.callscope import on_trial
from valuesim_dspy.errors import (
    BudgetExceededError,
    ConfigError,
    MissingDataError,
    ProgramStateError,
    ValueSimError,
)
from valuesim_dspy.roles import Endpoint, blank_secrets, is_here

if TYPE_CHECKING:
    from valuesim_dspy.metered import MeteredLM

logger = logging.getLogger(__name__)

TRIAL_SECONDS = 30.0

STOPS = (BudgetExceededError, ConfigError, MissingDataError, ProgramStateError)
"""Errors that concern the whole run: they end it, everything else fails one case."""

RUN = 4
"""Words in a row that an error may not share with what was sent: a server may echo it."""

# Of writing without spaces, each letter counts as a word.
_WORD = re.compile(
    "[\u0e00-\u0e7f\u3040-\u9fff\uac00-\ud7af]|[^\\W\u0e00-\u0e7f\u3040-\u9fff\uac00-\ud7af]+"
)


def require_consent(
    role: Endpoint, n_respondents: int, synthetic: bool, send_to: Collection[str]
) -> None:
    """Make sure that answers of real people only go where the user agreed to send them.

    Args:
        role: The model that would read the answers; an LM or an embedder.
        n_respondents: How many people's answers it would read.
        synthetic: Whether these people were made up.
        send_to: The hosts agreed to.

    Raises:
        ConfigError: The model is on another machine and its host was not agreed to.
    """
    if synthetic or role.local or role.host in send_to:
        return
    raise ConfigError(
        f"answers of {n_respondents} respondents will be sent to {role.host}; "
        f"pass --send-to {role.host} to agree"
    )


def describe_error(error: BaseException) -> str:
    """Say in one line what went wrong, without anything that looks like a key.

    Args:
        error: Any error; those of `dspy.LMError` are told with their HTTP status.
    """
    if isinstance(error, ValueSimError):
        return _one_line(str(error), 600)
    if isinstance(error, AdapterParseError):
        # Its text holds the whole response, which may tell of a person.
        return "AdapterParseError: the response does not have the fields expected"
    text = _one_line(getattr(error, "message", "") or str(error), 240)
    status = getattr(error, "status", None)
    code = f" ({status})" if status else ""
    return f"{type(error).__name__}{code}: {text}" if text else f"{type(error).__name__}{code}"


def scrub(error: BaseException, *known: str | None) -> None:
    """Blank keys in the texts of an error and of the errors that led to it, in place."""
    for now in _line_of(error):
        now.args = tuple(
            blank_secrets(item, *known) if isinstance(item, str) else item for item in now.args
        )
        if isinstance(getattr(now, "message", None), str):
            now.message = blank_secrets(now.message, *known)  # type: ignore[attr-defined]


def hush(error: BaseException, prompt: str) -> None:
    """Replace texts of an error, and of those that led to it, that repeat what was sent.

    Args:
        error: What an endpoint's reply or its client raised.
        prompt: What was sent, which may tell of a person.
    """
    sent: set[tuple[str, ...]] | None = None
    for each in _line_of(error):
        message = getattr(each, "message", None)
        texts = [text for text in (*each.args, message) if isinstance(text, str)]
        if texts and sent is None:
            sent = set(_runs(prompt))
        if sent and any(not sent.isdisjoint(_runs(text)) for text in texts):
            each.args = tuple(_HUSHED if isinstance(arg, str) else arg for arg in each.args)
            if isinstance(message, str):
                each.message = _HUSHED  # type: ignore[attr-defined]


_HUSHED = "its text repeats the prompt"


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return zip(*(words[start:] for start in range(RUN)), strict=False)


def _line_of(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__


def preflight(lm: MeteredLM) -> None:
    """Make one tiny call, so that a wrong address, key or model is found before the work.

    The call is metered like any other. A host that answers "too many requests" is there.

    Args:
        lm: The model; one that runs in the process is not called.

    Raises:
        ConfigError: The host cannot be reached, does not know the model or does not answer as
            a chat endpoint does.
        MissingDataError: The key is absent or refused.
    """
    if lm.in_process:
        return
    try:
        said = say_ready(lm, retries=0, seconds=TRIAL_SECONDS)
    except dspy.LMRateLimitError as error:
        logger.warning("%s: %s", lm.name, describe_error(error))
    except dspy.LMError as error:
        raise explained(lm, error) from error
    else:
        if not any(said):
            raise ConfigError(_NO_MODEL.format(lm.role.host, "an empty answer"), key=lm.name)


def say_ready(lm: MeteredLM, *, retries: int, seconds: float) -> Any:
    """Make one tiny call that tells of nobody, and return what is said.

    Args:
        lm: The model.
        retries: How often it is tried again, where that may help.
        seconds: The most time that an attempt takes where the role gives no time limit.
    """
    limit = lm.role.timeout if "timeout" in lm.role.model_fields_set else seconds
    trial = lm.copy(num_retries=retries, timeout=limit)
    # No predictor asks this, also where one is under way.
    with on_trial(), dspy.context(caller_modules=[]):
        return trial("Reply with the word ready.", cache=False)


_NO_MODEL = "{} does not answer as a model should ({}); check api_base and the model's name"


def is_settled(error: Exception) -> bool:
    """Whether nothing but the account decides: there is no key, or what was paid for is used up."""
    is_billing = isinstance(error, dspy.LMBillingError) and error.status == 429
    return isinstance(error, dspy.LMNotConfiguredError) or is_billing


def ends_run(error: Exception) -> bool | None:
    """Whether every other call would end as this one did, as far as an error tells.

    Returns:
        True for a key that is absent or refused and an unknown model; None for what is one
        prompt's more often: forbidden, not found, not paid for. False for everything else.
    """
    if is_settled(error) or isinstance(error, dspy.LMUnsupportedModelError):
        return True
    status = getattr(error, "status", None)
    if status == 401:
        return True
    if status in (402, 403, 404) or isinstance(error, dspy.LMAuthError | dspy.LMBillingError):
        return None
    return False


def is_fault(error: Exception) -> bool:
    """Whether an error tells of the endpoint rather than of what it was asked."""
    status = getattr(error, "status", None)
    # Below 400: what was said to be an answer could not be read.
    return bool(dspy.is_retryable_lm_error(error)) or (
        isinstance(error, dspy.LMProviderError | dspy.LMUnexpectedError) and (status or 0) < 400
    )


def is_unreachable(error: BaseException) -> bool:
    """Whether no connection came about, so that nothing was sent: refused, no way, no such name."""
    known = (ConnectError, ConnectionRefusedError, socket.gaierror)
    # LiteLLM's clients are not imported to know their errors.
    names = {"ConnectError", "ConnectTimeout", "ClientConnectorError"}
    return any(isinstance(e, known) or type(e).__name__ in names for e in _line_of(error))


def proxy_of(role: Endpoint) -> str:
    """Say which proxy of the environment comes before an endpoint, without credentials, or ""."""
    address = urlsplit(role.address or f"https://{role.host}")
    known = getproxies()
    proxy = known.get(address.scheme) or known.get("all")
    if not proxy or is_here(role.address) or proxy_bypass(address.hostname or ""):
        return ""
    place = urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]
    return f" through the proxy {place} of the environment"


def lost(lm: MeteredLM, error: dspy.LMError, failures: int) -> ConfigError:
    """Return the error that ends a run at whose endpoint nobody is, or is any more.

    Args:
        lm: The model.
        error: What the last attempt of a call ended in.
        failures: How many of its attempts could not connect.
    """
    if lm.throttle is not None and lm.throttle.answers:
        return dead(lm, describe_error(error), failures)
    return _unreached(lm, describe_error(error))


def _unreached(lm: MeteredLM, reason: str) -> ConfigError:
    proxy = proxy_of(lm.role)
    do = "check the proxy, or put the host in NO_PROXY" if proxy else "check that it runs"
    if LATE in reason:
        told = f"{lm.role.host} hangs or is slow{proxy} ({reason})"
        return ConfigError(told, key=f"{lm.name}.timeout")
    told = f"cannot be reached{proxy} ({reason}); {do} and that api_base is right"
    return ConfigError(f"{lm.role.host} {told}", key=f"{lm.name}.api_base")


def dead(lm: MeteredLM, last: str, failures: int) -> ConfigError:
    """Return the error that ends a run whose endpoint stopped answering.

    Args:
        lm: The model.
        last: What was seen last.
        failures: How many attempts failed in a row.
    """
    return ConfigError(
        f"{lm.role.host} does not answer any more{proxy_of(lm.role)}: {failures} attempts in a row "
        f"failed, the last one with {last}; what was done is kept, run the same command again "
        "when it answers",
        key=lm.name,
    )


def explained(lm: MeteredLM, error: dspy.LMError) -> ValueSimError:
    """Return the error that tells what is wrong with an endpoint and what to do about it."""
    host, reason = lm.role.host, describe_error(error)
    variable = lm.role.api_key_env or "the provider's key variable"
    if isinstance(error, dspy.LMNotConfiguredError):
        return MissingDataError(
            f"{lm.name}: there is no key for {host} ({reason})",
            "put it in an environment variable and give the variable's name as api_key_env",
        )
    if isinstance(error, dspy.LMAuthError) or error.status in (401, 403):
        return MissingDataError(
            f"{lm.name}: {host} refused the key ({reason})", f"check the value of {variable}"
        )
    if isinstance(error, dspy.LMBillingError) or error.status == 402:
        return MissingDataError(
            f"{lm.name}: {host} wants to be paid ({reason})",
            "top up the account, then run the same command again",
        )
    if isinstance(error, dspy.LMUnsupportedModelError) or error.status == 404:
        return ConfigError(
            f"{host} does not know {lm.model} ({reason}); check the model's name and that "
            "api_base ends where the server expects, often in /v1",
            key=f"{lm.name}.model",
        )
    if isinstance(error, dspy.LMTransportError | dspy.LMTimeoutError):
        return _unreached(lm, reason)
    if (error.status or 0) >= 500:
        told = f"{host} fails by itself{proxy_of(lm.role)} ({reason})"
        return ConfigError(f"{told}; look into its log, and try again later", key=lm.name)
    return ConfigError(_NO_MODEL.format(host, reason), key=lm.name)


def _one_line(text: str, length: int) -> str:
    line = " ".join(blank_secrets(text).split())
    return line if len(line) <= length else f"{line[: length - 3]}..."
