"""Whatever text a response holds is kept as it is, and no response is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_cache import RECORD, REQUEST

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.callscope import CallScope, call_scope


@pytest.mark.parametrize(
    "text", ["x\ud83d", "\udc00\ud83d", "a\x00b", "\u2028", "\u96e3", "\U0001f600"]
)
def test_every_text_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    """Also half an emoji, which no encoding has: the file holds ASCII alone."""
    cache = ResponseCache(tmp_path / "r.db")
    cache.put(REQUEST, {**RECORD, "outputs": [text]})
    cache.put({"texts": text}, [text, 0.5])
    assert cache.get(REQUEST) == {**RECORD, "outputs": [text]}
    again = ResponseCache(tmp_path / "r.db")
    assert again.get(REQUEST) == {**RECORD, "outputs": [text]}
    assert again.get({"texts": text}) == [text, 0.5]
    for (value,) in again._file.run("SELECT value FROM responses"):
        assert value.isascii()


def test_rows_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """They hold letters of all scripts as they are."""
    cache = ResponseCache(tmp_path / "r.db")
    record = {**RECORD, "outputs": ["\u96e3\u3057\u3044 \U0001f600"]}
    text = json.dumps(record, ensure_ascii=False)
    assert not text.isascii()
    cache._file.run("INSERT INTO responses VALUES (?, ?, 0)", (cache.key(REQUEST), text))
    assert cache.get(REQUEST) == record


@pytest.mark.parametrize(
    "record",
    [
        {**RECORD, "usage": [1]},
        {**RECORD, "usage": "none"},
        {**RECORD, "raw": {"usage": "none"}, "usage": None},
        {"_dspy_format": "dspy-lm15-result-v1"},
        {**RECORD, "outputs": 3},
        {**RECORD, "cost": 10**5000},
        {**RECORD, "outputs": [object()]},
    ],
)
def test_no_response_is_an_error(record: dict[str, Any]) -> None:
    """It is paid already: one whose form nobody foresaw is passed by."""
    cache = ResponseCache()
    with call_scope(CallScope()) as scope:
        cache.put(REQUEST, record)
    assert (cache.count, scope.reported) == (0, None)


def test_a_response_without_a_bottom_is_no_error() -> None:
    """One that holds itself, or is too deep to be written."""
    ring: list[Any] = []
    ring.append(ring)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    cache = ResponseCache()
    cache.put(REQUEST, ring)
    cache.put(REQUEST, deep)
    assert cache.count == 0
    while deep:
        # Taken apart from above, as letting go of all levels at once would overflow.
        deep = deep[0]
