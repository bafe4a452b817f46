"""Which codes are no answers: by what they are called, by declaration, by convention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from valuesim_dspy.survey.guess_missing import guess_missing, kind_said, plain_label
from valuesim_dspy.survey.labelled_files import Variable

FOUR = {1: "Very", 2: "Rather", 3: "Not very", 4: "Not at all"}


def variable(
    labels: Mapping[int, str], codes: Iterable[int] = (), declared: Iterable[int] = ()
) -> Variable:
    """A variable with these labels, these codes in use, these declared missing."""
    return Variable("v", "V", dict(labels), frozenset(declared), "codes", tuple(sorted(codes)))


def kinds(
    labels: Mapping[int, str], codes: Iterable[int] = (), declared: Iterable[int] = ()
) -> Mapping[int, str]:
    """The kinds that are guessed."""
    return guess_missing(variable(labels, codes, declared)).kinds


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("Refusal", "refusal"),
        ("Refused to answer", "refusal"),
        ("Prefer not to say", "refusal"),
        ("Don't know", "dont-know"),
        ("Don\u00b4t know", "dont-know"),
        ("DONT KNOW", "dont-know"),
        ("Do not know", "dont-know"),
        ("DK", "dont-know"),
        ("Can't choose", "dont-know"),
        ("No answer", "no-answer"),
        ("Not stated", "no-answer"),
        ("Not applicable", "not-applicable"),
        ("NAP", None),
        ("IAP", "not-applicable"),
        ("Inapplicable", "not-applicable"),
        ("N/A", "not-applicable"),
        ("Not asked in survey", "not-asked"),
        ("Missing; Unknown", "missing"),
        ("Not available", "missing"),
        ("None", None),
        ("No", None),
        ("Not at all", None),
        ("No trust at all", None),
        ("Unknown to me but dear", None),
        ("", None),
    ],
)
def test_labels_name_kinds(label: str, kind: str | None) -> None:
    """In many words; and what only looks like it is an answer."""
    assert kind_said(label) == kind


def test_labelled_codes_are_found_wherever_they_stand() -> None:
    """Positive, negative, of two digits, with their code before them or in brackets."""
    found = kinds({**FOUR, 7: "7 = Refusal", 8: "(Don't know)", 9: "[No answer]", -4: "Not asked"})
    assert found == {7: "refusal", 8: "dont-know", 9: "no-answer", -4: "not-asked"}
    assert kinds({**FOUR, 66: "Not applicable", 77: "Refusal"}) == {
        66: "not-applicable",
        77: "refusal",
    }
    assert guess_missing(variable({**FOUR, 9: "No answer"})).guessed == ()


def test_declared_codes_are_missing_whatever_they_are_called() -> None:
    """The file is right; only the kind is guessed where its label does not say."""
    found = guess_missing(variable({**FOUR, 5: "Spoilt"}, [1, 98], declared=[5, 98]))
    assert found.kinds == {5: "missing", 98: "dont-know"}
    assert found.guessed == ("5, 98: declared missing, of which kind is a guess",)


def test_codes_without_labels_are_read_by_convention() -> None:
    """7, 8, 9 and 77, 88, 99 behind a scale that ends well before them."""
    found = guess_missing(variable(FOUR, [1, 2, 3, 4, 7, 8, 9]))
    assert found.kinds == {7: "refusal", 8: "dont-know", 9: "no-answer"}
    assert found.guessed == ("7, 8, 9: no label, read by convention",)
    assert kinds(FOUR, [1, 97, 98, 99]) == {97: "refusal", 98: "dont-know", 99: "no-answer"}
    assert kinds({0: "Low", 10: "High"}, [*range(11), 77, 88]) == {77: "refusal", 88: "dont-know"}


def test_what_may_be_an_answer_is_left() -> None:
    """A step right behind the scale, a seven on a scale of ten, an age of 77 or 88."""
    assert kinds({**FOUR, 5: "Five", 6: "Six"}, range(1, 8)) == {}
    assert kinds({0: "Low", 10: "High"}, range(11)) == {}
    assert kinds({}, [18, 45, 77, 88, 99]) == {}
    assert kinds({}, [18, 45, 88, 999]) == {999: "no-answer"}
    assert kinds({}, [100, 500, 888]) == {}


def test_negative_codes_are_no_answers() -> None:
    """Without a label as the World Values Survey has them; called like an answer: unclear."""
    found = guess_missing(variable(FOUR, [-1, -2, -9, 1]))
    assert found.kinds == {-1: "dont-know", -2: "no-answer", -9: "missing"}
    assert found.guessed == ("-9, -2, -1: no label",)
    odd = guess_missing(variable({-2: "Far left", 0: "Middle", 2: "Far right"}))
    assert odd.kinds == {} and odd.unclear == (-2,)


def test_not_sure_is_an_answer_in_the_middle_only() -> None:
    """Between agreeing and disagreeing it is a step; behind them it is none."""
    assert kinds({1: "Agree", 2: "Not sure", 3: "Disagree"}) == {}
    found = guess_missing(variable({1: "Agree", 2: "Disagree", 3: "Hard to say"}))
    assert found.kinds == {3: "dont-know"} and found.guessed == ("3: could be an answer",)


@pytest.mark.parametrize(
    ("code", "label", "plain"),
    [
        (1, "1. Agree", "Agree"),
        (1, "1 - Agree", "Agree"),
        (1, "(1) Agree", "Agree"),
        (10, "10 = Good", "Good"),
        (1, "1", "1"),
        (2, "2-3 times", "2-3 times"),
        (2, "2.5 or so", "2.5 or so"),
        (1, "[Refused]", "Refused"),
        (1, "Yes (always)", "Yes (always)"),
        (1, "a {b}", "a (b)"),
        (1, "", "1"),
    ],
)
def test_plain_labels(code: int, label: str, plain: str) -> None:
    """Without the code before it, without brackets around it, without braces in it."""
    assert plain_label(code, label) == plain
