"""Tests of what instructions ask to be read."""

import pytest

from valuesim_dspy.lexical.lens import FAMILIES, STYLE, field_stress, read_lens, seen_through
from valuesim_dspy.lexical.parsing import Field
from valuesim_dspy.lexical.text import stem

FEELING = "Look for feelings: what the person loves, fears, resents or enjoys, and whom they trust."
DOING = "Look at what the person does: acts, habits, membership, and how often they vote or pray."
BELIEVING = "Follow the beliefs, principles and goals that the person holds to be right."


@pytest.mark.parametrize(
    ("instructions", "family"), [(FEELING, "feelings"), (DOING, "conduct"), (BELIEVING, "beliefs")]
)
def test_the_leading_kind_of_matter_is_found(instructions: str, family: str) -> None:
    """Instructions are known by their words, whatever they are called."""
    lens = read_lens(instructions)
    assert lens.family == family
    assert all(lens.wanted.get(item, 0.0) > 0 for item in FAMILIES[family])


def test_neutral_instructions_lead_nowhere() -> None:
    """Where no kind of matter is asked for, none is raised."""
    assert read_lens("Answer the question.").family == ""


@pytest.mark.parametrize(
    ("instructions", "statement"),
    [
        (FEELING, "You worry a great deal about war."),
        (DOING, "You attend meetings weekly."),
        (BELIEVING, "You think that stealing is wrong."),
    ],
)
def test_statements_of_the_kind_asked_for_are_seen(instructions: str, statement: str) -> None:
    """A statement that shares no word with the instructions is seen through its kind."""
    text = f"You live in Peru.\n{statement}\nYou were born in 1972."
    plain, kind, other = seen_through(text, instructions)
    assert kind > plain
    assert kind > other
    assert 0 <= plain <= kind <= 1


def test_each_lens_sees_its_own_statement_best() -> None:
    """Three instructions weigh the same three statements in three ways."""
    text = (
        "You worry a great deal about war.\nYou attend meetings weekly.\n"
        "You think that stealing is wrong."
    )
    best = [
        max(range(3), key=seen_through(text, asked).__getitem__)
        for asked in (FEELING, DOING, BELIEVING)
    ]
    assert best == [0, 1, 2]


def test_dismissed_matter_is_not_wanted() -> None:
    """What instructions leave to others does not count as asked for."""
    lens = read_lens(f"{FEELING} Beliefs and principles are read elsewhere.")
    assert lens.family == "feelings"
    assert stem("principles") not in lens.wanted
    assert lens.stressed["beliefs"] == -1.0


def test_style_counts_up_to_one() -> None:
    """Words on the manner of answering add up, within bounds."""
    assert read_lens("Answer the question.").style == 0.0
    some = read_lens("Notice the pattern.").style
    many = read_lens("Notice style, pattern, extremes, the middle, the ends of the scale.").style
    assert 0 < some < many <= 1.0
    assert stem("extremes") in STYLE


@pytest.mark.parametrize(
    ("instructions", "stress"),
    [
        ("Answer from the backstory above all.", 2.0),
        ("Read the backstory and the facts.", 1.0),
        ("Ignore the backstory.", -1.0),
        ("Say what is so.", 0.0),
    ],
)
def test_a_named_field_is_stressed(instructions: str, stress: float) -> None:
    """A field whose name occurs in the instructions counts more, or less where dismissed."""
    assert field_stress(Field("backstory"), instructions) == stress


def test_the_description_of_a_field_counts_a_little() -> None:
    """Without the name, shared words of the description stress a field below a mention."""
    item = Field("notes", "choices made in the past")
    stress = field_stress(item, "Consider choices of the past.")
    assert 0 < stress < 1


def test_a_lens_is_read_once() -> None:
    """Instructions are memoised, and so is what a text shows through them."""
    assert read_lens(FEELING) is read_lens(FEELING)
    assert seen_through("You love tea.", FEELING) is seen_through("You love tea.", FEELING)
