"""Saving and loading programs: a folder of two JSON files, and nothing that runs."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dspy

from valuesim_dspy.errors import MissingDataError, ProgramStateError
from valuesim_dspy.finding import MANIFEST_FILE, find_program
from valuesim_dspy.manifest import (
    Manifest,
    check_codebook,
    check_signatures,
    default_signatures,
    demo_questions,
    parse_json,
    shown,
    versions,
)
from valuesim_dspy.program import VARIANTS, ValueSim
from valuesim_dspy.survey.codebook import Codebook

log = logging.getLogger(__name__)

PROGRAM_FILE = "program.json"
MAX_BYTES = 64 * 2**20
_STATE_KEYS = {"traces", "train", "demos", "signature", "lm"}
_FIELD_KEYS = {"prefix", "description"}

Builder = Callable[[Manifest], dspy.Module]


def build_valuesim(manifest: Manifest) -> dspy.Module:
    """Return an uncompiled program of the manifest's variant.

    Raises:
        ProgramStateError: The kind or the variant is not one of this code's programs.
    """
    if manifest.kind != ValueSim.kind:
        raise ProgramStateError(
            f"holds the baseline {shown(manifest.kind)}, not a ValueSim program; measure it with "
            "`python -m evals run`"
        )
    if manifest.variant not in VARIANTS:
        raise ProgramStateError(
            "this code has no such variant",
            expected=", ".join(VARIANTS),
            found=shown(manifest.variant),
        )
    return ValueSim(manifest.variant)


def save_program(
    program: dspy.Module,
    folder: Path | str,
    manifest: Manifest,
    *,
    codebook: Codebook | None = None,
) -> Path:
    """Write a program as `program.json` and `manifest.json`, private, all or nothing.

    Args:
        program: A compiled or uncompiled program, or a baseline whose class takes no arguments.
        folder: Where to; replaced when it holds a program, refused when it holds other things.
        manifest: What is known of it; signatures, demo questions and versions are filled in.
        codebook: What its demos were rendered from, where that is not packaged.

    Returns:
        The folder.

    Raises:
        ProgramStateError: The folder holds other files or cannot be written, or the program
            would not load again: no plain JSON, no such variant, demos with other fields.
    """
    folder = Path(folder)
    target = folder.resolve()
    if target.exists() and not (
        target.is_dir() and _names(target) <= {PROGRAM_FILE, MANIFEST_FILE}
    ):
        raise ProgramStateError("holds other files; name an empty folder", path=folder)
    fresh = build_valuesim(manifest) if manifest.kind == ValueSim.kind else type(program)()
    # The code's default instructions: those of the program may be a teleprompter's.
    defaults = default_signatures(fresh)
    known = {
        "signatures": defaults,
        "demo_questions": demo_questions(program, manifest, codebook),
        "versions": versions(),
    }
    whole = manifest.model_copy(update=known)
    check_signatures(whole, default_signatures(program), folder)
    state = {
        "predictors": {name: _state(p) for name, p in program.named_predictors()},
        "learned": getattr(program, "learned", {}),
    }
    texts = {
        PROGRAM_FILE: _json(state, PROGRAM_FILE, folder),
        MANIFEST_FILE: _json(whole.model_dump(mode="json"), MANIFEST_FILE, folder),
    }
    _apply(fresh, parse_json(texts[PROGRAM_FILE], folder), folder)
    try:
        _replace(target, texts)
    except OSError as error:
        raise ProgramStateError(f"cannot be written: {error}", path=folder) from None
    return folder


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def _state(predictor: Any) -> dict[str, Any]:
    """Return DSPy's state of a predictor without what may hold rows or an address."""
    return predictor.dump_state() | {"traces": [], "train": [], "lm": None}


def _json(content: Any, name: str, folder: Path) -> str:
    try:
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ProgramStateError(f"{name} would be no plain JSON: {error}", path=folder) from None
    return text


def _replace(folder: Path, texts: Mapping[str, str]) -> None:
    """Put a new folder in an old one's place; where that fails, the old one is there as it was."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    old = draft.with_name(f"{draft.name}-old")
    try:
        for name, text in texts.items():
            descriptor = os.open(draft / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for rest in (draft, old):
            shutil.rmtree(rest, ignore_errors=True)


def load_program(
    source: Path | str, *, build: Builder = build_valuesim, codebook: Codebook | None = None
) -> Any:
    """Load a saved program.

    Args:
        source: A folder, the name of a packaged program, or `runs:/<run id>/program`.
        build: Makes the uncompiled module from the manifest.
        codebook: Whose questions it will be asked; the codes its demos show are checked against
            it, or against the packaged one that the manifest names.

    Returns:
        The program, ready to be called with a `Case`; its manifest is `program.manifest`.

    Raises:
        MissingDataError: There is no such program.
        ProgramStateError: It does not fit this code; the message says what differs.
    """
    folder = find_program(source)
    manifest = read_manifest(folder)
    state = parse_json(_read_text(folder / PROGRAM_FILE), folder / PROGRAM_FILE)
    try:
        program = build(manifest)
    except ProgramStateError as error:
        raise ProgramStateError(str(error), path=folder) from None
    warnings = check_signatures(manifest, default_signatures(program), folder)
    for warning in warnings + check_codebook(manifest, folder, codebook):
        log.warning("%s: %s", folder, warning)
    _apply(program, state, folder)
    program.manifest = manifest
    return program


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a program's folder.

    Raises:
        MissingDataError: There is none.
        ProgramStateError: It is malformed or of another format.
    """
    path = folder / MANIFEST_FILE
    return Manifest.parse(_read_text(path), path)


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ProgramStateError("is no file", path=path)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ProgramStateError(f"is larger than {MAX_BYTES} bytes", path=path)
        return data.decode()
    except FileNotFoundError:
        raise MissingDataError(f"{path} is missing", "copy the whole program folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramStateError(f"cannot be read: {error}", path=path) from None


def _apply(program: dspy.Module, state: Any, folder: Path) -> None:
    """Put saved demos and instructions into the predictors; nothing else is taken over."""
    if not isinstance(state, dict) or set(state) != {"predictors", "learned"}:
        raise ProgramStateError(
            f"{PROGRAM_FILE} must hold `predictors` and `learned` and nothing else", path=folder
        )
    predictors = dict(program.named_predictors())
    saved, learned = state["predictors"], state["learned"]
    if not isinstance(saved, dict) or set(saved) != set(predictors):
        raise ProgramStateError(
            f"{PROGRAM_FILE} and {MANIFEST_FILE} name different predictors", path=folder
        )
    for name, predictor in predictors.items():
        if not _is_state(saved[name], predictor.signature):
            raise ProgramStateError(f"predictor {name} holds what no program saves", path=folder)
        predictor.demos = saved[name]["demos"]
        predictor.signature = predictor.signature.load_state(saved[name]["signature"])
    if not isinstance(learned, dict):
        raise ProgramStateError("`learned` must be a table", path=folder)
    if learned:
        program.learned = learned


def _is_state(saved: object, signature: type[dspy.Signature]) -> bool:
    """Whether a predictor's entry is demos and texts that fit its signature, and no more."""
    if not isinstance(saved, dict) or not {"demos", "signature"} <= set(saved) <= _STATE_KEYS:
        return False
    texts, demos = saved["signature"], saved["demos"]
    if any(saved.get(key) for key in ("traces", "train", "lm")) or not isinstance(demos, list):
        return False
    if not isinstance(texts, dict) or set(texts) != {"instructions", "fields"}:
        return False
    fields, allowed = texts["fields"], {*signature.fields, "augmented"}
    return (
        isinstance(texts["instructions"], str)
        and isinstance(fields, list)
        and len(fields) == len(signature.fields)
        and all(_is_flat(field, str) and set(field) == _FIELD_KEYS for field in fields)
        and all(_is_flat(demo, str | int) and set(demo) <= allowed for demo in demos)
    )


def _is_flat(table: object, kind: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(value, kind) for value in table.values())
