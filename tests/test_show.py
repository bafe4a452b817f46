import json
from pathlib import Path
from typing import Any

import pytest
from saving import CODES, compiled, edit, manifest

from evals.baselines import RAG
from optimize.__main__ import main
from optimize.show import plain, show_program
from valuesim_dspy.ensemble import Ensemble
from valuesim_dspy.errors import MissingDataError, ProgramStateError
from valuesim_dspy.loading import save_program
from valuesim_dspy.manifest import Manifest
from valuesim_dspy.program import ValueSim

CELL = {"n": 20, "people": 12, "accuracy": 0.5125, "nmae": 0.25}
LEARNED: dict[str, Any] = {
    "records": {
        "lm": "offline/lexical-1",
        "cells": {
            "cognitive": {"all": {"n": 44, "people": 30, "accuracy": 0.5}, "ordinal": CELL},
            "affective": {"all": {"n": 44, "people": 30, "accuracy": 0.625}},
        },
    },
    "weights": {
        "lm": "offline/lexical-1",
        "by": {
            "ordinal": {
                "rule": "single",
                "readers": {"affective": 1.0},
                "n": 44,
                "people": 30,
                "accuracy": {"vote": 0.41, "single": 0.625},
            }
        },
    },
}


def saved(folder: Path, program: Any = None, **known: Any) -> Path:
    """Save a compiled program, by default one with demos and instructions of its own."""
    return save_program(program or compiled(), folder, manifest(teleprompter="gepa", **known))


def part(text: str, name: str) -> str:
    """Return what is shown of one predictor or one table."""
    return text.split(f"## {name}", 1)[1].split("\n## ", 1)[0]


def test_instructions_are_a_diff_to_the_code(tmp_path: Path) -> None:
    """What was added is marked, what stayed is context, what is far from a change is left out."""
    told = part(show_program(saved(tmp_path / "p")), "coordinator.answer")
    assert "--- uncompiled\n" in told.replace("    ---", "---")
    assert "    +Say it the way coordinator.answer would." in told
    assert not [
        line for line in told.splitlines() if line.startswith("    -") and "---" not in line
    ]
    first = ValueSim("full").coordinator.answer.signature.instructions.splitlines()[0]
    assert first not in told


def test_what_was_rewritten_shows_both_wordings(tmp_path: Path) -> None:
    """Removed lines and added lines stand together; a field's description counts as well."""
    program = ValueSim("single")
    answer = program.direct.answer
    told = answer.signature.with_instructions("Answer at once.")
    answer.signature = told.with_updated_fields("facts", desc="all that is known")
    shown = part(show_program(saved(tmp_path / "p", program, variant="single")), "direct.answer")
    old = ValueSim("single").direct.answer.signature.instructions.splitlines()[0]
    assert f"    -{old}" in shown and "    +Answer at once." in shown
    assert "    +field facts: Facts: all that is known" in shown
    assert "    -field facts: " in shown


def test_what_was_not_compiled_is_unchanged(tmp_path: Path) -> None:
    """Each predictor says so for itself."""
    program = compiled()
    program.writer.backstory.signature = ValueSim("full").writer.backstory.signature
    program.writer.backstory.demos = []
    told = show_program(saved(tmp_path / "p", program))
    writer = part(told, "writer.backstory")
    assert "instructions: unchanged" in writer and "demos: none" in writer
    assert "unchanged" not in part(told, "panel.cognitive.answer")


def test_demos_are_shown_whole_and_in_order(tmp_path: Path) -> None:
    """Every field in the signature's order, long texts wrapped, who answered."""
    program = compiled("single")
    long = "word " * 60
    program.direct.answer.demos = [
        {"facts": "- One.\n- Two.", "question": long, "answer": 3, "analysis": "first"},
        {"facts": "- Three.", "question": "Why?", "answer": 1, "augmented": True},
    ]
    told = part(show_program(saved(tmp_path / "p", program, variant="single")), "direct.answer")
    assert "demos: 2" in told
    assert told.index("demo 1 of 2\n") < told.index("demo 2 of 2, answered by a model\n")
    first = told[told.index("demo 1 of 2") : told.index("demo 2 of 2")]
    order = [first.index(f"    {name}:") for name in ("facts", "question", "analysis", "answer")]
    assert order == sorted(order)
    assert "    facts:\n        - One.\n        - Two.\n" in first
    assert first.count("word") == 60
    assert max(map(len, first.splitlines())) <= 100
    assert "augmented" not in told


def test_the_manifest_is_told(tmp_path: Path) -> None:
    """Variant, teleprompter, LMs, seed, fold, split, scores, evidence."""
    known = {
        "lms": {"task_lm": "openai/small", "prompt_lm": "openai/large"},
        "seed": 42,
        "fold": {"strategy": "battery", "index": 1, "digest": "abc"},
        "split": {"seed": 1, "sizes": {"train": 30, "dev": 20}},
        "scores": {"dev accuracy": 0.41666},
        "evidence": "synthetic-machinery",
    }
    head = show_program(saved(tmp_path / "p", **known)).split("\n\n")[0]
    for line in (
        "program: valuesim full",
        "teleprompter: gepa",
        "LMs: task_lm openai/small, prompt_lm openai/large",
        "seed: 42",
        "fold: strategy battery, index 1, digest abc",
        "split: seed 1, sizes (train 30, dev 20)",
        "scores: dev accuracy 0.417",
        "evidence: synthetic-machinery",
    ):
        assert line in head.splitlines()


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("demos_hold_survey_data", "demos hold answers of real people"),
        ("instructions_saw_survey_data", "written by a model that read answers of real people"),
    ],
)
def test_it_says_when_people_may_be_in_it(tmp_path: Path, flag: str, said: str) -> None:
    """Only where the manifest says so."""
    assert said in " ".join(show_program(saved(tmp_path / "a", **{flag: True})).split())
    assert "real people" not in show_program(saved(tmp_path / "b", **{flag: False}))


def test_what_was_learned_is_a_table(tmp_path: Path) -> None:
    """Records by reader and cell, weights by scale; a number that is absent is a dash."""
    program = compiled("full-records")
    program.learned = LEARNED
    told = show_program(saved(tmp_path / "p", program, variant="full-records"))
    records = part(told, "records, learned with offline/lexical-1").strip().splitlines()
    assert records[0].split() == ["reader", "cell", "n", "people", "accuracy", "nmae"]
    assert records[1].split() == ["cognitive", "all", "44", "30", "0.500", "-"]
    assert records[2].split() == ["cognitive", "ordinal", "20", "12", "0.512", "0.250"]
    weights = part(told, "weights, learned with offline/lexical-1")
    assert "single" in weights and "affective 1.000" in weights and "vote 0.410" in weights
    assert "learned with" not in show_program(saved(tmp_path / "q"))


def test_members_of_an_ensemble_are_shown_each(tmp_path: Path) -> None:
    """Every member's predictors against the same defaults, under the member's name."""
    members = [compiled("single"), ValueSim("single")]
    folder = save_program(Ensemble(members), tmp_path / "p", _ensemble())
    told = show_program(folder)
    assert "program: ensemble single, 2 members" in told
    assert "+Say it the way direct.answer would." in part(told, "member_1.direct.answer")
    assert "instructions: unchanged" in part(told, "member_2.direct.answer")


def _ensemble() -> Manifest:
    known = {"kind": "ensemble", "members": 2, "member_kind": "valuesim", "variant": "single"}
    return Manifest(teleprompter="ensemble", codebook=dict(CODES), **known)


def test_a_compiled_baseline_can_be_shown(tmp_path: Path) -> None:
    """RAG is compiled by the same teleprompters, and looked at in the same way."""
    rag = RAG()
    (predictor,) = rag.predictors()
    predictor.signature = predictor.signature.with_instructions("Answer from these facts.")
    folder = save_program(rag, tmp_path / "p", Manifest(kind="rag", variant="rag"))
    told = show_program(folder)
    assert "program: rag rag" in told and "+Answer from these facts." in told


def test_nothing_in_a_file_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    """Escape sequences, carriage returns, bells and marks that turn text round are blanked."""
    evil = "\x1b[2J\x1b]0;owned\x07\r\u202eabc\u2066\x9b31m"
    program = compiled("full-records")
    program.learned = json.loads(json.dumps(LEARNED).replace("cognitive", "cogn\\u001b[2Jitive"))
    folder = saved(tmp_path / "p", program, variant="full-records", evidence=evil)

    def spoil(content: dict[str, Any]) -> None:
        state = content["predictors"]["coordinator.answer"]
        state["signature"]["instructions"] += f"\n{evil}"
        state["signature"]["fields"][0]["description"] = evil
        state["demos"][0]["facts"] = f"{evil}\n{evil}"

    edit(folder, "program.json", spoil)
    edit(folder, "manifest.json", lambda content: content.update(lms={f"task{evil}": evil}))
    told = show_program(folder)
    assert "owned" in told
    assert {char for char in told if not char.isprintable()} == {"\n"}


def test_plain_text_is_left_as_it_is() -> None:
    """Letters of any script stay; what is no character to print becomes a space."""
    assert plain("Größe 大きさ é") == "Größe 大きさ é"
    assert plain("a\tb\u2028c") == "a b c"


def test_what_is_no_program_is_one_line(tmp_path: Path) -> None:
    """As when it is loaded: missing, or not of this code."""
    with pytest.raises(MissingDataError, match="there is no program at"):
        show_program(tmp_path)
    folder = saved(tmp_path / "p")
    edit(folder, "manifest.json", lambda content: content.update(variant="of-tomorrow"))
    with pytest.raises(ProgramStateError, match="of-tomorrow"):
        show_program(folder)


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m optimize show PROGRAM`; bad input is one line and status 2."""
    folder = saved(tmp_path / "p")
    assert main(["show", str(folder)]) == 0
    assert capsys.readouterr().out.rstrip() == show_program(folder)
    assert main(["show", str(tmp_path / "none")]) == 2
    assert "there is no program" in capsys.readouterr().err
