"""Saving and loading programs: a folder of two JSON files, and nothing that runs."""

from __future__ import annotations

import importlib.resources
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
from valuesim_dspy.manifest import Manifest, check_signatures, default_signatures, versions
from valuesim_dspy.program import VARIANTS, ValueSim
from valuesim_dspy.survey.codebook import Codebook, load_codebook

log = logging.getLogger(__name__)

PROGRAM_FILE, MANIFEST_FILE = "program.json", "manifest.json"
MAX_BYTES = 64 * 2**20
_STATE_KEYS = {"traces", "train", "demos", "signature", "lm"}

Builder = Callable[[Manifest], dspy.Module]


def build_valuesim(manifest: Manifest) -> dspy.Module:
    """Return an uncompiled program of the manifest's variant.

    Raises:
        ProgramStateError: The kind or the variant is not one of this code's programs.
    """
    if manifest.kind != ValueSim.kind:
        raise ProgramStateError(
            f"holds the baseline {manifest.kind!r}, not a ValueSim program; "
            "measure it with `python -m evals run`"
        )
    if manifest.variant not in VARIANTS:
        raise ProgramStateError(
            "this code has no such variant", expected=", ".join(VARIANTS), found=manifest.variant
        )
    return ValueSim(manifest.variant)


def save_program(program: dspy.Module, folder: Path | str, manifest: Manifest) -> Path:
    """Write a program as `program.json` and `manifest.json`, private, all or nothing.

    Args:
        program: A compiled or uncompiled program or baseline.
        folder: Where to; replaced when it holds a program, refused when it holds other things.
        manifest: What is known of it; signatures, demo questions and versions are filled in.

    Returns:
        The folder.

    Raises:
        ProgramStateError: The folder holds other files, or the state is no plain JSON.
    """
    folder = Path(folder)
    if folder.exists() and {entry.name for entry in folder.iterdir()} - {
        PROGRAM_FILE,
        MANIFEST_FILE,
    }:
        raise ProgramStateError("the folder holds other files; name an empty one", path=folder)
    codebook = load_codebook(str(manifest.codebook.get("id", "wvs7")))
    fresh = default_signatures(program.reset_copy())
    whole = manifest.model_copy(
        update={
            "signatures": {name: manifest.signatures.get(name, fresh[name]) for name in fresh},
            "demo_questions": _demo_questions(program, codebook),
            "versions": versions(),
        }
    )
    state = {
        "predictors": {name: p.dump_state() for name, p in program.named_predictors()},
        "learned": getattr(program, "learned", {}),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(draft / PROGRAM_FILE, state, folder)
        _write(draft / MANIFEST_FILE, whole.model_dump(mode="json"), folder)
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _write(path: Path, content: Any, folder: Path) -> None:
    try:
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ProgramStateError(
            f"{path.name} would be no plain JSON: {error}", path=folder
        ) from None
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def load_program(source: Path | str, *, build: Builder = build_valuesim) -> Any:
    """Load a saved program.

    Args:
        source: A folder, the name of a packaged program, or `runs:/<run id>/program`.
        build: Makes the uncompiled module from the manifest.

    Returns:
        The program, ready to be called with a `Case`; its manifest is `program.manifest`.

    Raises:
        MissingDataError: There is no such program.
        ProgramStateError: It does not fit this code; the message says what differs.
    """
    folder = find_program(source)
    manifest = read_manifest(folder)
    state = _read_json(folder / PROGRAM_FILE)
    try:
        program = build(manifest)
    except ProgramStateError as error:
        raise ProgramStateError(str(error), path=folder) from None
    for warning in check_signatures(manifest, default_signatures(program), folder):
        log.warning("%s: %s", folder, warning)
    _check_codebook(manifest, folder)
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


def find_program(source: Path | str) -> Path:
    """Return the folder of a program: a path, a packaged name, or one fetched from MLflow.

    Raises:
        MissingDataError: There is no such program.
    """
    text = str(source)
    if text.startswith(("runs:/", "models:/")):
        return _fetch(text)
    folder = Path(text)
    if (folder / MANIFEST_FILE).is_file():
        return folder
    if text == folder.name:
        packaged = Path(str(importlib.resources.files("valuesim_dspy"))) / "programs" / text
        if (packaged / MANIFEST_FILE).is_file():
            return packaged
    raise MissingDataError(
        f"there is no program at {text}",
        f"give a folder that holds {MANIFEST_FILE}, a packaged name or runs:/<run id>/program",
    )


def _fetch(uri: str) -> Path:
    import mlflow
    from mlflow.exceptions import MlflowException

    from valuesim_dspy.store import tracking_uri

    mlflow.set_tracking_uri(tracking_uri())
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise MissingDataError(
            f"MLflow has no program at {uri}: {reason}", "list the runs with `valuesim ui`"
        ) from None


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ProgramStateError(f"is larger than {MAX_BYTES} bytes", path=path)
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingDataError(f"{path} is missing", "copy the whole program folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramStateError(f"cannot be read: {error}", path=path) from None


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        state = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise ProgramStateError(f"is no JSON: {error}", path=path) from None
    if not isinstance(state, dict) or set(state) != {"predictors", "learned"}:
        raise ProgramStateError("must hold `predictors` and `learned` and nothing else", path=path)
    return state


def _apply(program: dspy.Module, state: Mapping[str, Any], folder: Path) -> None:
    """Put saved demos and instructions into the predictors; nothing else is taken over."""
    predictors = dict(program.named_predictors())
    saved = state["predictors"]
    if not isinstance(saved, dict) or set(saved) != set(predictors):
        raise ProgramStateError(
            "program.json and manifest.json name different predictors", path=folder
        )
    for name, predictor in predictors.items():
        entry = saved[name]
        if not isinstance(entry, dict) or set(entry) - _STATE_KEYS or entry.get("lm"):
            raise ProgramStateError(f"predictor {name} holds what no program saves", path=folder)
        predictor.demos = [_demo(demo, predictor, folder) for demo in entry.get("demos", [])]
        try:
            predictor.signature = predictor.signature.load_state(entry["signature"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProgramStateError(f"the signature of {name}: {error!r}", path=folder) from None
    if state["learned"]:
        program.learned = state["learned"]


def _demo(demo: object, predictor: Any, folder: Path) -> dict[str, Any]:
    fields = set(predictor.signature.fields) | {"augmented"}
    if not isinstance(demo, dict) or not all(
        key in fields and isinstance(value, str | int | bool) for key, value in demo.items()
    ):
        raise ProgramStateError("a demo holds what no demo holds", path=folder)
    return demo


def _question_texts(codebook: Codebook) -> dict[str, str]:
    """Map every wording a question may have in a prompt to the question's id."""
    from valuesim_dspy.case import plain_text

    texts: dict[str, str] = {}
    for question in codebook.questions.values():
        variants = {question.text_for(None)}
        if question.text_for("JPN") not in variants:
            variants |= {question.text_for(country) for country in codebook.countries}
        texts |= {plain_text(text): question.id for text in variants}
    return texts


def _demo_questions(program: dspy.Module, codebook: Codebook) -> dict[str, tuple[int, ...]]:
    shown = {
        str(demo["question"])
        for _, predictor in program.named_predictors()
        for demo in predictor.demos
        if "question" in demo
    }
    if not shown:
        return {}
    texts = _question_texts(codebook)
    ids = sorted({texts[text] for text in shown if text in texts})
    return {qid: codebook[qid].codes for qid in ids}


def _check_codebook(manifest: Manifest, folder: Path) -> None:
    if not manifest.codebook:
        return
    codebook = load_codebook(str(manifest.codebook["id"]))
    if codebook.version != manifest.codebook.get("version"):
        log.warning(
            "%s: compiled with version %s of codebook %s, this is version %s",
            folder,
            manifest.codebook.get("version"),
            codebook.id,
            codebook.version,
        )
    for qid, codes in manifest.demo_questions.items():
        now = codebook[qid].codes if qid in codebook.questions else ()
        if now != codes:
            raise ProgramStateError(
                f"a demo shows {qid}, whose codes have changed; compile the program again",
                path=folder,
                expected=now,
                found=codes,
            )
