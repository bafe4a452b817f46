"""The JSON form of a response: what the cache keeps of it, and what DSPy gets back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from valuesim_dspy.callscope import Reported

_DSPY_FIELDS = frozenset({"responses", "outputs", "usage", "cost", "raw", "response_model"})


def to_record(value: Any) -> dict[str, Any]:
    """Return what is kept of a response.

    Args:
        value: DSPy's own record of a call, a LiteLLM response, or plain values (embeddings).

    Returns:
        A record for `restore`; JSON, as far as the values are.
    """
    from pydantic import BaseModel

    if isinstance(value, dict) and "_dspy_format" in value:
        return value
    if isinstance(value, BaseModel):
        cost = getattr(value, "_hidden_params", {}).get("response_cost")
        raw = value.model_dump(mode="json", warnings=False)
        return {"_valuesim_format": "litellm", "raw": raw, "cost": cost}
    return {"_valuesim_format": "json", "value": value}


def is_sound(record: Any) -> bool:
    """Whether something read from a file is a record that can be restored."""
    if not isinstance(record, dict):
        return False
    if "_dspy_format" in record:
        return record.keys() >= _DSPY_FIELDS and _is_told(record) and _all(record["responses"])
    form = record.get("_valuesim_format")
    raw = record.get("raw")
    return (form == "json" and "value" in record) or (
        form == "litellm"
        and isinstance(raw, dict)
        and _is_told(raw)
        and _all(raw.get("choices") or [])
    )


def _is_told(record: Mapping[str, Any]) -> bool:
    """Whether usage, cost and outputs are of the kinds that are counted with."""
    usage, cost = record.get("usage"), record.get("cost")
    return (
        isinstance(usage or {}, dict)
        and all(isinstance(count, int | float | dict | None) for count in (usage or {}).values())
        and isinstance(cost, int | float | None)
        and isinstance(record.get("outputs") or [], list)
    )


def _all(items: object) -> bool:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def is_empty(record: Mapping[str, Any]) -> bool:
    """Whether a response holds nothing at all, which is a failure rather than an answer."""
    if "_dspy_format" in record:
        said = record["outputs"]
    elif record["_valuesim_format"] == "litellm" and "choices" in record["raw"]:
        said = [choice.get("message") or choice for choice in record["raw"]["choices"]]
    else:
        return False
    return not any(_says_something(item) for item in said)


def _says_something(item: Any) -> bool:
    if isinstance(item, Mapping):
        return any(item.get(name) for name in ("text", "content", "tool_calls"))
    return bool(item)


def restore(record: dict[str, Any]) -> Any:
    """Return a kept response in the form that DSPy takes from its cache."""
    if "_dspy_format" in record:
        return record
    if record["_valuesim_format"] == "json":
        return record["value"]
    from dspy.clients.call_result import attributes

    return attributes({**record["raw"], "_hidden_params": {"response_cost": record.get("cost")}})


def reported(record: Mapping[str, Any]) -> Reported:
    """Return what the response said it took, whichever client it came through."""
    raw = record.get("raw")
    usage = record.get("usage") or (raw.get("usage") if isinstance(raw, dict) else None) or {}
    return Reported(
        calls=max(1, len(record.get("responses") or ())),
        prompt_tokens=usage.get("prompt_tokens", usage.get("input_tokens")),
        completion_tokens=usage.get("completion_tokens", usage.get("output_tokens")),
        usd=record.get("cost"),
    )


def plain(value: Any) -> Any:
    """Turn what requests and responses hold besides JSON into JSON.

    Raises:
        TypeError: There is no JSON form that means the same in every process.
    """
    from pydantic import BaseModel

    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", warnings=False)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    # A repr may hold an address in memory or a secret: better no caching than a wrong key.
    raise TypeError(f"{type(value).__name__} is not JSON")
