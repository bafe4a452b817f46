"""What can be wrong with options and their order."""

from __future__ import annotations

import pytest

from valuesim_dspy.survey.scales import Option, as_options, default_poles, scale_flaws

ABC = [Option(1, "A"), Option(2, "B"), Option(3, "C")]


def keys(kind: str, options: list[Option], order: list[int], poles: object = None) -> list[str]:
    """The keys of all flaws found."""
    return [flaw.key for flaw in scale_flaws(kind, options, order, poles)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "options", "order"),
    [
        ("ordinal", ABC, [3, 1, 2]),
        ("ordinal", ABC, [1, 2]),
        ("binary", ABC, [2, 1]),
        ("nominal", ABC, []),
        ("count", ABC, [1, 2, 3]),
        ("open", [], []),
    ],
)
def test_sound_scales_have_no_flaws(kind: str, options: list[Option], order: list[int]) -> None:
    """Each kind of scale has a form in which nothing is wrong."""
    assert keys(kind, options, order) == []


@pytest.mark.parametrize(
    ("kind", "options", "order", "key"),
    [
        ("ordinal", ABC, [], "order"),
        ("ordinal", ABC, [1], "order"),
        ("ordinal", ABC, [1, 4], "order"),
        ("ordinal", ABC, [1, 2, 2], "order"),
        ("binary", ABC, [1, 2, 3], "order"),
        ("nominal", ABC, [1, 2], "order"),
        ("open", ABC, [], "options"),
        ("nominal", ABC[:1], [], "options"),
        ("nominal", [*ABC, Option(-1, "D")], [], "options"),
        ("nominal", [*ABC, Option(3, "D")], [], "options"),
        ("nominal", [*ABC, Option(4, "A")], [], "options"),
        ("nominal", [*ABC, Option(4, " ")], [], "options"),
        ("ladder", ABC, [], "kind"),
    ],
)
def test_flaws_are_found_at_their_key(
    kind: str, options: list[Option], order: list[int], key: str
) -> None:
    """Each flaw is reported once, at the key to mend."""
    assert keys(kind, options, order) == [key]


def test_poles_are_two_different_texts_of_an_order() -> None:
    """Poles need an order, and must differ."""
    assert keys("ordinal", ABC, [1, 2, 3], ("a", "b")) == []
    assert keys("ordinal", ABC, [1, 2, 3], ("a", "a")) == ["poles"]
    assert keys("ordinal", ABC, [1, 2, 3], ("a", "")) == ["poles"]
    assert keys("nominal", ABC, [], ("a", "b")) == ["poles"]


def test_default_poles_follow_the_order() -> None:
    """The least end comes first, whatever its code."""
    assert default_poles([3, 2, 1], ABC) == ("c", "a")
    assert default_poles([], ABC) is None


def test_options_come_in_three_forms() -> None:
    """Labels, labels by code and options give the same options."""
    assert as_options(["A", "B", "C"]) == ABC
    assert as_options({1: "A", 2: "B", 3: "C"}) == ABC
    assert as_options(ABC) == ABC
    assert as_options({5: "E", 0: "Z"}) == [Option(5, "E"), Option(0, "Z")]
