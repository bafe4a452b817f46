"""What a reply says: a value for every output field that is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from valuesim_dspy.lexical.advice import CONNECTIVES, PREFIXES, advise, improve, instruction_of
from valuesim_dspy.lexical.evidence import overlaps
from valuesim_dspy.lexical.lens import read_lens
from valuesim_dspy.lexical.parsing import Field, Option, Prompt
from valuesim_dspy.lexical.scoring import Choice, choose
from valuesim_dspy.lexical.several import ANSWERS, answer_several
from valuesim_dspy.lexical.text import idf, read_passage, stems, word_set, words

CHARACTERS_PER_TOKEN = 4
PARAGRAPH = 6
QUOTES = 3

_CHOICE_NAMES = word_set("answer choice option label selection code response pick")
_SHARE_NAMES = word_set("confidence probability certainty likelihood chance")
_STORY_NAMES = word_set("story backstory portrait narrative biography retelling memoir prose life")
_ADVICE_NAMES = word_set("rule rules advice tip tips feedback suggestions guidance")
_INSTRUCTION_NAMES = word_set("instruction instructions prompt")
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:to|-|\u2013|and)\s*(-?\d+(?:\.\d+)?)")
_FENCED = re.compile(r"```\w*\n(.*?)\n?```", re.DOTALL)
_YES_NO = (Option("True", "Yes"), Option("False", "No"))
_LOWERED = word_set("You Your On Asked In When For As To If It The A At Among Of")


def compose(prompt: Prompt, rng: Random, *, vary: bool) -> dict[str, Any]:
    """Return a value for every output field, in order, as the field's schema asks.

    Args:
        prompt: The request, read.
        rng: Seeded by the request; decides what is free to differ.
        vary: Whether choices and compositions may differ between draws.
    """
    choice = choose(prompt, rng=rng if vary else None) if prompt.options else None
    return {
        item.name: _value(item, item.schema, prompt, choice, rng if vary else None, rng)
        for item in prompt.task.outputs
    }


def compose_plain(prompt: Prompt, rng: Random, *, vary: bool) -> str:
    """Return the reply to a prompt without fields.

    A prompt that shows a fenced text and asks for a fenced text gets the first one back, with
    one piece of advice; one that offers options gets a code; any other gets an extract.
    """
    text = prompt.values.get("", "")
    fenced = _FENCED.search(text)
    if fenced and "```" in text[fenced.end() :]:
        return f"```\n{improve(fenced[1], rng)}\n```"
    if prompt.options:
        return choose(prompt, rng=rng if vary else None).option.code
    return extract(prompt) or "The prompt says nothing that bears on it."


def _value(
    item: Field,
    schema: Mapping[str, Any],
    prompt: Prompt,
    choice: Choice | None,
    vary: Random | None,
    rng: Random,
) -> Any:
    """Return a value that fits a JSON schema; text where the schema says nothing else."""
    schema = _resolved(schema, item.schema)
    kind = schema.get("type")
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return _enumerated(schema["enum"], prompt, vary)
    if kind == "boolean":
        return choose(replace(prompt, options=_YES_NO), rng=vary).index == 0
    if kind in ("integer", "number"):
        return _number(item, kind == "integer", prompt, choice)
    if kind == "array" and "prefixItems" in schema:
        return [_value(item, s, prompt, choice, vary, rng) for s in schema["prefixItems"]]
    if kind == "array":
        inner = _resolved(schema.get("items") or {}, item.schema)
        if "enum" in inner or inner.get("type") in ("object", "array", "boolean"):
            return [_value(item, inner, prompt, choice, vary, rng)]
        return _listed(inner, prompt, choice)
    if kind == "object":
        return _mapped(item, schema, prompt, choice, vary, rng)
    return _text(item, prompt, choice, vary, rng)


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference, and take the first alternative that is not null."""
    if "$ref" in schema:
        return _resolved(root.get("$defs", {})[str(schema["$ref"]).rpartition("/")[2]], root)
    options = [s for s in schema.get("anyOf", ()) if s.get("type") != "null"]
    return _resolved(options[0], root) if options else schema


def _enumerated(allowed: list[Any], prompt: Prompt, vary: Random | None) -> Any:
    offered = {option.code: option.label for option in prompt.options}
    options = tuple(Option(str(v), offered.get(str(v), str(v))) for v in allowed)
    return allowed[choose(replace(prompt, options=options), rng=vary).index]


def _number(item: Field, whole: bool, prompt: Prompt, choice: Choice | None) -> float:
    """The chosen code; the share of support where that is asked; else a number that is named."""
    bounds = _RANGE.search(item.description)
    if choice is not None and not item.terms & _SHARE_NAMES:
        code = choice.option.code
        if re.fullmatch(r"-?\d+", code):
            return int(code)
    low, high = (float(bounds[1]), float(bounds[2])) if bounds else (0.0, 1.0)
    if choice is not None:
        value = low + (high - low) * max(choice.support)
    elif bounds:
        value = low
    else:
        named = re.search(r"-?\d+", prompt.question)
        value = float(named[0]) if named else 0.0
    return round(value) if whole else round(value, 4)


def _listed(inner: Mapping[str, Any], prompt: Prompt, choice: Choice | None) -> list[Any]:
    """Codes by support for numbers; for text, the statements that bear most."""
    if inner.get("type") in ("integer", "number"):
        if choice is None:
            return []
        order = sorted(range(len(choice.support)), key=lambda rank: -choice.support[rank])
        codes = [choice.options[rank].code for rank in order]
        return [int(code) for code in codes if code.lstrip("-").isdecimal()]
    return list(_quotes(prompt, choice))


def _mapped(
    item: Field,
    schema: Mapping[str, Any],
    prompt: Prompt,
    choice: Choice | None,
    vary: Random | None,
    rng: Random,
) -> dict[str, Any]:
    """The named properties; or support by code; or a value for each name that an input lists."""
    if schema.get("properties"):
        return {
            name: _value(replace(item, name=name), inner, prompt, choice, vary, rng)
            for name, inner in schema["properties"].items()
        }
    inner = schema.get("additionalProperties")
    inner = inner if isinstance(inner, dict) else {"type": "string"}
    if choice is not None and inner.get("type") in ("number", "integer"):
        pairs = zip(choice.options, choice.support, strict=True)
        return {option.code: round(share, 4) for option, share in pairs}
    names = [option.code for option in choice.options] if choice else _listed_names(prompt)
    return {name: _value(item, inner, prompt, choice, vary, rng) for name in names}


def _listed_names(prompt: Prompt) -> list[str]:
    """Return the strings of the last input that is a JSON list of strings."""
    for text in reversed(list(prompt.values.values())):
        if text.startswith("["):
            try:
                loaded = json.loads(text)
            except json.JSONDecodeError:
                continue
            if loaded and all(isinstance(name, str) for name in loaded):
                return list(loaded)
    return []


def _text(
    item: Field, prompt: Prompt, choice: Choice | None, vary: Random | None, rng: Random
) -> str:
    """Return what a text field asks for, by the words of its name and description."""
    if item.name_terms & ANSWERS and (told := answer_several(prompt)):
        return told
    if choice is not None:
        if item.name_terms & _CHOICE_NAMES:
            by_label = item.terms & {"label", "wording"} and not item.terms & {"code", "number"}
            return choice.option.label if by_label else choice.option.code
        return analysis(prompt, choice)
    if "prefix" in item.name_terms:
        return rng.choice(PREFIXES)
    given = instruction_of(prompt)
    if item.name_terms & _INSTRUCTION_NAMES and given:
        return improve(given, rng)
    if item.name_terms & _ADVICE_NAMES:
        return advise(rng)
    if item.terms & _STORY_NAMES or "whole" in item.terms:
        return story(prompt, vary)
    return extract(prompt) or "Nothing in the prompt bears on it."


def _quotes(prompt: Prompt, choice: Choice | None) -> tuple[str, ...]:
    """Return the few statements that weigh most, each once."""
    heavy = [vote.text for vote in choice.votes] if choice else []
    return tuple(dict.fromkeys(heavy or _nearest(prompt)))[:QUOTES]


def _nearest(prompt: Prompt) -> list[str]:
    """Return the statements nearest to the question; those with the commonest words failing it."""
    passages = [read_passage(text) for _, text in prompt.statements]
    query = idf(stems(prompt.question) or stems(prompt.task.instructions), passages)
    found = [
        (-share, order, index, passage.sentences[index].text)
        for order, passage in enumerate(passages)
        for index, share in overlaps(query, passage, sum(query.values())).items()
    ]
    first = [s.text for passage in passages for s in passage.sentences[:QUOTES]]
    return [text for *_, text in sorted(found)] or first


def analysis(prompt: Prompt, choice: Choice) -> str:
    """Return a short analysis: the evidence, quoted, and the option it points to."""
    option, quotes = choice.option, _quotes(prompt, choice)
    named = "" if option.label == option.code else f" ({option.label})"
    point = f"option {option.code}{named}"
    family = read_lens(prompt.task.instructions).family
    seen = f"Read for {family}, what" if family else "What"
    if not quotes or not choice.votes:
        return f"Nothing that is known bears on the question directly; at best it is {point}."
    shown = " ".join(f"“{text.strip('“”')}”" for text in quotes)
    sure = "clearly" if max(choice.support) > 0.6 else "on balance"
    told = f"{seen} bears most on the question is this: {shown}"
    return f"{told} Taken together, it points {sure} to {point}."


def extract(prompt: Prompt) -> str:
    """Return the statements nearest to the question, or the opening of what there is."""
    return " ".join(_nearest(prompt)[:QUOTES]) or prompt.question


def story(prompt: Prompt, vary: Random | None) -> str:
    """Join all statements of the inputs into paragraphs, in order, each once and as strong.

    Keeps every sentence whole, so that nothing a statement says is lost; where the reply is
    bounded, the sentences whose words are commonest are left out first.

    Args:
        prompt: The request, read.
        vary: Chooses connectives and where paragraphs break; None keeps to the plain form.
    """
    every = [read_passage(text) for text in prompt.values.values()]
    told = dict.fromkeys(s.text for passage in every for s in passage.sentences)
    kept = _within(list(told), prompt)
    size = vary.choice((PARAGRAPH - 1, PARAGRAPH, PARAGRAPH + 2)) if vary else PARAGRAPH
    shift = vary.randrange(len(CONNECTIVES)) if vary else 0
    lines: list[str] = []
    for index, text in enumerate(kept):
        first = text.split(" ", 1)[0]
        text = text if text.rstrip("”").endswith((".", "!", "?")) else f"{text}."
        if index % size in (2, 4) and first in _LOWERED:
            text = f"{CONNECTIVES[(index + shift) % len(CONNECTIVES)]} {text[0].lower()}{text[1:]}"
        lines.append(text)
    parts = [" ".join(lines[start : start + size]) for start in range(0, len(lines), size)]
    return "\n\n".join(parts)


def _within(sentences: list[str], prompt: Prompt) -> list[str]:
    """Leave out what a bound on the reply has no room for, commonest words first."""
    if prompt.max_tokens is None:
        return sentences
    room = int(prompt.max_tokens * CHARACTERS_PER_TOKEN * 0.9) - 200
    counts: dict[str, int] = {}
    for text in sentences:
        for word in set(words(text)):
            counts[word] = counts.get(word, 0) + 1
    rarity = {t: sum(1 / counts[word] for word in words(t)) / len(words(t)) for t in sentences}
    kept: set[str] = set()
    for text in sorted(sentences, key=lambda text: -rarity[text]):
        room -= len(text) + 20
        if room >= 0:
            kept.add(text)
    return [text for text in sentences if text in kept] or sentences[:1]
