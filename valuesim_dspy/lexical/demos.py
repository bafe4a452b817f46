"""What worked examples tell of the offered options: how others answer on such a scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from valuesim_dspy.lexical.parsing import LONG_QUESTION, Demo, Option, Prompt, read_options
from valuesim_dspy.lexical.scales import Scale, read_scale
from valuesim_dspy.lexical.text import read_passage, stems

FEW_STATEMENTS = 4
"""So many statements or fewer may be shared by chance, and do not make a demo the person's own."""


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that a demo gives, seen on the offered scale.

    Args:
        rank: Where it stands on the offered options.
        same: Whether the demo offers the very same options, not only a scale of the same form.
        likeness: The share of words that its question has in common with the one asked, in [0, 1].
        own: Whether the demo tells of the person who is asked: its statements are theirs.
    """

    rank: int
    same: bool
    likeness: float
    own: bool


def given_answers(prompt: Prompt) -> Iterator[Given]:
    """Yield the answers of the demos that offer these options, or as many in an order."""
    scale = read_scale(prompt.options)
    labels = tuple(option.label for option in prompt.options)
    known = frozenset(s.text for _, text in prompt.statements for s in read_passage(text).sentences)
    asked = stems(prompt.question)
    for demo in prompt.demos:
        options = _offered(demo)
        codes = {option.code: rank for rank, option in enumerate(options)}
        chosen = next((codes[value] for value in demo.outputs.values() if value in codes), None)
        if chosen is None:
            continue
        same = tuple(option.label for option in options) == labels
        rank = chosen if same else _carried(chosen, read_scale(options), scale)
        if rank is not None:
            yield Given(rank, same, _likeness(asked, demo), _share_known(demo, known) > 0.9)


def _offered(demo: Demo) -> tuple[Option, ...]:
    """Return the options that a demo lists, the last input that lists any ruling."""
    lists = (read_options(text)[0] for text in reversed(list(demo.inputs.values())))
    return next((options for options in lists if options), ())


def _carried(rank: int, scale: Scale, to: Scale) -> int | None:
    """Carry a rank over to another scale of the same length; None where that tells nothing.

    Where the labels of both say which end is more, more stays more.
    """
    length = scale.last - scale.first
    if not (scale.ordered and to.ordered and length == to.last - to.first):
        return None
    if not scale.first <= rank <= scale.last:
        return None
    turned = scale.slope * to.slope < 0
    return to.first + (scale.last - rank if turned else rank - scale.first)


def _likeness(asked: frozenset[str], demo: Demo) -> float:
    """Return the greatest likeness of a short input to the question."""
    short = [stems(text) for text in demo.inputs.values() if _is_short(text)]
    return max((len(asked & other) / (len(asked | other) or 1) for other in short), default=0.0)


def _is_short(text: str) -> bool:
    return "\n" not in text and len(text.split()) < LONG_QUESTION


def _share_known(demo: Demo, known: frozenset[str]) -> float:
    """Return which share of a demo's statements the person's are; 0 where there are but few."""
    told = [
        sentence.text
        for text in demo.inputs.values()
        if not _is_short(text) and not read_options(text)[0]
        for sentence in read_passage(text).sentences
    ]
    return sum(text in known for text in told) / len(told) if len(told) > FEW_STATEMENTS else 0.0
