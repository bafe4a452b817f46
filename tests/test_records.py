from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from valuesim_dspy.callscope import Reported
from valuesim_dspy.records import is_empty, is_sound, plain, reported, restore, to_record

NATIVE: dict[str, Any] = {
    "_dspy_format": "dspy-lm15-result-v1",
    "responses": [{}, {}],
    "outputs": ["a", "b"],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    "cost": 0.25,
    "raw": None,
    "response_model": "m",
}


class Raw(BaseModel):
    """A response of an SDK, with its price beside it as LiteLLM has it."""

    model: str = "m"
    choices: list[dict[str, Any]] = [{"message": {"content": "hi"}}]
    usage: dict[str, int] = {"prompt_tokens": 3, "completion_tokens": 1}
    _hidden_params: dict[str, Any] = {"response_cost": 0.5}


def through_json(value: Any) -> Any:
    """Return a value's record as it comes back from a file."""
    return json.loads(json.dumps(to_record(value), default=plain))


def test_dspys_own_record_is_kept_as_it_is() -> None:
    """The record of a native call goes through the file unchanged."""
    assert restore(through_json(NATIVE)) == NATIVE


def test_an_sdk_response_comes_back_with_attributes_usage_and_price() -> None:
    """What LiteLLM returned can be read by key and by attribute, as DSPy reads it."""
    found = restore(through_json(Raw()))
    assert found.choices[0].message.content == "hi"
    assert found["usage"]["prompt_tokens"] == 3
    assert getattr(found, "_hidden_params", {}).get("response_cost") == 0.5


def test_plain_values_and_arrays_come_back_as_lists() -> None:
    """Embeddings, arrays included, come back as lists of numbers."""
    assert restore(through_json([[1.0, 2.5], [0.0, -1.0]])) == [[1.0, 2.5], [0.0, -1.0]]
    assert restore(through_json([np.array([0.5, 1.0], dtype=np.float32)])) == [[0.5, 1.0]]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (NATIVE, Reported(2, 5, 2, 0.25)),
        ({**NATIVE, "usage": {}, "cost": None, "responses": [{}]}, Reported(1, None, None, None)),
        (to_record(Raw()), Reported(1, 3, 1, 0.5)),
        (
            {"_valuesim_format": "litellm", "raw": {"usage": {"input_tokens": 7}}, "cost": None},
            Reported(1, 7, None, None),
        ),
        (to_record([1.0]), Reported(1, None, None, None)),
    ],
)
def test_reported_usage_is_read_from_any_record(record: dict[str, Any], expected: Reported) -> None:
    """Calls, tokens and price are read whichever client answered; what is absent is unknown."""
    assert reported(record) == expected


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        "text",
        {},
        {"_valuesim_format": "other"},
        {"_valuesim_format": "json"},
        {"_valuesim_format": "litellm", "raw": "text"},
        {key: value for key, value in NATIVE.items() if key != "outputs"},
    ],
)
def test_what_is_no_record_is_not_sound(record: Any) -> None:
    """A value of unknown form in the file is never handed to DSPy."""
    assert not is_sound(record)


def test_records_are_sound() -> None:
    """Every form that is written is one that is accepted."""
    assert all(is_sound(through_json(value)) for value in (NATIVE, Raw(), [1.0], "text"))


def test_schemas_and_numbers_have_a_plain_form() -> None:
    """Pydantic classes become their schema, and numpy scalars become numbers."""
    assert plain(Raw)["title"] == "Raw"
    assert plain(np.int8(3)) == 3


def test_what_has_no_lasting_form_is_refused() -> None:
    """An object whose text would differ between processes never gets into a key."""
    with pytest.raises(TypeError, match="SimpleNamespace"):
        plain(SimpleNamespace(a=1))


@pytest.mark.parametrize(
    ("outputs", "empty"),
    [
        ([""], True),
        ([None, ""], True),
        ([{"text": None}], True),
        ([], True),
        (["", "b"], False),
        ([{"text": None, "tool_calls": [{}]}], False),
    ],
)
def test_a_response_that_says_nothing_is_empty(outputs: list[Any], empty: bool) -> None:
    """No sample with text or a tool call: there is no answer to keep."""
    assert is_empty({**NATIVE, "outputs": outputs}) is empty


def test_emptiness_is_seen_in_sdk_responses_and_not_in_plain_values() -> None:
    """A LiteLLM response is looked into; lists of numbers are never empty answers."""
    assert is_empty(to_record(Raw(choices=[{"message": {"content": None}}])))
    assert is_empty(to_record(Raw(choices=[])))
    assert not is_empty(to_record(Raw()))
    assert not is_empty(to_record([]))
