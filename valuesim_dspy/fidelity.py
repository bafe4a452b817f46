"""How many of a person's facts a backstory keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from valuesim_dspy.lexical.text import DEGREES, Sentence, idf, read_passage, read_sentence
from valuesim_dspy.survey.facts import Fact

KEPT = 0.6
_PHRASES = sorted(DEGREES, key=len, reverse=True)


def backstory_fidelity(facts: Sequence[Fact], backstory: str) -> float:
    """Return the share of facts that a backstory keeps, in [0, 1]; higher is better.

    A fact counts as kept when one sentence of the story, or two in a row, hold at least
    `KEPT` of its content words by weight of rarity, its number where it names one on a scale,
    and its phrase of degree ("very", "not at all") where it has one. It compares words, so a
    free paraphrase counts as lost: the figure is a lower bound on what a reader would find.

    Args:
        facts: The facts the story was written from; at least one.
        backstory: The story.

    Raises:
        ValueError: There are no facts.
    """
    if not facts:
        raise ValueError("fidelity needs at least one fact")
    return sum(is_kept(fact.text, backstory) for fact in facts) / len(facts)


def is_kept(fact: str, backstory: str) -> bool:
    """Return whether a story keeps one fact; see `backstory_fidelity`."""
    passage = read_passage(backstory)
    sentence = read_sentence(fact)
    weights = idf(sentence.stems, [passage])
    # Stems that the story nowhere holds are lost for certain, and weigh as the rarest.
    total = sum(weights.get(stem, 1.0) for stem in sentence.stems)
    if not total:
        return True
    for window in _windows(passage.sentences):
        stems = frozenset().union(*(part.stems for part in window))
        held = sum(weights.get(stem, 0.0) for stem in sentence.stems & stems)
        if held >= KEPT * total and _same_strength(sentence, window):
            return True
    return False


def _windows(sentences: Sequence[Sentence]) -> Iterator[tuple[Sentence, ...]]:
    yield from ((sentence,) for sentence in sentences)
    yield from pairwise(sentences)


def _same_strength(fact: Sentence, window: Sequence[Sentence]) -> bool:
    if fact.scale is not None:
        shown = {str(fact.scale.value)}
        return any(shown & set(part.text.replace(",", " ").split()) for part in window)
    phrase = next((p for p in _PHRASES if f" {p} " in fact.padded), None)
    return phrase is None or any(f" {phrase} " in part.padded for part in window)
