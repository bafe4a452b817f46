"""What was asked together, what it is about, and how it is put in words."""

from __future__ import annotations

from typing import Any

import pytest

from valuesim_dspy.survey.guess_batteries import (
    BatteryGuess,
    Item,
    guess_batteries,
    is_private,
    kind_of,
    slug,
)
from valuesim_dspy.survey.guess_missing import guess_missing
from valuesim_dspy.survey.guess_scales import ScaleGuess, guess_scale
from valuesim_dspy.survey.labelled_files import Variable

AGREE = {1: "Agree strongly", 2: "Agree", 3: "Neither", 4: "Disagree", 5: "Disagree strongly"}
LIKE = {1: "Very much like me", 2: "Like me", 3: "Not like me"}
TEN = {0: "No trust at all", 10: "Complete trust"}
YES = {1: "Yes", 2: "No"}
IMPORTANT = {1: "Very important", 2: "Important", 3: "Not important"}


def item(name: str, label: str, labels: dict[int, str], **known: Any) -> Item:
    """A variable that becomes a question."""
    codes = range(11) if labels is TEN else labels
    variable = Variable(name, label, labels, codes=tuple(codes) or tuple(range(15, 90)))
    missing = guess_missing(variable)
    scale = guess_scale(variable, missing)
    assert isinstance(scale, ScaleGuess)
    return Item(variable, scale, missing, **known)


def grouped(*items: Item) -> list[list[str]]:
    """The names in each battery."""
    return [[i.variable.name for i in battery.items] for battery in guess_batteries(items)]


def only(*items: Item) -> BatteryGuess:
    """The one battery of these."""
    (battery,) = guess_batteries(items)
    return battery


def test_what_stands_before_a_colon_is_shared() -> None:
    """Neighbours of one scale whose labels begin alike; another beginning is another battery."""
    names = grouped(
        item("V4", "Important in life: Family", IMPORTANT),
        item("V5", "Important in life: Friends", IMPORTANT),
        item("V6", "Important for a child - Manners", IMPORTANT),
        item("V7", "Important for a child - Work", IMPORTANT),
    )
    assert names == [["V4", "V5"], ["V6", "V7"]]


def test_words_shared_without_a_colon() -> None:
    """Trust in this and trust in that, on one scale with numbers."""
    assert grouped(
        item("a", "Trust in parliament", TEN),
        item("b", "Trust in the police", TEN),
        item("c", "Most people try to be fair", TEN),
    ) == [["a", "b"], ["c"]]


def test_options_in_words_hold_neighbours_together() -> None:
    """Agreeing is asked in batteries; yes and no fit anything and do not."""
    assert grouped(item("a", "Free to live", AGREE), item("b", "Reduce incomes", AGREE)) == [
        ["a", "b"]
    ]
    assert grouped(item("a", "Citizen", YES), item("b", "Born here", YES)) == [["a"], ["b"]]
    assert grouped(item("a", "Done: vote", YES), item("b", "Done: march", YES)) == [["a", "b"]]


def test_another_scale_or_other_missing_codes_part_neighbours() -> None:
    """One battery has one scale and one set of missing codes."""
    gaps = {**AGREE, 9: "No answer"}
    assert grouped(
        item("a", "A matter", AGREE), item("b", "A matter", gaps), item("c", "A matter", LIKE)
    ) == [["a"], ["b"], ["c"]]


def test_open_questions_and_background_stand_alone() -> None:
    """An age is in nobody's battery."""
    assert grouped(item("a", "Age", {}, role="age"), item("b", "Age of partner", {})) == [
        ["a"],
        ["b"],
    ]


def test_batteries_have_names_of_their_own() -> None:
    """Made of their words, told apart by a variable."""
    found = guess_batteries(
        [
            item("a", "In life: Family", IMPORTANT),
            item("b", "A matter", AGREE),
            item("c", "In life: Work", IMPORTANT),
        ]
    )
    assert [battery.id for battery in found] == ["in-life", "b", "in-life-c"]
    assert slug("Trust in country's Parliament!") == "trust-in-country-s-parliament"


@pytest.mark.parametrize(
    ("name", "label", "plain"),
    [
        ("V4", "V4: Important", "Important"),
        ("q4a", "Q4A. Present condition", "Present condition"),
        ("x", "B12 - Trust", "Trust"),
        ("happy", "How happy are you", "How happy are you"),
        ("x", "A {thing}", "A (thing)"),
        ("x", "", "x"),
        ("x", "9/11 and after", "9/11 and after"),
    ],
)
def test_labels_lose_their_numbers(name: str, label: str, plain: str) -> None:
    """The variable's own name or a question's number before them; braces would be places."""
    assert item(name, label, AGREE).label == plain


def test_topics_read_inside_a_sentence() -> None:
    """What stands before the colon is left to the battery; names keep their capitals."""
    battery = only(
        item("a", "Trust: The European Union", TEN), item("b", "Trust: European Parliament", TEN)
    )
    assert [battery.topic(i) for i in battery.items] == [
        "the European Union",
        "European Parliament",
    ]
    assert only(item("a", "How happy are you?", TEN)).topic(
        item("a", "How happy are you?", TEN)
    ) == ("how happy are you")


@pytest.mark.parametrize(
    ("one", "ask", "fact"),
    [
        (
            item("a", "How happy are you", AGREE),
            "{Topic}?",
            'Asked "{Topic}?", you answered: {answer}.',
        ),
        (
            item("a", "Free to live", AGREE),
            'Do you agree or disagree: "{Topic}"?',
            'Asked whether you agree that "{topic}", you answered: {answer}.',
        ),
        (
            item("a", "Important to be rich", LIKE),
            'How much like you is somebody of whom this is said: "{topic}"?',
            'Asked how much "{topic}" is like you, you answered: {answer}.',
        ),
        (
            item("a", "Important in life: Family", IMPORTANT),
            "Important in life: {topic}. What do you say?",
            "On {topic} (important in life), you answered: {answer}.",
        ),
        (
            item("a", "Citizen of country", YES),
            'What do you say about "{topic}"?',
            'Asked about "{topic}", you answered: {answer}.',
        ),
        (
            item("a", "Hours of television", {}),
            'What do you say about "{topic}"? Give a number.',
            'Asked about "{topic}", you answered: {code}.',
        ),
        (item("a", "Age", {}, role="age"), "How old are you?", "You are {code} years old."),
    ],
)
def test_words_fit_the_label(one: Item, ask: str, fact: str) -> None:
    """A question is asked, a statement agreed to, a thing asked about."""
    words = only(one).words(one)
    assert (words.ask, words.fact) == (ask, fact)


def test_scales_of_numbers_say_where_one_stands() -> None:
    """The number and both ends, in question and fact."""
    one = item("a", "Trust in the police", TEN)
    words = only(one).words(one)
    for text in (words.ask, words.fact):
        assert "{first_code} ({first_pole}) to {last_code} ({last_pole})" in text
    assert "you placed yourself at {code}" in words.fact


@pytest.mark.parametrize(
    ("one", "kind", "private"),
    [
        (item("a", "Highest level of education", {1: "None", 2: "Some"}), "demographic", False),
        (item("a", "Reduce differences in income", AGREE), "attitude", False),
        (item("a", "How often pray", {1: "Never", 2: "Often"}), "behaviour", False),
        (item("a", "Important in life: Work", IMPORTANT), "value", False),
        (item("a", "Party voted for", {1: "Reds", 2: "Blues", 3: "Greens"}), None, True),
        (item("a", "Ethnic group", {1: "A", 2: "B", 3: "C"}), "demographic", True),
        (item("a", "Gender", {1: "Male", 2: "Female"}, role="sex"), "demographic", False),
        (item("a", "Trust in parties", TEN), "attitude", False),
    ],
)
def test_kinds_are_guessed_by_what_is_asked(one: Item, kind: str | None, private: bool) -> None:
    """What one agrees to is an attitude, whatever it is about; parties and peoples are private."""
    assert kind is None or kind_of(one) == kind
    assert is_private(one) == private
