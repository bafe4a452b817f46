"""Templates of questions and facts: placeholders, and what they say in each country."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

YOUR_COUNTRY = "your country"
ANOTHER_COUNTRY = "another country"
_PLACEHOLDER = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)\}")
_NESTING = 4  # a topic may hold {country}, a pole may hold {topic}: no template needs more


@dataclass(frozen=True)
class Country:
    """A country of the codebook.

    Args:
        alpha: ISO 3166-1 alpha-3 code, or the survey's own where ISO has none.
        numeric: ISO 3166-1 numeric code, or the survey's own.
        name: The name as it reads inside a sentence: "the United States".
        also: Other alpha codes that data files use for it.
    """

    alpha: str
    numeric: int
    name: str
    also: tuple[str, ...] = ()


class Places:
    """The countries of a codebook, found by alpha-3 or by numeric code.

    Args:
        countries: The countries; codes must not repeat.
    """

    def __init__(self, countries: Iterable[Country] = ()) -> None:
        self.countries = {country.alpha: country for country in countries}
        self._by_alpha = dict(self.countries)
        self._by_number = {country.numeric: country for country in self.countries.values()}
        for country in self.countries.values():
            self._by_alpha.update(dict.fromkeys(country.also, country))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places) and self.countries == other.countries

    __hash__ = None  # type: ignore[assignment]

    def find(self, alpha: str | None) -> Country | None:
        """The country of this alpha-3 code, or None where the code is not known."""
        return self._by_alpha.get(alpha or "")

    def numbered(self, numeric: int) -> Country | None:
        """The country of this numeric code, or None where the code is not known."""
        return self._by_number.get(numeric)


def plain_name(name: str) -> str:
    """The placeholder that `name` stands for: "Topic" and "topic" are both "topic"."""
    return name[:1].lower() + name[1:]


def capitalised(text: str) -> str:
    """The text with a capital first letter, also where it starts with a placeholder."""
    if text.startswith("{"):
        return "{" + text[1:2].upper() + text[2:]
    return text[:1].upper() + text[1:]


def placeholders(template: str) -> set[str]:
    """The names of all placeholders in a template, as `plain_name` gives them."""
    return {plain_name(name) for name in _PLACEHOLDER.findall(template)}


def stray_brace(template: str) -> bool:
    """Whether the template has a brace that belongs to no placeholder."""
    rest = _PLACEHOLDER.sub("", template)
    return "{" in rest or "}" in rest


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fill the placeholders that have a value and leave the others as they stand.

    Args:
        template: Text with `{name}` for the value, `{Name}` for the value with a capital.
        values: Text by plain name; a value may hold placeholders itself.

    Returns:
        The filled text.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in values:
            return values[name]
        plain = plain_name(name)
        return capitalised(values[plain]) if plain in values else match[0]

    for _ in range(_NESTING):
        filled = _PLACEHOLDER.sub(value, template)
        if filled == template:
            break
        template = filled
    return template


@dataclass(frozen=True)
class Wording:
    """What a question and its facts say; only the country and open codes are left to fill.

    Args:
        ask: The question as put to the person.
        facts: The fact's sentence by code; empty where answers never become facts.
        open_fact: The sentence for a question without options, with `{code}` or
            `{country_of_code}`; None where there is none.
        by_country: For each placeholder its text by alpha-3 code, and under "default".
        places: The countries that `{country}` and `{country_of_code}` are named by.
    """

    ask: str
    facts: Mapping[int, str] = field(default_factory=dict)
    open_fact: str | None = None
    by_country: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    places: Places = field(default_factory=Places)

    @cached_property
    def is_local(self) -> bool:
        """Whether any of the texts depends on the respondent's country."""
        texts = (self.ask, self.open_fact or "", *self.facts.values())
        local = {"country", *self.by_country}
        return any("{" in text and placeholders(text) & local for text in texts)

    def ask_in(self, country: str | None) -> str:
        """The question as asked in a country (alpha-3; None or unknown: "your country")."""
        return self._in_country(self.ask, country)

    def fact_in(self, code: int, country: str | None) -> str | None:
        """The fact's sentence for a code, or None where there is no sentence for it."""
        template = self.facts.get(code, self.open_fact)
        if template is None or "{" not in template:
            return template
        origin = self.places.numbered(code)
        of_code = {
            "code": str(code),
            "country_of_code": origin.name if origin else ANOTHER_COUNTRY,
        }
        return self._in_country(fill(template, of_code), country)

    def _in_country(self, template: str, country: str | None) -> str:
        if "{" not in template:
            return template
        place = self.places.find(country)
        texts = {
            name: by_alpha.get(place.alpha if place else "default", by_alpha["default"])
            for name, by_alpha in self.by_country.items()
        }
        return fill(template, {"country": place.name if place else YOUR_COUNTRY, **texts})
