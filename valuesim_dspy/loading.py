"""Saving and loading programs: a folder of two JSON files, and nothing that runs."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import dspy

from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.errors import MissingDataError, ProgramStateError
from valuesim_dspy.finding import MANIFEST_FILE, opened_program
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
from valuesim_dspy.state import PROGRAM_FILE, apply_state, parts_of, state_of
from valuesim_dspy.survey.codebook import Codebook

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20

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
        program: A compiled or uncompiled program, a baseline whose class takes no arguments, or
            an ensemble of one of these.
        folder: Where to; replaced when it holds a program, refused when it holds other things.
        manifest: What is known of it; members, bindings, signatures, demo facts, demo questions
            and versions are filled in.
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
    whole = manifest.model_copy(update=_facts_of(program, manifest))
    fresh = _fresh(program, whole)
    # The code's default instructions: those of the program may be a teleprompter's.
    known = {
        "signatures": default_signatures(parts_of(fresh)[0]),
        "demo_questions": demo_questions(program, whole, codebook),
        "versions": versions(),
    }
    whole = whole.model_copy(update=known)
    for part in parts_of(program):
        check_signatures(whole, default_signatures(part), folder)
    texts = {
        PROGRAM_FILE: _json(state_of(program), PROGRAM_FILE, folder),
        MANIFEST_FILE: _json(whole.model_dump(mode="json"), MANIFEST_FILE, folder),
    }
    apply_state(fresh, parse_json(texts[PROGRAM_FILE], folder), folder)
    try:
        _replace(target, texts)
    except OSError as error:
        raise ProgramStateError(f"cannot be written: {error}", path=folder) from None
    return folder


def _facts_of(program: Any, manifest: Manifest) -> dict[str, Any]:
    """Return what the manifest says of the program that the program itself knows."""
    known: dict[str, Any] = {"members": None, "member_kind": None}
    kinds = {program.kind}
    if isinstance(program, Ensemble):
        known = {"members": program.size, "member_kind": program.member_kind}
        kinds.add(program.member_kind)
    if Ensemble.kind in {manifest.kind, program.kind} and manifest.kind not in kinds:
        raise ProgramStateError(
            "the manifest is of a program of another kind",
            expected=program.kind,
            found=shown(manifest.kind),
        )
    demo_facts = (module.demo_facts for module in _condensing(program))
    bindings = getattr(program, "bindings", None)
    return {
        **known,
        "kind": program.kind if isinstance(program, Ensemble) else manifest.kind,
        "demo_facts": next(demo_facts, manifest.demo_facts),
        "bindings": manifest.bindings or dict(bindings or {}),
    }


def _condensing(program: dspy.Module) -> list[Any]:
    """Return the modules that shorten what becomes a demo."""
    modules = [module for _, module in program.named_sub_modules(dspy.Module)]
    return [module for module in modules if hasattr(module, "demo_facts")]


def _fresh(program: Any, manifest: Manifest) -> dspy.Module:
    """Return the same program uncompiled, as the manifest names it."""
    if isinstance(program, Ensemble):
        return Ensemble([_fresh(member, manifest.single) for member in program.members])
    if manifest.kind == ValueSim.kind:
        return build_valuesim(manifest)
    return cast(dspy.Module, type(program)())


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


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
    source: Path | str,
    *,
    build: Builder = build_valuesim,
    codebook: Codebook | None = None,
    store: Path | str | None = None,
) -> Any:
    """Load a saved program.

    Args:
        source: A folder, the name of a packaged program, `runs:/<run id>/program`, or a
            registered one such as `models:/valuesim@champion`.
        build: Makes the uncompiled module from the manifest; of an ensemble, each member from a
            manifest of its own.
        codebook: Whose questions it will be asked; the codes its demos show are checked against
            it, or against the packaged one that the manifest names.
        store: Where runs and registered models are looked up: a folder or a tracking URI; by
            default the store in force.

    Returns:
        The program, ready to be called with a `Case`; its manifest is `program.manifest`.

    Raises:
        MissingDataError: There is no such program.
        ProgramStateError: It does not fit this code; the message says what differs.
    """
    with opened_program(source, store) as folder:
        texts = read_files(folder)
    # A copy that was fetched is gone: what is told is where it came from.
    place = folder if folder.exists() else Path(str(source))
    return program_of(texts, place, build=build, codebook=codebook)


def read_files(folder: Path) -> dict[str, str]:
    """Return what the files of a program's folder hold, by name.

    Raises:
        MissingDataError: One is not there.
        ProgramStateError: One cannot be read.
    """
    return {name: _read_text(folder / name) for name in (MANIFEST_FILE, PROGRAM_FILE)}


def program_of(
    texts: Mapping[str, str],
    folder: Path,
    *,
    build: Builder = build_valuesim,
    codebook: Codebook | None = None,
) -> Any:
    """Make a program of what its files hold.

    Args:
        texts: From a file's name to what it holds.
        folder: Where they come from, to be named in messages; nothing is read there.
        build: As for `load_program`.
        codebook: As for `load_program`.

    Raises:
        ProgramStateError: It does not fit this code; the message says what differs.
    """
    manifest = Manifest.parse(texts[MANIFEST_FILE], folder / MANIFEST_FILE)
    state = parse_json(texts[PROGRAM_FILE], folder / PROGRAM_FILE)
    try:
        parts = [build(manifest.single) for _ in range(manifest.members or 1)]
        program: Any = parts[0] if manifest.members is None else Ensemble(parts)
    except ProgramStateError as error:
        raise ProgramStateError(str(error), path=folder) from None
    warnings = check_signatures(manifest, default_signatures(parts[0]), folder)
    for warning in warnings + check_codebook(manifest, folder, codebook):
        log.warning("%s: %s", folder, warning)
    apply_state(program, state, folder)
    for module in _condensing(program) if manifest.demo_facts is not None else []:
        module.demo_facts = manifest.demo_facts
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
