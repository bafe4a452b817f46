"""The scale of a variable: which codes are options, which way they run, and what has no scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from valuesim_dspy.survey.guess_missing import guess_missing
from valuesim_dspy.survey.guess_scales import MAX_OPTIONS, ScaleGuess, guess_scale, lowered
from valuesim_dspy.survey.labelled_files import Variable


def guess(labels: Mapping[int, str], codes: Iterable[int] = ()) -> ScaleGuess | str:
    """The scale of a variable with these labels and these codes in use."""
    variable = Variable("v", "V", dict(labels), codes=tuple(sorted({*codes})))
    return guess_scale(variable, guess_missing(variable))


def scale(labels: Mapping[int, str], codes: Iterable[int] = ()) -> ScaleGuess:
    """The same where there is one."""
    found = guess(labels, codes)
    assert isinstance(found, ScaleGuess), found
    return found


AGREE = {1: "Agree strongly", 2: "Agree", 3: "Neither", 4: "Disagree", 5: "Disagree strongly"}
INNER = {n: str(n) for n in range(1, 10)}


def test_labels_in_words_run_one_way() -> None:
    """Agreement coded from much to little descends, and says what more is."""
    found = scale({**AGREE, 8: "Don't know"}, [1, 2, 3, 4, 5, 8])
    assert (found.kind, found.order, found.range) == ("ordinal", "descending", None)
    assert found.options == AGREE and found.notes == ('more is "Agree strongly"',)
    rising = scale({1: "Never", 2: "Sometimes", 3: "Always"})
    assert (rising.kind, rising.order) == ("ordinal", "ascending")


@pytest.mark.parametrize("inner", [{}, INNER])
def test_ends_with_labels_make_a_range(inner: dict[int, str]) -> None:
    """Whether or not the inner codes are labelled by their numbers."""
    found = scale({0: "Extremely bad", **inner, 10: "Extremely good"}, range(11))
    assert (found.kind, found.range, found.order) == ("ordinal", (0, 10), "ascending")
    assert found.options == {0: "Extremely bad", 10: "Extremely good"} and found.poles is None
    assert found.notes == ("only its ends have labels", 'more is "Extremely good"')
    turned = scale({1: "Very satisfied", 7: "Very dissatisfied"}, range(1, 8))
    assert turned.order == "descending" and turned.notes[1] == 'more is "Very satisfied"'


def test_an_end_without_a_label_is_marked() -> None:
    """Its pole says that it wants words."""
    found = scale({0: "None at all"}, range(11))
    assert found.range == (0, 10) and found.poles == ("none at all", "the high end, 10")
    assert "say what it means" in found.notes[-1]


def test_two_options_are_binary_where_one_is_a_no() -> None:
    """The no comes first; codes beside the two are off the scale."""
    assert scale({1: "Yes", 2: "No"}).order == (2, 1)
    assert scale({0: "Not mentioned", 1: "Mentioned"}).order == (0, 1)
    third = scale({1: "Yes", 2: "No", 3: "Not eligible to vote"})
    assert (third.kind, third.order, len(third.options)) == ("binary", (2, 1), 3)
    assert scale({1: "Male", 2: "Female"}).kind == "nominal"


def test_labels_without_an_order_are_nominal() -> None:
    """And so is one answer among others that never depends."""
    assert scale({1: "Catholic", 2: "Protestant", 3: "Muslim"}).kind == "nominal"
    beside = scale({**AGREE, 6: "It depends"})
    assert beside.kind == "ordinal" and beside.order == (5, 4, 3, 2, 1)
    assert beside.notes[-1] == "off the scale: 6"


def test_numbers_without_labels_are_counts_or_open() -> None:
    """A few are chosen from, many are told as they are."""
    few = scale({}, [0, 1, 2, 4])
    assert few.kind == "count" and few.options == {n: str(n) for n in range(5)}
    assert scale({}, range(15, 95)).kind == "open"
    assert scale({999: "Not available"}, [*range(15, 95), 999]).kind == "open"
    top = scale({10: "10 or more"}, range(11))
    assert top.kind == "count" and top.options[10] == "10 or more" and top.options[0] == "0"
    assert scale({0: "None", 24: "Day and night"}, range(25)).kind in ("open", "ordinal")


def test_what_has_no_scale_says_why() -> None:
    """Negative answers, lists without end, a single answer."""
    assert "-2" in str(guess({-2: "Far left", 0: "Middle", 2: "Far right"}))
    assert "too many" in str(guess({n: f"Town {n}" for n in range(MAX_OPTIONS + 1)}))
    assert "fewer than two" in str(guess({1: "Yes"}, [1]))
    assert "fewer than two" in str(guess({9: "No answer"}, [9]))
    assert "fewer than two" in str(guess({}, [5]))


def test_options_are_told_apart() -> None:
    """Labels that are the same get their code; none is empty."""
    found = scale({1: "Other", 2: "Tea", 3: "other", 4: ""})
    assert found.options == {1: "Other (1)", 2: "Tea", 3: "other (3)", 4: "4"}


def test_the_signature_is_what_two_variables_share() -> None:
    """The same options the same way round; notes do not matter."""
    assert scale(AGREE).signature == scale({**AGREE, 9: "No answer"}, [1, 9]).signature
    assert scale(AGREE).signature != scale({**AGREE, 6: "Other"}).signature


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("Very good", "very good"),
        ("European Union", "European Union"),
        ("I agree", "I agree"),
        ("TV and radio", "TV and radio"),
        ("CONFIDENCE IN BANKS", "confidence in banks"),
        ("EU", "EU"),
        ("already small", "already small"),
        ("", ""),
    ],
)
def test_labels_inside_a_sentence(text: str, inside: str) -> None:
    """A small first letter, but for names, I and abbreviations."""
    assert lowered(text) == inside
