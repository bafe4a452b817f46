"""Options and the order among them: what a scale is, and what can be wrong with one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

SCALE_KINDS = ("ordinal", "binary", "nominal", "count", "open")
ORDERED_KINDS = ("ordinal", "binary", "count")  # their options run from least to most


@dataclass(frozen=True)
class Option:
    """One choice of a question: its code (0 or more) and its label."""

    code: int
    label: str


@dataclass(frozen=True)
class Scale:
    """A set of options that several questions share.

    Args:
        name: Its name in the codebook.
        kind: One of `SCALE_KINDS`.
        options: The options, ascending by code.
        order: On-scale codes from least to most of what the question names; empty where
            there is no order.
        say: What `{answer}` becomes in a fact, for every code.
        poles: How the least and the most end read in a sentence; None where not given.
    """

    name: str
    kind: str
    options: tuple[Option, ...]
    order: tuple[int, ...]
    say: Mapping[int, str]
    poles: tuple[str, str] | None


@dataclass(frozen=True)
class Flaw:
    """Something wrong with a scale or a question: the key, what it is, what was given."""

    key: str
    message: str
    value: object = None


def scale_flaws(
    kind: str,
    options: Sequence[Option],
    order: Sequence[int],
    poles: tuple[str, str] | None,
) -> Iterator[Flaw]:
    """Yield what is wrong with a set of options and its order; nothing where all is well."""
    if kind not in SCALE_KINDS:
        yield Flaw("kind", f"unknown kind of scale; allowed: {', '.join(SCALE_KINDS)}", kind)
    yield from _option_flaws(kind, options)
    yield from _order_flaws(kind, [option.code for option in options], order)
    if poles is not None and (len(poles) != 2 or not all(poles) or poles[0] == poles[1]):
        yield Flaw("poles", "two different texts are needed, the least end first", poles)
    if poles is not None and not order:
        yield Flaw("poles", f"a {kind} scale has no order and so no poles", poles)


def _option_flaws(kind: str, options: Sequence[Option]) -> Iterator[Flaw]:
    codes = [option.code for option in options]
    labels = [option.label for option in options]
    if kind == "open" and options:
        yield Flaw("options", "an open question has no options", codes)
    if kind != "open" and len(options) < 2:
        yield Flaw("options", "at least two options are needed", codes)
    if any(code < 0 for code in codes):
        yield Flaw("options", "negative codes are kept for missing answers", min(codes))
    if len(set(codes)) < len(codes):
        yield Flaw("options", "a code is given twice", codes)
    if not all(label.strip() for label in labels) or len(set(labels)) < len(labels):
        yield Flaw("options", "labels must be different and not empty", labels)


def _order_flaws(kind: str, codes: Sequence[int], order: Sequence[int]) -> Iterator[Flaw]:
    unknown = [code for code in order if code not in codes]
    if unknown:
        yield Flaw("order", f"not among the codes {sorted(codes)}", unknown)
    if len(set(order)) < len(order):
        yield Flaw("order", "a code is given twice", list(order))
    if kind not in ORDERED_KINDS and order:
        yield Flaw("order", f"a {kind} scale has no order; leave it out", list(order))
    if kind in ORDERED_KINDS and len(order) < 2:
        yield Flaw("order", f"a {kind} scale needs its codes from least to most", list(order))
    if kind == "binary" and len(order) > 2:
        yield Flaw("order", 'a binary scale has two codes, the "no" code first', list(order))


def default_poles(order: Sequence[int], options: Sequence[Option]) -> tuple[str, str] | None:
    """The lower-case labels of the least and the most code; None where there is no order."""
    if not order:
        return None
    labels = {option.code: option.label for option in options}
    return labels[order[0]].lower(), labels[order[-1]].lower()


def as_options(options: Sequence[str | Option] | Mapping[int, str]) -> list[Option]:
    """Options in the order listed; plain labels are coded from 1."""
    if isinstance(options, Mapping):
        return [Option(code, label) for code, label in options.items()]
    return [
        item if isinstance(item, Option) else Option(code, item)
        for code, item in enumerate(options, start=1)
    ]
