"""Tests of instructions made better by advice."""

from random import Random

import pytest

from valuesim_dspy.lexical.advice import (
    ADVICE,
    CONNECTIVES,
    MOST_ADDED,
    PREFIXES,
    advise,
    improve,
    instruction_of,
)
from valuesim_dspy.lexical.lens import read_lens
from valuesim_dspy.lexical.parsing import Field, Prompt, Task


def make_prompt(**inputs: str) -> Prompt:
    """Return a prompt with these inputs and no options."""
    return Prompt(Task(tuple(Field(name) for name in inputs), (), "", "chat"), inputs)


def test_an_instruction_gains_one_piece_of_advice() -> None:
    """The given instruction is kept whole, and one sentence is added."""
    better = improve("Answer with care.", Random(1))
    first, added = better.split("\n")
    assert first == "Answer with care."
    assert added in ADVICE


def test_advice_never_repeats_and_never_piles_up() -> None:
    """However often an instruction is improved, it holds a few different pieces of advice."""
    text = "Answer with care."
    for seed in range(12):
        text = improve(text, Random(seed))
        held = [item for item in ADVICE if item in text]
        assert len(held) <= MOST_ADDED
        assert all(text.count(item) == 1 for item in held)
    assert text.startswith("Answer with care.")


def test_seeds_give_varied_instructions() -> None:
    """Different draws propose different instructions."""
    assert len({improve("Answer.", Random(seed)) for seed in range(40)}) > 10


def test_an_empty_instruction_becomes_advice() -> None:
    """Nothing given, the advice stands alone."""
    assert improve("", Random(0)) in ADVICE


def test_quotes_around_an_instruction_are_dropped() -> None:
    """A JSON string is read as its text."""
    assert improve('"Say \\"so\\"."', Random(0)).startswith('Say "so".\n')
    assert improve('"Say "so"."', Random(0)).startswith("Say")


def test_three_different_pieces_are_advised() -> None:
    """Advice alone is three lines."""
    lines = advise(Random(5)).splitlines()
    assert len(set(lines)) == 3
    assert all(line.removeprefix("- ") in ADVICE for line in lines)


def test_advice_is_varied_general_and_unlike() -> None:
    """Pieces are many, single sentences, and bring different matters into view."""
    assert len(set(ADVICE)) == len(ADVICE) >= 20
    families = {read_lens(item).family for item in ADVICE}
    assert {"feelings", "conduct", "beliefs"} <= families
    assert any(read_lens(item).style > 0 for item in ADVICE)


def test_lists_hold_no_doubles() -> None:
    """Prefixes and connectives are distinct."""
    assert len(set(PREFIXES)) == len(PREFIXES)
    assert len(set(CONNECTIVES)) == len(CONNECTIVES)


def test_the_basic_instruction_is_found() -> None:
    """The single instruction is preferred to a list of earlier ones."""
    prompt = make_prompt(previous_instructions="Old. | Score: 3", basic_instruction="New.")
    assert instruction_of(prompt) == "New."


def test_of_scored_instructions_the_text_is_taken() -> None:
    """The score behind an instruction is not part of it."""
    assert instruction_of(make_prompt(previous_instructions="Old. | Score: 3")) == "Old."


@pytest.mark.parametrize("last", ["Think twice.", "Think twice.\n\nThen: answer\nin one word."])
def test_of_numbered_attempts_the_last_is_taken(last: str) -> None:
    """Attempts come in rising order of score, as a list of blobs with prefixes and scores."""
    shown = last if "\n" not in last else last.replace("\n", "\n    ")
    blob = (
        f"«Instruction #2: {shown}»"
        if "\n" not in last
        else f"«««\n    Instruction #2: {shown}\n»»»"
    )
    text = (
        "[1] «Instruction #1: Think.»\n[2] «Prefix #1: A:»\n[3] «Resulting Score #1: 10»\n"
        f"[4] {blob}\n[5] «Prefix #2: B:»\n[6] «Resulting Score #2: 20»"
    )
    found = instruction_of(make_prompt(attempted_instructions=text))
    assert " ".join(found.split()) == " ".join(last.split())


def test_no_instruction_is_found_where_none_is_given() -> None:
    """Without such a field, or with an empty one, there is nothing to improve."""
    assert instruction_of(make_prompt(facts="You are old.")) == ""
    assert instruction_of(make_prompt(previous_instructions="N/A")) == ""
