"""Tests of placing statements on the offered options."""

import pytest

from valuesim_dspy.lexical.parsing import Option
from valuesim_dspy.lexical.scales import (
    DEGREE,
    FORM,
    LABEL,
    NUMBER,
    Place,
    place,
    place_passage,
    read_scale,
)
from valuesim_dspy.lexical.text import read_sentence


def offer(*labels: str, start: int = 1) -> tuple[Option, ...]:
    """Return options with codes from `start` on."""
    return tuple(Option(str(code), label) for code, label in enumerate(labels, start))


IMPORTANCE = offer(
    "Very important", "Rather important", "Not very important", "Not at all important"
)
AGREEMENT_LABELS = ("Strongly agree", "Agree", "Disagree", "Strongly disagree")
AGREEMENT = offer(*AGREEMENT_LABELS)
TRUST_LABELS = (
    "Trust completely",
    "Trust somewhat",
    "Do not trust very much",
    "Do not trust at all",
)
TRUST = offer(*TRUST_LABELS)
TEN = offer("Never justifiable", *map(str, range(2, 10)), "Always justifiable")
BEFORE_TEN = (
    Option("0", "It is against democracy"),
    *offer("Not essential", *map(str, range(2, 10)), "Essential"),
)
VOTING = offer("Always", "Usually", "Never", "Not allowed to vote")
AIMS = offer("Economic growth", "Strong defence", "Cleaner cities")


def test_labels_of_degree_make_an_order() -> None:
    """Options whose labels say how much have falling or rising points."""
    scale = read_scale(IMPORTANCE)
    points = [point for point in scale.points if point is not None]
    assert len(points) == 4
    assert points == sorted(points, reverse=True)
    assert scale.ordered
    assert not scale.numeric
    assert (scale.first, scale.last) == (0, 3)


@pytest.mark.parametrize("options", [AGREEMENT, TRUST, offer("Yes", "No"), VOTING])
def test_usual_answer_scales_have_an_order(options: tuple[Option, ...]) -> None:
    """Agreement, trust, yes and no, and frequency are ordered."""
    assert read_scale(options).points


def test_labels_of_matter_have_no_order() -> None:
    """Aims to choose from are no scale."""
    scale = read_scale(AIMS)
    assert not scale.ordered
    assert scale.points == ()


@pytest.mark.parametrize(
    "options",
    [
        offer("Hard to say", *(option.label for option in AGREEMENT)),
        offer("It depends", *TRUST_LABELS),
    ],
)
def test_an_option_before_the_scale_is_off_it(options: tuple[Option, ...]) -> None:
    """A way out that stands first does not hide the order of the others."""
    scale = read_scale(options)
    assert (scale.first, scale.last) == (1, 4)
    assert scale.points[0] is None
    assert scale.slope < 0


def test_two_options_on_one_side_are_no_order() -> None:
    """Words of degree in two opposite statements are not two degrees of one thing."""
    scale = read_scale(offer("Most people can be trusted", "Need to be very careful"))
    assert not scale.ordered


def test_of_two_options_one_may_be_the_others_opposite() -> None:
    """An item is important or goes without mention."""
    scale = read_scale(offer("Important", "Not mentioned"))
    assert scale.points[0] is not None
    assert scale.points[1] is not None
    assert scale.points[0] == -scale.points[1]
    assert scale.slope < 0


def test_a_scale_knows_its_direction_and_its_middle() -> None:
    """Falling labels have a negative slope, mute ones none; ranks mirror within the scale."""
    assert read_scale(AGREEMENT).slope < 0
    assert read_scale(offer("Bad", "Fair", "Good")).slope > 0
    assert read_scale(TEN).slope == 0.0
    assert read_scale(TEN).mirrored(0) == 9
    assert read_scale(BEFORE_TEN).mirrored(1) == 10


@pytest.mark.parametrize(
    ("options", "expected"),
    [(IMPORTANCE, True), (AGREEMENT, True), (offer("A lot", "Sometimes", "Not at all"), False)],
)
def test_a_scale_has_matter_where_labels_share_a_word(
    options: tuple[Option, ...], expected: bool
) -> None:
    """Importance is a matter, mere degree is none."""
    assert read_scale(options).has_matter is expected


def test_a_denied_label_is_not_the_label() -> None:
    """ "Not have very much" is not "very much", whether the words stand together or apart."""
    options = offer("Very much", "A great deal", "Not much", "Not at all")
    found = place(read_sentence("You do not have very much time."), options)
    assert found is not None
    assert found.rank > 1


@pytest.mark.parametrize(
    ("text", "rank"),
    [("You believe in heaven.", 0), ("You do not believe in heaven.", 1), ("You have no car.", 1)],
)
def test_yes_is_what_is_not_denied(text: str, rank: int) -> None:
    """Of yes and no a plain statement is a yes, and neither particle is taken for a label."""
    found = place(read_sentence(text), offer("Yes", "No"))
    assert found is not None
    assert round(found.rank) == rank
    assert found.how == DEGREE


def test_an_option_beyond_the_end_is_off_the_scale() -> None:
    """An option without degree at the end has no point and lies outside the ranks."""
    scale = read_scale(VOTING)
    assert scale.points[3] is None
    assert (scale.first, scale.last) == (0, 2)


def test_a_numeric_scale_begins_where_its_numbers_do() -> None:
    """An option before the numbers and their named ends is off the scale."""
    assert (read_scale(TEN).first, read_scale(TEN).last) == (0, 9)
    assert (read_scale(BEFORE_TEN).first, read_scale(BEFORE_TEN).last) == (1, 10)
    assert read_scale(BEFORE_TEN).numeric


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("Tea is very important in your life.", 0),
        ("Tea is rather important in your life.", 1),
        ("Tea is not very important in your life.", 2),
        ("Tea is not at all important in your life.", 3),
    ],
)
def test_the_words_of_a_label_place_a_statement(text: str, rank: int) -> None:
    """The longest offered label in a sentence is its place."""
    assert place(read_sentence(text), IMPORTANCE) == Place(rank, LABEL)


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("You completely trust your family.", 0),
        ("You somewhat trust your neighbours.", 1),
        ("You do not trust strangers very much.", 2),
        ("You do not trust strangers at all.", 3),
    ],
)
def test_the_words_of_a_label_may_stand_apart(text: str, rank: int) -> None:
    """All words of a label in any order are the label."""
    assert place(read_sentence(text), TRUST) == Place(rank, LABEL)


def test_a_label_inside_a_longer_phrase_is_not_the_label() -> None:
    """ "Neither agree nor disagree" lies between the two, and is not "Disagree"."""
    found = place(read_sentence("You neither agree nor disagree that tea is good."), AGREEMENT)
    assert found == Place(1.5, DEGREE)


@pytest.mark.parametrize("number", range(1, 11))
def test_a_number_on_the_same_scale_keeps_its_place(number: int) -> None:
    """A point on the offered scale of numbers has the rank of its number."""
    text = (
        f"You stand at {number} on a scale from 1 (never justifiable) to 10 (always justifiable)."
    )
    assert place(read_sentence(text), TEN) == Place(number - 1, NUMBER)


def test_a_scale_that_runs_the_other_way_is_turned() -> None:
    """The words of the ends decide the direction."""
    text = "You stand at 2 on a scale from 1 (always justifiable) to 10 (never justifiable)."
    found = place(read_sentence(text), TEN)
    assert found is not None
    assert found.rank == pytest.approx(8)
    assert found.how == NUMBER


def test_a_number_on_another_scale_of_the_same_size_is_less_sure() -> None:
    """Other ends, same form: the direction is kept and the place is marked as such."""
    text = "You stand at 4 on a scale from 1 (left) to 10 (right)."
    assert place(read_sentence(text), TEN) == Place(3, FORM)


def test_a_number_skips_an_option_before_the_scale() -> None:
    """Ranks count from the first option, numbers from the first one on the scale."""
    text = "You stand at 1 on a scale from 1 (not essential) to 10 (essential)."
    assert place(read_sentence(text), BEFORE_TEN) == Place(1, NUMBER)


def test_a_number_on_a_scale_of_words_is_vague() -> None:
    """Ten points are mapped onto four labels by their share."""
    text = "You stand at 10 on a scale from 1 (not at all important) to 10 (very important)."
    assert place(read_sentence(text), IMPORTANCE) == Place(0, DEGREE)


def test_a_phrase_of_degree_stands_between_the_labels() -> None:
    """A degree that no label has lies between its neighbours, in rank."""
    found = place(read_sentence("You sometimes go there."), IMPORTANCE)
    assert found == Place(1.5, DEGREE)


@pytest.mark.parametrize("text", ["You live in Peru.", "You are 45 years old."])
def test_a_statement_without_degree_has_no_place(text: str) -> None:
    """What says nothing of how much is not placed."""
    assert place(read_sentence(text), IMPORTANCE) is None


def test_degree_says_nothing_of_options_without_order() -> None:
    """Aims are supported by words alone."""
    assert place(read_sentence("Tea is very important."), AIMS) is None
    found = place(read_sentence("The first aim you chose was economic growth."), AIMS)
    assert found == Place(0, LABEL)


@pytest.mark.parametrize(
    "text",
    [
        "The first reader answers 3 (Not very important): so it is.",
        "Taken together, it points to option 3 (Not very important).",
        "answer: 3",
        "The code is 3.",
    ],
)
def test_an_option_named_outright_is_told(text: str) -> None:
    """A view that names a code is a vote for it, and is not placed a second time."""
    placed = place_passage(text, IMPORTANCE)
    assert placed.told == ((0, 2),)
    assert placed.places == (None,)


def test_a_code_that_is_not_offered_is_not_told() -> None:
    """Only offered codes are votes; past answers to other questions are none."""
    assert place_passage("The reader answers 9.", IMPORTANCE).told == ()
    assert place_passage("You answered 3 then.", IMPORTANCE).told == ()


def test_counts_of_answers_are_read() -> None:
    """How often each label was chosen before is a distribution over ranks."""
    text = (
        "Asked 6 other questions with these same options, you answered once "
        '"Very important"; 3 times "Rather important"; twice "Not at all important".'
    )
    assert place_passage(text, IMPORTANCE).counted == ((0, 1), (1, 3), (3, 2))


def test_placing_a_passage_is_memoised() -> None:
    """The same text on the same options is placed once."""
    text = "Tea is very important in your life.\nYou live in Peru."
    assert place_passage(text, IMPORTANCE) is place_passage(text, IMPORTANCE)
    assert place_passage(text, IMPORTANCE).places == (Place(0, LABEL), None)
