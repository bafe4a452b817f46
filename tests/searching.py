"""Small searches for tests: a file, a plan, trials made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs import tables

from optimize.search_plan import Plan, load_search
from optimize.search_trial import Tried

SPACE: dict[str, Any] = {
    "variant": ["single", "facts-only"],
    "compile.teleprompter": ["none", "labeled-few-shot"],
    "compile.options.k": {"low": 1, "high": 3},
}
JOB: dict[str, Any] = {"baselines": [], "compile": {"arms": []}}


def search_file(path: Path, search: Mapping[str, Any] | None = None, **job: Any) -> Path:
    """Write a small search; `search` is laid over its table, `job` over its job."""
    known: dict[str, Any] = {"study": "tiny", "trials": 4, "startup": 2, "space": SPACE}
    known |= search or {}
    made = tables(**{**JOB, "variant": "single", **job})
    made.pop("name")
    made["compile"].pop("options", None)
    lines: list[str] = []
    _table(lines, "search", known)
    for name, item in made.items():
        if not isinstance(item, Mapping):
            lines.insert(0, f"{name} = {json.dumps(item)}")
        else:
            _table(lines, name, item)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _table(lines: list[str], name: str, table: Mapping[str, Any]) -> None:
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines.append(f"[{name}]")
    for key, value in table.items():
        if key not in inner and value is not None:
            lines.append(f'"{key}" = {json.dumps(value)}')
    for key, value in inner.items():
        _table(lines, f'{name}."{key}"', value)


def plan(path: Path, search: Mapping[str, Any] | None = None, *sets: str, **job: Any) -> Plan:
    """Write a small search into a folder and read it."""
    return load_search(search_file(path / "tiny.toml", search, **job), sets)


def tried(number: int, state: str = "complete", **known: Any) -> Tried:
    """Return what became of a trial; `accuracy` and `cost` are its values."""
    values = {name: known.pop(name) for name in ("accuracy", "nmae", "cost") if name in known}
    fields: dict[str, Any] = {
        "params": {"variant": "single", "compile.teleprompter": "none"},
        "values": values if state == "complete" else {},
        "metrics": {"accuracy": values.get("accuracy", 0.0)},
        "curve": {},
    }
    return Tried(number, state, **{**fields, **known})
