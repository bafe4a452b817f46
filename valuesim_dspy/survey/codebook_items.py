"""From codebook files: batteries and their items, resolved to questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from valuesim_dspy.survey.codebook_header import (
    read_for_codes,
    read_order,
    read_poles,
)
from valuesim_dspy.survey.codebook_yaml import Node, near
from valuesim_dspy.survey.missing import inherited, kept, read_missing
from valuesim_dspy.survey.question import KINDS, Question
from valuesim_dspy.survey.scales import Scale, default_poles, scale_flaws
from valuesim_dspy.survey.wording import (
    Places,
    Wording,
    fill,
    placeholders,
    plain_name,
    stray_brace,
)

ITEM_KEYS = frozenset(
    ["topic", "ask", "fact", "facts", "kind", "scale", "order", "poles"]
    + ["scorable", "private", "missing", "by_country"]
)
BATTERY_KEYS = (ITEM_KEYS - {"topic"}) | {"id", "items"}
NO_FACT = "none"
# what an item's own scale makes void in its battery: they speak of the battery's codes
_OF_THE_SCALE = ("order", "poles", "facts")


@dataclass
class Context:
    """What the items of all files share while they are read."""

    scales: dict[str, Scale] = field(default_factory=dict)
    missing: Mapping[int, str] = field(default_factory=dict)
    places: Places = field(default_factory=Places)
    twins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    owner: dict[str, str] = field(default_factory=dict)


def read_section(document: Node, section: str, context: Context) -> list[Question]:
    """The questions of one section, in file order."""
    questions = []
    for battery in document.nodes("batteries", "id"):
        battery.only(BATTERY_KEYS)
        name = battery.text("id")
        if name in context.owner.values():
            battery.refuse("a battery of this id exists already; ids are unique over all files")
        items = battery.under("items")
        if not items.content:
            battery.refuse("a battery needs items", "items")
        for key in items.content:
            node = Node(battery.path, (name, str(key)), items.under(key).content)
            id = str(key)
            if id in context.owner:
                node.refuse(f"this question is in battery {context.owner[id]} already")
            context.owner[id] = name
            questions.append(_question(node, battery, section, context))
    return questions


def _question(item: Node, battery: Node, section: str, context: Context) -> Question:
    node = _with_battery(item, battery)
    scale = _own_scale(node, context.scales)
    wording, topic = _wording(node, item, scale, context.places)
    missing, recode = _missing(node, scale, context.missing)
    return Question(
        wording.ask_in(None),
        scale.options,
        id=item.trail[-1],
        scale_kind=scale.kind,
        order=scale.order,
        poles=scale.poles,
        kind=_kind(node),
        section=section,
        battery=battery.text("id"),
        scale=scale.name,
        topic=Wording(topic, by_country=wording.by_country).ask_in(None),
        twins=context.twins.get(item.trail[-1], ()),
        scorable=node.flag("scorable", True),
        private=node.flag("private", False),
        missing=missing,
        recode=recode,
        wording=wording,
    )


def _missing(
    node: Node, scale: Scale, header: Mapping[int, str]
) -> tuple[dict[int, str], dict[int, int]]:
    """Kinds of missing by the code they are kept under, and that code by the file's own."""
    codes = [option.code for option in scale.options]
    own = read_missing(node)
    for code in own:
        if code in codes:
            node.refuse("this code is an option of the scale already", f"missing.{code}")
    return kept({**inherited(header, codes), **own})


def _with_battery(item: Node, battery: Node) -> Node:
    """The item with what it takes over from its battery."""
    shared = {key: value for key, value in battery.content.items() if key in ITEM_KEYS}
    if item.has("scale"):
        shared = {key: value for key, value in shared.items() if key not in _OF_THE_SCALE}
    merged = {**shared, **item.content}
    for key in ("facts", "by_country"):
        if key in shared and item.has(key):
            merged[key] = {**battery.under(key).content, **item.under(key).content}
    return Node(item.path, item.trail, merged)


def _kind(node: Node) -> str:
    kind = node.text("kind")
    if kind not in KINDS:
        node.refuse(f"unknown kind{near(kind, KINDS)}; known: {', '.join(KINDS)}", "kind", kind)
    return kind


def _own_scale(node: Node, scales: Mapping[str, Scale]) -> Scale:
    name = node.text("scale")
    if name not in scales:
        node.refuse(f"no such scale{near(name, scales)}", "scale", name)
    scale = scales[name]
    order = read_order(node, (option.code for option in scale.options)) or scale.order
    poles = read_poles(node) or scale.poles
    for flaw in scale_flaws(scale.kind, scale.options, order, poles):
        node.refuse(flaw.message, flaw.key, flaw.value)
    poles = poles or default_poles(order, scale.options)
    if poles and scale.kind == "ordinal" and (poles[0].isdigit() or poles[1].isdigit()):
        node.refuse("the ends are bare numbers; say how they read in a sentence", "poles")
    return Scale(name, scale.kind, scale.options, order, scale.say, poles)


def _wording(node: Node, item: Node, scale: Scale, places: Places) -> tuple[Wording, str]:
    """The resolved texts and the resolved topic."""
    own = {key: item.text(key) for key in item.content if key not in ITEM_KEYS}
    for key in own:
        if not key.isidentifier() or key != plain_name(key):
            item.refuse("a placeholder's name starts with a small letter, as in {topic}", key)
    values = {"topic": item.text("topic"), **own, **_pole_values(scale)}
    by_country = _by_country(node, places)
    ask, facts, open_fact = _texts(node, scale, values, by_country)
    _demand_use(item, node, scale, own, by_country)
    topic = _resolved(node, "topic", values["topic"], values, {"country", *by_country})
    return Wording(ask, facts, open_fact, by_country, places), topic


def _texts(
    node: Node, scale: Scale, values: Mapping[str, str], by_country: Mapping[str, object]
) -> tuple[str, dict[int, str], str | None]:
    local = {"country", *by_country}
    ask = _resolved(node, "ask", node.text("ask"), values, local)
    codes = [option.code for option in scale.options]
    whole = read_for_codes(node, "facts", codes)
    template = node.text("fact", NO_FACT)
    if not codes:
        local |= {"code", "country_of_code"}
        told = None if template == NO_FACT else _resolved(node, "fact", template, values, local)
        return ask, {}, told
    if template == NO_FACT and (whole or not node.has("fact")):
        for code in codes:
            if code not in whole:
                node.refuse(f"code {code} gives no fact: give fact or facts", "facts")
    facts: dict[int, str] = {}
    for code in codes if template != NO_FACT or whole else ():
        answer = {**values, "answer": scale.say[code], "code": str(code)}
        key = f"facts.{code}" if code in whole else "fact"
        facts[code] = _resolved(node, key, whole.get(code, template), answer, local)
        if list(facts.values()).count(facts[code]) > 1:
            node.refuse(f"code {code} gives the same sentence as another code", key, facts[code])
    return ask, facts, None


def _resolved(
    node: Node, key: str, template: str, values: Mapping[str, str], local: Iterable[str]
) -> str:
    text = fill(template, values) if "{" in template else template
    if "{" not in text and "}" not in text:
        return text
    known = {*values, *local}
    for name in sorted(placeholders(text) - set(local)):
        node.refuse(f"no value for {{{name}}}{near(name, known)}", key)
    if stray_brace(text):
        node.refuse("a brace belongs to no placeholder", key, text)
    return text


def _pole_values(scale: Scale) -> dict[str, str]:
    """{first_pole} .. {last_code}; none where the order does not run from end to end."""
    if not scale.order or scale.poles is None:
        return {}
    first, last = min(scale.order), max(scale.order)
    values = {"first_code": str(first), "last_code": str(last)}
    at = dict(zip((scale.order[0], scale.order[-1]), scale.poles, strict=True))
    if first in at and last in at:
        values |= {"first_pole": at[first], "last_pole": at[last]}
    return values


def _by_country(node: Node, places: Places) -> dict[str, dict[str, str]]:
    listed = node.under("by_country")
    texts = {}
    for name in listed.content:
        entry = listed.under(name)
        entry.text("default")
        for alpha in entry.content:
            if alpha != "default" and alpha not in places.countries:
                entry.refuse(f"no such country{near(str(alpha), places.countries)}", alpha)
        texts[str(name)] = {str(alpha): entry.text(alpha) for alpha in entry.content}
    return texts


def _demand_use(
    item: Node,
    node: Node,
    scale: Scale,
    own: Mapping[str, str],
    by_country: Mapping[str, Mapping[str, str]],
) -> None:
    """Refuse an extra key that no template uses: most likely a known key, misspelt."""
    templates = [node.text("ask"), node.text("fact", NO_FACT), item.text("topic")]
    templates += [*node.by_code("facts").values(), *own.values(), *scale.say.values()]
    templates += [*(scale.poles or ())]
    templates += [text for texts in by_country.values() for text in texts.values()]
    used = set().union(*map(placeholders, templates))
    for key in [*own, *item.under("by_country").content]:
        if key not in used:
            item.refuse(f"unknown key: no template uses {{{key}}}{near(key, ITEM_KEYS)}", key)
