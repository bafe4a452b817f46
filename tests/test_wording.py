"""Placeholders, and texts that depend on the country."""

from __future__ import annotations

import pickle

import pytest

from valuesim_dspy.survey.wording import (
    Country,
    Places,
    Wording,
    capitalised,
    fill,
    placeholders,
    stray_brace,
)

PLACES = Places([Country("JPN", 392, "Japan"), Country("MAR", 504, "Morocco", ("MOR",))])


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{topic} and {Topic}", "tea and Tea"),
        ("{answer}", "{answer}"),
        ("no braces", "no braces"),
        ("{deep}", "with tea"),
        ("{Deep}", "With tea"),
        ("{starts}", "tea time"),
        ("{Starts}", "Tea time"),
        ("{loop}", "{loop}"),
    ],
)
def test_filling(template: str, filled: str) -> None:
    """Known names are filled, also inside values; unknown ones and loops stay."""
    values = {"topic": "tea", "deep": "with {topic}", "starts": "{topic} time", "loop": "{loop}"}
    assert fill(template, values) == filled


def test_placeholders_are_named_plainly() -> None:
    """{Topic} and {topic} are one placeholder."""
    assert placeholders("{Topic} {topic} {first_pole} { x } {}") == {"topic", "first_pole"}


@pytest.mark.parametrize(
    ("template", "stray"), [("{a} b", False), ("a }", True), ("{ a }", True), ("{{a}}", True)]
)
def test_stray_braces_are_seen(template: str, stray: bool) -> None:
    """A brace that belongs to no placeholder is most likely a slip."""
    assert stray_brace(template) is stray


def test_capitals_pass_into_placeholders() -> None:
    """A text that starts with a placeholder gets its capital when that is filled."""
    assert capitalised("{country}'s tea") == "{Country}'s tea"
    assert capitalised("tea Time") == "Tea Time"
    assert capitalised("") == ""


def test_countries_are_found_by_every_code() -> None:
    """Alpha-3, the other codes that files use, and the number name one country."""
    assert PLACES.find("MOR") is PLACES.find("MAR") is PLACES.numbered(504)
    assert PLACES.find(None) is None and PLACES.find("XXX") is None
    assert PLACES.numbered(1) is None
    assert list(PLACES.countries) == ["JPN", "MAR"]
    assert pickle.loads(pickle.dumps(PLACES)) == PLACES


def test_texts_by_country() -> None:
    """A country has its own text, under any of its codes; the others have the default."""
    wording = Wording(
        "{Bloc}, in {country}?",
        {1: "You trust {bloc}."},
        by_country={"bloc": {"MAR": "the Arab League", "default": "the union"}},
        places=PLACES,
    )
    assert wording.is_local
    assert wording.ask_in("MOR") == "The Arab League, in Morocco?"
    assert wording.ask_in("JPN") == "The union, in Japan?"
    assert wording.ask_in(None) == wording.ask_in("XXX") == "The union, in your country?"
    assert wording.fact_in(1, "MAR") == "You trust the Arab League."
    assert wording.fact_in(2, "MAR") is None


def test_open_facts_name_the_country_of_the_code() -> None:
    """Numeric country codes are told by name, unknown ones as another country."""
    wording = Wording("Born?", open_fact="Born in {country_of_code} ({code}).", places=PLACES)
    assert wording.fact_in(392, None) == "Born in Japan (392)."
    assert wording.fact_in(7, "JPN") == "Born in another country (7)."
    assert not wording.is_local


def test_plain_wording_is_the_same_everywhere() -> None:
    """Without placeholders nothing depends on the country."""
    wording = Wording("Tea?", {1: "You like tea."})
    assert not wording.is_local
    assert wording.ask_in("JPN") == "Tea?" and wording.fact_in(1, "JPN") == "You like tea."
