"""The manifest of a saved program: what it is, where it comes from, what it must fit."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy
from pydantic import BaseModel, ConfigDict, ValidationError

from valuesim_dspy.errors import ProgramStateError

FORMAT = 1
_PACKAGES = ("valuesim-dspy", "dspy", "litellm", "pydantic")


class Manifest(BaseModel):
    """What `manifest.json` holds beside `program.json`.

    Attributes:
        format: Version of the two files' format.
        kind: The class of program: `valuesim`, or a baseline's name.
        variant: The variant of that class.
        teleprompter: What compiled it; "none" for an uncompiled program.
        lms: LM role to model name; never an endpoint or a key.
        seed: The job's seed.
        fold: Strategy, index, count, seed and digest of the fold it was compiled on.
        split: Seed, sizes and digest of the split.
        codebook: Id, version and digest of the codebook.
        data: Digest, rows and stamp of the survey file: information, not a condition.
        evidence: `survey`, or `synthetic-machinery` for what synthetic people gave.
        scores: Metric to value, from the job that saved it.
        demos_hold_survey_data: Demos were rendered from rows of real people.
        instructions_saw_survey_data: A teleprompter that wrote instructions read such rows.
        signatures: Predictor to its fields and a hash of its default instructions.
        demo_questions: Question id to codes, for every question that a demo shows.
        versions: Package to version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    kind: str
    variant: str
    teleprompter: str = "none"
    lms: dict[str, str] = {}
    seed: int = 0
    fold: dict[str, str | int] = {}
    split: dict[str, str | int | dict[str, int]] = {}
    codebook: dict[str, str | int] = {}
    data: dict[str, str | int] = {}
    evidence: str = "survey"
    scores: dict[str, float] = {}
    demos_hold_survey_data: bool = False
    instructions_saw_survey_data: bool = False
    signatures: dict[str, dict[str, Any]] = {}
    demo_questions: dict[str, tuple[int, ...]] = {}
    versions: dict[str, str] = {}

    @classmethod
    def parse(cls, text: str, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            ProgramStateError: It is no JSON, of another format version, or malformed.
        """
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise ProgramStateError(f"is no JSON: {error}", path=path) from None
        found = raw.get("format") if isinstance(raw, dict) else None
        if found != FORMAT:
            raise ProgramStateError(
                "this version of valuesim-dspy cannot read the program's format; "
                "use the version named in its manifest under `versions`",
                path=path,
                expected=f"format {FORMAT}",
                found=f"format {found}",
            )
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ProgramStateError(f"{key}: {first['msg']}", path=path) from None


def versions() -> dict[str, str]:
    """Return the versions of the packages that a saved program depends on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def signature_record(signature: type[dspy.Signature]) -> dict[str, Any]:
    """Describe a signature as the code has it: fields in order, and its instructions' hash."""
    fields = [
        [name, str(field.json_schema_extra["__dspy_field_type"]), _type_name(field.annotation)]
        for name, field in signature.fields.items()
    ]
    digest = hashlib.sha256(signature.instructions.encode()).hexdigest()[:16]
    return {"fields": fields, "instructions": digest}


def _type_name(annotation: Any) -> str:
    return str(getattr(annotation, "__name__", annotation))


def default_signatures(program: dspy.Module) -> dict[str, dict[str, Any]]:
    """Return the record of each predictor of a freshly built program, by predictor name."""
    return {
        name: signature_record(predictor.signature)
        for name, predictor in program.named_predictors()
    }


def check_signatures(
    manifest: Manifest, current: Mapping[str, Mapping[str, Any]], path: Path
) -> list[str]:
    """Compare the saved predictors with the code's; return warnings.

    Raises:
        ProgramStateError: Predictors, or a predictor's fields, differ: state is mapped by
            position, so that loading would be silently wrong.
    """
    if list(manifest.signatures) != list(current):
        raise ProgramStateError(
            "the program's predictors are not those of this code; compile it again",
            path=path,
            expected=", ".join(current),
            found=", ".join(manifest.signatures) or "none",
        )
    warnings = []
    for name, record in current.items():
        saved = manifest.signatures[name]
        if saved.get("fields") != record["fields"]:
            raise ProgramStateError(
                f"the fields of predictor {name} have changed; compile the program again",
                path=path,
                expected=record["fields"],
                found=saved.get("fields"),
            )
        if saved.get("instructions") != record["instructions"]:
            warnings.append(
                f"{name}: the code's default instructions have changed since this program was "
                "saved; the saved ones are used"
            )
    return warnings
