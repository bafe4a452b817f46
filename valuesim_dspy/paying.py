"""One call that may have to be paid: its turn, its place in the budget, its attempts, its count."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn

import dspy

from valuesim_dspy.callscope import CallScope, Reported, is_stopping, is_trial, predictor_name
from valuesim_dspy.errors import ConfigError, ValueSimError
from valuesim_dspy.preflight import (
    ends_run,
    explained,
    hush,
    is_fault,
    is_settled,
    is_unreachable,
    lost,
    scrub,
)
from valuesim_dspy.retrying import Attempts
from valuesim_dspy.suspecting import tried
from valuesim_dspy.throttle import Slot, StoppedError
from valuesim_dspy.usage import Usage, estimate_tokens, text_of

if TYPE_CHECKING:
    from valuesim_dspy.metered import MeteredLM


REFUSALS = 10
"""Refusals ("too many requests") at least, with answers to others in between, that fail a call."""
LOST = 2
"""Attempts of one call that find nobody there, after which its last one ends the run."""


class NoSlotError(Exception):
    """A call that must not block its thread has to wait for its turn first.

    Args:
        tokens: What it will take.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        super().__init__("this call has to wait for its turn")


@dataclass(eq=False)
class PaidCall:
    """One call of an LM, from before the cache is asked to its last attempt.

    Attributes:
        lm: Who is called.
        scope: What cache and engine know of the call.
        planned: At least what it will take.
        text: The prompt.
        kwargs: What the LM is called with.
        attempts: How often it may be tried.
        reserved: Whether its place in the budget is taken.
        slot: Its turn, while an attempt is under way.
        told: Until when the endpoint asked it to wait, where it did.
        got: Samples that came before the last failure.
        refusals: Attempts that were told "too many requests" while others were answered.
        seen: What the throttle had counted as answers at the last of these, if there was one.
        lost: Attempts in a row, up to the last one, that found nobody there while the endpoint
            answered no other call.
        answers: What the throttle had counted when the first of these began.
    """

    lm: MeteredLM
    scope: CallScope
    planned: Usage
    text: str
    kwargs: dict[str, Any]
    attempts: Attempts
    reserved: bool = False
    slot: Slot | None = None
    told: float = 0.0
    got: int = 0
    refusals: int = 0
    seen: int | None = None
    lost: int = 0
    answers: int = 0

    def reserve(self) -> None:
        """Wait for a turn and take a place in the budget; before every paid attempt.

        Raises:
            BudgetExceededError: The budget is spent.
            ConfigError: The run was stopped, or the endpoint is dead.
            NoSlotError: It is not this call's turn, and it must not wait here.
        """
        if is_stopping():
            raise StoppedError("the run was stopped before this call was made")
        throttle = self.lm.throttle
        if throttle is not None and self.slot is None:
            tokens = self.planned.prompt_tokens
            take = throttle.take if self.scope.waits else throttle.offer
            self.slot = take(tokens, inf if is_trial() else self.told)
            if self.slot is None:
                raise NoSlotError(tokens)
        if throttle is not None and throttle.answers != self.answers:
            self.lost, self.answers = 0, throttle.answers
        if not self.reserved:
            self.lm.meter.reserve(self.planned)
            self.reserved = True

    def received(self) -> None:
        """Give the turn back once all samples were read: making an answer of them takes none."""
        samples = self.scope.samples
        if self.slot is None or self.lm.throttle is None or len(samples) < self.planned.calls:
            return
        self.lm.throttle.succeeded(self.slot)
        self.rest(sum(map(self._tokens, samples)), len(samples))

    def _tokens(self, sample: Any) -> int:
        read, written = sample.usage.input_tokens, sample.usage.output_tokens
        if read is None or written is None:
            asked = self.planned.prompt_tokens // max(1, self.planned.calls)
            return asked + estimate_tokens(sample.text or "")
        return int(read + written)

    def rest(self, used: int | None = None, calls: int = 1) -> None:
        """Give the turn back, and say what it took."""
        if self.slot is not None and self.lm.throttle is not None:
            slot, self.slot = self.slot, None
            self.told = slot.told
            self.lm.throttle.give_back(slot, used, calls)

    def release(self) -> None:
        """Give back what is still held."""
        self.rest()
        if self.reserved:
            self.lm.meter.release(self.planned)
            self.reserved = False

    def failed(self, error: dspy.LMError) -> float | None:
        """Learn from a failed attempt.

        Returns:
            The seconds until the next attempt; None where there is none.

        Raises:
            ConfigError: The endpoint is dead, or does not know the model.
            MissingDataError: The key is absent or refused.
        """
        # Before anything is told of it: a server may repeat the key, or what it was asked.
        scrub(error, self.lm.connection.get("api_key"))
        hush(error, self.text)
        self.scope.at = 0
        is_busy = isinstance(error, dspy.LMRateLimitError) and self.slot is not None
        stop = None if is_busy else self._stop(error)
        if stop is not None:
            self._end(stop, error)
        if len(self.scope.samples) > self.got:
            # Some of several samples came: the others have all their attempts before them.
            self.got, self.attempts.failed, self.refusals = len(self.scope.samples), 0, 0
        seconds = self._put_off(error) if is_busy else self.attempts.again(error)
        if seconds is None and self._deserted():
            self._end(lost(self.lm, error, self.lost), error)
        if seconds is not None and self.lm.throttle is not None:
            self.lm.throttle.tried_again()
        return seconds

    async def afailed(self, error: dspy.LMError) -> float | None:
        """Learn from a failed attempt without blocking the event loop while another is made."""
        return await asyncio.to_thread(self.failed, error)

    def _end(self, stop: ValueSimError, error: dspy.LMError) -> NoReturn:
        if self.lm.throttle is not None:
            self.lm.throttle.stop(stop)
        self.lm.meter.fail()
        raise stop from error

    def _deserted(self) -> bool:
        """Whether nobody was there, again and again, and nobody answered another call since."""
        throttle, enough = self.lm.throttle, min(LOST, 1 + self.attempts.bound)
        is_alone = throttle is not None and throttle.answers == self.answers
        return is_alone and self.lost >= enough and not is_trial()

    def _put_off(self, error: dspy.LMRateLimitError) -> float | None:
        """Return the seconds to wait after "too many requests"; None where it is refused for good.

        An attempt counts only where others are answered: it may be this call that is too large.
        """
        throttle = self.lm.throttle
        assert throttle is not None and self.slot is not None
        seconds = throttle.refused(self.slot, error.retry_after, self.lm.pauses.chance.random())
        if is_trial():
            return None
        if throttle.is_spent():
            stop = tried(self.lm, error, 0, self._let_go)
            if stop is not None:
                self._end(stop, error)
            return None
        if throttle.busy.is_picky or throttle.answers != self.seen:
            self.refusals += self.seen is not None
        self.seen = throttle.answers
        most = self.attempts.bound if throttle.busy.is_picky else max(self.attempts.bound, REFUSALS)
        if self.refusals > most:
            return None
        return self.attempts.put_off(seconds)

    def _stop(self, error: dspy.LMError) -> ValueSimError | None:
        """Return the error that ends the run, where this one tells that all others would fail."""
        throttle = self.lm.throttle
        if throttle is None or is_trial():
            return None
        self.lost = self.lost + 1 if is_unreachable(error) else 0
        if is_settled(error):
            return explained(self.lm, error)
        ends, patience = ends_run(error), throttle.patience
        if ends is False:
            is_due = is_fault(error) and throttle.failed()
        else:
            is_due = throttle.denied(is_sure=ends is True)
        return tried(self.lm, error, patience, self._let_go) if is_due else None

    def _let_go(self) -> None:
        """Give back the turn, and the place in the budget where nothing came that is paid."""
        self.rest()
        if self.reserved and not self.scope.samples and not getattr(self.scope, "unread", ()):
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
        usage = priced(self.lm, took)
        if estimated:
            usage += Usage(estimated_calls=took.calls)
        paid = not self.scope.hit
        if self.slot is not None and self.lm.throttle is not None:
            self.lm.throttle.succeeded(self.slot)
        if paid and self.lm.prefixes is not None:
            self.lm.prefixes.sent(self.text)
            self.lm.prefixes.read(took.cached_tokens)
        self.rest(usage.tokens if paid else None, usage.calls if paid else 1)
        planned = self.planned if self.reserved else None
        self.reserved = False
        self.lm.meter.record(
            usage, paid=paid, predictor=predictor_name(), planned=planned, key=self.scope.key
        )
        return outputs


def planned(lm: MeteredLM, text: str, kwargs: Mapping[str, Any]) -> Usage:
    """Return at least what a call will take.

    Args:
        lm: Who is called.
        text: The prompt.
        kwargs: What it is called with, besides its own settings.

    Raises:
        ConfigError: Prompt and answer do not fit the context.
    """
    settings = {**lm.kwargs, **kwargs}
    tokens = estimate_tokens(text)
    answer = settings.get("max_tokens") or settings.get("max_completion_tokens")
    answer = answer or lm.role.max_tokens
    if tokens + answer > lm.role.context:
        raise ConfigError(
            f"a prompt of about {tokens} tokens and max_tokens={answer} for its answer do not "
            f"fit a context of {lm.role.context}; give a larger context if the model has "
            "one, or fewer facts or demos",
            key=f"{lm.name}.context",
        )
    samples = settings.get("n") or 1
    return priced(lm, Reported(samples, samples * tokens, 0, 0.0))


def priced(lm: MeteredLM, took: Reported) -> Usage:
    """Return what a call took with its price: the role's, else the one DSPy knows."""
    prompt, completion = took.prompt_tokens or 0, took.completion_tokens or 0
    rates = (lm.role.usd_per_million_input, lm.role.usd_per_million_output)
    usd = took.usd
    if lm.role.offline:
        usd = 0.0
    elif rates[0] is not None and rates[1] is not None:
        usd = (prompt * rates[0] + completion * rates[1]) / 1e6
    return Usage(took.calls, prompt, completion, usd, took.calls if usd is None else 0)
