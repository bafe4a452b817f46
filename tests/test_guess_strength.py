"""How much labels say, and which way they run; held against the packaged codebook."""

from __future__ import annotations

import pytest

from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.guess_strength import is_no, is_off_scale, runs, strength

RISING = [
    ["Never", "Less than once a month", "Once a month", "Several times a month", "Every day"],
    ["No, never", "Only once or twice", "A few times", "Often"],
    ["Very bad", "Fairly bad", "Neither good nor bad", "Fairly good", "Very good"],
    ["Not at all", "Very little", "Some", "A lot", "A great deal"],
    ["18-24", "25-34", "35-49", "50+"],
    ["No children", "1 child", "2 children", "3 or more"],
    ["Strongly oppose", "Oppose", "Favour", "Strongly favour"],
    ["Very unlikely", "Unlikely", "Likely", "Very likely"],
]
FALLING = [
    ["Very much like me", "Like me", "Somewhat like me", "A little like me", "Not like me"],
    ["Agree strongly", "Agree", "Neither agree nor disagree", "Disagree", "Disagree strongly"],
    ["Strongly agree", "Somewhat agree", "Somewhat disagree", "Strongly disagree"],
    ["Allow many to come and live here", "Allow some", "Allow a few", "Allow none"],
    ["Every day", "More than once a week", "Once a week", "Only on special holy days", "Never"],
    ["Excellent", "Good", "Fair", "Poor"],
    ["A GREAT DEAL", "ONLY SOME", "HARDLY ANY"],
    ["Very happy", "Pretty happy", "Not too happy"],
    ["Very interested", "Quite interested", "Hardly interested", "Not at all interested"],
    ["Always", "Often", "Sometimes", "Rarely", "Never"],
    ["Trust completely", "Trust somewhat", "Do not trust very much", "Do not trust at all"],
    ["Very safe", "Safe", "Unsafe", "Very unsafe"],
    ["All of the time", "Most of the time", "Some of the time", "None of the time"],
    ["Yes, definitely", "Yes, probably", "No, probably not", "No, definitely not"],
    ["Very Important", "Important", "Not important"],
]
NONE = [
    ["Married", "Divorced", "Widowed", "Single"],
    ["Roman Catholic", "Protestant", "Islam"],
    ["Agree", "Disagree", "Agree strongly"],
    ["Paid work", "Education", "Unemployed, looking for job", "Retired"],
    ["North", "South", "East", "West"],
    ["Agree", "Agree", "Agree"],
]


@pytest.mark.parametrize("labels", RISING)
def test_labels_that_rise(labels: list[str]) -> None:
    """From little to much; backwards from much to little."""
    assert runs(labels) == 1 and runs(labels[::-1]) == -1


@pytest.mark.parametrize("labels", FALLING)
def test_labels_that_fall(labels: list[str]) -> None:
    """From much to little; backwards from little to much."""
    assert runs(labels) == -1 and runs(labels[::-1]) == 1


@pytest.mark.parametrize("labels", NONE)
def test_labels_without_an_order(labels: list[str]) -> None:
    """Nobody could tell, and so it is not guessed."""
    assert runs(labels) == 0


def test_the_packaged_scales_are_never_guessed_the_wrong_way() -> None:
    """Most orders are found, none is turned round, and no nominal scale is given one."""
    found = total = 0
    for question in {question.scale: question for question in load_codebook()}.values():
        labels = [question.label(code) for code in question.codes if code in question.order]
        if len(labels) < 3 or any(label.isdigit() for label in labels):
            continue
        guess = runs(labels)
        assert guess in (question.direction, 0), (question.scale, labels)
        found, total = found + (guess != 0), total + 1
    assert found / total > 0.75
    for question in load_codebook():
        if question.scale_kind == "nominal" and len(question.options) > 2:
            assert runs([option.label for option in question.options]) == 0, question.id


@pytest.mark.parametrize(
    ("label", "sign"),
    [
        ("Extremely dissatisfied", -1),
        ("Extremely satisfied", 1),
        ("Not very important", -1),
        ("Not bad", 1),
        ("Neither", 0),
        ("Stay the same as now", 0),
        ("Don\u2019t trust at all", -1),
        ("I would do it happily", None),
        ("Agree or disagree", None),
        ("Bananas", None),
    ],
)
def test_the_sign_of_a_label(label: str, sign: int | None) -> None:
    """Above, at or below the middle; None where nobody can tell."""
    size = strength(label)
    assert (size is None) == (sign is None)
    assert size is None or (size > 0) - (size < 0) == sign


def test_labels_beside_a_scale() -> None:
    """Other and it depends are no steps of it; a no is a no."""
    assert [is_off_scale(label) for label in ("Other", "It depends", "Often", "Not eligible")] == [
        True,
        True,
        False,
        True,
    ]
    assert [is_no(label) for label in ("No", "Not mentioned", "Nobody", "Yes", "Never")] == [
        True,
        True,
        False,
        False,
        True,
    ]
