"""How much of what is sent repeats the beginning of what was sent before."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Any

from dspy.lm15 import CacheConfig, Message, Request, TextPart

from valuesim_dspy.callscope import Shared

KEPT = 64
"""Prompts that a new one is compared with: those of the last calls."""
PERSON = ("facts", "backstory", "history")
"""The fields with which prompts begin that are the same for all questions to one person."""

_OTHER = re.compile(rf"^\[\[ ## (?!(?:{'|'.join(PERSON)}) ## )", re.MULTILINE)
_bytes = itemgetter(0)


class Prefixes(Shared):
    """Counts the characters of paid prompts that an earlier prompt of the same run began with.

    A server that keeps what it has read serves these at a fraction of the price or time. Copies
    are the object itself, so that copies of an LM count together; safe to use from threads.

    Attributes:
        characters: Characters of all paid prompts.
        repeated: Those of them that one of the `KEPT` prompts before began with.
        cached_tokens: Tokens that the endpoint says it read from its own cache.
    """

    def __init__(self) -> None:
        self.characters = self.repeated = self.cached_tokens = 0
        # Of sorted texts, the one that shares the longest beginning with a text stands beside it.
        # They are sorted as bytes, since Python compares texts beyond Latin letter by letter.
        self._sorted: list[tuple[bytes, str]] = []
        self._last: deque[tuple[bytes, str]] = deque()
        self._lock = threading.Lock()

    @property
    def share(self) -> float:
        """Repeated characters by all characters, 0 to 1; 0 before the first prompt."""
        return self.repeated / self.characters if self.characters else 0.0

    def sent(self, prompt: str) -> None:
        """Count the prompt of one paid call."""
        key = (prompt.encode("utf-8", "surrogatepass"), prompt)
        with self._lock:
            place = bisect_left(self._sorted, key[0], key=_bytes)
            beside = self._sorted[max(0, place - 1) : place + 1]
            self.characters += len(prompt)
            self.repeated += max((shared_length(prompt, text) for _, text in beside), default=0)
            self._sorted.insert(place, key)
            self._last.append(key)
            if len(self._last) > KEPT:
                oldest, _ = self._last.popleft()
                del self._sorted[bisect_left(self._sorted, oldest, key=_bytes)]

    def read(self, tokens: int) -> None:
        """Count tokens that the endpoint read from its own cache."""
        with self._lock:
            self.cached_tokens += tokens

    def __reduce__(self) -> tuple[Any, ...]:
        return Prefixes, ()


def shared_length(text: str, other: str) -> int:
    """Return the number of characters with which both texts begin."""
    low, high = 0, min(len(text), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if text.startswith(other[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


def cached_tokens(usage: Mapping[str, Any]) -> int:
    """Return how many prompt tokens an endpoint says it had cached; 0 where it says nothing.

    Args:
        usage: What the endpoint reported, in the form of a chat completion's usage.
    """
    details = usage.get("prompt_tokens_details")
    told = details.get("cached_tokens") if isinstance(details, Mapping) else None
    return told if isinstance(told, int) else 0


def marked(request: Request) -> Request:
    """Ask the provider to keep what a person's questions share.

    A mark stands at the end of a message, so the last one is parted behind what is the person's;
    providers that take marks read two messages of one speaker as one. The end of the system
    message is marked with it.

    Args:
        request: A request, left alone where it says itself what is kept.
    """
    if request.config.cache is not None:
        return request
    *before, last = request.messages
    parted = _parted(last)
    if parted is None:
        cache = CacheConfig(prefix="stable")
        return replace(request, config=replace(request.config, cache=cache))
    cache = CacheConfig(prefix_until_index=len(before))
    messages = (*before, *parted)
    return replace(request, messages=messages, config=replace(request.config, cache=cache))


def _parted(message: Message) -> tuple[Message, Message] | None:
    if message.role != "user" or len(message.parts) != 1:
        return None
    part = message.parts[0]
    if not isinstance(part, TextPart):
        return None
    found = _OTHER.search(part.text)
    if found is None or found.start() == 0:
        return None
    at = found.start()
    return Message.user(part.text[:at]), Message.user(part.text[at:])


def takes_marks(route: Any) -> bool:
    """Whether the provider behind one of DSPy's routes keeps what is marked."""
    from dspy._vendor.lm15.compat import AnthropicCompat, resolve_anthropic_compat
    from dspy._vendor.lm15.registry import lookup

    definition = lookup(route.provider)
    if definition is None or definition.dialect != "anthropic":
        return False
    compat = resolve_anthropic_compat(AnthropicCompat.preset(definition.compat or "anthropic"))
    return bool(compat.cache_control == "anthropic")
