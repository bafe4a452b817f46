"""What language model calls needed and what was paid for them, and the limits on that."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

from valuesim_dspy.errors import BudgetExceededError, ConfigError


@dataclass(frozen=True)
class Usage:
    """Calls and what they took; adds up with ``+``.

    Attributes:
        calls: Requests answered (three samples in one call are three requests where each is
            sent on its own).
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.
        usd: US dollars; None where the price of a call is unknown, never zero for unknown.
        unpriced_calls: Calls whose price is unknown.
        estimated_calls: Calls whose endpoint reported no tokens; theirs are estimated at four
            bytes a token.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float | None = 0.0
    unpriced_calls: int = 0
    estimated_calls: int = 0

    @property
    def tokens(self) -> int:
        """Tokens in both directions."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        known = self.usd is not None and other.usd is not None
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            (self.usd or 0.0) + (other.usd or 0.0) if known else None,
            self.unpriced_calls + other.unpriced_calls,
            self.estimated_calls + other.estimated_calls,
        )

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the fields as plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Budget:
    """Limits on what is paid: calls, tokens in both directions, US dollars; None is no limit.

    Calls are never exceeded, also not by the last of several samples. Tokens and dollars of a
    call are known once it is answered, so these two can be exceeded by the calls that were under
    way when the limit was met.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None

    def check(self, committed: Usage, planned: Usage | None = None) -> None:
        """Raise where nothing more may be paid.

        Args:
            committed: What was paid, and at least what calls under way will add.
            planned: At least what the call in question will take; by default nothing.

        Raises:
            BudgetExceededError: A limit is met, or that of calls would be exceeded.
            ConfigError: There is a limit in dollars and a price is unknown.
        """
        planned = planned or Usage()
        if self.usd is not None and (committed.unpriced_calls or planned.unpriced_calls):
            raise ConfigError(
                "a limit in dollars cannot be held, the model's price is unknown; give "
                "usd_per_million_input and usd_per_million_output, or limit calls or tokens",
                key="budget.usd",
            )
        spent = {"calls": committed.calls, "tokens": committed.tokens, "usd": committed.usd or 0.0}
        for what, used in spent.items():
            limit = getattr(self, what)
            if limit is not None and used >= limit:
                raise BudgetExceededError(what, limit, used)
        if self.calls is not None and committed.calls + planned.calls > self.calls:
            advice = f"{planned.calls} samples go beyond it: give a larger budget or ask for fewer"
            raise BudgetExceededError("calls", self.calls, committed.calls, advice)


class Meter:
    """Counts what calls needed and what was paid; safe to use from many threads.

    A hit of the response cache is needed and not paid. A request that comes again, such as the
    one for a backstory that all of a person's questions share, is needed once. Whatever a child
    counts, its parents count too, and a call is only started if the budgets of the whole line
    allow it. Copies of a meter are the meter itself, so that copies of an LM count together.

    Args:
        name: What is counted.
        budget: Limits on what is paid.
        earlier: What other processes paid for the same work; it counts against the budget.
        on_paid: Called with what each paid call took, one call at a time; it must not use a meter.
        recent: How many requests are remembered, to tell one that comes again; None remembers
            all, which takes memory as a run grows. Children take it over.
    """

    def __init__(
        self,
        name: str = "",
        *,
        budget: Budget | None = None,
        earlier: Usage | None = None,
        on_paid: Callable[[Usage], None] | None = None,
        recent: int | None = None,
    ) -> None:
        self.name, self.budget, self.on_paid = name, budget, on_paid
        self.recent = recent
        self.earlier = earlier or Usage()
        self._parent: Meter | None = None
        self._lock = threading.Lock()
        self._needed, self._paid, self._under_way = Usage(), Usage(), Usage()
        self._failed = 0
        self._predictors: dict[str, Usage] = {}
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def child(self, name: str, **settings: Any) -> Meter:
        """Return a new meter that counts from zero, and whose records this one counts too.

        Args:
            name: What it counts.
            settings: As for `Meter`, but for `recent`.
        """
        child = Meter(name, recent=self.recent, **settings)
        # One lock for the whole tree makes a check of all its budgets atomic.
        child._parent, child._lock = self, self._lock
        return child

    @property
    def needed(self) -> Usage:
        """What the answers took, whether paid now or found in the cache: from a cold cache."""
        return self._needed

    @property
    def paid(self) -> Usage:
        """What this process paid for."""
        return self._paid

    @property
    def failed(self) -> int:
        """Calls that ended in an error of the endpoint."""
        return self._failed

    @property
    def by_predictor(self) -> Mapping[str, Usage]:
        """What was needed, by the predictor that asked."""
        with self._lock:
            return dict(self._predictors)

    @property
    def in_dollars(self) -> bool:
        """Whether its calls, or those of a parent, have a limit in dollars."""
        return any(meter.budget and meter.budget.usd is not None for meter in self._line())

    def reserve(self, planned: Usage) -> None:
        """Start a call that will be paid; `record` or `release` must follow with the same value.

        Args:
            planned: At least what the call will take; calls under way count against budgets.
                Where its price is unknown it says so, and no limit in dollars allows it.

        Raises:
            BudgetExceededError: A budget of this meter or of a parent is met.
            ConfigError: A limit in dollars cannot be held.
        """
        with self._lock:
            for meter in self._line():
                if meter.budget is not None:
                    committed = meter.earlier + meter._paid + meter._under_way
                    meter.budget.check(committed, planned)
            self._add_under_way(planned, 1)

    def release(self, planned: Usage) -> None:
        """End a call started with `reserve` that took nothing."""
        with self._lock:
            self._add_under_way(planned, -1)

    def record(
        self,
        usage: Usage,
        *,
        paid: bool,
        predictor: str | None = None,
        planned: Usage | None = None,
        key: str | None = None,
    ) -> None:
        """Count an answered call.

        Args:
            usage: What it took.
            paid: False where the response cache answered.
            predictor: The name of the predictor that asked, where known.
            planned: What was reserved for it; in one step with the count, so that a call is
                never counted twice against a budget.
            key: Identifies the request; one that a meter has seen is not needed again.
        """
        digest = None if key is None else blake2b(key.encode(), digest_size=16).digest()
        with self._lock:
            if planned is not None:
                self._add_under_way(planned, -1)
            for meter in self._line():
                if paid:
                    meter._paid += usage
                if digest is not None and not meter._is_new(digest):
                    continue
                meter._needed += usage
                if predictor is not None:
                    before = meter._predictors.get(predictor, Usage())
                    meter._predictors[predictor] = before + usage
            # What is told may fail: by then all meters have counted.
            for meter in self._line() if paid else ():
                if meter.on_paid is not None:
                    meter.on_paid(usage)

    def fail(self) -> None:
        """Count a call that ended in an error."""
        with self._lock:
            for meter in self._line():
                meter._failed += 1

    def as_dict(self) -> dict[str, Any]:
        """Return what was counted as plain values, predictors included."""
        return {
            "needed": self.needed.as_dict(),
            "paid": self.paid.as_dict(),
            "failed": self.failed,
            "by_predictor": {name: usage.as_dict() for name, usage in self.by_predictor.items()},
        }

    def _is_new(self, digest: bytes) -> bool:
        if digest in self._seen:
            self._seen.move_to_end(digest)
            return False
        self._seen[digest] = None
        if self.recent is not None and len(self._seen) > self.recent:
            self._seen.popitem(last=False)
        return True

    def _line(self) -> Iterator[Meter]:
        meter: Meter | None = self
        while meter is not None:
            yield meter
            meter = meter._parent

    def _add_under_way(self, planned: Usage, sign: int) -> None:
        change = Usage(
            sign * planned.calls, sign * planned.prompt_tokens, usd=sign * (planned.usd or 0.0)
        )
        for meter in self._line():
            meter._under_way += change

    def __copy__(self) -> Meter:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Meter:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process counts for itself: what it gets is an empty meter of the same limits.
        return partial(Meter, self.name, budget=self.budget, recent=self.recent), ()

    def __repr__(self) -> str:
        return f"Meter({self.name!r}, needed={self.needed.calls}, paid={self.paid.calls})"


def estimate_tokens(text: str) -> int:
    """Estimate tokens at four bytes of UTF-8 each, rounded up (four letters in English)."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def text_of(value: Any) -> str:
    """Return the text of a prompt, of messages or of outputs, for estimates of length."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        inner = value.get("content", value.get("text"))
        return text_of(inner) if inner is not None else json.dumps(value, default=str)
    if isinstance(value, list | tuple):
        return "\n".join(map(text_of, value))
    return str(value)
