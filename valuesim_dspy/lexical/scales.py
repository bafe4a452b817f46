"""Where a statement stands on the options that are offered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from valuesim_dspy.lexical.parsing import Option
from valuesim_dspy.lexical.text import ScalePoint, Sentence, bag, find_degree, read_passage, words

SCALES_KEPT = 1024
PLACES_KEPT = 512

LABEL, NUMBER, FORM, DEGREE = "label", "number", "form", "degree"
"""How a statement was placed, surest first: by the words of an offered label, as a number on the
offered scale, as a number on another scale of the same size, by a phrase of degree alone."""

_TOLD = re.compile(
    r"\b(?:answers?|option|code|choose|chooses|choice|picks?|proposes?)"
    r"(?: is| of| to| would be)?[ :=#\"'(]{1,3}(-?\d+)\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"\b(once|twice|(\d+) times) [\"“«]([^\"”»]+)[\"”»]", re.IGNORECASE)
_TIMES = {"once": 1, "twice": 2}


@dataclass(frozen=True, slots=True)
class Scale:
    """The offered options as an order.

    Args:
        padded: Labels as lower-case words between spaces; empty for bare numbers.
        bags: Stems of all words of each label; empty for bare numbers.
        points: Positions of the options in [-1, 1], None for one off the scale; empty where the
            labels show no order.
        numeric: Whether most labels are bare numbers.
        first: The rank of the first option on the scale.
        last: The rank of the last one; options beyond ("not allowed to vote") are off the scale.
    """

    padded: tuple[str, ...]
    bags: tuple[frozenset[str], ...]
    points: tuple[float | None, ...]
    numeric: bool
    first: int
    last: int

    @property
    def ordered(self) -> bool:
        """Whether the labels show an order."""
        return self.numeric or bool(self.points)


@dataclass(frozen=True, slots=True)
class Place:
    """A rank on the offered scale (0 is the first option, fractions allowed), and how found."""

    rank: float
    how: str


@dataclass(frozen=True, slots=True)
class Placed:
    """What a passage says of the offered options.

    Args:
        places: One for each sentence; None where it does not stand on the scale.
        told: Index of sentence and rank, of options that are named outright ("answers 2").
        counted: Rank and number, of answers that are counted ('3 times "Agree"').
    """

    places: tuple[Place | None, ...]
    told: tuple[tuple[int, int], ...]
    counted: tuple[tuple[int, int], ...]


@lru_cache(maxsize=SCALES_KEPT)
def read_scale(options: tuple[Option, ...]) -> Scale:
    """Read the offered options as a scale."""
    plain = [words(option.label) for option in options]
    bare = [len(item) < 2 and "".join(item).isdecimal() for item in plain]
    padded = [f" {' '.join(item)} " for item in plain]
    numbers = [rank for rank, mute in enumerate(bare) if mute]
    numeric = bool(numbers) and len(numbers) >= len(options) - 3
    points = () if numeric else _points([find_degree(text)[0] for text in padded])
    held = [rank for rank, point in enumerate(points) if point is not None]
    on = [max(0, numbers[0] - 1), min(len(options) - 1, numbers[-1] + 1)] if numeric else held
    return Scale(
        tuple("" if mute else text for mute, text in zip(bare, padded, strict=True)),
        tuple(
            frozenset() if mute else bag(option.label)
            for mute, option in zip(bare, options, strict=True)
        ),
        points,
        numeric,
        first=on[0] if on else 0,
        last=on[-1] if on else len(options) - 1,
    )


def _points(degrees: list[float | None]) -> tuple[float | None, ...]:
    """Fill in positions between the known ones; empty unless they run in one direction.

    Options before the first and after the last known one are off the scale: None. At most one
    option may be ("not allowed to vote"), else the labels show no order.
    """
    known = {index: value for index, value in enumerate(degrees) if value is not None}
    if len(known) < 2 or max(known) - min(known) < len(degrees) - 2:
        return ()
    filled = [_between(known, index) for index in range(min(known), max(known) + 1)]
    steps = [after - before for before, after in pairwise(filled)]
    one_way = all(step <= 0 for step in steps) or all(step >= 0 for step in steps)
    if not one_way or filled[0] == filled[-1]:
        return ()
    after = len(degrees) - 1 - max(known)
    return (*[None] * min(known), *filled, *[None] * after)


def _between(known: Mapping[int, float], index: int) -> float:
    below = max(i for i in known if i <= index)
    above = min(i for i in known if i >= index)
    if below == above:
        return known[index]
    return known[below] + (known[above] - known[below]) * (index - below) / (above - below)


def place(sentence: Sentence, options: tuple[Option, ...]) -> Place | None:
    """Place a sentence on the offered options, or return None where nothing says how."""
    scale = read_scale(options)
    if sentence.scale is not None:
        return _place_number(sentence.scale, options, scale)
    phrase = sentence.phrase
    found = [
        i
        for i, label in enumerate(scale.padded)
        if label and label in sentence.padded and (label not in phrase or label == phrase)
    ]
    if found:
        return Place(max(found, key=lambda i: (len(scale.padded[i]), -i)), LABEL)
    held = [i for i, item in enumerate(scale.bags) if len(item) > 1 and item <= sentence.bag]
    if held:
        return Place(max(held, key=lambda i: (len(scale.bags[i]), -i)), LABEL)
    if sentence.degree is None or not scale.points:
        return None
    return Place(_rank(sentence.degree, scale.points), DEGREE)


def _rank(position: float, points: tuple[float | None, ...]) -> float:
    """Return the rank at which options with these points would stand at a position."""
    known = [(rank, point) for rank, point in enumerate(points) if point is not None]
    for (low, one), (high, other) in pairwise(known):
        if min(one, other) <= position <= max(one, other) and one != other:
            return low + (high - low) * (position - one) / (other - one)
    return min(known, key=lambda item: abs(item[1] - position))[0]


def _place_number(point: ScalePoint, options: tuple[Option, ...], scale: Scale) -> Place | None:
    """Place a number; the scale is turned where the words of its ends say so."""
    if not scale.ordered:
        return None
    first, final = scale.bags[scale.first], scale.bags[scale.last]
    straight = len(point.low_words & first) + len(point.high_words & final)
    turned = len(point.low_words & final) + len(point.high_words & first)
    share, size = point.share if straight >= turned else 1 - point.share, scale.last - scale.first
    how = DEGREE
    if scale.numeric and abs(point.high - point.low) == size:
        how = NUMBER if max(straight, turned) >= len(first | final) / 2 else FORM
    return Place(scale.first + share * size, how)


@lru_cache(maxsize=PLACES_KEPT)
def place_passage(text: str, options: tuple[Option, ...]) -> Placed:
    """Place every sentence of a text on the offered options, memoised."""
    sentences = read_passage(text).sentences
    codes = {option.code: rank for rank, option in enumerate(options)}
    labels = {" ".join(words(option.label)): rank for rank, option in enumerate(options)}
    told, counted = [], []
    for index, sentence in enumerate(sentences):
        named = _TOLD.search(sentence.text)
        if named and named[1] in codes:
            told.append((index, codes[named[1]]))
        for match in _COUNTED.finditer(sentence.text):
            rank = labels.get(" ".join(words(match[3])))
            if rank is not None:
                counted.append((rank, int(match[2] or _TIMES[match[1].lower()])))
    silent = {index for index, _ in told} | (set(range(len(sentences))) if counted else set())
    places = (None if i in silent else place(s, options) for i, s in enumerate(sentences))
    return Placed(tuple(places), tuple(told), tuple(counted))
