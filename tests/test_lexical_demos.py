"""Tests of what demos tell of the offered options."""

import pytest

from valuesim_dspy.lexical.demos import Given, given_answers
from valuesim_dspy.lexical.parsing import Demo, Field, Option, Prompt, Task

QUESTION = "How important is religion in your life?"
IMPORTANCE = ("Very important", "Rather important", "Not very important", "Not at all important")
RISING = ("Very bad", "Fairly bad", "Fairly good", "Very good")
TEN = ("Never justifiable", *map(str, range(2, 10)), "Always justifiable")
THINGS = ("tea", "milk", "rain", "snow", "wind", "sun")
FACTS = "\n".join(f"- You like {thing}." for thing in THINGS)


def listed(labels: tuple[str, ...]) -> str:
    """Return options as a prompt lists them."""
    return "\n".join(f"{code}: {label}" for code, label in enumerate(labels, start=1))


def demo(labels: tuple[str, ...], answer: str, question: str = "Is tea good?", **more: str) -> Demo:
    """Return a worked example."""
    return Demo({**more, "question": question, "options": listed(labels)}, {"answer": answer})


def read(*demos: Demo, labels: tuple[str, ...] = IMPORTANCE, facts: str = "") -> list[Given]:
    """Return what some demos give for a question on importance."""
    options = tuple(Option(str(code), label) for code, label in enumerate(labels, start=1))
    task = Task((Field("facts"),), (), "Answer.", "chat")
    statements = (("facts", facts),)
    return list(given_answers(Prompt(task, {}, demos, options, QUESTION, statements)))


def test_the_same_options_give_their_rank() -> None:
    """A code is the rank of its option."""
    (given,) = read(demo(IMPORTANCE, "3"))
    assert (given.rank, given.same, given.own) == (2, True, False)


@pytest.mark.parametrize(("answer", "rank"), [("1", 3), ("4", 0), ("3", 1)])
def test_a_scale_that_runs_the_other_way_is_turned(answer: str, rank: int) -> None:
    """More stays more: "very good" is carried to "very important"."""
    (given,) = read(demo(RISING, answer))
    assert (given.rank, given.same) == (rank, False)


def test_numbers_keep_their_place() -> None:
    """Where labels are mute, the low end is carried to the low end."""
    other = ("Left", *map(str, range(2, 10)), "Right")
    (given,) = read(demo(other, "2"), labels=TEN)
    assert (given.rank, given.same) == (1, False)


def test_scales_of_another_length_or_without_order_tell_nothing() -> None:
    """Two options say nothing of four, and aims nothing of degrees."""
    aims = ("Growth", "Defence", "Cities", "Rain")
    assert read(demo(("Yes", "No"), "1"), demo(aims, "2"), demo(TEN, "3")) == []


def test_an_answer_that_is_not_offered_tells_nothing() -> None:
    """A demo without options, or with a code beyond them, is passed over."""
    bare = Demo({"question": QUESTION}, {"answer": "2"})
    assert read(bare, demo(IMPORTANCE, "9"), demo(IMPORTANCE, "N/A")) == []


def test_likeness_is_the_share_of_common_words() -> None:
    """The same question is wholly alike, another one in part, a stranger not at all."""
    same, part, none = read(
        demo(IMPORTANCE, "1", QUESTION),
        demo(IMPORTANCE, "1", "How important is religion in schools?"),
        demo(IMPORTANCE, "1", "Is tea good?"),
    )
    assert same.likeness == 1.0
    assert 0 < part.likeness < 1
    assert none.likeness == 0.0


@pytest.mark.parametrize(
    ("facts", "own"),
    [(FACTS, True), (FACTS.replace("tea", "ale"), False), ("- You like ale.", False)],
)
def test_a_demo_with_the_persons_own_statements_is_theirs(facts: str, own: bool) -> None:
    """Nearly all of several statements must be the person's."""
    (given,) = read(demo(IMPORTANCE, "1", facts=facts), facts=FACTS)
    assert given.own is own


def test_few_shared_statements_prove_nothing() -> None:
    """Two statements may be shared by chance."""
    few = "\n".join(FACTS.splitlines()[:2])
    (given,) = read(demo(IMPORTANCE, "1", facts=few), facts=few)
    assert not given.own
