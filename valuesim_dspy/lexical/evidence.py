"""What the statements of a prompt say of the question: how near each is, and where it stands.

A statement is heard once, however often it is repeated: a story that is composed from facts is no
second witness of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from valuesim_dspy.lexical.lens import field_stress, read_lens, seen_through
from valuesim_dspy.lexical.parsing import Field, Prompt
from valuesim_dspy.lexical.scales import Place, place_passage
from valuesim_dspy.lexical.text import SENTENCES_KEPT, Passage, idf, read_passage, stems

SHORT_OPENING = 4
"""Words before a comma that may be an opening, such as "Then again,", rather than the matter."""

_QUOTED = re.compile(r"\u201c([^\u201c\u201d]+)\u201d?$")


@dataclass(frozen=True, slots=True)
class Witness:
    """A statement that stands on the offered scale.

    Args:
        text: The statement.
        place: Where it stands, and how that was found.
        near: The share of the question's words that it holds, rare ones heavy, in [0, 1].
        seen: How much the instructions and the stress on its field raise it; 1 is not at all.
    """

    text: str
    place: Place
    near: float
    seen: float


@dataclass(frozen=True)
class Evidence:
    """What the statements of a prompt say of the offered options.

    Args:
        witnesses: Statements on the offered scale, each once, in the order of the prompt.
        told: Statement, rank and weight of options that are named outright.
        counted: Rank and number of earlier answers that are counted.
        style: How much the style of answering is to count by the instructions, in [0, 1].
    """

    witnesses: tuple[Witness, ...]
    told: tuple[tuple[str, int, float], ...]
    counted: tuple[tuple[int, float], ...]
    style: float


def read_evidence(prompt: Prompt, *, option_words: float, lens: float, field: float) -> Evidence:
    """Read the statements of a prompt as evidence on its options.

    Args:
        prompt: A prompt with at least one option.
        option_words: What words of the options count, against 1 for words of the question.
        lens: How much a statement is raised that the instructions ask for.
        field: How much a field is raised that the instructions name.
    """
    asked = prompt.task.instructions
    query, total = _query(prompt, option_words)
    fields = {item.name: item for item in prompt.task.inputs}
    heard: dict[tuple[frozenset[str], float], Witness] = {}
    told: list[tuple[str, int, float]] = []
    counted: list[tuple[int, float]] = []
    for name, text in prompt.statements:
        passage, placed = read_passage(text), place_passage(text, prompt.options)
        stress = field * field_stress(fields.get(name, Field(name)), asked)
        raised = 1 + stress if stress >= 0 else 1 / (1 - stress)
        shared, looked = overlaps(query, passage, total), seen_through(text, asked)
        for index, place in enumerate(placed.places):
            if place is None:
                continue
            said, seen = passage.sentences[index].text, (1 + lens * looked[index]) * raised
            key = (gist(said), place.rank)
            known = heard.get(key)
            if known is None:
                heard[key] = Witness(said, place, shared.get(index, 0.0), seen)
            elif seen > known.seen:
                heard[key] = replace(known, seen=seen)
        told += [(passage.sentences[index].text, rank, raised) for index, rank in placed.told]
        counted += [(rank, number * raised) for rank, number in placed.counted]
    return Evidence(tuple(heard.values()), tuple(told), tuple(counted), read_lens(asked).style)


@lru_cache(maxsize=SENTENCES_KEPT)
def gist(text: str) -> frozenset[str]:
    """Return the stems by which a statement is known again: without an opening, out of quotes."""
    quoted = _QUOTED.search(text)
    text = quoted[1] if quoted else text
    head, comma, rest = text.partition(", ")
    return stems(rest if comma and len(head.split()) <= SHORT_OPENING else text)


def overlaps(query: Mapping[str, float], passage: Passage, total: float) -> dict[int, float]:
    """Return index of sentence to the share of a query's weight that it holds, in [0, 1].

    Sentences of more than eight content words count less, since they meet more words by chance.

    Args:
        query: Stem to weight; stems that no sentence holds may be missing.
        passage: The sentences.
        total: The weight of the whole query, missing stems included.
    """
    scores: dict[int, float] = {}
    for item, value in query.items():
        for index in passage.postings.get(item, ()):
            scores[index] = scores.get(index, 0.0) + value / total
    for index, score in scores.items():
        scores[index] = min(1.0, score) * min(1.0, (8 / len(passage.sentences[index].stems)) ** 0.5)
    return scores


def _query(prompt: Prompt, option_words: float) -> tuple[dict[str, float], float]:
    """Return the stems of question and options with their weights, rare ones heavy, and the total.

    Words that stand in the options tell the scale rather than the matter, and count less. Stems
    that no statement holds are as rare as can be.
    """
    passages = [read_passage(text) for _, text in prompt.statements]
    offered = stems(" ".join(option.label for option in prompt.options))
    asked = stems(prompt.question) - offered
    rare = idf(asked | offered, passages)
    query = {k: v * (1.0 if k in asked else option_words) for k, v in rare.items()}
    total = sum(rare.get(item, 1.0) for item in asked)
    total += option_words * sum(rare.get(item, 0.0) for item in offered)
    return query, total or 1.0
