"""Guess the scale of a variable: which codes are options, and which way they run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from valuesim_dspy.survey.guess_missing import MissingCodes, plain_label
from valuesim_dspy.survey.guess_strength import is_no, is_off_scale, runs, strength
from valuesim_dspy.survey.labelled_files import Variable

MAX_OPTIONS = 150
_COUNTED = range(0, 11)  # numbers without labels that are few enough to choose from
_LONGEST, _HUNDRED = 20, 101  # of a count, and of a scale whose ends alone are labelled
_LOW, _HIGH = "the low end", "the high end"


@dataclass(frozen=True)
class ScaleGuess:
    """A scale as a codebook file has it.

    Args:
        kind: One of `SCALE_KINDS`.
        options: Labels by code; of a range only those that are labelled.
        range: First and last code of a range; None for listed options.
        order: "ascending", "descending", codes from least to most, or "" for none.
        poles: How the ends read, the least first; None to take their labels.
        notes: What was guessed, and on what ground.
    """

    kind: str
    options: Mapping[int, str] = field(default_factory=dict)
    range: tuple[int, int] | None = None
    order: str | tuple[int, ...] = ""
    poles: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()

    @property
    def signature(self) -> tuple[object, ...]:
        """What two variables of the same scale share."""
        return (self.kind, tuple(self.options.items()), self.range, self.order)


def guess_scale(variable: Variable, missing: MissingCodes) -> ScaleGuess | str:
    """Guess the scale of a variable.

    Args:
        variable: One of whole numbers.
        missing: Its codes that are no answers.

    Returns:
        The scale, or why there is none.
    """
    labels = _distinct(
        {
            code: plain_label(code, label)
            for code, label in variable.labels.items()
            if code not in missing.kinds
        }
    )
    used = [code for code in variable.codes if code not in missing.kinds]
    if missing.unclear:
        return f"options of negative code ({missing.unclear[0]}) have no place in a codebook"
    if len(labels) > MAX_OPTIONS:
        return f"{len(labels)} labels are too many to choose from"
    if len({*labels, *used}) < 2:
        return "it has fewer than two answers"
    worded = {code: label for code, label in labels.items() if label != str(code)}
    if not worded:
        return _bare(sorted({*labels, *used}), variable, missing)
    low, high = min({*labels, *used}), max({*labels, *used})
    steps = [code for code in range(low, high + 1) if code not in missing.kinds]
    if high <= _LONGEST and _counts(labels, worded):
        numbers = {code: labels.get(code, str(code)) for code in steps}
        return ScaleGuess("count", numbers, notes=("numbers, the last of them open",))
    if high - low >= 4 and len(worded) <= 3 and len(steps) == high - low + 1 <= _HUNDRED:
        return _range(low, high, worded)
    if len(labels) < 2 or (len(used) > 11 and 2 * len(labels) < len(used)):
        return _bare(used, variable, missing)
    return _listed(labels)


def _counts(labels: Mapping[int, str], worded: Mapping[int, str]) -> bool:
    """Whether the labels are numbers, and one like "10 or more"."""
    numbered = all(re.search(r"\d", label) for label in worded.values())
    return numbered and (len(worded) < len(labels) or len(worded) == 1)


def _distinct(labels: Mapping[int, str]) -> dict[int, str]:
    """Labels as one finds them, told apart by their code where two are the same."""
    several = [label.casefold() for label in labels.values()]
    return {
        code: f"{label} ({code})" if several.count(label.casefold()) > 1 else label
        for code, label in labels.items()
    }


def _bare(codes: list[int], variable: Variable, missing: MissingCodes) -> ScaleGuess | str:
    """Numbers without labels."""
    if len(codes) < 2:
        return "it has fewer than two answers"
    if variable.kind == "codes" and codes and all(code in _COUNTED for code in codes):
        steps = range(codes[0], codes[-1] + 1)
        options = {code: str(code) for code in steps if code not in missing.kinds}
        note = "the numbers have no labels: taken for a count"
        return ScaleGuess("count", options, notes=(note,))
    if codes and codes[0] < 0:
        return "it has negative numbers without labels"
    return ScaleGuess("open", notes=("numbers without labels: facts, and no options",))


def _range(low: int, high: int, worded: Mapping[int, str]) -> ScaleGuess:
    """A scale of numbers whose ends are labelled."""
    first, last = worded.get(low, str(low)), worded.get(high, str(high))
    sizes = strength(first), strength(last)
    falls = sizes[0] is not None and sizes[1] is not None and sizes[0] > sizes[1]
    notes = ["only its ends have labels", f'more is "{first if falls else last}"']
    poles = None
    if first.isdigit() or last.isdigit():
        notes.append("an end has no label: say what it means")
        ends = [
            f"{name}, {end}" if end.isdigit() else lowered(end)
            for name, end in ((_LOW, first), (_HIGH, last))
        ]
        poles = (ends[0], ends[1])
    order = "descending" if falls else "ascending"
    return ScaleGuess("ordinal", dict(worded), (low, high), order, poles, tuple(notes))


def _listed(labels: Mapping[int, str]) -> ScaleGuess:
    codes = [code for code, label in labels.items() if not is_off_scale(label)]
    if len(codes) == 2:
        nos = [code for code in codes if is_no(labels[code])]
        if len(nos) == 1:
            order = (nos[0], *(code for code in codes if code not in nos))
            return ScaleGuess("binary", labels, order=order)
        return ScaleGuess("nominal", labels, notes=("neither of the two is a no",))
    way = runs([labels[code] for code in codes]) if len(codes) > 2 else 0
    if not way:
        note = "its labels show no order: nominal"
        return ScaleGuess("nominal", labels, notes=(note,))
    order = tuple(codes if way > 0 else reversed(codes))
    notes = [f'more is "{labels[order[-1]]}"']
    if labels[order[0]].isdigit() or labels[order[-1]].isdigit():
        return ScaleGuess("count", labels, order=order, notes=("an end is a bare number",))
    beside = [str(code) for code in labels if code not in codes]
    notes += [f"off the scale: {', '.join(beside)}"] if beside else []
    if beside:
        return ScaleGuess("ordinal", labels, order=order, notes=tuple(notes))
    name = "ascending" if way > 0 else "descending"
    return ScaleGuess("ordinal", labels, order=name, notes=tuple(notes))


def lowered(text: str) -> str:
    """A label as it reads inside a sentence: a small first letter, but for names and I."""
    if text.isupper() and len(text) > 4:
        return text.lower()
    first = text.partition(" ")[0]
    named = first == "I" or first[1:2].isupper() or first.startswith("I'") or first in _NAMES
    return text if named or not first[:1].isupper() else first[:1].lower() + text[1:]


_NAMES = frozenset(
    ("Africa", "African", "America", "American", "Arab", "Asia", "Asian", "Catholic", "Christian")
    + ("Christians", "English", "Europe", "European", "God", "Internet", "Islam", "Islamic")
    + ("Jewish", "Jews", "Muslim", "Muslims", "Protestant", "Roman", "Sunday", "United", "Western")
)
