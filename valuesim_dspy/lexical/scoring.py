"""Which of the offered options the statements of a prompt support.

To a moderate prior of weight 1 come, in rising weight: what demos say of such scales, how the
person uses them (both bounded), vague statements on the matter (bounded as well, so that two
hundred of them do not outweigh the prior), and without bound the statements that share the
question's words and stand on the offered scale. A kernel vote over the options decides; options
near other supported ones are preferred.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import exp
from random import Random

from valuesim_dspy.lexical.demos import given_answers
from valuesim_dspy.lexical.evidence import Evidence, Witness, overlaps, read_evidence
from valuesim_dspy.lexical.parsing import Option, Prompt
from valuesim_dspy.lexical.scales import DEGREE, FORM, LABEL, Scale, read_scale
from valuesim_dspy.lexical.text import idf, read_passage, stems, word_set
from valuesim_dspy.lexical.weights import WEIGHTS, Weights

OFF_SCALE = 0.1
"""What options off the scale have of the prior, against 1 for one in the middle."""

NEAR = 0.4
"""Above temperature 0, options with at least this share of the best support may be drawn."""

NARROWEST = 0.45
"""The least width of the kernel, in ranks."""

_UNNAMED = word_set("mentioned named chosen selected marked ticked listed")


@dataclass(frozen=True, slots=True)
class Vote:
    """A say on the options: its text if it is a statement, its weight, its rank on the scale.

    `wide` tells that it stands on another scale, so that it supports the neighbours as well.
    """

    text: str
    weight: float
    rank: float
    wide: bool = False


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
    evidence = read_evidence(
        prompt, option_words=weights.option_words, lens=weights.lens, field=weights.field
    )
    votes = [vote for vote in _statement_votes(evidence, scale, weights) if vote.weight > 0]
    support = _prior(scale, weights)
    _add(support, [*votes, *_demo_votes(prompt, weights)], scale, weights)
    if not scale.ordered:
        _add_content(support, prompt, weights)
    shares = _compromise(support, scale, weights)
    heard = sorted((vote for vote in votes if vote.text), key=lambda vote: -vote.weight)
    return Choice(_pick(shares, prompt.temperature, rng), prompt.options, shares, tuple(heard))


def _statement_votes(evidence: Evidence, scale: Scale, weights: Weights) -> Iterator[Vote]:
    strong = [w for w in evidence.witnesses if w.place.how not in (FORM, DEGREE) and w.near > 0]
    nearest = max((witness.near for witness in strong), default=1.0)
    for witness in strong:
        near = witness.near**weights.words * (witness.near / nearest) ** weights.nearest
        yield Vote(witness.text, weights.strong * near * witness.seen, witness.place.rank)
    for text, rank, raised in evidence.told:
        yield Vote(text, weights.told * raised, rank)
    yield from _vague_votes(evidence, scale, weights)
    yield from _style_votes(evidence, scale, weights)


def _vague_votes(evidence: Evidence, scale: Scale, weights: Weights) -> Iterator[Vote]:
    """Phrases of degree on the matter: all of them together are bounded.

    A number between two ends that are not the offered ones says nothing of the matter, since
    either end may be the like of either.
    """
    vague = [w for w in evidence.witnesses if w.place.how == DEGREE and w.near > 0]
    said = [witness.near**weights.words * witness.seen for witness in vague]
    share = weights.vague / (sum(said) + weights.vague) if said else 0.0
    for witness, weight in zip(vague, said, strict=True):
        rank, straight = witness.place.rank, weights.polarity
        yield Vote(witness.text, share * weight * straight, rank, True)
        yield Vote("", share * weight * (1 - straight), scale.mirrored(rank), True)


def _style_votes(evidence: Evidence, scale: Scale, weights: Weights) -> Iterator[Vote]:
    """How the person uses such scales, whatever the matter: a bounded weight, shared out."""
    if not scale.ordered:
        return
    heaps: dict[float, float] = {}
    number = 0.0
    for witness in evidence.witnesses:
        rank, mine = witness.place.rank, _is_same_scale(witness, scale)
        counts = 1.0 if mine else weights.elsewhere
        said = counts * (weights.habit + witness.near) * witness.seen
        number += counts
        for place in (rank, rank if mine else scale.mirrored(rank)):
            heaps[place] = heaps.get(place, 0.0) + said / 2
    for rank, times in evidence.counted:
        heaps[rank] = heaps.get(rank, 0.0) + weights.habit * times
    # Answers that are counted are facts as well, as a rule: what is both is no more certain.
    number = max(number, sum(times for _, times in evidence.counted))
    total = sum(heaps.values())
    most = weights.style * (1 + evidence.style) * number / (number + weights.style_half)
    for place, said in heaps.items():
        yield Vote("", most * said / total, place)


def _is_same_scale(witness: Witness, scale: Scale) -> bool:
    """Whether a statement stands on the offered scale, and not only at a like phrase of degree."""
    how = witness.place.how
    return how not in (FORM, DEGREE) and (how != LABEL or scale.has_matter)


def _demo_votes(prompt: Prompt, weights: Weights) -> Iterator[Vote]:
    """Demos: what others tend to answer on such options, bounded; or the person's own answer."""
    given = list(given_answers(prompt))
    said = [
        (1.0 if item.same else weights.demo_form) * (1 + weights.likeness * item.likeness)
        for item in given
    ]
    share = weights.demo / (sum(said) + weights.demo_half) if said else 0.0
    for item, weight in zip(given, said, strict=True):
        yield Vote("", share * weight, item.rank, not item.same)
        if item.own and item.same:
            yield Vote("", weights.strong * item.likeness**weights.words, item.rank)


def _prior(scale: Scale, weights: Weights) -> list[float]:
    """Return what is expected of anyone, summing to 1: moderation, assent, unnamed items."""
    size = len(scale.padded)
    denied = [" not " in label and not _UNNAMED.isdisjoint(label.split()) for label in scale.padded]
    if size == 2 and sum(denied) == 1:
        return [0.5 + (weights.unnamed if absent else -weights.unnamed) / 2 for absent in denied]
    if not scale.ordered:
        return [1 / size] * size
    middle, half = (scale.first + scale.last) / 2, (scale.last - scale.first) / 2 or 1.0
    raw = [
        (1 - weights.moderate * ((rank - middle) / half) ** 2) * (1 + weights.lean * (point or 0.0))
        if scale.first <= rank <= scale.last
        else OFF_SCALE
        for rank, point in enumerate(scale.points or (0.0,) * size)
    ]
    return [value / sum(raw) for value in raw]


def _add(support: list[float], votes: Iterable[Vote], scale: Scale, weights: Weights) -> None:
    """Share each vote's weight out over the options near its rank."""
    unit = (scale.last - scale.first) / 9
    heaps: dict[tuple[float, bool], float] = {}
    for vote in votes:
        heaps[vote.rank, vote.wide] = heaps.get((vote.rank, vote.wide), 0.0) + vote.weight
    for (place, wide), weight in heaps.items():
        width = max(NARROWEST, (weights.wide if wide else weights.narrow) * unit)
        kernel = {
            rank: exp(-(((rank - place) / width) ** 2))
            for rank in range(len(support))
            if scale.first <= rank <= scale.last or rank == place
        }
        total = sum(kernel.values())
        for rank, height in kernel.items():
            support[rank] += weight * height / total


def _add_content(support: list[float], prompt: Prompt, weights: Weights) -> None:
    """Where options have no order, let statements support the label whose words they share."""
    contents = [stems(option.label) for option in prompt.options]
    passages = [read_passage(text) for _, text in prompt.statements]
    for rank, content in enumerate(contents):
        others = frozenset().union(*contents[:rank], *contents[rank + 1 :])
        query = idf(content - others, passages)
        total = max(1.0, sum(query.values()))
        said = sum(
            share**2
            for passage in passages
            for index, share in overlaps(query, passage, total).items()
            if (passage.sentences[index].degree or 0.0) >= 0
        )
        support[rank] += weights.content * said / (said + 1)


def _compromise(support: list[float], scale: Scale, weights: Weights) -> tuple[float, ...]:
    """Return the support of each option, summing to 1, raised where it is near the others' too.

    Where both ends are supported, the option between them is the least wrong one.
    """
    length = scale.last - scale.first
    raised = list(support)
    if scale.ordered and length > 0:
        spread = range(scale.first, scale.last + 1)
        total = sum(support[rank] for rank in spread)
        closeness = {
            rank: 1 - sum(support[other] * abs(other - rank) for other in spread) / (length * total)
            for rank in spread
        }
        least = min(closeness.values())
        for rank in range(len(support)):
            raised[rank] *= closeness.get(rank, least) ** weights.compromise
    total = sum(raised)
    # Rounded, so that options which are equal but for the order of adding stay equal.
    return tuple(round(value / total, 9) for value in raised)


def _pick(shares: tuple[float, ...], temperature: float, rng: Random | None) -> int:
    best = max(shares)
    if rng is None or temperature <= 0:
        return shares.index(best)
    near = [rank for rank, share in enumerate(shares) if share >= NEAR * best]
    chances = [(shares[rank] / best) ** (2 / temperature) for rank in near]
    return rng.choices(near, chances)[0]
