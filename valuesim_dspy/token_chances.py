"""A distribution from the log-probabilities of the tokens that spell an answer's code."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from valuesim_dspy.errors import ConfigError, PredictionError
from valuesim_dspy.survey.codebook import Question

TOP = 20
"""Alternatives asked for at each token: the most that the OpenAI protocol gives."""

_ANSWER = re.compile(r"(?i)\banswer\b[^-\d]*(-?\d+)")
_CODE = re.compile(r"\s*(-?\d+)")
_OPEN = re.compile(r"\s*-?\d*")


@dataclass(frozen=True)
class Token:
    """One token of a reply.

    Attributes:
        text: What it spells.
        chances: Text to probability, of this token and of its alternatives; together at most 1.
    """

    text: str
    chances: Mapping[str, float]


def read_tokens(logprobs: object) -> tuple[Token, ...]:
    """Return the tokens of a reply.

    Args:
        logprobs: What the OpenAI protocol sends as a choice's `logprobs`, as DSPy hands it on:
            a table with `content`, or an object that dumps one.

    Raises:
        ConfigError: There are none, or no alternatives: the server or the model keeps them back.
    """
    table: Any = logprobs.model_dump() if hasattr(logprobs, "model_dump") else logprobs
    listed = (table.get("content") if isinstance(table, Mapping) else None) or ()
    tokens = tuple(_token(entry) for entry in listed)
    if not any(len(token.chances) > 1 for token in tokens):
        raise no_logprobs()
    return tokens


def no_logprobs() -> ConfigError:
    """Return the error of a model that gives no token log-probabilities."""
    return ConfigError(
        "the model gives no log-probabilities of tokens and their alternatives; take the samples "
        "or the verbalised distribution instead, or a server that answers logprobs and "
        f"top_logprobs={TOP}",
        key="task_lm",
    )


def _token(entry: Mapping[str, Any]) -> Token:
    chances: dict[str, float] = {}
    for one in entry.get("top_logprobs") or ():
        # Tokens of other bytes may be shown by one text.
        chances[one["token"]] = chances.get(one["token"], 0.0) + math.exp(one["logprob"])
    chances.setdefault(entry["token"], math.exp(entry["logprob"]))
    return Token(entry["token"], chances)


def token_shares(question: Question, answer: int, tokens: Sequence[Token]) -> dict[int, float]:
    """Return the probability of each code at the place where the reply spells its own.

    A code is spelled by one token or by several. Weighed are the alternatives to the first of
    its tokens; where the reply's own token may go on, as 1 may become 10, its mass is split as
    the alternatives to the next one say. Nothing is known of how an alternative that was not
    taken would have gone on: one that spells a code counts for that code, one that can only be
    the start of codes counts for all of them alike. What spells no code is left out, and the
    rest is brought to 1; a code that is not among the alternatives listed has 0.

    Args:
        question: Its codes are the keys.
        answer: The code that the reply was read to give.
        tokens: The whole reply.

    Returns:
        Code to probability in [0, 1], in the order of the question's codes; they sum to 1.

    Raises:
        PredictionError: The reply does not spell the code anywhere after the word "answer".
    """
    text = "".join(token.text for token in tokens)
    places = [found.start(1) for found in _ANSWER.finditer(text) if int(found[1]) == answer]
    if not places:
        raise PredictionError("the reply's tokens do not spell the answer that was read from it")
    index, before = _token_at(tokens, places[-1])
    names = tuple(str(code) for code in question.codes)
    shares = dict.fromkeys(question.codes, 0.0)
    for spelled, mass in _spelled(tokens, index, "", names).items():
        meant = _meant(spelled.removeprefix(before), names)
        for code in meant:
            shares[code] += mass / len(meant)
    total = math.fsum(shares.values())
    if not total > 0:
        raise PredictionError("no token that was listed spells an option")
    return {code: share / total for code, share in shares.items()}


def _token_at(tokens: Sequence[Token], place: int) -> tuple[int, str]:
    """Return which token holds a character, and what stands before it in that token."""
    start = 0
    for index, token in enumerate(tokens):
        if place < start + len(token.text):
            return index, token.text[: place - start]
        start += len(token.text)
    raise AssertionError("the character is of the text that the tokens spell")


def _spelled(
    tokens: Sequence[Token], index: int, said: str, names: Sequence[str]
) -> dict[str, float]:
    """Return what may stand from a token on, with its probability, along the path taken."""
    found: dict[str, float] = {}
    for text, chance in tokens[index].chances.items():
        whole, parts = said + text, {said + text: 1.0}
        if text == tokens[index].text and index + 1 < len(tokens) and _may_go_on(whole, names):
            parts = _spelled(tokens, index + 1, whole, names)
        for longer, share in parts.items():
            found[longer] = found.get(longer, 0.0) + chance * share
    return found


def _may_go_on(text: str, names: Sequence[str]) -> bool:
    digits = text.split()[-1] if text.split() else ""
    return any(name.startswith(digits) and name != digits for name in names)


def _meant(text: str, names: Sequence[str]) -> tuple[int, ...]:
    """Return the code that a text begins with, or the codes that it may be the start of."""
    found = _CODE.match(text)
    if found and found[1] in names:
        return (int(found[1]),)
    if text.strip() and _OPEN.fullmatch(text):
        return tuple(int(name) for name in names if name.startswith(text.strip()))
    return ()
