"""The page of the teleprompters says what the registry and the models of options say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from optimize.mechanics_table import COLUMNS, HEADING, RANKS_NOTHING
from optimize.teleprompters import TELEPROMPTERS, CommonOptions, Teleprompter
from optimize.teleprompters.ensembling import EnsembleOptions
from valuesim_dspy.roles import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "teleprompters.md"
TEXT = PAGE.read_text(encoding="utf-8")
# The others' options are those of its members.
OWN: Mapping[str, type[Settings]] = {"ensemble": EnsembleOptions}
HEAD = "| option | default | values | meaning |\n| --- | --- | --- | --- |"


def allowed(schema: Mapping[str, Any]) -> str:
    """Return the values that an option takes, in words."""
    if "anyOf" in schema:
        parts = [allowed(part) for part in schema["anyOf"] if part.get("type") != "null"]
        return ", or ".join(parts)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema["type"] == "array":
        return "names"
    if schema["type"] == "boolean":
        return "`true`, `false`"
    if "minimum" not in schema:
        return "text"
    most = schema.get("maximum")
    return f"at least {schema['minimum']}" if most is None else f"{schema['minimum']} to {most}"


def option_row(name: str, schema: Mapping[str, Any]) -> str:
    """Return an option's line in the table of its teleprompter."""
    default = schema.get("default")
    told = "none" if default is None else f"`{json.dumps(default)}`"
    return f"| `{name}` | {told} | {allowed(schema)} | {schema['description']} |"


def options_table(model: type[Settings], *, without: type[Settings] | None = None) -> str:
    """Return the table of a model's options, those of another left out."""
    left_out = set(without.model_fields) if without else set()
    known = model.model_json_schema()["properties"].items()
    rows = [option_row(name, schema) for name, schema in known if name not in left_out]
    return "\n".join([HEAD, *rows])


def section(name: str) -> str:
    """Return the part of the page under a heading."""
    (found,) = re.findall(rf"^##+ {re.escape(name)}\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S)
    return str(found)


def rows(text: str) -> list[list[str]]:
    """Return the cells of a Markdown table, its rule left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not set("".join(row)) <= set("-:")]


@pytest.mark.parametrize("teleprompter", TELEPROMPTERS.values(), ids=lambda t: t.name)
def test_every_teleprompter_has_a_section_with_its_options(teleprompter: Teleprompter) -> None:
    """Its own options stand there with values, defaults and meaning as the model has them."""
    told = section(f"`{teleprompter.name}`")
    model = OWN.get(teleprompter.name, teleprompter.options)
    assert options_table(model, without=CommonOptions) in told
    assert teleprompter.what in " ".join(told.split()).replace("What it does: ", "")
    assert "Cost: " in told


@pytest.mark.parametrize("teleprompter", TELEPROMPTERS.values(), ids=lambda t: t.name)
def test_the_overview_says_who_selects_and_who_writes(teleprompter: Teleprompter) -> None:
    """Whether the valset chooses and whether instructions are written is read off the registry."""
    (row,) = (row for row in rows(section("Overview")) if row[0] == f"`{teleprompter.name}`")
    assert row[1] == ("yes" if teleprompter.writes else "no")
    assert row[2] == ("yes" if teleprompter.needs_valset else "no")


def test_the_options_of_all_stand_once() -> None:
    """What every teleprompter can be told has a section of its own."""
    assert options_table(CommonOptions) in section("Options of every teleprompter")
    for teleprompter in TELEPROMPTERS.values():
        assert issubclass(teleprompter.options, CommonOptions), teleprompter.name


def test_no_section_is_of_a_teleprompter_that_is_gone() -> None:
    """The page names those of the registry, in its order, and no other."""
    assert re.findall(r"^### `([\w-]+)`$", TEXT, re.M) == list(TELEPROMPTERS)


def test_the_table_is_the_one_that_the_command_prints() -> None:
    """Heading, columns, a row for each teleprompter, and the sentence that it ranks nothing."""
    told = section(HEADING)
    head, *found = rows(told)
    assert head == list(COLUMNS)
    assert [row[0] for row in found] == list(TELEPROMPTERS)
    assert RANKS_NOTHING in " ".join(told.split())
    for row in found:
        assert row[7] == "yes", "the same seed twice is identical for every one"
        assert re.fullmatch(r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]", row[8]), row


def test_the_table_says_date_model_and_data() -> None:
    """Without them its numbers could not be made again."""
    told = " ".join(section(HEADING).split())
    for part in (
        r"date: \d{4}-\d\d-\d\d",
        r"task LM: offline/lexical-1",
        r"data: synthetic \w{12}",
    ):
        assert re.search(part, told), part
    assert "python -m optimize teleprompters optimize/jobs/demo.toml" in TEXT


def test_values_are_told_in_words() -> None:
    """Choices, ranges, texts and what may be left out."""
    assert allowed({"type": "integer", "minimum": 1, "maximum": 9}) == "1 to 9"
    assert allowed({"type": "integer", "minimum": 1}) == "at least 1"
    assert allowed({"enum": ["a", "b"], "type": "string"}) == "`a`, `b`"
    assert allowed({"anyOf": [{"type": "integer", "minimum": 2}, {"type": "null"}]}) == "at least 2"
    assert allowed({"type": "string"}) == "text"
    assert option_row("k", {"type": "integer", "minimum": 1, "description": "x"}).startswith(
        "| `k` | none |"
    )
