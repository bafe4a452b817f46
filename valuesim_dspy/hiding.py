"""What may not be known of a person where a question is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.survey.codebook import Codebook, Question

Hide = Literal["question", "battery", "topic"]


@dataclass(frozen=True)
class View:
    """What may be known of everybody where some questions are asked.

    Args:
        part: The part that is asked; -1 for questions of one's own.
        hidden: Ids of the questions whose answers may not be known.
        known: Those that may.
    """

    part: int
    hidden: frozenset[str]
    known: frozenset[str]

    @property
    def name(self) -> str:
        """What tells the profiles of this view from others of the same person."""
        if not self.hidden:
            return "all"
        return f"all but {digest_of(sorted(self.hidden))}"


def views_of(
    questions: Sequence[Question], codebook: Codebook, *, hide: Hide = "question", parts: int = 1
) -> list[View]:
    """Return for each question what may be known where it is asked.

    The asked questions and their twins are hidden, with their whole batteries or topics where
    that is wanted. Their batteries (their topics where these are hidden) are dealt into parts of
    about equal size, and a part's questions hide that part alone. Nothing is hidden from a
    question whose id the codebook does not have; in other words a question hides as much as in
    the codebook's.

    Args:
        questions: What is asked.
        codebook: What people answered.
        hide: What is hidden with an asked question.
        parts: How many parts; one hides everything asked from everything asked.

    Raises:
        ConfigError: There is no such way to hide, or `parts` is less than 1.
    """
    if hide not in get_args(Hide):
        raise ConfigError(f"not possible: {hide!r}", key="hide", value=hide, allowed=get_args(Hide))
    if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
        allowed = ["a whole number of 1 or more"]
        raise ConfigError(f"not possible: {parts!r}", key="parts", value=parts, allowed=allowed)
    asked = [codebook[question.id] for question in questions if question.id in codebook]
    part = _dealt(asked, parts, by="section" if hide == "topic" else "battery")
    hidden = {
        number: frozenset(_hidden([q for q in asked if part[q.id] == number], codebook, hide))
        for number in set(part.values())
    }
    everything = frozenset(codebook.questions)
    views = {number: View(number, ids, everything - ids) for number, ids in hidden.items()}
    open_to_all = View(-1, frozenset(), everything)
    return [views[part[q.id]] if q.id in part else open_to_all for q in questions]


def _dealt(asked: Sequence[Question], parts: int, *, by: str) -> dict[str, int]:
    """Return each question's part: whole groups, the largest first, to the smallest part."""
    groups: dict[str, list[str]] = {}
    for question in asked:
        groups.setdefault(getattr(question, by), []).append(question.id)
    sizes = [0] * parts
    dealt: dict[str, int] = {}
    for ids in sorted(groups.values(), key=len, reverse=True):
        number = sizes.index(min(sizes))
        sizes[number] += len(ids)
        dealt |= dict.fromkeys(ids, number)
    return dealt


def _hidden(asked: Sequence[Question], codebook: Codebook, hide: Hide) -> Iterator[str]:
    for question in asked:
        yield question.id
        yield from question.twins
        if hide == "battery":
            yield from codebook.batteries[question.battery]
        elif hide == "topic":
            yield from codebook.sections[question.section]


def digest_of(content: Any) -> str:
    """Return 16 hex digits of the sha256 of plain values."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
