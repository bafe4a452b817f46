"""Whether what fails is the endpoint or what it was asked: a trial that tells of nobody decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import dspy

from valuesim_dspy.errors import ConfigError, ValueSimError
from valuesim_dspy.preflight import dead, describe_error, ends_run, explained, is_fault, say_ready
from valuesim_dspy.retrying import describe_kind

if TYPE_CHECKING:
    from valuesim_dspy.metered import MeteredLM

TRIES = 2
"""How often a trial that fails is followed by another attempt: one of many may fail by chance."""
SECONDS = 60.0
"""The most seconds that one attempt of a trial may take."""


def tried(
    lm: MeteredLM, error: dspy.LMError, failures: int, let_go: Callable[[], None]
) -> ValueSimError | None:
    """Try an endpoint that may be dead, unless another thread just did.

    Args:
        lm: The model.
        error: What gave rise to it.
        failures: How many attempts failed in a row.
        let_go: Gives back the turn, and the place in the budget, of the call that failed: a run
            that has one of each must not wait for itself.

    Returns:
        The error that ends the run; None where the case fails alone.

    Raises:
        BudgetExceededError: The trial would go beyond a budget.
        StoppedError: The run was stopped.
    """
    throttle = lm.throttle
    assert throttle is not None

    def make() -> ValueSimError | None:
        with throttle.barred():
            let_go()
            found = _trial(lm)
        stop = None if found is None else _judged(lm, error, found, failures)
        # A trial that failed in another way tells nothing: the next failure makes another one.
        if stop is None and (found is None or not is_fault(found) or _is_busy(found)):
            throttle.refuted()
        return stop

    return throttle.trials.verdict(make, let_go)


def _trial(lm: MeteredLM) -> dspy.LMError | None:
    try:
        say_ready(lm, retries=TRIES, seconds=SECONDS)
    except dspy.LMError as error:
        return error
    return None


def _judged(
    lm: MeteredLM, error: dspy.LMError, found: dspy.LMError, failures: int
) -> ValueSimError | None:
    """Return the error that ends the run where a trial confirms what gave rise to it."""
    if ends_run(found) is not False:
        return explained(lm, found)
    if _is_busy(error):
        assert lm.throttle is not None
        return _spent(lm, error, lm.throttle.busy.patience)
    if ends_run(error) is False and is_fault(found) and not _is_busy(found):
        return dead(lm, describe_kind(error), failures)
    return None


def _spent(lm: MeteredLM, error: dspy.LMError, seconds: float) -> ConfigError:
    """Return the error that ends a run whose endpoint takes no more requests.

    Args:
        lm: The model.
        error: What it said last.
        seconds: How long it has taken none.
    """
    lasted = f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
    return ConfigError(
        f'{lm.role.host} answered "too many requests" for {lasted} and nothing else '
        f"({describe_error(error)}): a quota is used up or too small; what was done is kept, run "
        "the same command again when there is more, within limits.calls_per_minute or "
        "limits.tokens_per_minute",
        key=lm.name,
    )


def _is_busy(error: dspy.LMError) -> bool:
    return isinstance(error, dspy.LMRateLimitError)
