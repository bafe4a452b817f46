"""Which of the offered options the statements of a prompt support.

Every statement gets a weight, from the words it shares with question and options, from what the
instructions ask to be read and from the field it stands in; and a place on the offered scale,
where it has one. A kernel vote over the options decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import exp
from random import Random

from valuesim_dspy.lexical.lens import field_stress, read_lens, seen_through
from valuesim_dspy.lexical.parsing import Demo, Field, Option, Prompt, read_options
from valuesim_dspy.lexical.scales import (
    DEGREE,
    FORM,
    LABEL,
    NUMBER,
    Scale,
    place_passage,
    read_scale,
)
from valuesim_dspy.lexical.text import Passage, idf, read_passage, stems

OFF_SCALE = 0.1
"""What options off the scale have of the prior."""

NEAR = 0.4
"""Above temperature 0, options with at least this share of the best support may be drawn."""


@dataclass(frozen=True)
class Weights:
    """How much each kind of evidence counts; all at least 0.

    Args:
        label: A statement that holds the words of an offered option.
        number: A number on the offered scale.
        form: A number on another scale of the same size.
        degree: A phrase of degree alone.
        habit: What a statement on the same scale counts that shares no word with the question.
        words: Exponent of the overlap with question and options.
        option_words: Words of the options, against 1 for words of the question.
        lens: How much a statement is raised that the instructions ask for.
        field: How much a field is raised that the instructions name.
        told: A statement that names an option outright.
        counted: One earlier answer of those that a statement counts.
        demo: A worked example that offers the same options.
        content: Words that one option's label shares with a statement, where there is no order.
        prior: What every option has before anything is read.
        moderate: How much of the prior the options at the ends lose, in [0, 1].
        lean: How much more of it options have whose labels say more, in [0, 1].
        spread: Width of the kernel, in ranks of a scale of ten.
        vague: How much wider it is for statements on another scale.
    """

    label: float = 1.0
    number: float = 1.0
    form: float = 0.2
    degree: float = 0.2
    habit: float = 0.02
    words: float = 1.0
    option_words: float = 0.05
    lens: float = 3.0
    field: float = 0.5
    told: float = 0.5
    counted: float = 0.02
    demo: float = 0.03
    content: float = 0.3
    prior: float = 0.05
    moderate: float = 0.3
    lean: float = 0.2
    spread: float = 1.2
    vague: float = 2.0

    def of(self, how: str) -> float:
        """The weight of a way in which a statement was placed."""
        return {LABEL: self.label, NUMBER: self.number, FORM: self.form, DEGREE: self.degree}[how]


WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Vote:
    """A statement's say: its text, its weight, its rank on the scale, and whether that is vague."""

    text: str
    weight: float
    rank: float
    vague: bool = False


@dataclass(frozen=True)
class Choice:
    """The option chosen, the support of each (sum 1), and the votes that are statements.

    The votes come heaviest first; equally heavy ones in the order of the prompt.
    """

    index: int
    options: tuple[Option, ...]
    support: tuple[float, ...]
    votes: tuple[Vote, ...]

    @property
    def option(self) -> Option:
        """The option chosen."""
        return self.options[self.index]


def choose(prompt: Prompt, *, weights: Weights = WEIGHTS, rng: Random | None = None) -> Choice:
    """Choose among the options of a prompt.

    Args:
        prompt: A prompt with at least one option.
        weights: How much each kind of evidence counts.
        rng: Draws among nearly equally supported options, the freer the higher the prompt's
            temperature; None takes the best supported one, and the lower index of equals.
    """
    scale = read_scale(prompt.options)
    votes = [vote for vote in _statement_votes(prompt, weights) if vote.weight > 0]
    support = _prior(scale, weights)
    _add(support, [*votes, *_demo_votes(prompt, weights)], scale, weights)
    if not scale.ordered:
        _add_content(support, prompt, weights)
    total = sum(support)
    shares = tuple(value / total for value in support)
    heard = sorted((vote for vote in votes if vote.text), key=lambda vote: -vote.weight)
    return Choice(_pick(shares, prompt.temperature, rng), prompt.options, shares, tuple(heard))


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


def _query(prompt: Prompt, weights: Weights) -> tuple[dict[str, float], float]:
    """Return the stems of question and options with their weights, rare ones heavy, and the total.

    Words that stand in the options tell the scale rather than the matter, and count less. Stems
    that no statement holds are as rare as can be.
    """
    passages = [read_passage(text) for _, text in prompt.statements]
    offered = stems(" ".join(option.label for option in prompt.options))
    asked = stems(prompt.question) - offered
    rare = idf(asked | offered, passages)
    query = {k: v * (1.0 if k in asked else weights.option_words) for k, v in rare.items()}
    total = sum(rare.get(item, 1.0) for item in asked)
    total += weights.option_words * sum(rare.get(item, 0.0) for item in offered)
    return query, total or 1.0


def _statement_votes(prompt: Prompt, weights: Weights) -> Iterator[Vote]:
    query, total = _query(prompt, weights)
    lens = read_lens(prompt.task.instructions)
    fields = {item.name: item for item in prompt.task.inputs}
    habit = weights.habit * (1 + lens.style)
    for name, text in prompt.statements:
        passage, placed = read_passage(text), place_passage(text, prompt.options)
        stress = field_stress(fields.get(name, Field(name)), prompt.task.instructions)
        raised = 1 + weights.field * stress if stress >= 0 else 1 / (1 + weights.field * -stress)
        shared, looked = (
            overlaps(query, passage, total),
            seen_through(text, prompt.task.instructions),
        )
        for index, place in enumerate(placed.places):
            if place is None:
                continue
            near = shared.get(index, 0.0) ** weights.words
            near += habit if place.how != DEGREE else 0.0
            weight = weights.of(place.how) * near * (1 + weights.lens * looked[index]) * raised
            yield Vote(
                passage.sentences[index].text, weight, place.rank, place.how in (FORM, DEGREE)
            )
        for index, rank in placed.told:
            yield Vote(passage.sentences[index].text, weights.told * raised, rank)
        for rank, number in placed.counted:
            yield Vote("", weights.counted * number * (1 + lens.style) * raised, rank)


def _demo_votes(prompt: Prompt, weights: Weights) -> Iterator[Vote]:
    """Worked examples: what others answer on these options, or the person where they match."""
    codes = {option.code: rank for rank, option in enumerate(prompt.options)}
    labels = tuple(option.label for option in prompt.options)
    known = frozenset(s.text for _, text in prompt.statements for s in read_passage(text).sentences)
    asked = stems(prompt.question)
    for demo in prompt.demos:
        given = next((codes[v] for v in demo.outputs.values() if v in codes), None)
        if given is None or labels not in _offered(demo):
            continue
        short = [v for v in demo.inputs.values() if "\n" not in v and len(v.split()) < 80]
        likeness = max((_likeness(asked, stems(text)) for text in short), default=0.0)
        told = [
            s.text
            for v in demo.inputs.values()
            if v not in short and not read_options(v)[0]
            for s in read_passage(v).sentences
        ]
        same = sum(text in known for text in told) / len(told) if told else 0.0
        own = likeness**weights.words if same > 0.9 and len(told) > 4 else 0.0
        weight = weights.demo * (1 + 9 * likeness**2) * (0.5 + 1.5 * same) + own
        yield Vote("", weight, given)


def _offered(demo: Demo) -> list[tuple[str, ...]]:
    return [
        tuple(option.label for option in read_options(text)[0]) for text in demo.inputs.values()
    ]


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / (len(one | other) or 1)


def _prior(scale: Scale, weights: Weights) -> list[float]:
    size = len(scale.padded)
    if not scale.ordered:
        return [weights.prior] * size
    middle, half = (scale.first + scale.last) / 2, (scale.last - scale.first) / 2 or 1.0
    points = scale.points or (0.0,) * size
    return [
        weights.prior
        * (1 - weights.moderate * ((rank - middle) / half) ** 2)
        * (1 + weights.lean * (point or 0.0))
        if scale.first <= rank <= scale.last
        else weights.prior * OFF_SCALE
        for rank, point in enumerate(points)
    ]


def _add(support: list[float], votes: Iterable[Vote], scale: Scale, weights: Weights) -> None:
    """Give each vote's weight to the options near its rank; the vaguer the vote, the wider."""
    narrow = max(0.45, weights.spread * (scale.last - scale.first) / 9)
    heaps: dict[tuple[float, bool], float] = {}
    for vote in votes:
        heaps[vote.rank, vote.vague] = heaps.get((vote.rank, vote.vague), 0.0) + vote.weight
    for (place, vague), weight in heaps.items():
        width = narrow * (weights.vague if vague else 1.0)
        for rank in range(len(support)):
            if scale.first <= rank <= scale.last or rank == place:
                support[rank] += weight * exp(-(((rank - place) / width) ** 2))


def _add_content(support: list[float], prompt: Prompt, weights: Weights) -> None:
    """Where options have no order, let statements support the label whose words they share."""
    contents = [stems(option.label) for option in prompt.options]
    passages = [read_passage(text) for _, text in prompt.statements]
    for rank, content in enumerate(contents):
        others = frozenset().union(*contents[:rank], *contents[rank + 1 :])
        query = idf(content - others, passages)
        for passage in passages:
            for index, share in overlaps(query, passage, max(1.0, sum(query.values()))).items():
                if (passage.sentences[index].degree or 0.0) >= 0:
                    support[rank] += weights.content * share**2


def _pick(shares: tuple[float, ...], temperature: float, rng: Random | None) -> int:
    best = max(shares)
    if rng is None or temperature <= 0:
        return shares.index(best)
    near = [rank for rank, share in enumerate(shares) if share >= NEAR * best]
    chances = [(shares[rank] / best) ** (2 / temperature) for rank in near]
    return rng.choices(near, chances)[0]
