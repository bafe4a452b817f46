"""Sentences, words, stems, and where on a scale a sentence stands: features of plain English.

Everything here is a function of the text alone, so it is memoised by the text in tables of
bounded size. Nothing knows of any survey: the tables of words are general English.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import log

SENTENCES_KEPT = 16_384
PASSAGES_KEPT = 64
LEAST_SENTENCES = 20


def word_set(listed: str) -> frozenset[str]:
    """Return the words that a text lists, between spaces."""
    return frozenset(listed.split())


STOP_WORDS = word_set(
    "a about after again all also am an and any are as at be because been being below "
    "between both but by can could did do does doing done down during each else even ever "
    "every few for from further had has have having he her here hers him his how i if in "
    "into is it its itself just let me more most much my no nor not now of off on once one "
    "only or other our out over own per quite rather same she should so some such than that "
    "the their them then there these they this those through to too under until up upon us "
    "very was we were what when where whether which while who whom whose why will with "
    "within without would you your yours yourself s t don doesn isn aren wasn didn"
)

# Position in [-1, 1] of phrases of degree: strength, frequency, amount, agreement, quality.
DEGREES: Mapping[str, float] = {
    phrase: position
    for position, phrases in (
        (1.0, "strongly agree|agree strongly|completely agree|agree completely|a great deal"),
        (1.0, "very much|very|extremely|completely|absolutely|essential|always|fully|entirely"),
        (1.0, "several times a day|every day|daily|definitely should|definitely|most important"),
        (0.9, "more than once a week|nearly always|very often|almost always|active member"),
        (0.7, "a lot|often|frequently|usually|mostly|regularly|once a day|importantly"),
        (0.6, "once a week|weekly|several times each week|have done|yes|better|mentioned"),
        (0.4, "agree|rather|quite a lot|quite|fairly often|fairly|pretty|somewhat|probably should"),
        (0.4, "probably|good|can be trusted|partly agree|good thing|inactive member|moderately"),
        (0.0, "neither agree nor disagree|neither good nor bad|hard to say|it depends|might do"),
        (0.0, "sometimes|occasionally|once a month|monthly|about the same|do not mind|fair"),
        (0.0, "don't mind|undecided|neutral|in between|average"),
        (
            -0.4,
            "disagree|not very|not very much|not much|a little|not often|not very often|slightly",
        ),
        (-0.4, "probably not|probably should not|bad|worse|bad thing|not much of|not quite"),
        (-0.6, "rarely|seldom|hardly|not mentioned|less than monthly|once a year|do not|did not"),
        (-0.6, "not agree|don't|not important|no|not a member|do not belong|don't belong|poor"),
        (-0.8, "hardly ever|less often|almost never|less often than once a year"),
        (-1.0, "strongly disagree|disagree strongly|completely disagree|disagree completely"),
        (-1.0, "not at all|none at all|none|never|would never|definitely not|no confidence at all"),
        (-1.0, "definitely should not|practically never|not at all often|nothing|have never"),
    )
    for phrase in phrases.split("|")
}
_NEGATIVES = word_set(
    "bad badly unhappy poor poorly insecure unsafe unlikely dissatisfied unimportant wrong "
    "weak little low infrequent infrequently seldom rarely difficult unfair undemocratic"
)
_LONGEST_DEGREE = max(phrase.count(" ") + 1 for phrase in DEGREES)

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_BREAK = re.compile(r"(?<=[.!?])[\"\u201d\u2019')\u00bb]*\s+(?=[\"\u201c\u2018'(\u00ab]?[A-Z0-9])")
_BULLET = re.compile(r"^\s*(?:[-*•]\s+|\[\d+\]\s*|#+\s+)")
_REMARK = re.compile(r"\([^()]*\)")
_GUILLEMETS = str.maketrans("", "", "«»")
_TOLD = re.compile(r"\u201c([^\u201c\u201d]*)\u201d")
_POLE = r"(?:\s*\(([^()]*)\))?"
_SCALE = re.compile(
    rf"\bon a scale\b[^().\d]{{0,40}}?\b(?:from|of) (-?\d+){_POLE} (?:to|through) (-?\d+){_POLE}",
    re.IGNORECASE,
)
_APART = re.compile(r"\bnot ([a-z]+) (at all|very much|very often)\b")
_OUT_OF = re.compile(r"\b(\d+) (?:out of|points out of) (\d+)\b")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?![\w%]|\.\d)")
_SUFFIXES = sorted(
    word_set(
        "ications ization isation ational fulness iveness ousness ements ations ically iosity "
        "ician ement ation ities ingly ible able ical icly ance ence ancy ency ment ness ions "
        "ious ists isms ings ants ents ates ally ity ion ism ist ive ous ial ant ent ate ful cal "
        "ics ic al cy ly or"
    ),
    key=lambda suffix: (-len(suffix), suffix),
)
_ENDINGS = ("ocracy", "ocrat", "ocra", "ing", "ed", "er")
_IRREGULAR: Mapping[str, str] = {
    "children": "child",
    "women": "woman",
    "men": "man",
    "people": "person",
    "persons": "person",
    "lives": "lif",
    "beliefs": "believ",
    "belief": "believ",
    "scientific": "scienc",
    "scientist": "scienc",
    "scientists": "scienc",
}


@dataclass(frozen=True, slots=True)
class ScalePoint:
    """A number on a scale of numbers, with what is said of its two ends.

    Args:
        value: The number.
        low: The smallest number of the scale.
        high: The largest number of the scale.
        low_words: Stems of what the low end means; empty where nothing is said.
        high_words: Stems of what the high end means.
    """

    value: int
    low: int
    high: int
    low_words: frozenset[str]
    high_words: frozenset[str]

    @property
    def share(self) -> float:
        """Where the number lies between the ends, in [0, 1]."""
        return (self.value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Sentence:
    """What one sentence offers to a matcher.

    Args:
        text: The sentence as it was written.
        padded: Its words in lower case between single spaces, without the scale it names.
        stems: Stems of its content words.
        bag: Stems of all its words.
        degree: The position of its phrase of degree, in [-1, 1]; None where there is none.
        phrase: That phrase, between spaces; empty where there is none.
        scale: The point on a numeric scale it names, if any.
    """

    text: str
    padded: str
    stems: frozenset[str]
    bag: frozenset[str]
    degree: float | None
    phrase: str
    scale: ScalePoint | None


@dataclass(frozen=True, slots=True)
class Passage:
    """The sentences of a text, and which of them hold a stem."""

    sentences: tuple[Sentence, ...]
    postings: Mapping[str, tuple[int, ...]]


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, digits included."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


@lru_cache(maxsize=32_768)
def stem(word: str) -> str:
    """Return a crude stem: religion, religious and religiosity share one."""
    word = word.removesuffix("'s")
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word.removesuffix("s")
        word = f"{word.removesuffix('ie')}y" if word.endswith("ie") and len(word) > 4 else word
    for _ in range(2):
        for suffixes, left in ((_SUFFIXES, 4), (_ENDINGS, 3)):
            found = next(
                (s for s in suffixes if word.endswith(s) and len(word) - len(s) >= left), ""
            )
            word = word.removesuffix(found)
    return word[:-1] if len(word) > 3 and word[-1] in "iey" else word


def stems(text: str) -> frozenset[str]:
    """Return the stems of a text's content words."""
    return frozenset(stem(word) for word in words(text) if word not in STOP_WORDS)


def bag(text: str) -> frozenset[str]:
    """Return the stems of all words of a text, stop words included."""
    return frozenset(stem(word) for word in words(text))


def split_sentences(text: str) -> tuple[str, ...]:
    """Split a text into sentences: first into lines, whose bullets are dropped, then prose.

    A line that stands in parentheses, such as "(nothing)", is a remark and no sentence. Of a line
    that stands in quotation marks as a whole, each sentence does.
    """
    found = []
    for line in text.splitlines():
        line = _BULLET.sub("", line).translate(_GUILLEMETS).strip()
        if told := _TOLD.fullmatch(line):
            found += [f"\u201c{part.strip()}\u201d" for part in _BREAK.split(told[1])]
        else:
            found += _BREAK.split(line) if not _REMARK.fullmatch(line) else []
    return tuple(part.strip() for part in found if _WORD.search(part))


def find_degree(padded: str) -> tuple[float | None, str]:
    """Return the position and the words of the longest phrase of degree in lower-case words.

    Of equally long phrases the first counts, and "not satisfied at all" holds "not at all". An
    intensifier before a negative word is negative ("very bad" is as far from the middle as
    "very good", on the other side).
    """
    tokens = _APART.sub(r"not \2 \1", padded).split()
    best, phrase, longest = None, "", 0
    for start in range(len(tokens)):
        for length in range(min(_LONGEST_DEGREE, len(tokens) - start), longest, -1):
            found = " ".join(tokens[start : start + length])
            if found in DEGREES:
                follower = tokens[start + length] if start + length < len(tokens) else ""
                best = -DEGREES[found] if follower in _NEGATIVES else DEGREES[found]
                phrase, longest = f" {found} ", length
                break
    return best, phrase


def scale_point(text: str) -> tuple[ScalePoint | None, str]:
    """Return the point on a numeric scale that a sentence names, and the sentence without it."""
    named = _SCALE.search(text)
    if named is None:
        simple = _OUT_OF.search(text)
        if simple is None or not 0 <= int(simple[1]) <= int(simple[2]) or int(simple[2]) < 2:
            return None, text
        low = 0 if int(simple[1]) == 0 else 1
        point = ScalePoint(int(simple[1]), low, int(simple[2]), frozenset(), frozenset())
        return point, text.replace(simple[0], " ")
    low, high = int(named[1]), int(named[3])
    rest = text[: named.start()] + " " + text[named.end() :]
    before = _NUMBER.findall(text[: named.start()])
    numbers = [int(n) for n in [*reversed(before), *_NUMBER.findall(text[named.end() :])]]
    inside = [n for n in numbers if min(low, high) <= n <= max(low, high)]
    if not inside or low == high:
        return None, rest
    return ScalePoint(inside[0], low, high, bag(named[2] or ""), bag(named[4] or "")), rest


@lru_cache(maxsize=SENTENCES_KEPT)
def read_sentence(text: str) -> Sentence:
    """Return the features of one sentence."""
    point, rest = scale_point(text)
    plain = words(rest)
    padded = f" {' '.join(plain)} "
    position, phrase = (None, "") if point else find_degree(padded)
    return Sentence(
        text=text,
        padded=padded,
        stems=frozenset(stem(word) for word in plain if word not in STOP_WORDS),
        bag=frozenset(stem(word) for word in plain),
        degree=position,
        phrase=phrase,
        scale=point,
    )


@lru_cache(maxsize=PASSAGES_KEPT)
def read_passage(text: str) -> Passage:
    """Return the sentences of a text with an index of their stems."""
    sentences = tuple(read_sentence(part) for part in split_sentences(text))
    postings: dict[str, list[int]] = {}
    for index, sentence in enumerate(sentences):
        for item in sentence.stems:
            postings.setdefault(item, []).append(index)
    return Passage(sentences, {item: tuple(where) for item, where in postings.items()})


def idf(query: Iterable[str], passages: Iterable[Passage]) -> dict[str, float]:
    """Return the inverse document frequency of a query's stems, in (0, 1].

    A document is a sentence, of at least `LEAST_SENTENCES`: among three sentences a word that one
    of them holds is not thereby common. Stems that no sentence holds are left out.
    """
    pool = tuple(passages)
    total = max(LEAST_SENTENCES, sum(len(passage.sentences) for passage in pool))
    scaled = {}
    for item in sorted(query):
        frequency = sum(len(passage.postings.get(item, ())) for passage in pool)
        if frequency:
            scaled[item] = max(0.05, log((total + 1) / (frequency + 0.5)) / log(total + 2))
    return scaled
