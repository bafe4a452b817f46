"""Nearest facts: by words and stems, or by any embedding; ties go to the earlier fact."""

from __future__ import annotations

import math
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from valuesim_dspy.lexical.text import read_sentence
from valuesim_dspy.survey.codebook import Codebook

if TYPE_CHECKING:
    from valuesim_dspy.survey.facts import Fact

DIMENSIONS = 4096
Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors.

    Attributes:
        name: The name under which it is logged.
        semantic: Whether it sees meaning beyond shared words.
    """

    name: str
    semantic: bool

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return one row for each text, shape (n, d)."""
        ...


class LexicalEmbedder:
    """Embed a text as the idf-weighted counts of its stems, hashed to a fixed width.

    The frequencies come from the codebook's questions, one document each, so that a word of
    many questions ("important", "country") weighs little. Needs no model; sees no meaning
    beyond shared words.

    Args:
        codebook: The questions whose words are counted.
    """

    name = "lexical"
    semantic = False

    def __init__(self, codebook: Codebook) -> None:
        self._weights = _stem_weights(codebook)
        self._unseen = max(self._weights.values(), default=1.0)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return unit rows, shape (n, `DIMENSIONS`); a text without content words is zero."""
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in enumerate(texts):
            for stem in read_sentence(text).stems:
                column = zlib.crc32(stem.encode()) % DIMENSIONS
                vectors[row, column] += self._weights.get(stem, self._unseen)
        return unit_rows(vectors)


@lru_cache(maxsize=8)
def _stem_weights(codebook: Codebook) -> dict[str, float]:
    documents = [
        read_sentence(f"{question.text} {question.topic}").stems
        for question in codebook.questions.values()
    ]
    counts: dict[str, int] = {}
    for document in documents:
        for stem in document:
            counts[stem] = counts.get(stem, 0) + 1
    return {stem: math.log(1 + len(documents) / n) for stem, n in counts.items()}


def unit_rows(vectors: npt.ArrayLike) -> Vectors:
    """Scale each row to length 1; zero rows stay zero."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths == 0, 1, lengths), dtype=np.float32)


class Retriever:
    """Find the facts nearest to a question by cosine similarity.

    Vectors of sentences are remembered, since all people share them. Thread-safe; held outside
    any module, as a binding.

    Args:
        embedder: Turns sentences into vectors.
        remembered: How many sentence vectors to keep.
    """

    def __init__(self, embedder: Embedder, *, remembered: int = 20_000) -> None:
        self.embedder = embedder
        self._remembered = remembered
        self._known: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, object]) -> Retriever:
        return self

    def nearest(self, facts: Sequence[Fact], query: str, k: int) -> tuple[Fact, ...]:
        """Return the k facts nearest to the query, the nearest first."""
        if not facts:
            return ()
        vectors = self._vectors([*(fact.text for fact in facts), query])
        # Rounded: a matrix product may give equal rows different last bits, and ties are ours.
        similarity = np.round(vectors[:-1] @ vectors[-1], 5)
        order = np.argsort(-similarity, kind="stable")[:k]
        return tuple(facts[index] for index in order)

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            found = {text: self._known[text] for text in texts if text in self._known}
        fresh = [text for text in dict.fromkeys(texts) if text not in found]
        if fresh:
            # Held here too: another thread may let go of what this one relies on.
            made = dict(zip(fresh, unit_rows(self.embedder(fresh)), strict=True))
            found |= made
            with self._lock:
                self._known.update(made)
                while len(self._known) > self._remembered:
                    self._known.popitem(last=False)
        return np.stack([found[text] for text in texts])


def nearest_lines(lines: Sequence[str], query: str, count: int) -> list[str]:
    """Return the lines that share most with a query, in their own order; see `ranked_lines`."""
    if len(lines) <= count:
        return list(lines)
    return [lines[index] for index in sorted(ranked_lines(lines, query)[:count])]


def ranked_lines(lines: Sequence[str], query: str) -> list[int]:
    """Return the positions of lines, those that share most with a query first.

    Overlap of stems, weighted by their rarity among the lines and normalised by the length of a
    line; ties go to the earlier line.
    """
    wanted = read_sentence(query).stems
    bags = [read_sentence(line).stems for line in lines]
    weights = {
        stem: math.log(1 + len(lines) / (1 + sum(stem in bag for bag in bags))) for stem in wanted
    }
    # Summed exactly, since sets have another order in every process.
    scores = [
        math.fsum(weights[stem] for stem in wanted & bag) / math.sqrt(len(bag) or 1) for bag in bags
    ]
    return sorted(range(len(lines)), key=lambda index: (-scores[index], index))
