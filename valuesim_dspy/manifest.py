"""The manifest of a saved program: what it is, where it comes from, what it must fit."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from valuesim_dspy.case import plain_text
from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.errors import ProgramStateError
from valuesim_dspy.errors import shown as shown
from valuesim_dspy.survey.codebook import Codebook, load_codebook, packaged_codebooks

FORMAT = 1
DEFAULT_CODEBOOK = "wvs7"
MOST_MEMBERS = 64
_PACKAGES = ("valuesim-dspy", "dspy", "litellm", "pydantic")


class Manifest(BaseModel):
    """What `manifest.json` holds beside `program.json`.

    Attributes:
        format: Version of the two files' format.
        kind: The class of program: `valuesim`, `ensemble`, or a baseline's name.
        variant: The variant of that class; of an ensemble, its members'.
        members: How many members an ensemble has; None for a single program.
        member_kind: The class of an ensemble's members.
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
        bindings: What is bound to it when it answers, such as `peers`: digest, seed, people.
        demo_facts: How many facts a demo keeps; None for the code's default.
        signatures: Predictor to its fields and a hash of its default instructions; of an
            ensemble, those of each member.
        demo_questions: Question id to codes, for every question that a demo shows.
        versions: Package to version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    kind: str
    variant: str
    members: int | None = Field(default=None, ge=2, le=MOST_MEMBERS)
    member_kind: str | None = None
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
    bindings: dict[str, dict[str, str | int]] = {}
    demo_facts: int | None = Field(default=None, ge=0)
    signatures: dict[str, dict[str, Any]] = {}
    demo_questions: dict[str, tuple[int, ...]] = {}
    versions: dict[str, str] = {}

    @classmethod
    def parse(cls, text: str, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            ProgramStateError: It is no JSON, of another format version, or malformed.
        """
        raw = parse_json(text, path)
        found = raw.get("format") if isinstance(raw, dict) else None
        if found != FORMAT:
            raise ProgramStateError(
                "this version of valuesim-dspy cannot read the program's format; "
                "use the version named in its manifest under `versions`",
                path=path,
                expected=f"format {FORMAT}",
                found=f"format {shown(found)}",
            )
        try:
            manifest = cls.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ProgramStateError(f"{shown(key)}: {first['msg']}", path=path) from None
        told = (manifest.members is not None, manifest.member_kind is not None)
        if told != (manifest.kind == Ensemble.kind,) * 2 or manifest.member_kind == Ensemble.kind:
            raise ProgramStateError(
                "kind, members and member_kind do not fit: only an ensemble has members, which are "
                "no ensembles",
                path=path,
            )
        return manifest

    @property
    def single(self) -> Manifest:
        """The manifest of one member alone; the manifest itself where it is no ensemble's."""
        if self.kind != Ensemble.kind or self.member_kind is None:
            return self
        alone = {"kind": self.member_kind, "members": None, "member_kind": None}
        return self.model_copy(update=alone)


def parse_json(text: str, path: Path) -> Any:
    """Read strict JSON: no NaN, no infinity, no number that overflows to one.

    Raises:
        ProgramStateError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ProgramStateError(f"is no JSON: {shown(error)}", path=path) from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


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
            found=shown(", ".join(manifest.signatures) or "none"),
        )
    warnings = []
    for name, record in current.items():
        saved = manifest.signatures[name]
        if saved.get("fields") != record["fields"]:
            raise ProgramStateError(
                f"the fields of predictor {name} have changed; compile the program again",
                path=path,
                expected=record["fields"],
                found=shown(saved.get("fields")),
            )
        if saved.get("instructions") != record["instructions"]:
            warnings.append(
                f"{name}: the code's default instructions have changed since this program was "
                "saved; the saved ones are used"
            )
    return warnings


def demo_questions(
    program: dspy.Module, manifest: Manifest, codebook: Codebook | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the codes of every question that a demo shows, by question id.

    Args:
        program: Whose demos are meant.
        manifest: Names the codebook.
        codebook: The one it names, where that is not packaged or in a wording of one's own.

    Returns:
        Nothing where the codebook named is neither given nor packaged.
    """
    codebook = _codebook_of(manifest, codebook)
    asked = {
        str(demo["question"])
        for _, predictor in program.named_predictors()
        for demo in predictor.demos
        if "question" in demo
    }
    if not asked or codebook is None:
        return {}
    texts = _question_texts(codebook)
    ids = sorted({texts[text] for text in asked if text in texts})
    return {qid: codebook[qid].codes for qid in ids}


def check_codebook(manifest: Manifest, path: Path, in_use: Codebook | None = None) -> list[str]:
    """Compare the codebook a program was compiled with with this one; return warnings.

    Args:
        manifest: Names the codebook the program was compiled with.
        path: The program's folder, for messages.
        in_use: The codebook whose questions the program will be asked, where that is known.

    Raises:
        ProgramStateError: A demo shows a question whose codes have changed.
    """
    codebook, named = _codebook_of(manifest, in_use), manifest.codebook
    if codebook is None:
        return [
            f"compiled with the codebook {shown(named['id'])}, which is not packaged and not the "
            "one in use (--codebook); the codes of its demos are not checked"
        ]
    for qid, codes in manifest.demo_questions.items():
        now = codebook[qid].codes if qid in codebook else ()
        if now != codes:
            raise ProgramStateError(
                f"a demo shows {shown(qid)}, whose codes have changed; compile the program again",
                path=path,
                expected=now,
                found=shown(codes),
            )
    warnings = []
    if named and named.get("version") != codebook.version:
        warnings.append(
            f"compiled with version {shown(named.get('version'))} of the codebook {codebook.id}, "
            f"this is version {codebook.version}"
        )
    if in_use is not None and in_use.id != codebook.id:
        warnings.append(f"compiled with the codebook {codebook.id}, used with {in_use.id}")
    wording = (in_use or codebook).wording
    if named and shown(named.get("wording", "")) != wording:
        warnings.append("compiled with another wording of the questions than is in use (--wording)")
    return warnings


def _codebook_of(manifest: Manifest, known: Codebook | None = None) -> Codebook | None:
    """Return the codebook that a manifest names; None where it is neither known nor packaged."""
    name = str(manifest.codebook.get("id", DEFAULT_CODEBOOK))
    if known is not None and known.id == name:
        return known
    # Compared with names: a file from elsewhere must not choose what is read here.
    return load_codebook(name) if name in packaged_codebooks() else None


def _question_texts(codebook: Codebook) -> dict[str, str]:
    """Map every wording a question may have in a prompt to the question's id."""
    texts: dict[str, str] = {}
    for question in codebook:
        places = codebook.countries if question.wording.is_local else ()
        wordings = {question.text, *(question.text_for(place) for place in (None, *places))}
        texts |= {plain_text(text): question.id for text in wordings}
    return texts
