"""Texts with halves of surrogate pairs: what is made of them, wherever they stand."""

from __future__ import annotations

from collections import UserDict
from typing import Any, NamedTuple

import pytest
from dspy.lm15 import Message, Response, TextPart, Usage
from hypothesis import given
from hypothesis import strategies as st

from valuesim_dspy.encodable import encodable, mend_error, mended, mending_errors

HALF, BAD = "\ud83d", "\ufffd"


class Pair(NamedTuple):
    """A tuple that is not made from a list."""

    first: str
    second: int


@pytest.mark.parametrize(
    ("text", "is_now"),
    [
        ("plain", "plain"),
        ("\u96e3\u3057\u3044 \U0001f600 \ufeff\x00", "\u96e3\u3057\u3044 \U0001f600 \ufeff\x00"),
        (f"x{HALF}y", f"x{BAD}y"),
        (f"x{HALF}", f"x{BAD}"),
        ("\udc00\ud83d", BAD * 2),
        ("\ud83d" + "\ude00", "\U0001f600"),
        (f"\ufeff{HALF}\n", f"\ufeff{BAD}\n"),
    ],
)
def test_halves_are_replaced_and_pairs_joined(text: str, is_now: str) -> None:
    """Only what no encoding has changes."""
    assert encodable(text) == is_now


@given(st.text(st.characters(codec=None)))
def test_every_text_can_be_written_afterwards(text: str) -> None:
    """Whatever came can be encoded, mending is done once, and sound texts stay themselves."""
    made = encodable(text)
    assert made.encode("utf-8").decode() == made == encodable(made)
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert made is text


def test_texts_are_mended_wherever_they_stand() -> None:
    """Lists, tuples and mappings keep their kinds; what holds no text is left alone."""
    kept = object()
    found: Any = mended({"a": [HALF, (1, HALF)], HALF: Pair(HALF, 2), "b": kept, "c": None})
    assert found == {"a": [BAD, (1, BAD)], BAD: Pair(BAD, 2), "b": kept, "c": None}
    assert type(found[BAD]) is Pair and found["b"] is kept
    assert mended(UserDict(a=HALF)) == {"a": BAD}


def test_sound_values_are_returned_as_they_are() -> None:
    """Nothing is copied where nothing is wrong."""
    value = {"a": ["x", ("y", 1)], "b": {"c": "\U0001f600"}}
    assert mended(value) is value


def test_a_models_response_is_mended_as_a_whole() -> None:
    """Parts, names and what the provider sent besides; usage stays."""
    response = Response(
        id=None,
        model=f"m{HALF}",
        message=Message.assistant([TextPart(f"said {HALF}")]),
        finish_reason="stop",
        usage=Usage(input_tokens=3),
        provider_data={"raw": [HALF]},
    )
    made = mended(response)
    assert (made.model, made.text, made.usage) == (f"m{BAD}", f"said {BAD}", response.usage)
    assert made.provider_data["raw"] == [BAD]
    assert mended(made) is made


def test_errors_tell_what_can_be_written() -> None:
    """The error and what led to it; one of an encoding keeps what makes it."""
    with pytest.raises(ValueError, match=BAD) as caught, mending_errors():
        try:
            f"inner {HALF}".encode()
        except UnicodeEncodeError as error:
            outer = ValueError(f"outer {HALF}", 3)
            outer.message = HALF  # type: ignore[attr-defined]
            raise outer from error
    assert caught.value.args == (f"outer {BAD}", 3)
    assert caught.value.message == BAD  # type: ignore[attr-defined]
    assert isinstance(caught.value.__cause__, UnicodeEncodeError)
    str(caught.value.__cause__).encode()


def test_errors_that_lead_to_each_other_are_walked_once() -> None:
    """A ring of causes ends."""
    first, second = ValueError(HALF), ValueError(HALF)
    first.__cause__, second.__cause__ = second, first
    mend_error(first)
    assert first.args == second.args == (BAD,)
