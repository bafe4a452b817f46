"""Where a statement stands on the options that are offered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise

from valuesim_dspy.lexical.parsing import Option
from valuesim_dspy.lexical.text import (
    STOP_WORDS,
    ScalePoint,
    Sentence,
    bag,
    find_degree,
    read_passage,
    stems,
    word_set,
    words,
)

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
_DENIALS = word_set("not no never cannot hardly don't doesn't didn't isn't aren't wasn't won't")
_PARTICLES = STOP_WORDS | {"yes"}
MOST_WITHOUT_REST = 3
"""Of so many options or fewer none is taken for one beyond the scale."""


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
        has_matter: Whether labels share a content word ("important", "agree"): a statement with a
            label is then on the same scale, and not only of the same degree ("not at all").
    """

    padded: tuple[str, ...]
    bags: tuple[frozenset[str], ...]
    points: tuple[float | None, ...]
    numeric: bool
    first: int
    last: int
    has_matter: bool

    @property
    def ordered(self) -> bool:
        """Whether the labels show an order."""
        return self.numeric or bool(self.points)

    @property
    def slope(self) -> float:
        """Positive where later options say more, negative where less; 0 where labels are mute."""
        if not self.points:
            return 0.0
        return (self.points[self.last] or 0.0) - (self.points[self.first] or 0.0)

    def mirrored(self, rank: float) -> float:
        """Return the rank as far from the other end."""
        return self.first + self.last - rank


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
    content = [stems(option.label) for option in options]
    bare = [len(item) < 2 and "".join(item).isdecimal() for item in plain]
    padded = [f" {' '.join(item)} " for item in plain]
    numbers = [rank for rank, mute in enumerate(bare) if mute]
    numeric = bool(numbers) and len(numbers) >= len(options) - 3
    points = () if numeric else _ordered([find_degree(text)[0] for text in padded])
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
        has_matter=any(one & other for one, other in combinations(content, 2)),
    )


def _ordered(degrees: list[float | None]) -> tuple[float | None, ...]:
    """Return the points of the options; one beyond either end ("hard to say") may be left out."""
    if len(degrees) == 2 and None in degrees:
        # Of two options of which one has no degree, the other one's opposite is meant.
        degrees = [
            value if value is not None else -(other or 0.0)
            for value, other in zip(degrees, degrees[::-1], strict=True)
        ]
    tries = [degrees]
    if len(degrees) > MOST_WITHOUT_REST:
        tries += [[None, *degrees[1:]], [*degrees[:-1], None]]
    return next((points for points in map(_points, tries) if points), ())


def _points(degrees: list[float | None]) -> tuple[float | None, ...]:
    """Fill in positions between the known ones; empty unless they run in one direction.

    Options before the first and after the last known one are off the scale: None. At most one
    option may be ("not allowed to vote"), else the labels show no order. Nor do two that lie on
    one side ("most can be trusted", "need to be very careful").
    """
    known = {index: value for index, value in enumerate(degrees) if value is not None}
    if len(known) < 2 or max(known) - min(known) < len(degrees) - 2:
        return ()
    filled = [_between(known, index) for index in range(min(known), max(known) + 1)]
    steps = [after - before for before, after in pairwise(filled)]
    one_way = all(step <= 0 for step in steps) or all(step >= 0 for step in steps)
    if not one_way or filled[0] == filled[-1]:
        return ()
    if len(filled) == 2 and filled[0] * filled[1] > 0:
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
        if _is_said(label, sentence.padded) and (label not in phrase or label == phrase)
    ]
    if found:
        return Place(max(found, key=lambda i: (len(scale.padded[i]), -i)), LABEL)
    denied = not _DENIALS.isdisjoint(sentence.padded.split())
    held = [
        i
        for i, item in enumerate(scale.bags)
        if len(item) > 1 and item <= sentence.bag and not (denied and _DENIALS.isdisjoint(item))
    ]
    if held:
        return Place(max(held, key=lambda i: (len(scale.bags[i]), -i)), LABEL)
    if not scale.points:
        return None
    if sentence.degree is not None:
        return Place(_rank(sentence.degree, scale.points), DEGREE)
    # Of yes and no, what is said without a phrase of degree is a yes.
    yes_or_no = len(scale.points) == 2 and None not in scale.points
    return Place(0 if scale.slope < 0 else 1, DEGREE) if yes_or_no else None


def _is_said(label: str, padded: str) -> bool:
    """Whether a label that is more than a particle stands in a sentence, and is not denied."""
    if label not in padded or _PARTICLES.issuperset(label.split()):
        return False
    before = padded.partition(label)[0].split()[-2:]
    return _DENIALS.isdisjoint(before) or not _DENIALS.isdisjoint(label.split())


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
        # What stands in quotation marks was told by somebody, and names no option.
        named = _TOLD.search(sentence.text.partition("\u201c")[0])
        if named and named[1] in codes:
            told.append((index, codes[named[1]]))
        for match in _COUNTED.finditer(sentence.text):
            rank = labels.get(" ".join(words(match[3])))
            if rank is not None:
                counted.append((rank, int(match[2] or _TIMES[match[1].lower()])))
    silent = {index for index, _ in told} | (set(range(len(sentences))) if counted else set())
    places = (None if i in silent else place(s, options) for i, s in enumerate(sentences))
    return Placed(tuple(places), tuple(told), tuple(counted))
