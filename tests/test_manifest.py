"""The manifest: what it records of a program, and what it refuses to fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from people import case
from pydantic import ValidationError

from valuesim_dspy.errors import ProgramStateError
from valuesim_dspy.manifest import (
    FORMAT,
    Manifest,
    check_codebook,
    check_signatures,
    default_signatures,
    demo_questions,
    parse_json,
    shown,
    signature_record,
    versions,
)
from valuesim_dspy.program import VARIANTS, ValueSim
from valuesim_dspy.signatures import AnswerDirectly
from valuesim_dspy.survey.codebook import load_codebook

CODEBOOK = load_codebook()
HERE = Path("program") / "manifest.json"
CODES = {"id": "wvs7", "version": CODEBOOK.version, "digest": CODEBOOK.digest}


def manifest(**known: Any) -> Manifest:
    """Return the manifest of a full program that fits this code."""
    signatures = default_signatures(ValueSim())
    return Manifest(**{"kind": "valuesim", "variant": "full", "signatures": signatures, **known})


def test_a_manifest_reads_back_equal() -> None:
    """What is written is what is read, field by field."""
    written = manifest(
        teleprompter="gepa",
        lms={"task_lm": "openai/x"},
        seed=7,
        fold={"strategy": "battery", "index": 1, "digest": "ab"},
        split={"seed": 42, "sizes": {"train": 3}, "digest": "cd"},
        codebook=CODES,
        data={"digest": "ef", "rows": 3, "stamp": "synthetic"},
        evidence="synthetic-machinery",
        scores={"dev/accuracy": 0.5},
        demos_hold_survey_data=True,
        demo_questions={"Q57": (1, 2)},
        versions=versions(),
    )
    text = json.dumps(written.model_dump(mode="json"))
    assert Manifest.parse(text, HERE) == written


def test_versions_are_those_installed() -> None:
    """The packages a program depends on, by name."""
    assert versions()["dspy"] == dspy.__version__
    assert set(versions()) == {"valuesim-dspy", "dspy", "litellm", "pydantic"}


def test_a_package_that_is_not_installed_has_an_unknown_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A checkout without an installation still saves programs."""
    monkeypatch.setattr("valuesim_dspy.manifest._PACKAGES", ("no-such-package-here",))
    assert versions() == {"no-such-package-here": "unknown"}


@pytest.mark.parametrize("found", [0, 2, "1", None, [1], {"a": 1}])
def test_another_format_is_refused(found: object) -> None:
    """The error says which format this code reads and where the version stands."""
    text = json.dumps(manifest().model_dump(mode="json") | {"format": found})
    with pytest.raises(ProgramStateError, match=f"expected format {FORMAT}, found format"):
        Manifest.parse(text, HERE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"endpoint": "http://x"}, "endpoint: Extra inputs"),
        ({"seed": "many"}, "seed: "),
        ({"kind": None}, "kind: "),
        ({"scores": {"a": "high"}}, "scores.a: "),
        ({"demo_questions": {"Q1": ["a"]}}, "demo_questions.Q1.0: "),
        ({"signatures": []}, "signatures: "),
    ],
)
def test_a_malformed_manifest_is_refused_by_key(change: dict[str, Any], message: str) -> None:
    """The first wrong key is named, without the value it holds."""
    text = json.dumps(manifest().model_dump(mode="json") | change)
    with pytest.raises(ProgramStateError, match=message) as caught:
        Manifest.parse(text, HERE)
    assert "\n" not in str(caught.value) and str(HERE) in str(caught.value)


def test_a_missing_key_is_refused() -> None:
    """Kind and variant have no default."""
    with pytest.raises(ProgramStateError, match="kind: Field required"):
        Manifest.parse('{"format": 1}', HERE)


def test_what_a_file_says_cannot_break_a_message() -> None:
    """Line breaks, control characters and length of foreign text never reach a terminal."""
    text = json.dumps({"format": 1, "kind": "valuesim", "variant": "x", "a\n\x1b[2J" * 99: 1})
    with pytest.raises(ProgramStateError) as caught:
        Manifest.parse(text, HERE)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    assert shown("a\n\x1bb") == "a  b" and len(shown("x" * 1000)) == 200


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "[1, NaN]", "{", ""])
def test_only_strict_json_is_read(text: str) -> None:
    """What JSON does not have is refused, and so is a number that overflows."""
    with pytest.raises(ProgramStateError, match="is no JSON"):
        parse_json(text, HERE)


def test_strict_json_keeps_numbers_and_order() -> None:
    """Integers stay integers, floats floats, keys in order."""
    read = parse_json('{"b": 1, "a": 0.5, "c": [-2, 1e3]}', HERE)
    assert list(read.items()) == [("b", 1), ("a", 0.5), ("c", [-2, 1000.0])]
    assert isinstance(read["b"], int)


def test_deep_nesting_is_refused() -> None:
    """No nesting of a file ends the process."""
    with pytest.raises(ProgramStateError, match="is no JSON"):
        parse_json("[" * 200_000, HERE)


def test_a_manifest_is_frozen_and_closed() -> None:
    """A typing error in code is found at once."""
    with pytest.raises(ValidationError):
        Manifest(kind="valuesim", variant="full", demo_holds_survey_data=True)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        manifest().variant = "vote"  # type: ignore[misc]


def test_a_signature_is_recorded_in_order_with_roles_and_types() -> None:
    """Names, input or output, type; instructions as a hash that follows their text."""
    record = signature_record(AnswerDirectly)
    assert record["fields"][0] == ["facts", "input", "str"]
    assert record["fields"][-1] == ["answer", "output", "int"]
    other = signature_record(AnswerDirectly.with_instructions("Guess."))
    assert other["fields"] == record["fields"] and other["instructions"] != record["instructions"]
    assert len(record["instructions"]) == 16


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fresh_program_fits_itself(variant: str) -> None:
    """No warning and no refusal without a change."""
    current = default_signatures(ValueSim(variant))
    assert check_signatures(manifest(variant=variant, signatures=current), current, HERE) == []


def changed(change: Callable[[dict[str, Any]], Any]) -> Manifest:
    """Return a manifest whose signatures differ from the code's."""
    signatures = json.loads(json.dumps(default_signatures(ValueSim())))
    change(signatures)
    return manifest(signatures=signatures)


def fields(signatures: dict[str, Any]) -> list[list[str]]:
    """Return the recorded fields of one predictor."""
    found: list[list[str]] = signatures["panel.affective.answer"]["fields"]
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.popitem(), "predictors are not those"),
        (lambda s: s.clear(), "found none"),
        (lambda s: s.update(extra={}), "predictors are not those"),
        (lambda s: s.update({"writer.backstory": s.pop("writer.backstory")}), "predictors are"),
        (lambda s: fields(s)[0].__setitem__(0, "profile"), "fields of predictor panel.affective"),
        (lambda s: fields(s)[0].__setitem__(1, "output"), "fields of predictor panel.affective"),
        (lambda s: fields(s)[-1].__setitem__(2, "str"), "fields of predictor panel.affective"),
        (lambda s: fields(s).reverse(), "fields of predictor panel.affective"),
        (lambda s: fields(s).pop(), "fields of predictor panel.affective"),
        (lambda s: s["panel.affective.answer"].pop("fields"), "fields of predictor panel.affect"),
    ],
)
def test_predictors_and_fields_must_match(
    change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    """Names, order, roles and types decide, since saved texts are mapped by position."""
    with pytest.raises(ProgramStateError, match=message) as caught:
        check_signatures(changed(change), default_signatures(ValueSim()), HERE)
    assert "\n" not in str(caught.value)


def test_changed_default_instructions_only_warn() -> None:
    """The saved instructions are used, and the warning names the predictor."""
    found = changed(lambda s: s["coordinator.answer"].update(instructions="0"))
    (warning,) = check_signatures(found, default_signatures(ValueSim()), HERE)
    assert warning.startswith("coordinator.answer: the code's default instructions")


def with_demo(question: str) -> ValueSim:
    """Return a program with one demo that shows this question."""
    program = ValueSim("single")
    program.direct.answer.demos = [{"question": question, "answer": 1}]
    return program


def test_demo_questions_are_found_in_any_wording() -> None:
    """A question worded for a country is still that question; one's own is none of ours."""
    local = next(q for q in CODEBOOK if q.text_for("JPN") != q.text_for(None) and q.options)
    for country in ("JPN", None):
        found = demo_questions(with_demo(local.text_for(country)), manifest())
        assert found == {local.id: local.codes}
    assert demo_questions(with_demo(case("Q57").question_text), manifest(codebook=CODES)) == {
        "Q57": CODEBOOK["Q57"].codes
    }
    assert demo_questions(with_demo("Do you keep bees?"), manifest()) == {}
    assert demo_questions(ValueSim(), manifest()) == {}


def test_every_question_is_found_by_its_wording() -> None:
    """No two questions of the codebook that offer different codes share a wording."""
    program = ValueSim("single")
    program.direct.answer.demos = [{"question": question.text} for question in CODEBOOK]
    found = demo_questions(program, manifest())
    codes = {CODEBOOK[qid].text: codes for qid, codes in found.items()}
    for question in CODEBOOK:
        assert codes[question.text] == question.codes, question.id


def test_a_demo_question_whose_codes_changed_is_refused() -> None:
    """Other codes, or no such question: the demo would teach codes that are not offered."""
    for gone in ({"Q57": (1, 2, 3)}, {"Q9999": (1, 2)}, {"Q57": ()}):
        with pytest.raises(ProgramStateError, match="whose codes have changed"):
            check_codebook(manifest(demo_questions=gone, codebook=CODES), HERE)
        with pytest.raises(ProgramStateError, match="whose codes have changed"):
            check_codebook(manifest(demo_questions=gone), HERE)
    kept = manifest(demo_questions={"Q57": CODEBOOK["Q57"].codes}, codebook=CODES)
    assert check_codebook(kept, HERE) == []


def test_another_version_of_the_codebook_warns() -> None:
    """Both versions stand in the warning; without a codebook there is nothing to compare."""
    (warning,) = check_codebook(manifest(codebook=CODES | {"version": 999}), HERE)
    assert "version 999" in warning and f"version {CODEBOOK.version}" in warning
    (warning,) = check_codebook(manifest(codebook={"id": "wvs7"}), HERE)
    assert "version None" in warning
    assert check_codebook(manifest(), HERE) == []


@pytest.mark.parametrize("name", ["mine", "../wvs7", "/etc/passwd", "wvs7/", "", ".", "a\nb"])
def test_a_codebook_that_is_not_packaged_is_not_looked_for(name: str) -> None:
    """A program says which codebook it knew, never which file to read."""
    found = manifest(codebook={"id": name, "version": 1}, demo_questions={"Q1": (9,)})
    (warning,) = check_codebook(found, HERE)
    assert "not packaged" in warning and warning.isprintable()
    assert demo_questions(with_demo(case("Q57").question_text), found) == {}
