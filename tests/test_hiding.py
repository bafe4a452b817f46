"""What is hidden of a person where a question is asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from planned import MOVE, questions

from valuesim_dspy.errors import ConfigError
from valuesim_dspy.hiding import View, digest_of, views_of
from valuesim_dspy.survey.codebook import Question, load_codebook

BOOK = load_codebook()
ALL = [q for q in BOOK if q.scorable and q.kind != "demographic"]


def test_the_asked_questions_and_their_twins_are_hidden_and_no_more() -> None:
    """From each other, too: one backstory serves all."""
    views = views_of(questions("Q46", "Q57"), BOOK)
    assert views[0] == views[1]
    assert views[0].hidden == {"Q46", "Q49", "Q57"}
    assert views[0].known == set(BOOK.questions) - {"Q46", "Q49", "Q57"}


def test_a_battery_can_be_hidden_whole() -> None:
    """Whoever is asked Q58 is not known by trust in any other group."""
    (view,) = views_of(questions("Q58"), BOOK, hide="battery")
    assert view.hidden == set(BOOK.batteries[BOOK["Q58"].battery])
    assert len(view.hidden) > 1


def test_a_topic_can_be_hidden_whole() -> None:
    """With all its batteries; twins elsewhere, too."""
    (view,) = views_of(questions("Q46"), BOOK, hide="topic")
    assert view.hidden == {*BOOK.sections["wellbeing"], *BOOK["Q46"].twins}


@pytest.mark.parametrize("hide", ["question", "battery", "topic"])
@pytest.mark.parametrize("parts", [1, 3, 5])
def test_nobody_is_known_by_what_is_asked_or_by_its_twins(hide: str, parts: int) -> None:
    """Whatever the parts: where everything is asked, too."""
    views = views_of(ALL, BOOK, hide=hide, parts=parts)  # type: ignore[arg-type]
    for question, view in zip(ALL, views, strict=True):
        assert not view.known & {question.id, *question.twins}
        assert view.hidden | view.known == set(BOOK.questions)
        if hide == "battery":
            assert not view.known & set(BOOK.batteries[question.battery])
        if hide == "topic":
            assert not view.known & set(BOOK.sections[question.section])


def test_a_part_hides_its_own_questions_alone() -> None:
    """What other parts ask is known, but for twins."""
    views = views_of(ALL, BOOK, parts=5)
    for question, view in zip(ALL, views, strict=True):
        others = {q.id for q, its in zip(ALL, views, strict=True) if its.part != view.part}
        twins = {twin for q in ALL if q.id in view.hidden for twin in q.twins}
        assert others - twins <= view.known, question.id


def test_parts_are_of_about_equal_size() -> None:
    """A fifth each, where the largest battery is smaller than that."""
    sizes = Counter(view.part for view in views_of(ALL, BOOK, parts=5))
    assert sorted(sizes) == [0, 1, 2, 3, 4]
    assert max(sizes.values()) - min(sizes.values()) <= 2


def test_batteries_and_hidden_topics_are_dealt_whole() -> None:
    """Else the one half would be told by the other."""
    for hide, group in (("question", "battery"), ("battery", "battery"), ("topic", "section")):
        views = views_of(ALL, BOOK, hide=hide, parts=4)  # type: ignore[arg-type]
        dealt: dict[str, set[int]] = {}
        for question, view in zip(ALL, views, strict=True):
            dealt.setdefault(getattr(question, group), set()).add(view.part)
        assert all(len(parts) == 1 for parts in dealt.values())
        assert len({view.part for view in views}) == 4


def test_dealing_is_the_same_every_time_and_whatever_else_is_in_the_list() -> None:
    """No seed, and one's own questions change nothing."""
    alone = views_of(ALL, BOOK, parts=3)
    with_own = views_of([MOVE, *ALL], BOOK, parts=3)
    assert with_own[1:] == alone == views_of(ALL, BOOK, parts=3)


def test_nothing_is_hidden_from_a_question_of_ones_own() -> None:
    """It is in a part of its own."""
    own, _ = views_of([MOVE, *questions("Q57")], BOOK)
    assert (own.part, own.hidden, own.name) == (-1, frozenset(), "all")
    assert own.known == set(BOOK.questions)


def test_more_parts_than_batteries_leave_some_empty() -> None:
    """Two batteries, two parts."""
    views = views_of(questions("Q57", "Q58", "Q59"), BOOK, parts=9)
    assert [view.part for view in views] == [1, 0, 0]


def test_views_are_told_apart_by_what_they_hide() -> None:
    """Not by the order in which it was named."""
    one, other = (View(0, frozenset(ids), frozenset()) for ids in (("Q1", "Q2"), ("Q2", "Q1")))
    assert one.name == other.name != View(0, frozenset(["Q1"]), frozenset()).name
    assert one.name == f"all but {digest_of(['Q1', 'Q2'])}"


def test_digests_are_of_the_content() -> None:
    """16 hex digits, whatever the order of keys."""
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert len(digest_of("")) == 16 and digest_of([1]) != digest_of(["1"])


@pytest.mark.parametrize("known", [{"hide": "batery"}, {"hide": ""}, {"parts": 0}, {"parts": -1}])
def test_what_is_no_way_to_hide_is_refused(known: dict[str, Any]) -> None:
    """A slip would hide less than was meant; what is allowed is said."""
    with pytest.raises(
        ConfigError, match=rf"{next(iter(known))}: not possible: .*; allowed: "
    ) as no:
        views_of(questions("Q58"), BOOK, **known)
    assert no.value.value == next(iter(known.values()))


def test_a_question_in_other_words_hides_what_the_codebooks_does() -> None:
    """Battery and twins are those of its id."""
    worded = Question("Are you happy?", ["Yes", "No"], id="Q46")
    for hide in ("question", "battery", "topic"):
        ours, theirs = (
            views_of([question], BOOK, hide=hide)  # type: ignore[arg-type]
            for question in (worded, BOOK["Q46"])
        )
        assert ours == theirs
