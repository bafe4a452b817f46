from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

import dspy
import pytest
from pydantic import BaseModel

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.callscope import CallScope, Reported, call_scope
from valuesim_dspy.errors import BudgetExceededError

REQUEST: dict[str, Any] = {
    "model": "openai/m",
    "messages": [{"role": "user", "content": "hi"}],
    "temperature": 0.0,
    "_fn_identifier": "dspy.clients.lm.litellm_completion",
}
IGNORED = ["api_key", "api_base", "base_url"]
RECORD: dict[str, Any] = {
    "_dspy_format": "dspy-lm15-result-v1",
    "responses": [{}],
    "outputs": ["hello"],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    "cost": 0.25,
    "raw": None,
    "response_model": "m",
}


class Schema(BaseModel):
    """A response format given as a class."""

    answer: int


def test_a_response_is_found_again_also_by_another_process(tmp_path: Path) -> None:
    """What was put is got, from the same cache and from another one on the same file."""
    cache = ResponseCache(tmp_path / "r.db")
    assert cache.get(REQUEST, IGNORED) is None
    cache.put(REQUEST, RECORD, IGNORED)
    assert cache.get(REQUEST, IGNORED) == RECORD
    assert ResponseCache(tmp_path / "r.db").get(REQUEST, IGNORED) == RECORD
    assert cache.count == 1


def test_a_folder_as_path_means_a_file_in_it(tmp_path: Path) -> None:
    """An existing folder may be given in place of the file."""
    cache = ResponseCache(tmp_path)
    cache.put(REQUEST, RECORD)
    cache.close()
    assert (tmp_path / "responses.db").is_file()


@pytest.mark.parametrize(
    "change",
    [
        {"model": "openai/other"},
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"temperature": 1.0},
        {"rollout_id": 1},
        {"n": 2},
        {"api_base": "http://localhost:1/v1"},
        {"_fn_identifier": "dspy.clients.lm.alitellm_completion"},
        {"prompt_cache_key": "a"},
        {"extra_headers": {"X-Model-Version": "2"}},
    ],
)
def test_what_decides_an_answer_is_in_the_key(change: dict[str, Any]) -> None:
    """Another model, prompt, setting, rollout, endpoint or client is another request."""
    cache = ResponseCache()
    cache.put(REQUEST, RECORD)
    assert cache.get({**REQUEST, **change}, IGNORED) is None


@pytest.mark.parametrize(
    "change",
    [
        {"api_key": "sk-canary-123456"},
        {"timeout": 5.0},
        {"num_retries": 9},
        {"extra_headers": {"Authorization": "Bearer canary"}},
        {"azure_ad_token": "canary"},
    ],
)
def test_what_does_not_decide_an_answer_is_not_in_the_key(change: dict[str, Any]) -> None:
    """Keys, time limits and retries change, and the response is found all the same."""
    cache = ResponseCache()
    base = {**REQUEST, "extra_headers": {}} if "extra_headers" in change else REQUEST
    cache.put(base, RECORD)
    assert cache.get({**base, **change}, IGNORED) == RECORD


def test_endpoints_are_told_apart_by_address_without_credentials() -> None:
    """Port and path count; user, password, query and a final slash do not."""
    cache = ResponseCache()
    cache.put({**REQUEST, "api_base": "http://localhost:8000/v1"}, RECORD)
    same = ["http://user:canary@localhost:8000/v1/", "HTTP://LOCALHOST:8000/v1?api-key=canary"]
    others = ["http://localhost:8001/v1", "http://localhost:8000/v2", "https://localhost:8000/v1"]
    for address in same:
        assert cache.get({**REQUEST, "api_base": address}, IGNORED) == RECORD
    for address in others:
        assert cache.get({**REQUEST, "api_base": address}, IGNORED) is None


def test_an_endpoint_known_to_the_call_alone_counts_too() -> None:
    """Where the request does not name its endpoint, the call's scope does."""
    cache = ResponseCache()
    with call_scope(CallScope(endpoint="http://a:1")):
        cache.put(REQUEST, RECORD)
        assert cache.get(REQUEST) == RECORD
    with call_scope(CallScope(endpoint="http://b:1")):
        assert cache.get(REQUEST) is None


def test_keys_do_not_depend_on_the_order_of_settings() -> None:
    """The same settings in another order are the same request."""
    cache = ResponseCache()
    assert cache.key(REQUEST) == cache.key(dict(reversed(REQUEST.items())))


def test_a_schema_class_is_part_of_the_key() -> None:
    """A response format given as a class is keyed by its schema."""
    cache = ResponseCache()
    key = cache.key({**REQUEST, "response_format": Schema})
    assert key not in (None, cache.key(REQUEST))


def test_what_has_no_stable_key_or_form_is_not_cached() -> None:
    """A request or a response that is not JSON is passed by, without an error."""
    cache = ResponseCache()
    odd = {**REQUEST, "tool": lambda: None}
    assert cache.key(odd) is None
    cache.put(odd, RECORD)
    cache.put(REQUEST, object())
    assert cache.get(odd) is None
    assert cache.get(REQUEST) is None
    assert cache.count == 0


def test_secrets_are_not_in_the_file(tmp_path: Path) -> None:
    """No file of the cache holds a key that was in a request."""
    cache = ResponseCache(tmp_path / "r.db")
    secret = {"api_key": "sk-canary", "headers": {"Authorization": "canary"}}
    cache.put({**REQUEST, **secret, "api_base": "http://u:canary@localhost/v1"}, RECORD)
    cache.close()
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"hello" in content
    assert b"canary" not in content


@pytest.mark.parametrize("planted", ["no json", '{"a": 1}', "[]", '{"_dspy_format": "x"}'])
def test_a_damaged_row_is_dropped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, planted: str
) -> None:
    """A row that is no record is a miss, is dropped, and its text is not logged."""
    cache = ResponseCache(tmp_path / "r.db")
    cache.put(REQUEST, RECORD)
    with sqlite3.connect(tmp_path / "r.db") as db:
        db.execute("UPDATE responses SET value = ?", (planted,))
    db.close()
    with caplog.at_level(logging.WARNING):
        assert cache.get(REQUEST) is None
    assert "damaged response" in caplog.text
    assert planted not in caplog.text
    assert cache.count == 0


def test_the_call_learns_what_was_needed_and_whether_it_was_a_hit() -> None:
    """A put reports what was paid, a later get what would have been."""
    cache = ResponseCache()
    with call_scope(CallScope()) as first:
        cache.get(REQUEST)
        cache.put(REQUEST, RECORD)
    with call_scope(CallScope()) as second:
        cache.get(REQUEST)
    assert (first.hit, first.reported) == (False, Reported(1, 5, 2, 0.25))
    assert (second.hit, second.reported) == (True, Reported(1, 5, 2, 0.25))


def test_only_a_miss_asks_whether_it_may_be_paid() -> None:
    """A refusal to pay stops a miss and never a hit."""

    def refuse() -> None:
        raise BudgetExceededError("calls", 1, 1)

    cache = ResponseCache()
    with pytest.raises(BudgetExceededError), call_scope(CallScope(before_paying=refuse)):
        cache.get(REQUEST)
    cache.put(REQUEST, RECORD)
    with call_scope(CallScope(before_paying=refuse)):
        assert cache.get(REQUEST) == RECORD


def test_a_request_without_a_key_asks_whether_it_may_be_paid() -> None:
    """What cannot be cached is paid each time, so each time the budget is asked."""
    asked: list[int] = []
    with call_scope(CallScope(before_paying=lambda: asked.append(1))):
        assert ResponseCache().get({"tool": object()}) is None
    assert asked == [1]


def test_installing_is_undone_in_layers() -> None:
    """Nested blocks, also of two caches, put back what was there before."""
    before = vars(dspy).get("cache", "absent")
    outer, inner = ResponseCache(), ResponseCache()
    with outer.installed():
        assert dspy.cache is outer
        with outer.installed(), inner.installed():
            assert dspy.cache is inner
        assert dspy.cache is outer
    assert vars(dspy).get("cache", "absent") is before


def test_installing_is_undone_after_an_error() -> None:
    """An error in the block leaves nothing installed."""
    before = vars(dspy).get("cache", "absent")
    with pytest.raises(KeyError), ResponseCache().installed():
        raise KeyError("x")
    assert vars(dspy).get("cache", "absent") is before


def test_dspys_embedder_is_served_from_the_cache() -> None:
    """Embeddings go through the same cache as JSON numbers."""
    from dspy.clients.cache import request_cache

    asked: list[Any] = []

    @request_cache(ignored_args_for_cache_key=IGNORED)
    def compute(model: str, batch: list[str], **kwargs: Any) -> list[list[float]]:
        asked.append(batch)
        return [[1.0, float(len(text))] for text in batch]

    with ResponseCache().installed():
        assert compute("m", ["abc"], api_base="http://h/1") == [[1.0, 3.0]]
        assert compute("m", ["abc"], api_base="http://h/1") == [[1.0, 3.0]]
        assert compute("m", ["abc"], api_base="http://h/2") == [[1.0, 3.0]]
    assert asked == [["abc"], ["abc"]]
