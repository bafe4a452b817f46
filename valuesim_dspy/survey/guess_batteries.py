"""Guess which variables were asked together, what each is about, and how to put it in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from valuesim_dspy.survey.guess_missing import MissingCodes
from valuesim_dspy.survey.guess_scales import ScaleGuess, lowered
from valuesim_dspy.survey.labelled_files import Variable

_SEPARATED = re.compile(r"^(.{3,80}?)\s*(?::|\s[-\u2013\u2014]|\.{3}|\u2026|;)\s+(\S.*)$")
_ASKS = re.compile(
    r"(how|what|which|who|whom|when|where|why|do|does|did|are|is|was|were|have|has|would|will|"
    r"can|could|should|may)\s",
    re.I,
)
_KINDS = (
    ("demographic", r"age\b|sex\b|gender|educat|marital|married|income|occupation|employ|househ|"
     r"children|born|birth|religious denomination|denomination|citizen|ethnic|paid work|union|"
     r"partner|region|town|language|party|father|mother|religion.{0,12}belong"),
    ("behaviour", r"how often|voted?\b|last (12|twelve) months|member|attend|signed|boycott|"
     r"demonstrat|read|watch|pray|contacted|active in"),
    ("value", r"important (in life|child|to)|justif|qualit(y|ies).{0,12}child|child.{0,20}qualit"),
)  # fmt: skip
_PRIVATE = (
    r"ethnic|ancestr|country of birth|citizenship|language|party|region|municipal|postcode|"
    r"district|birth.{0,8}country|town"
)


@dataclass(frozen=True)
class Item:
    """A variable that becomes a question.

    Args:
        variable: The variable.
        scale: Its scale.
        missing: Its codes that are no answers.
        role: "age", "sex", "education", or "" for any other question.
    """

    variable: Variable
    scale: ScaleGuess
    missing: MissingCodes
    role: str = ""

    @property
    def label(self) -> str:
        """What the file calls it, without its own name before it and without braces."""
        name = re.escape(self.variable.name)
        pattern = rf"^(?:{name}|[A-Z]{{1,3}}\d+[a-z]?(?:\.\d+)?|\d+[a-z]?)\s*[.:)-]+\s+(?=\S)"
        text = re.sub(pattern, "", self.variable.label, flags=re.I)
        return text.replace("{", "(").replace("}", ")").strip() or self.variable.name

    @property
    def parts(self) -> tuple[str, str]:
        """What stands before a colon or dash in the label ("" for nothing), and the rest."""
        found = _SEPARATED.match(self.label)
        return (found[1], found[2]) if found else ("", self.label)


@dataclass(frozen=True)
class Words:
    """The templates of a question."""

    ask: str
    fact: str


_ROLES: Mapping[str, Words] = {
    "age": Words("How old are you?", "You are {code} years old."),
    "sex": Words("What is your sex?", "Your sex: {answer}."),
}


@dataclass(frozen=True)
class BatteryGuess:
    """Items that share a scale and were asked together.

    Args:
        id: Its name.
        items: The items, in file order.
        prefix: What their labels share before a colon; "" for nothing.
        notes: Why they are taken for one.
    """

    id: str
    items: tuple[Item, ...]
    prefix: str = ""
    notes: tuple[str, ...] = field(default=())

    def topic(self, item: Item) -> str:
        """What an item is about, as it reads inside a sentence."""
        text = item.parts[1] if self.prefix else item.label
        return lowered(text.rstrip(" .?!:")) or item.variable.name

    def words(self, item: Item) -> Words:
        """How an item is asked, and told."""
        return _words(item, self.prefix)


def guess_batteries(items: Sequence[Item]) -> list[BatteryGuess]:
    """Put neighbours together that share a scale and are called alike."""
    groups: list[list[Item]] = []
    for item in items:
        if groups and _together(groups[-1][-1], item):
            groups[-1].append(item)
        else:
            groups.append([item])
    names: set[str] = set()
    return [_battery(group, names) for group in groups]


def _together(one: Item, other: Item) -> bool:
    scale = one.scale
    if scale.kind == "open" or one.role or other.role:
        return False
    if scale.signature != other.scale.signature or one.missing.kinds != other.missing.kinds:
        return False
    prefixes = one.parts[0].lower(), other.parts[0].lower()
    if any(prefixes):
        return prefixes[0] == prefixes[1]
    if _leading(one) == _leading(other):
        return True
    # options in words that fit one matter only; yes and no, or numbers, fit any
    return scale.kind == "ordinal" and scale.range is None


def _leading(item: Item) -> list[str]:
    return item.label.lower().split()[:2]


def _battery(group: list[Item], names: set[str]) -> BatteryGuess:
    prefix = group[0].parts[0]
    first = prefix or (group[0].label if len(group) > 1 else group[0].variable.name)
    id = slug(" ".join(first.split()[:5])) or slug(group[0].variable.name) or "battery"
    while id in names:
        id = f"{id}-{slug(group[0].variable.name) or len(names)}"
    names.add(id)
    why = "asked together: one scale" + (f', and "{prefix}" before each' if prefix else "")
    return BatteryGuess(id, tuple(group), prefix, (why,) if len(group) > 1 else ())


def slug(text: str) -> str:
    """Small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-")


def _words(item: Item, prefix: str) -> Words:
    """Templates; {topic} is the item's own."""
    if item.role in _ROLES:
        return _ROLES[item.role]
    scale, close, how = item.scale, "you answered: {answer}.", ""
    if scale.kind == "open":
        close, how = "you answered: {code}.", " Give a number."
    elif scale.range is not None:
        ends = "on a scale from {first_code} ({first_pole}) to {last_code} ({last_pole})"
        close, how = f"you placed yourself at {{code}} {ends}.", f" Answer {ends}."
    labels = " ".join(scale.options.values()).lower()
    if "like me" in labels:
        ask = f'How much like you is somebody of whom this is said: "{{topic}}"?{how}'
        return Words(ask, f'Asked how much "{{topic}}" is like you, {close}')
    if prefix:
        about = lowered(prefix)
        ask = f"{prefix}: {{topic}}. What do you say?{how}"
        return Words(ask, f"On {{topic}} ({about}), {close}")
    if _ASKS.match(item.label):
        return Words(f"{{Topic}}?{how}", f'Asked "{{Topic}}?", {close}')
    if "disagree" in labels:
        ask = f'Do you agree or disagree: "{{Topic}}"?{how}'
        return Words(ask, f'Asked whether you agree that "{{topic}}", {close}')
    return Words(f'What do you say about "{{topic}}"?{how}', f'Asked about "{{topic}}", {close}')


def kind_of(item: Item) -> str:
    """The kind of question; an attitude where nothing says otherwise."""
    if item.role:
        return "demographic"
    label = f"{item.label} ".lower()
    found = (kind for kind, said in _KINDS if re.search(rf"\b(?:{said})", label))
    kind = next(found, "attitude")
    # what one agrees to or places oneself on is no background, whatever words it uses
    weighed = item.scale.kind == "ordinal" and kind == "demographic"
    return "attitude" if weighed else kind


def is_private(item: Item) -> bool:
    """Whether a question has codes of each country's own, or could tell who somebody is."""
    return item.scale.kind == "nominal" and bool(re.search(_PRIVATE, item.label.lower()))
