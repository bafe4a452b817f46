"""How many of a person's facts a backstory keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from valuesim_dspy.lexical.text import (
    DEGREES,
    Passage,
    Sentence,
    read_passage,
    read_sentence,
    split_sentences,
)
from valuesim_dspy.survey.facts import Fact

KEPT = 0.6
_NEGATIONS = frozenset({"not", "no", "never", "none", "neither", "nor", "nobody", "nothing"})
_AMOUNTS = frozenset({"few", "some", "half", "most"})
_LONGEST = max(phrase.count(" ") + 1 for phrase in DEGREES)


def backstory_fidelity(facts: Sequence[Fact], backstory: str) -> float:
    """Return the share of facts that a backstory keeps, in [0, 1]; higher is better.

    A fact counts as kept when one sentence of the story holds at least `KEPT` of its content
    words, weighted by their rarity among the facts, its number where it names one on a scale,
    and else all its phrases of degree, amounts and negations ("very", "few", "not at all"); a
    sentence that says nothing else may hold no further ones. It compares words: a free paraphrase
    counts as lost, and of "A rather than B" and "B rather than A" either keeps the other. A story
    with fewer sentences never keeps more.

    Args:
        facts: The facts the story was written from; at least one.
        backstory: The story.

    Raises:
        ValueError: There are no facts.
    """
    if not facts:
        raise ValueError("fidelity needs at least one fact")
    told = [[read_sentence(part) for part in split_sentences(fact.text)] for fact in facts]
    counts = Counter(stem for fact in told for part in fact for stem in part.stems)
    # Weights come from the facts alone: with the story's own, leaving a sentence out would
    # make its words rare and so could make up for the loss.
    rarity = {stem: 1 / count for stem, count in counts.items()}
    story = read_passage(backstory)
    return sum(all(_is_kept(part, story, rarity) for part in fact) for fact in told) / len(facts)


def _is_kept(fact: Sentence, story: Passage, rarity: Mapping[str, float]) -> bool:
    if not fact.stems:
        return any(fact.padded in sentence.padded for sentence in story.sentences)
    total, held = 0.0, dict.fromkeys(range(len(story.sentences)), 0.0)
    for stem in sorted(fact.stems):
        total += rarity[stem]
        for index in story.postings.get(stem, ()):
            held[index] += rarity[stem]
    return any(
        weight >= KEPT * total and _same_strength(fact, story.sentences[index])
        for index, weight in held.items()
    )


def _same_strength(fact: Sentence, told: Sentence) -> bool:
    if fact.scale is not None:
        # Not among the scale's own ends: "5 on a scale from 1 to 10" names neither 1 nor 10.
        named = told.scale is not None and told.scale.value == fact.scale.value
        return named or f" {fact.scale.value} " in told.padded
    wanted, found = _degrees(fact.padded), _degrees(told.padded)
    says_more = len(told.stems - fact.stems) > 1
    return wanted <= found if says_more else wanted == found


@lru_cache(maxsize=16_384)
def _degrees(padded: str) -> frozenset[str]:
    """Return a text's phrases of degree, amounts and negations, none of them part of a longer."""
    tokens, found, start = padded.split(), set(), 0
    while start < len(tokens):
        tried = (" ".join(tokens[start : start + n]) for n in range(_LONGEST, 0, -1))
        phrase = next((each for each in tried if each in DEGREES), "")
        if phrase:
            found.add(phrase)
        elif tokens[start] in _NEGATIONS or tokens[start].endswith("n't"):
            found.add("not")
        elif tokens[start] in _AMOUNTS or tokens[start].isdigit():
            found.add(tokens[start])
        start += phrase.count(" ") + 1
    return frozenset(found)
