"""Whether an instruction that a teleprompter wrote quotes a person: an n-gram scan."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dspy

from valuesim_dspy.ensemble import without_member

WORDS = 6
"""So many words in a row that an instruction shares with a fact or a backstory are a quote."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


@dataclass(frozen=True)
class Finding:
    """One quote.

    Args:
        predictor: Whose instruction quotes.
        source: `fact` or `backstory`; what stands in both counts as a fact.
        words: Length of the quote in words, at least `WORDS`.
        quote: The words themselves, lower case: a row of a person, never to be printed.
    """

    predictor: str
    source: str
    words: int
    quote: str = field(repr=False)


def instructions_of(program: dspy.Module) -> dict[str, str]:
    """Return every predictor's instruction, by predictor name.

    What all members of an ensemble are told alike stands once, under the predictor's name in the
    member alone, so that an ensemble can be compared with the program its members come from.
    """
    found = {name: p.signature.instructions for name, p in program.named_predictors()}
    told: dict[str, set[str]] = {}
    for name, text in found.items():
        told.setdefault(without_member(name), set()).add(text)
    alike = {name for name, texts in told.items() if len(texts) == 1}
    return {
        without_member(name) if without_member(name) in alike else name: text
        for name, text in found.items()
    }


def scan_instructions(
    instructions: Mapping[str, str],
    facts: Iterable[str],
    stories: Iterable[str] = (),
    *,
    known: Iterable[str] = (),
) -> tuple[Finding, ...]:
    """Find what instructions share word for word with facts and backstories.

    Args:
        instructions: Predictor to the instruction it was given.
        facts: Texts of facts of the people a teleprompter has seen.
        stories: Their backstories.
        known: Texts that hold no person, such as the instructions before compiling; what an
            instruction shares with them is no quote.

    Returns:
        The longest quotes, by predictor and place; none contains another at the same place.
    """
    grams = {name: list(_grams(_words(text))) for name, text in instructions.items()}
    wanted = {gram for found in grams.values() for gram in found}
    wanted -= {gram for text in known for gram in _grams(_words(text))}
    # A person's texts are many and instructions are few, so only what these hold is looked for.
    sources: dict[tuple[str, ...], str] = {}
    for source, texts in (("fact", facts), ("backstory", stories)):
        for text in dict.fromkeys(texts):
            for gram in _grams(_words(text)):
                if gram in wanted:
                    sources.setdefault(gram, source)
    return tuple(
        finding for name, found in grams.items() for finding in _runs(name, found, sources)
    )


def _words(text: str) -> list[str]:
    return [word.lower().replace("\u2019", "'") for word in _WORD.findall(text)]


def _grams(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1))


def _runs(
    name: str, grams: Sequence[tuple[str, ...]], sources: Mapping[tuple[str, ...], str]
) -> Iterator[Finding]:
    """Join neighbouring n-grams of one source into the longest quotes."""
    start = 0
    while start < len(grams):
        source, end = sources.get(grams[start], ""), start + 1
        if not source:
            start += 1
            continue
        while end < len(grams) and sources.get(grams[end]) == source:
            end += 1
        quote = [gram[0] for gram in grams[start:end]] + list(grams[end - 1][1:])
        yield Finding(name, source, len(quote), " ".join(quote))
        start = end
