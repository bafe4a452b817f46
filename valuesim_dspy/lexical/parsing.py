"""What a request asks for: output fields, inputs, instructions, demos, question and options."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from valuesim_dspy.lexical.text import split_sentences, stems, words

if TYPE_CHECKING:
    from dspy.lm15 import Message, Request

_FIELD = re.compile(r"^\d+\. `(\w+)` \((.*?)\):[ ]?", re.MULTILINE)
_HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\][ \t]*\n?", re.MULTILINE)
_NOTE = re.compile(r"\{(\w+)\}\s*# note: the value you produce (.*)")
_OPTION = re.compile(r"^\s*(?:[-*]\s+)?\(?(-?\d+|[A-Za-z])\s*[:.)=]\s+(\S.*?)\s*$")
_CLOSINGS = ("\n\nRespond with the corresponding output fields", "\n\nRespond with a JSON object")
_ABSENT = re.compile(r"^Not supplied for this particular example")
LONG_QUESTION = 80
"""Words beyond which a field is taken for evidence rather than for the question."""


@dataclass(frozen=True)
class Field:
    """A field of the signature: its name, description and the JSON schema of its value."""

    name: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})

    @property
    def terms(self) -> frozenset[str]:
        """Words of the name and of the description, in lower case."""
        return self.name_terms | frozenset(words(self.description))

    @property
    def name_terms(self) -> frozenset[str]:
        """Words of the name."""
        return frozenset(words(self.name.replace("_", " ")))


@dataclass(frozen=True)
class Task:
    """What a system message says: the fields, the form of the reply, the objective.

    `form` is "chat" (marked sections), "json" (one object) or "plain" (no fields at all).
    """

    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()
    instructions: str = ""
    form: str = "plain"


@dataclass(frozen=True)
class Option:
    """One option: the code before it, as text, and its label."""

    code: str
    label: str


@dataclass(frozen=True)
class Demo:
    """A worked example in the prompt: its inputs and its outputs by field name."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Prompt:
    """A request, read.

    Args:
        task: The fields and the objective.
        values: The inputs by field name, in order; {"": text} for a plain prompt.
        demos: Worked examples, in order.
        options: What may be chosen from; empty where nothing is offered.
        question: The text that is asked, without the options.
        statements: Field name and text of everything else.
        max_tokens: The bound on the reply, if any.
        temperature: 0 where the request names none.
    """

    task: Task
    values: Mapping[str, str]
    demos: tuple[Demo, ...] = ()
    options: tuple[Option, ...] = ()
    question: str = ""
    statements: tuple[tuple[str, str], ...] = ()
    max_tokens: int | None = None
    temperature: float = 0.0


def request_text(request: Request) -> str:
    """Return all text of a request, system message first."""
    return "\n\n".join([_system(request), *(_text(message) for message in request.messages)])


def read_request(request: Request) -> Prompt:
    """Read a request that an adapter rendered, or a plain prompt."""
    texts = tuple((message.role, _text(message)) for message in request.messages)
    last = next((text for role, text in reversed(texts) if role == "user"), "")
    task = read_task(_system(request), _closing(last))
    plain = task.form == "plain"
    values = {"": last} if plain else read_values(last, tuple(f.name for f in task.inputs))
    options, holder, rest = find_options(values, task.outputs)
    question, statements = split_question(values, holder, rest, bool(options))
    return Prompt(
        task=task,
        values=values,
        demos=() if plain else _demos(texts[:-1], task),
        options=options,
        question=question,
        statements=statements,
        max_tokens=request.config.max_tokens,
        temperature=request.config.temperature or 0.0,
    )


def _system(request: Request) -> str:
    if request.system is None:
        return ""
    if isinstance(request.system, str):
        return request.system
    return "".join(getattr(part, "text", "") for part in request.system)


def _text(message: Message) -> str:
    return "\n".join(getattr(part, "text", "") or "" for part in message.parts)


def _closing(text: str) -> str:
    """Return the adapter's closing sentence of the last user message, if it has one."""
    starts = [text.rfind(mark) for mark in _CLOSINGS]
    return text[max(starts) :] if max(starts) >= 0 else ""


@lru_cache(maxsize=256)
def read_task(system: str, closing: str = "") -> Task:
    """Read the fields and the objective of a system message, memoised.

    Args:
        system: The system message.
        closing: The closing sentence of the user message, which names the form of the reply.
    """
    head, _, tail = system.partition("All interactions will be structured")
    given, _, wanted = head.partition("Your output fields are:")
    notes = _notes(tail)
    outputs = _fields(wanted, notes)
    if not outputs:
        return Task(instructions=system.strip())
    objective = system.partition("your objective is:")[2]
    as_json = "JSON object" in (closing or tail)
    return Task(
        _fields(given, {}), outputs, dedent(objective).strip(), "json" if as_json else "chat"
    )


def _fields(block: str, notes: Mapping[str, str]) -> tuple[Field, ...]:
    found = list(_FIELD.finditer(block))
    ends = [match.start() for match in found[1:]] + [len(block)]
    return tuple(
        Field(m[1], block[m.end() : end].strip(), schema_of(m[2], notes.get(m[1], "")))
        for m, end in zip(found, ends, strict=False)
    )


def _notes(structure: str) -> dict[str, str]:
    """Return what the structure says of each output's value."""
    start, end = structure.find("\n{\n"), structure.rfind("\n}")
    if 0 <= start < end:
        with suppress(json.JSONDecodeError):
            structure = "\n".join(map(str, json.loads(structure[start : end + 2]).values()))
    return dict(_NOTE.findall(structure))


def schema_of(kind: str, note: str = "") -> Mapping[str, Any]:
    """Return a JSON schema for a Python type as an adapter names it, or for its note."""
    _, _, told = note.partition("must adhere to the JSON schema: ")
    if told:
        loaded: Any = json.loads(told)
        return loaded if isinstance(loaded, dict) else {}
    _, _, listed = note.partition("one of: ")
    if listed:
        items, quoted = listed.split("; "), re.search(r"['\"]", kind)
        numeric = not quoted and all(re.fullmatch(r"-?\d+", item) for item in items)
        return {"enum": [int(item) for item in items] if numeric else items}
    plain = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}
    if kind in plain:
        return {"type": plain[kind]}
    if kind.startswith(("list", "tuple", "set")):
        return {"type": "array", "items": schema_of(kind.partition("[")[2][:-1] or "str")}
    if kind.startswith("dict"):
        inner = kind.partition("[")[2][:-1].partition(", ")[2]
        return {"type": "object", "additionalProperties": schema_of(inner or "str")}
    return {"type": "string"}


def read_values(text: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the sections of a message by name; unknown headers stay part of their section."""
    cut = text.removesuffix(_closing(text))
    marks = [match for match in _HEADER.finditer(cut) if match[1] in names]
    ends = [match.start() for match in marks[1:]] + [len(cut)]
    values: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=False):
        values.setdefault(mark[1], cut[mark.end() : end].strip())
    return values


def _demos(messages: tuple[tuple[str, str], ...], task: Task) -> tuple[Demo, ...]:
    given, wanted = (tuple(f.name for f in fields) for fields in (task.inputs, task.outputs))
    return tuple(
        _demo(user, assistant, given, wanted, task.form == "json")
        for (first, user), (second, assistant) in pairwise(messages)
        if (first, second) == ("user", "assistant")
    )


@lru_cache(maxsize=512)
def _demo(
    user: str, assistant: str, given: tuple[str, ...], wanted: tuple[str, ...], as_json: bool
) -> Demo:
    outputs = read_values(assistant, (*wanted, "completed"))
    if as_json:
        with suppress(json.JSONDecodeError):
            outputs = {name: str(value) for name, value in json.loads(assistant).items()}
    return Demo(
        {n: v for n, v in read_values(user, given).items() if not _ABSENT.search(v)},
        {n: v for n, v in outputs.items() if n in wanted and not _ABSENT.search(v)},
    )


def read_options(text: str) -> tuple[tuple[Option, ...], str]:
    """Return the options that a text lists, one a line behind a code, and the other lines."""
    options: list[Option] = []
    rest: list[str] = []
    for line in text.splitlines():
        match = _OPTION.match(line)
        if match and match[1] not in {option.code for option in options}:
            options.append(Option(match[1], match[2]))
        else:
            rest.append(line)
    return (tuple(options), "\n".join(rest).strip()) if len(options) > 1 else ((), text)


def find_options(
    values: Mapping[str, str], outputs: tuple[Field, ...]
) -> tuple[tuple[Option, ...], str | None, str]:
    """Return what may be chosen from, the input that lists it, and that input's other text.

    The last input that lists options rules; a literal type of an output limits them, or stands
    in for them.
    """
    options: tuple[Option, ...] = ()
    holder: str | None = None
    rest = ""
    for name, text in reversed(list(values.items())):
        options, rest = read_options(text)
        if options and len(options) >= len(split_sentences(rest)):
            holder = name
            break
        options, rest = (), ""
    literal = next((f.schema["enum"] for f in outputs if "enum" in f.schema), ())
    allowed = [str(value) for value in literal]
    kept = tuple(option for option in options if option.code in allowed)
    if allowed and len(kept) < 2:
        return tuple(Option(value, value) for value in allowed), holder, rest
    return kept or options, holder, rest


def split_question(
    values: Mapping[str, str], holder: str | None, rest: str, offered: bool
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the question, and the name and text of each field that is evidence.

    The question is what stands with the options, or else the nearest short field before them
    that asks something; failing a question mark, the nearest short field.
    """
    if rest and offered:
        return rest, tuple((n, t) for n, t in values.items() if n != holder)
    names = [name for name in values if name != holder]
    before = list(values)[: list(values).index(holder)] if holder is not None else names
    short = [n for n in names if len(values[n].split()) <= LONG_QUESTION and stems(values[n])]
    asking = [name for name in short if "?" in values[name]]
    near = [name for name in asking or short if name in before] or asking or short
    chosen = near[-1] if near else ""
    question = values.get(chosen, "")
    return question, tuple((n, values[n]) for n in names if n != chosen)
