"""Whom to believe: the records of the readers of a panel, in words, and votes weighted by them.

`learned` is what a compiled program keeps beside its predictors, plain JSON without rows:
`{"records": {"lm": .., "cells": {reader: {cell: ..}}}, "weights": {"lm": .., "by": {margin: ..}}}`.
A cell is named `all`, by a kind of scale (`ordinal`) or by kind and topic (`ordinal/security`); a
margin is `all` or a kind of scale. `optimize.trust_fitting` makes these tables,
`valuesim_dspy.trust_tables` checks them.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from valuesim_dspy.errors import ProgramStateError
from valuesim_dspy.survey.question import Question
from valuesim_dspy.trust_tables import MIN_COUNT as MIN_COUNT
from valuesim_dspy.trust_tables import check_learned as check_learned
from valuesim_dspy.voting import vote

if TYPE_CHECKING:
    from valuesim_dspy.case import Case

TENDENCY = 0.05
"""How far a reader must err in one direction, in the units of a cell, for it to be said."""

ALL = "all"
NO_RECORD = "(no reader's record is known)"

Learned = Mapping[str, Any]


def weighted_vote(learned: Learned, question: Question, answers: Mapping[str, int]) -> int:
    """Return the code with the most weight behind it, by the weights of the question's kind.

    Weights `log-odds` are those of independent readers whose errors spread evenly over the other
    options: log(p / (1 - p)) is saved, log(options - 1) is added here, and below 0, where a reader
    does worse than chance, it has no voice (Nitzan and Paroush 1982, International Economic
    Review 23(2), for two options). Weights `single` follow one reader.

    Args:
        learned: What the program has learned; without weights, or without any for these readers,
            it is the plain `vote`.
        question: The question, for its kind of scale and its options.
        answers: Perspective to code, in canonical order.

    Returns:
        One of the codes answered; where several have the same weight, as in `vote` among them.
    """
    rule = rule_for(learned, question)
    if rule is None or rule["rule"] == "vote":
        return vote(question, answers)
    extra = math.log(max(1, len(question.codes) - 1)) if rule["rule"] == "log-odds" else 0.0
    readers, totals = rule["readers"], dict.fromkeys(answers.values(), 0.0)
    for name, code in answers.items():
        if name in readers:
            totals[code] += max(0.0, readers[name] + extra)
    most = max(totals.values())
    if most <= 0:
        return vote(question, answers)
    leading = {name: code for name, code in answers.items() if math.isclose(totals[code], most)}
    return vote(question, leading)


def rule_for(learned: Learned, question: Question) -> Mapping[str, Any] | None:
    """Return the weights that hold for a question: of its kind of scale, else of all; or None."""
    by = learned.get("weights", {}).get("by", {})
    rule: Mapping[str, Any] | None = by.get(question.scale_kind, by.get(ALL))
    return rule


def records_text(learned: Learned, question: Question, names: Sequence[str]) -> str:
    """Tell how each reader did on training people, for a question's topic and kind of scale.

    Where the topic has no record of its own, that of the kind of scale is told, else that of all
    questions; where there is none at all, that is said.

    Args:
        learned: What the program has learned.
        question: The question at hand.
        names: The readers, in canonical order.

    Returns:
        One sentence a reader, one a line. Every word is this code's and the codebook's; a saved
        table gives numbers only.
    """
    cells = learned.get("records", {}).get("cells", {})
    found = {name: _cell(cells.get(name, {}), question) for name in names}
    if not any(found.values()):
        return NO_RECORD
    return "\n".join(
        _sentence(question, name, *scoped)
        if scoped
        else f"No record of the {name} reader is known."
        for name, scoped in found.items()
    )


def _cell(cells: Mapping[str, Any], question: Question) -> tuple[str, Mapping[str, Any]] | None:
    """Return the nearest cell that there is, with words for what it is of."""
    kind, topic = question.scale_kind, question.section
    scopes = {
        cell_key(kind, topic): f"questions of this kind about {' '.join(topic.split('-'))}",
        kind: "questions of this kind",
        ALL: "questions of all kinds",
    }
    return next(((words, cells[key]) for key, words in scopes.items() if key in cells), None)


def cell_key(kind: str, topic: str) -> str:
    """Return the name of the cell of a kind of scale and a topic."""
    return f"{kind}/{topic}"


def _sentence(question: Question, name: str, scope: str, cell: Mapping[str, Any]) -> str:
    times = round(100 * cell["accuracy"])
    told = f"On {cell['n']} {scope}, the {name} reader was right {times} times in 100"
    # The rest is of ordinal questions, in a cell of all kinds too.
    if question.scale_kind != "ordinal" or cell.get("nmae") is None:
        return f"{told}."
    told += f" and off by {cell['nmae']:.2f} of the scale on average"
    tends = " and ".join(_tendencies(question, cell))
    return f"{told}; it tends to {tends}." if tends else f"{told}."


def _tendencies(question: Question, cell: Mapping[str, Any]) -> list[str]:
    """Say how a reader errs, where it errs far enough in one direction."""
    bias, spread = cell.get("bias") or 0.0, cell.get("extremity") or 0.0
    found = []
    if abs(bias) >= TENDENCY and question.direction:
        found.append(f"choose codes that are too {'high' if bias > 0 else 'low'}")
    if abs(spread) >= TENDENCY:
        found.append(f"answer too near the {'ends' if spread > 0 else 'middle'}")
    return found


def require_lm(learned: Learned, model: str) -> None:
    """Make sure that the model that answers is the one whose readings the records are of.

    Args:
        learned: What the program has learned; nothing is required where that is nothing.
        model: The name of the task LM.

    Raises:
        ProgramStateError: The records or the weights are another model's.
    """
    for part in ("records", "weights"):
        known = learned.get(part)
        if known and known["lm"] != model:
            raise ProgramStateError(
                f"its {part} were learned with another model than answers now; compile the "
                "program again with this one, or let that one answer",
                expected=known["lm"],
                found=model,
            )


def shuffled(learned: Learned, seed: int) -> dict[str, Any]:
    """Return the control: the same records and weights, each under another reader's name.

    Args:
        learned: What a program has learned.
        seed: Draws who gets whose; nobody keeps their own where there are two readers or more.
    """
    made = copy.deepcopy(dict(learned))
    cells = made.get("records", {}).get("cells", {})
    rules = list(made.get("weights", {}).get("by", {}).values())
    names = sorted({*cells, *(name for rule in rules for name in rule["readers"])})
    rng, given = random.Random(f"{seed}:shuffled records"), list(names)
    while len(names) > 1 and any(one == other for one, other in zip(names, given, strict=True)):
        rng.shuffle(given)
    source = dict(zip(names, given, strict=True))
    for table in (cells, *(rule["readers"] for rule in rules)):
        taken = {name: table[source[name]] for name in names if source[name] in table}
        table.clear()
        table.update(taken)
    return made


@dataclass(frozen=True, eq=False, repr=False)
class CrossFitted:
    """What a program may have learned while it is compiled: for each person, without that person.

    Held beside a program, never saved; copies of the program share it.

    Args:
        whole: Learned from all training people; what is saved.
        parts: For each group of people, what the other groups teach.
        group: Salted key of a training person to the place of their group in `parts`.
    """

    whole: Learned
    parts: tuple[Learned, ...]
    group: Mapping[str, int]

    def of(self, case: Case) -> Learned:
        """Return what may be known when a case is answered.

        Args:
            case: For people outside the trainset it is the whole.
        """
        place = self.group.get(case.profile.key)
        return self.whole if place is None else self.parts[place]

    def shuffled(self, seed: int) -> CrossFitted:
        """Return the control: see the function `shuffled`."""
        parts = tuple(shuffled(part, seed) for part in self.parts)
        return replace(self, whole=shuffled(self.whole, seed), parts=parts)

    def __deepcopy__(self, memo: object) -> CrossFitted:
        return self

    def __repr__(self) -> str:
        return f"CrossFitted({len(self.parts)} groups, {len(self.group)} people)"
