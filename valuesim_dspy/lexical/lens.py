"""What the instructions ask to be read: words, kinds of matter, fields, the style of answering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from valuesim_dspy.lexical.parsing import Field
from valuesim_dspy.lexical.text import (
    idf,
    read_passage,
    split_sentences,
    stem,
    stems,
    word_set,
    words,
)

LENSES_KEPT = 512

# General English by what it speaks of, so that an instruction to read one of these can find it.
FAMILIES: Mapping[str, frozenset[str]] = {
    name: frozenset(stem(word) for word in listed.split())
    for name, listed in {
        "feelings": "feel emotion affect happy unhappy satisfied afraid fear worry love hope proud "
        "pride anger resent enjoy secure insecure unsafe trust distrust confidence close "
        "attachment like dislike hate mood reject grief joy",
        "conduct": "act action behave behavior behaviour choice chosen habit past member active "
        "vote attend sign join demonstrate boycott donate contact pray use daily weekly often "
        "regularly frequency practice done refuse",
        "beliefs": "believe belief think opinion agree disagree value principle know understand "
        "expect expectation convince convinced justified right wrong important essential should "
        "society goal reason view meaning institution",
    }.items()
}
STYLE = frozenset(
    stem(word)
    for word in word_set(
        "style pattern extreme scale end middle form tendency consistent usual moderate same "
        "strongest habit"
    )
)
_DISMISSING = word_set("elsewhere ignore disregard aside without regardless")
_STRESSING = word_set("above first foremost primarily mainly especially most only start")


@dataclass(frozen=True, slots=True)
class Lens:
    """What instructions ask for.

    Args:
        wanted: Stem to weight in [0, 1].
        stressed: Lower-case word to stress: 1 for a mention, 2 for a stressed one, -1 for one
            that is dismissed.
        family: The kind of matter asked for above the others; "" where none is.
        style: How much the style of answering is to count, in [0, 1].
    """

    wanted: Mapping[str, float]
    stressed: Mapping[str, float]
    family: str
    style: float


@lru_cache(maxsize=LENSES_KEPT)
def read_lens(instructions: str) -> Lens:
    """Read what instructions ask for, sentence by sentence, memoised."""
    wanted: dict[str, float] = {}
    stressed: dict[str, float] = {}
    counts = dict.fromkeys(FAMILIES, 0)
    style = 0
    for part in split_sentences(" ".join(instructions.split())):
        told, content = frozenset(words(part)), stems(part)
        stress = -1.0 if told & _DISMISSING else 2.0 if told & _STRESSING else 1.0
        for word in told:
            stressed[word] = stress if stress < 0 else max(stressed.get(word, stress), stress)
        if stress < 0:
            continue
        wanted.update(dict.fromkeys(content, 0.5))
        style += len(content & STYLE)
        for name, family in FAMILIES.items():
            counts[name] += len(content & family)
    total = sum(counts.values())
    leading = max(counts, key=lambda name: counts[name])
    ahead = total > 1 and counts[leading] > total / len(FAMILIES)
    if ahead:
        share = counts[leading] / total
        wanted.update({item: max(wanted.get(item, 0.0), share) for item in FAMILIES[leading]})
    return Lens(wanted, stressed, leading if ahead else "", min(1.0, style / 4))


@lru_cache(maxsize=LENSES_KEPT)
def seen_through(text: str, instructions: str) -> tuple[float, ...]:
    """Return how far each sentence of a text is what instructions ask for, in [0, 1]."""
    passage, wanted = read_passage(text), read_lens(instructions).wanted
    scores = [0.0] * len(passage.sentences)
    for item, rare in idf(wanted, (passage,)).items():
        for index in passage.postings[item]:
            scores[index] += wanted[item] * rare
    return tuple(min(1.0, score) for score in scores)


def field_stress(field: Field, instructions: str) -> float:
    """Return how instructions stress a field that they name: -1 to 2, 0 where they do not.

    The words of its description count a little where its name is not mentioned.
    """
    lens = read_lens(instructions)
    named = [lens.stressed[word] for word in field.name_terms if word in lens.stressed]
    if named:
        return min(named) if min(named) < 0 else max(named)
    told = stems(field.description)
    return 0.5 * sum(item in lens.wanted for item in told) / len(told) if told else 0.0
