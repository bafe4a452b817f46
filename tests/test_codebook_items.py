"""Batteries and items: how they resolve to questions, and how mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.codebook import Codebook, load_codebook

HEADER = """
id: small
version: 1
title: A small codebook
missing: {-1: dont-know, -5: missing}
sections: [drinks]
twins: [[Q1, Q2]]
countries:
  - {alpha: JPN, numeric: 392, name: Japan}
  - {alpha: USA, numeric: 840, name: the United States}
scales:
  agree3:
    kind: ordinal
    options: {1: Agree, 2: Neither, 3: Disagree}
    order: [3, 2, 1]
    say: {2: are unsure}
"""
SECTION = """
section: drinks
title: Drinks
scales:
  ten: {kind: ordinal, range: [1, 10], ends: {1: Bad, 10: Good}, order: ascending}
  year: {kind: open}
batteries:
  - id: tastes
    kind: value
    scale: agree3
    ask: "Do you agree that {topic} is fine?"
    fact: "You {answer} that {topic} is fine."
    facts: {2: "You neither agree nor disagree that {topic} is fine."}
    items:
      Q1: {topic: tea}
      Q2: {topic: coffee, kind: attitude, facts: {3: "You cannot stand {topic}."},
        missing: {-5: no cup}}
      Q3: {topic: milk, scale: ten,
        fact: "{Topic}: {code} from {first_code} ({first_pole}) to {last_code} ({last_pole})."}
  - id: years
    kind: demographic
    scale: year
    ask: "When did you first drink {topic} in {country}?"
    fact: "You first drank {topic} in {code}, in {country_of_code}, with {company}."
    items:
      Q4:
        topic: wine
        private: true
        scorable: false
        by_country: {company: {JPN: colleagues, default: friends}}
      Q5: {topic: beer, fact: none}
"""


def load(folder: Path, old: str = "", new: str = "") -> Codebook:
    """The small codebook, with one change, from a folder of two files."""
    for name, text in (("00_header.yaml", HEADER), ("01_drinks.yaml", SECTION)):
        (folder / name).write_text(text.replace(old, new) if old else text)
    assert not old or old in HEADER + SECTION
    return load_codebook(folder)


def test_items_take_over_from_their_battery(tmp_path: Path) -> None:
    """An item has its battery's kind, scale and texts, with its own topic."""
    tea = load(tmp_path)["Q1"]
    assert (tea.kind, tea.scale, tea.battery, tea.section) == (
        "value",
        "agree3",
        "tastes",
        "drinks",
    )
    assert tea.text == "Do you agree that tea is fine?"
    assert tea.fact_text(1) == "You agree that tea is fine."


def test_items_override_their_battery(tmp_path: Path) -> None:
    """Any key of a battery may be given by an item; facts and missing add up by code."""
    coffee = load(tmp_path)["Q2"]
    assert coffee.kind == "attitude"
    assert coffee.fact_text(2) == "You neither agree nor disagree that coffee is fine."
    assert coffee.fact_text(3) == "You cannot stand coffee."
    assert coffee.missing == {-1: "dont-know", -5: "no cup"}


def test_a_scale_of_its_own_voids_the_facts_of_the_battery(tmp_path: Path) -> None:
    """Facts by code speak of the battery's scale, so they do not reach another scale."""
    milk = load(tmp_path)["Q3"]
    assert milk.fact_text(2) == "Milk: 2 from 1 (bad) to 10 (good)."
    assert milk.poles == ("bad", "good")


def test_open_questions_fill_the_code_and_its_country(tmp_path: Path) -> None:
    """Without options the fact tells the number itself, or the country it stands for."""
    wine = load(tmp_path)["Q4"]
    assert wine.options == () and wine.private and not wine.scorable
    assert wine.fact_text(392) == "You first drank wine in 392, in Japan, with friends."
    assert wine.fact_text(8, "JPN") == (
        "You first drank wine in 8, in another country, with colleagues."
    )
    assert wine.text_for("USA") == "When did you first drink wine in the United States?"
    assert wine.text == "When did you first drink wine in your country?"


def test_fact_none_means_never_a_fact(tmp_path: Path) -> None:
    """`fact: none` overrides the battery's fact with nothing."""
    beer = load(tmp_path)["Q5"]
    assert not beer.gives_facts
    assert not beer.scorable


def test_an_item_may_order_and_name_its_poles(tmp_path: Path) -> None:
    """The same scale can run the other way for an item."""
    change = "Q1: {topic: tea, order: [1, 2, 3], poles: [yes to tea, no to tea]}"
    tea = load(tmp_path, "Q1: {topic: tea}", change)["Q1"]
    assert tea.order == (1, 2, 3) and tea.direction == 1
    assert tea.poles == ("yes to tea", "no to tea")


def test_placeholders_nest_and_capitalise(tmp_path: Path) -> None:
    """A topic may name the country, and a capital letter asks for a capital."""
    change = 'Q1: {topic: "{country}\'s {kind_of} tea", kind_of: green, ask: "{Topic}: good?"}'
    tea = load(tmp_path, "Q1: {topic: tea}", change)["Q1"]
    assert tea.text == "Your country's green tea: good?"
    assert tea.text_for("JPN") == "Japan's green tea: good?"
    assert tea.fact_text(1, "JPN") == "You agree that Japan's green tea is fine."
    assert tea.topic == "your country's green tea"


def test_twins_may_wait_for_a_section_that_is_not_there(tmp_path: Path) -> None:
    """A folder that is still incomplete loads; once it is whole, twins must exist."""
    incomplete = HEADER.replace("sections: [drinks]", "sections: [drinks, food]")
    (tmp_path / "00.yaml").write_text(incomplete.replace("[Q1, Q2]", "[Q1, Q99]"))
    (tmp_path / "01.yaml").write_text(SECTION)
    assert load_codebook(tmp_path)["Q1"].twins == ("Q99",)


ERRORS = [
    # change, the place named, what is said
    (("kind: value", "kind: values"), "tastes.Q1.kind", "did you mean value?"),
    (("scale: agree3", "scale: agree"), "tastes.Q1.scale", "no such scale (did you mean agree3?)"),
    (("scale: agree3", "scales: agree3"), "tastes.scales", "unknown key (did you mean scale?)"),
    (("topic: tea}", "topik: tea}"), "tastes.Q1.topic", "this key is missing"),
    (("topic: tea}", "topic: tea, scal: ten}"), "tastes.Q1.scal", "did you mean scale?"),
    (("topic: tea}", "topic: tea, Extra: x}"), "tastes.Q1.Extra", "starts with a small letter"),
    (("topic: tea}", "topic: }"), "tastes.Q1.topic", "a text is needed"),
    (("topic: tea}", 'topic: ""}'), "tastes.Q1.topic", "this one is empty"),
    (("topic: tea}", "topic: [tea]}"), "tastes.Q1.topic", "a text is needed"),
    (("{topic: tea}", "tea"), "tastes.items.Q1", "a mapping (key: value) is needed"),
    (("that {topic} is fine?", "that {topik} is?"), "tastes.Q1.ask", "did you mean topic?"),
    (("is fine?", "is } fine?"), "tastes.Q1.ask", "a brace belongs to no placeholder"),
    (("fine?", "fine, {answer}?"), "tastes.Q1.ask", "no value for {answer}"),
    (("You {answer} that", "You say that"), "tastes.Q1.fact", "code 3 gives the same sentence"),
    (
        ('    fact: "You {answer} that {topic} is fine."\n', ""),
        "tastes.Q1.facts",
        "code 1 gives no",
    ),
    (("facts: {2:", "facts: {4:"), "tastes.Q1.facts.4", "no such code; codes: [1, 2, 3]"),
    (("facts: {2:", "facts: {two:"), "tastes.Q1.facts.two", "a code (a whole number) is needed"),
    (("facts: {3:", "facts: {9:"), "tastes.Q2.facts.9", "no such code"),
    (("topic: tea}", "topic: tea, order: [3, 1, 1]}"), "tastes.Q1.order", "given twice"),
    (("topic: tea}", "topic: tea, order: [3, 4]}"), "tastes.Q1.order", "not among the codes"),
    (("topic: tea}", "topic: tea, order: up}"), "tastes.Q1.order", "ascending or descending"),
    (("topic: tea}", "topic: tea, poles: [a]}"), "tastes.Q1.poles", "two texts are needed"),
    (("topic: tea}", "topic: tea, poles: [a, a]}"), "tastes.Q1.poles", "two different texts"),
    (("topic: tea}", "topic: tea, private: maybe}"), "tastes.Q1.private", "true or false"),
    (("topic: tea}", "topic: tea, missing: {1: x}}"), "tastes.Q1.missing.1", "an option of the"),
    (("Q2: {topic", "Q1: {topic"), "line 16", "Q1 is given twice"),
    (("Q5: {topic", "Q1: {topic"), "years.Q1", "is in battery tastes already"),
    (("- id: years", "- id: tastes"), "tastes", "a battery of this id exists already"),
    (("- id: years", "- name: years"), "batteries.id", "this key is missing"),
    (("{JPN: colleagues", "{JPM: colleagues"), "company.JPM", "did you mean JPN?"),
    ((", default: friends", ""), "years.Q4.by_country.company.default", "key is missing"),
    ((", with {company}", ""), "years.Q4.company", "no template uses {company}"),
    ((", ends: {1: Bad, 10: Good}", ""), "tastes.Q3.poles", "bare numbers"),
    (("({first_pole})", "({frist_pole})"), "tastes.Q3.fact", "did you mean first_pole?"),
]


@pytest.mark.parametrize(("change", "place", "message"), ERRORS, ids=lambda value: str(value)[:40])
def test_mistakes_are_named(
    tmp_path: Path, change: tuple[str, str], place: str, message: str
) -> None:
    """Each mistake is refused with its file, battery, item and key, and what to do."""
    with pytest.raises(SurveyDataError) as caught:
        load(tmp_path, *change)
    said = str(caught.value)
    assert str(tmp_path / "01_drinks.yaml") in said
    assert place in said
    assert message in said


def test_an_order_is_not_used_where_poles_have_no_end(tmp_path: Path) -> None:
    """Where the smallest or largest code is no end of the order, {last_pole} has no value."""
    change = 'Q1: {topic: tea, order: [2, 3, 1], fact: "{Topic} {answer} {last_pole}."}'
    with pytest.raises(SurveyDataError, match=r"no value for \{last_pole\}"):
        load(tmp_path, "Q1: {topic: tea}", change)


def test_a_battery_needs_items(tmp_path: Path) -> None:
    """A battery without items is a mistake, not an empty battery."""
    head, _, _ = SECTION.partition("    items:")
    (tmp_path / "00.yaml").write_text(HEADER)
    (tmp_path / "01.yaml").write_text(head)
    with pytest.raises(SurveyDataError, match=r"01\.yaml, column tastes\.items: .*needs items"):
        load_codebook(tmp_path)
