"""What compiling changed, predictor by predictor, as text for one's own terminal."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy

from evals.baselines import SAVED, build_baseline
from valuesim_dspy.ensemble import without_member
from valuesim_dspy.finding import opened_program
from valuesim_dspy.loading import build_valuesim, load_program
from valuesim_dspy.manifest import Manifest, shown

WIDTH = 100
_INDENT = "    "
_HOLDS_DEMOS = "Its demos hold answers of real people: do not paste or publish what is shown here."
_HOLDS_INSTRUCTIONS = (
    "Its instructions were written by a model that read answers of real people: read them for "
    "traces of anybody before you pass them on."
)


def show_program(source: str | Path, *, store: str | Path | None = None) -> str:
    """Return what a saved program is, and what it has that an uncompiled one has not.

    Instructions come as a diff to the code's, demos field by field, what was learned of the
    perspectives as tables. Nothing that a file says reaches the terminal as a control sequence.

    Args:
        source: A folder, a packaged name, `runs:/<run id>/program` or
            `models:/valuesim@champion`; a compiled baseline's folder too.
        store: Where the runs are; see `valuesim_dspy.store.store_location`.

    Raises:
        MissingDataError: There is no such program.
        ProgramStateError: It does not fit this code.
    """
    with opened_program(source, store) as folder:
        program = load_program(folder, build=_build)
    manifest: Manifest = program.manifest
    fresh = dict(_build(manifest.single).named_predictors())
    blocks = [*_header(shown(source), manifest)]
    for name, predictor in program.named_predictors():
        blocks.append(_predictor(name, predictor, fresh[without_member(name)].signature))
    members = getattr(program, "named_members", None) or {"": program}
    for name, member in members.items():
        blocks += _learned(name, getattr(member, "learned", {}))
    return "\n\n".join(blocks)


def _build(manifest: Manifest) -> dspy.Module:
    return build_baseline(manifest) if manifest.kind in SAVED else build_valuesim(manifest)


def _header(source: str, manifest: Manifest) -> Iterator[str]:
    """Yield the essentials of the manifest, and what to beware of."""
    size = f", {manifest.members} members" if manifest.members else ""
    told: dict[str, object] = {
        "program": f"{manifest.kind} {manifest.variant}{size}",
        "teleprompter": manifest.teleprompter,
        "LMs": _pairs(manifest.lms),
        "seed": manifest.seed,
        "fold": _pairs(manifest.fold),
        "split": _pairs(manifest.split),
        "data": _pairs(manifest.data),
        "codebook": _pairs(manifest.codebook),
        "evidence": manifest.evidence,
        "scores": _pairs(manifest.scores),
        "versions": _pairs(manifest.versions),
    }
    lines = [f"# {source}", *(_entry(name, plain(text)) for name, text in told.items() if text)]
    yield "\n".join(lines)
    if manifest.demos_hold_survey_data:
        yield textwrap.fill(_HOLDS_DEMOS, WIDTH)
    if manifest.instructions_saw_survey_data:
        yield textwrap.fill(_HOLDS_INSTRUCTIONS, WIDTH)


def _pairs(table: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name} ({_pairs(value)})" if isinstance(value, Mapping) else f"{name} {_value(value)}"
        for name, value in table.items()
        if value != ""
    )


def _value(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _entry(name: str, text: str) -> str:
    return textwrap.fill(f"{name}: {text}", WIDTH, subsequent_indent=_INDENT)


def _predictor(name: str, predictor: Any, default: type[dspy.Signature]) -> str:
    """Show one predictor: its instructions and fields against the code's, then its demos."""
    lines = [f"## {plain(name)}", ""]
    changes = _diff(_texts(default), _texts(predictor.signature))
    lines += changes or ["instructions: unchanged"]
    demos = predictor.demos
    lines += ["", f"demos: {len(demos) or 'none'}"]
    order = [*predictor.signature.input_fields, *predictor.signature.output_fields]
    for number, demo in enumerate(demos, start=1):
        mark = ", answered by a model" if dict(demo).get("augmented") else ""
        lines += [f"  demo {number} of {len(demos)}{mark}"]
        lines += _demo(dict(demo), order)
    return "\n".join(lines)


def _texts(signature: type[dspy.Signature]) -> list[str]:
    """Return all that a teleprompter may write: the instructions, then prefixes and descriptions.

    Descriptions and prefixes are one line each, so that a diff shows which field was changed.
    """
    lines = signature.instructions.splitlines()
    for name, field in signature.fields.items():
        extra = field.json_schema_extra
        lines += [f"field {name}: {extra.get('prefix', '')} {extra.get('desc', '')}"]
    return [plain(line) for line in lines]


def _diff(before: Sequence[str], after: Sequence[str]) -> list[str]:
    found = difflib.unified_diff(before, after, "uncompiled", "compiled", lineterm="", n=2)
    return [f"{_INDENT}{line}" for line in found]


def _demo(demo: Mapping[str, Any], order: Sequence[str]) -> Iterator[str]:
    """Yield a demo field by field, in the signature's order; its texts whole and wrapped."""
    for name in [*order, *(name for name in demo if name not in order)]:
        if name not in demo or name == "augmented":
            continue
        lines = [plain(line) for line in str(demo[name]).splitlines()] or [""]
        if len(lines) == 1:
            yield _wrapped(f"{plain(name)}: {lines[0]}", _INDENT)
        else:
            yield f"{_INDENT}{plain(name)}:"
            yield from (_wrapped(line, _INDENT * 2) for line in lines)


def _wrapped(line: str, indent: str) -> str:
    filled = textwrap.fill(
        line, WIDTH, initial_indent=indent, subsequent_indent=_INDENT * 2, break_on_hyphens=False
    )
    return filled or indent


def _learned(member: str, learned: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables of what compiling learned of the perspectives."""
    of = f" of {plain(member)}" if member else ""
    records, weights = learned.get("records"), learned.get("weights")
    if records:
        yield f"## records{of}, learned with {shown(records['lm'])}\n\n" + _table(
            {"reader": reader, "cell": cell, **numbers}
            for reader, cells in records["cells"].items()
            for cell, numbers in cells.items()
        )
    if weights:
        yield f"## weights{of}, learned with {shown(weights['lm'])}\n\n" + _table(
            {"scale": scale, **rule, "readers": _pairs(rule["readers"])}
            | {"accuracy": _pairs(rule["accuracy"])}
            for scale, rule in weights["by"].items()
        )


def _table(rows: Iterator[dict[str, Any]]) -> str:
    """Line up rows under the names of all their columns; a cell that is absent is a dash."""
    held = list(rows)
    names = list(dict.fromkeys(name for row in held for name in row))
    lines = [names]
    for row in held:
        cells = (row.get(name) for name in names)
        lines.append(["-" if cell is None else shown(_value(cell)) for cell in cells])
    widths = [max(len(line[at]) for line in lines) for at in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def plain(text: object) -> str:
    """Return what a file says as it may stand on a terminal: one line, no control sequence."""
    return "".join(char if char.isprintable() else " " for char in str(text))
