"""How much each kind of evidence counts.

The weights are few and round. They were chosen on synthetic people alone: seeds 101 to 104, the
five folds by battery and the five by question. Seeds 201 to 205 were held out, and no answer of a
real person was used.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """How much each kind of evidence counts, against a prior of 1; all at least 0.

    Args:
        strong: A statement with all words of the question that stands on the offered scale.
        words: Exponent of the share of the question's words that a statement holds.
        nearest: Exponent of that share against the nearest statement's.
        option_words: Words of the options, against 1 for words of the question.
        lens: How much a statement is raised that the instructions ask for.
        field: How much a field is raised that the instructions name.
        told: A statement that names an option outright.
        vague: The most that all statements on the matter count that stand on another scale.
        polarity: What part of them is taken to point the way they seem to, in [0.5, 1].
        style: The most that the person's use of the scale counts.
        style_half: So many statements on the same scale give half of that.
        habit: What a statement counts there that shares no word with the question.
        elsewhere: What one on another scale counts there; its direction is unknowable.
        demo: The most that demos count, as answers of others.
        demo_half: So many demos on the same options give half of that.
        demo_form: What a demo on another scale of the same length counts.
        likeness: How much a demo is raised whose question is the same.
        content: Words that one option's label shares with a statement, where there is no order.
        moderate: How much of the prior the options at the ends lose, in [0, 1].
        lean: How much more of it options have whose labels say more, in [0, 1].
        unnamed: How much likelier it is that an item of a list is not named, in [0, 1].
        compromise: How much an option gains by lying near others that are supported.
        narrow: Width of the kernel for a statement on the offered scale, in ranks of ten.
        wide: Its width for any other.
    """

    strong: float = 8.0
    words: float = 3.0
    nearest: float = 1.0
    option_words: float = 0.05
    lens: float = 3.0
    field: float = 0.5
    told: float = 0.5
    vague: float = 0.3
    polarity: float = 0.75
    style: float = 1.0
    style_half: float = 20.0
    habit: float = 0.1
    elsewhere: float = 0.1
    demo: float = 1.0
    demo_half: float = 10.0
    demo_form: float = 0.5
    likeness: float = 3.0
    content: float = 0.3
    moderate: float = 0.3
    lean: float = 0.2
    unnamed: float = 0.5
    compromise: float = 2.0
    narrow: float = 1.2
    wide: float = 2.4


WEIGHTS = Weights()
