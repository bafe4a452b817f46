"""From codebook files: the countries and the scales that all items share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from valuesim_dspy.survey.codebook_yaml import Node, read_documents
from valuesim_dspy.survey.scales import Option, Scale, scale_flaws
from valuesim_dspy.survey.wording import Country, Places

ISO = "iso"
SCALE_KEYS = frozenset(["kind", "options", "range", "ends", "order", "say", "poles"])


def read_places(header: Node) -> Places:
    """The header's countries; the word "iso" stands for all of the packaged ones."""
    if header.content.get("countries") == ISO:
        return iso_places()
    seen: set[object] = set()
    countries = []
    for node in header.nodes("countries", "alpha"):
        node.only(("alpha", "numeric", "name", "also"))
        country = Country(
            node.text("alpha"), node.number("numeric"), node.text("name"), tuple(node.texts("also"))
        )
        for code in (country.alpha, country.numeric, *country.also):
            if code in seen:
                node.refuse("another country has this code already", value=code)
            seen.add(code)
        countries.append(country)
    return Places(countries)


def iso_places() -> Places:
    """The packaged countries, found by their alpha-2 codes too."""
    packaged = Path(__file__).parent / "codebooks"
    (header,) = read_documents(packaged / "wvs7" / "00_codebook.yaml")
    (others,) = read_documents(packaged / "alpha2.yaml")
    return Places(
        replace(country, also=(*country.also, *others.texts(country.alpha)))
        for country in read_places(header).countries.values()
    )


def read_scales(document: Node, scales: dict[str, Scale]) -> None:
    """Add a document's scales to `scales`; names must be new."""
    shared = document.under("scales")
    for name in shared.content:
        node = shared.under(name)
        if name in scales:
            node.refuse("a scale of this name exists already; names are unique over all files")
        scales[name] = _scale(node, name)


def _scale(node: Node, name: str) -> Scale:
    node.only(SCALE_KEYS)
    kind = node.text("kind")
    options = _options(node, kind)
    codes = [option.code for option in options]
    order = read_order(node, codes)
    if kind == "count" and not order:
        order = tuple(codes)
    poles = read_poles(node)
    for flaw in scale_flaws(kind, options, order, poles):
        node.refuse(flaw.message, flaw.key, flaw.value)
    say = {option.code: option.label.lower() for option in options}
    say.update(read_for_codes(node, "say", codes))
    return Scale(name, kind, options, order, say, poles)


def _options(node: Node, kind: str) -> tuple[Option, ...]:
    if not node.has("range"):
        if node.has("ends"):
            node.refuse("ends label the codes of a range; give range: [first, last]", "ends")
        labels = node.by_code("options")
        return tuple(Option(code, labels[code]) for code in sorted(labels))
    if node.has("options"):
        node.refuse("a scale has options or a range, not both", "options")
    limits = node.numbers("range")
    if len(limits) != 2 or limits[0] >= limits[1]:
        node.refuse("two codes are needed, the smaller first", "range", limits)
    codes = range(limits[0], limits[1] + 1)
    ends = read_for_codes(node, "ends", codes)
    return tuple(Option(code, ends.get(code, str(code))) for code in codes)


def read_order(node: Node, codes: Iterable[int]) -> tuple[int, ...]:
    """The order given as a list of codes, ascending or descending; empty where absent."""
    given = node.content.get("order", [])
    if given == "ascending":
        return tuple(sorted(codes))
    if given == "descending":
        return tuple(sorted(codes, reverse=True))
    if isinstance(given, str):
        node.refuse("a list of codes, ascending or descending is needed", "order", given)
    return tuple(node.numbers("order"))


def read_poles(node: Node) -> tuple[str, str] | None:
    """The poles given, the least end first; None where absent."""
    if not node.has("poles"):
        return None
    texts = node.texts("poles")
    if len(texts) != 2:
        node.refuse("two texts are needed, the least end first", "poles", texts)
    return texts[0], texts[1]


def read_for_codes(node: Node, key: str, codes: Iterable[int]) -> dict[int, str]:
    """Texts by code, each code among `codes`."""
    texts, known = node.by_code(key), set(codes)
    for code in texts:
        if code not in known:
            node.refuse(f"no such code; codes: {sorted(known)}", f"{key}.{code}")
    return texts
