"""Write a drafted codebook as YAML, with a comment beside every guess."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from valuesim_dspy.survey.columns import TRAITS
from valuesim_dspy.survey.guess_batteries import (
    BatteryGuess,
    Item,
    is_private,
    kind_of,
    slug,
)
from valuesim_dspy.survey.guess_columns import ColumnGuess
from valuesim_dspy.survey.guess_scales import ScaleGuess, lowered
from valuesim_dspy.survey.labelled_files import LabelledFile

GUESS = "# guess: "
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WORDS = frozenset({"true", "false", "null"})  # what YAML would read as something else
_WIDTH, _MANY = 112, 30
Names = dict[tuple[object, ...], tuple[str, ScaleGuess]]
_HEAD = """\
Drafted by `valuesim data codebook`. What a file's labels cannot say is guessed, and marked with
"guess:". Read every line so marked, mend it, and delete the mark. Above all: which way a scale
runs (`order`, from least to most), which codes are no answers (`missing`), which questions were
asked together (batteries: a fold keeps them together), and what kind each is (`kind`: value and
attitude questions are the ones that are predicted). Parts of the survey become sections of their
own in documents parted by ---; until then all questions are one section."""


def codebook_lines(
    file: LabelledFile,
    name: str,
    columns: ColumnGuess,
    batteries: Sequence[BatteryGuess],
    skipped: Mapping[str, str],
) -> list[str]:
    """Return the lines of a codebook file.

    Args:
        file: What it was drafted from.
        name: The codebook's id.
        columns: The columns of the header.
        batteries: The questions.
        skipped: Variables that are no questions, and why.
    """
    scales = _scale_names(batteries)
    lines = [f"# {line}" for line in _HEAD.splitlines()]
    lines += [f"id: {_text(name)}", "version: 1", f"title: {_text(file.title or name)}"]
    lines += ["citation: none given  # write how the survey asks to be cited"]
    lines += _header(file, columns, {item.role for battery in batteries for item in battery.items})
    lines += ["", "scales:"]
    lines += [line for title, scale in scales.values() for line in _scale(title, scale)]
    lines += ["", "batteries:"]
    lines += [line for battery in batteries for line in _battery(battery, scales)]
    if skipped:
        lines += ["", "# Left out, as they are no questions or cannot be one:"]
        lines += [f"#   {variable}: {why}" for variable, why in skipped.items()]
    return lines


def _header(file: LabelledFile, columns: ColumnGuess, roles: set[str]) -> Iterator[str]:
    if file.path.suffix.lower() == ".dta":
        yield "missing:  # what Stata's .a to .z are read as, by their labels"
        yield "  {-1: dont-know, -2: no-answer, -3: not-applicable, -4: not-asked, -5: missing}"
    yield "countries: iso"
    yield "columns:"
    known = [role for role in columns.columns if role not in TRAITS or role in roles]
    for role in known:
        names = columns.columns[role]
        written = _text(names[0]) if len(names) == 1 else f"[{', '.join(map(_text, names))}]"
        yield f"  {role}: {written}  {_said(columns.notes.get(role, ''))}"
    if not known:
        yield "  {}"
    if "country" not in columns.columns:
        yield "# country: USA  # no variable says which: write it here where it is one for all"
    if columns.country_codes:
        yield f"country_codes:  {GUESS}by their labels"
        codes = ", ".join(f"{code}: {alpha}" for code, alpha in columns.country_codes.items())
        yield from _wrapped("{" + codes + "}", "  ")


def _scale_names(batteries: Sequence[BatteryGuess]) -> Names:
    """A name for every scale in use; two of the same signature are one."""
    names: Names = {}
    for battery in batteries:
        scale = battery.items[0].scale
        taken = {name for name, _ in names.values()}
        names.setdefault(scale.signature, (_free(_scale_name(scale), taken), scale))
    return names


def _free(name: str, taken: set[str]) -> str:
    number, wanted = 1, name
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


def _scale_name(scale: ScaleGuess) -> str:
    if scale.range is not None:
        return f"from-{scale.range[0]}-to-{scale.range[1]}"
    if scale.kind in ("open", "count"):
        return {"open": "number", "count": "count"}[scale.kind]
    first = slug(" ".join(next(iter(scale.options.values())).split()[:4]))
    return f"{first or scale.kind}-{len(scale.options)}"


def _scale(name: str, scale: ScaleGuess) -> Iterator[str]:
    yield f"  {_text(name)}:"
    said = _said("; ".join(scale.notes)) if scale.notes else ""
    yield f"    kind: {scale.kind}  {said}".rstrip()
    if scale.range is not None:
        yield f"    range: [{scale.range[0]}, {scale.range[1]}]"
    if scale.options:
        key = "ends" if scale.range is not None else "options"
        yield f"    {key}:"
        yield from (f"      {code}: {_text(label)}" for code, label in scale.options.items())
    if scale.order:
        order = scale.order if isinstance(scale.order, str) else f"{list(scale.order)}"
        yield f"    order: {order}  {GUESS}from least to most"
    if scale.poles:
        yield f"    poles: [{', '.join(map(_text, scale.poles))}]  {GUESS}say what they mean"
    said_as = {code: lowered(label) for code, label in scale.options.items()}
    if any(text != scale.options[code].lower() for code, text in said_as.items()):
        yield "    say:"
        yield from (f"      {code}: {_text(text)}" for code, text in said_as.items())


def _battery(battery: BatteryGuess, scales: Names) -> Iterator[str]:
    first = battery.items[0]
    words, kind = battery.words(first), kind_of(first)
    yield f"  - id: {_text(battery.id)}"
    yield f"    kind: {kind}  {GUESS}by what it is called"
    yield f"    scale: {_text(scales[first.scale.signature][0])}"
    if first.missing.kinds:
        kinds = ", ".join(f"{code}: {what}" for code, what in first.missing.kinds.items())
        why = "; ".join(first.missing.guessed) or "by what the labels say"
        yield f"    missing:  {_said(why)}"
        yield from _wrapped("{" + kinds + "}", "      ")
    yield f"    ask: {_text(words.ask)}  {GUESS}put it as the questionnaire does"
    yield f"    fact: {_text(words.fact)}"
    yield f"    items:  {_said('; '.join(battery.notes))}" if battery.notes else "    items:"
    for item in battery.items:
        yield from _item(battery, item)


def _item(battery: BatteryGuess, item: Item) -> Iterator[str]:
    first = battery.items[0]
    parts = [f"topic: {_text(battery.topic(item))}"]
    words, shared = battery.words(item), battery.words(first)
    parts += [f"ask: {_text(words.ask)}"] if words.ask != shared.ask else []
    parts += [f"fact: {_text(words.fact)}"] if words.fact != shared.fact else []
    parts += [f"kind: {kind_of(item)}"] if kind_of(item) != kind_of(first) else []
    parts += _sex(item) if item.role == "sex" else []
    parts += ["private: true"] if is_private(item) else []
    parts += ["scorable: false"] if len(item.scale.options) > _MANY else []
    mark = "" if item.variable.label else f"  {GUESS}the file has no label for it"
    yield f"      {_text(item.variable.name)}: {{{', '.join(parts)}}}{mark}"


def _sex(item: Item) -> list[str]:
    facts = {}
    for code, label in item.scale.options.items():
        word = {"male": "a man", "man": "a man", "female": "a woman", "woman": "a woman"}
        if label.lower() in word:
            facts[code] = f"You are {word[label.lower()]}."
    told = ", ".join(f"{code}: {_text(fact)}" for code, fact in facts.items())
    return [f"facts: {{{told}}}"] if facts else []


def _said(note: str) -> str:
    """A note as a comment of one line."""
    note = " ".join(note.split())
    return note if not note else f"{GUESS}{note.removeprefix('guess: ')}"


def _text(text: str) -> str:
    """A text as YAML has it: plain where it is a word, else in quotes."""
    if _PLAIN.fullmatch(text) and text not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)


def _wrapped(flow: str, indent: str) -> list[str]:
    return textwrap.wrap(
        flow, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False
    )
