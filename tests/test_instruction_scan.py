"""The scan of written instructions for quotes of people."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimize.instruction_scan import WORDS, Finding, instructions_of, scan_instructions
from valuesim_dspy.program import ValueSim

FACT = "You trust most people in your neighbourhood completely, and say so."
STORY = "You live by the sea and hold that hard work brings a better life to everyone."


def scan(text: str, **known: Any) -> tuple[Finding, ...]:
    """Scan one instruction against the fact and the story."""
    return scan_instructions({"direct.answer": text}, [FACT], [STORY], **known)


def test_a_quote_is_found_with_its_length_and_source() -> None:
    """The longest run of words, whatever the case and the punctuation."""
    (found,) = scan("Know that YOU trust most people, in your neighbourhood - then decide.")
    assert (found.predictor, found.source, found.words) == ("direct.answer", "fact", 7)
    assert found.quote == "you trust most people in your neighbourhood"


def test_what_is_printed_of_a_finding_quotes_nobody() -> None:
    """A quote is a row of a person: it stands in no repr, and so in no log by accident."""
    (found,) = scan(FACT)
    assert "neighbourhood" not in repr(found) and "neighbourhood" in found.quote


@pytest.mark.parametrize(("words", "count"), [(WORDS - 1, 0), (WORDS, 1)])
def test_six_words_in_a_row_are_a_quote(words: int, count: int) -> None:
    """Five are ordinary language."""
    quoted = " ".join(STORY.split()[:words])
    found = scan(f"Decide. {quoted} zebra.")
    assert len(found) == count
    assert all(finding.source == "backstory" for finding in found)


def test_several_quotes_are_several_findings() -> None:
    """Each place is told, and a fact before a story that holds it too."""
    text = f"{STORY} Then: {FACT} Then again: {STORY}"
    assert [finding.source for finding in scan(text)] == ["backstory", "fact", "backstory"]
    (both,) = scan_instructions({"a": FACT}, [FACT], [f"Before. {FACT} After."])
    assert both.source == "fact"


def test_what_the_instructions_held_before_is_no_quote() -> None:
    """Compiling did not put it there."""
    assert scan(FACT, known=[f"As always: {FACT}"]) == ()


def test_instructions_of_the_product_quote_nobody() -> None:
    """The default instructions, against texts of their own kind."""
    assert scan_instructions(instructions_of(ValueSim("full")), [FACT], [STORY]) == ()
    assert set(instructions_of(ValueSim("single"))) == {"direct.answer"}


@given(st.text(max_size=80), st.integers(0, 6))
def test_a_fact_is_found_wherever_it_stands(around: str, cut: int) -> None:
    """Any text before and after it leaves the quote of a whole fact in place."""
    words = FACT.split()[cut : cut + WORDS]
    found = scan(f"{around} . {' '.join(words)} . {around}")
    if len(words) == WORDS:
        assert found and max(finding.words for finding in found) >= WORDS
    else:
        assert all(finding.words >= WORDS for finding in found)
