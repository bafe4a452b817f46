"""One arm: compiled, held against the uncompiled one, saved; and learned whom to believe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from jobs import Stopping, answered_by, small_job

from evals.study import Study, build_arm, open_study
from optimize import arm_compiling
from optimize.arm_compiling import compile_arm, save_arm, select_arm
from optimize.compilation import Compiled
from optimize.demo_rendering import demo_counts
from optimize.instruction_scan import instructions_of
from optimize.teleprompters import TELEPROMPTERS
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import BudgetExceededError, ProgramStateError
from valuesim_dspy.loading import load_program, read_manifest
from valuesim_dspy.program import ValueSim

pytestmark = pytest.mark.slow

DEMO = {"facts": "- You live in Japan.", "history": "(no later answers)", "question": "Whom?"}
DEMO |= {"options": "1: A\n2: B", "analysis": "So."}


@pytest.fixture
def study() -> Iterator[Study]:
    """A study of the small job, its cache in memory."""
    with open_study(small_job(), cache=ResponseCache()) as opened:
        yield opened


def compiled_arm(study: Study, student: Any, name: str = "bootstrap", **known: Any) -> Compiled:
    """Compile an arm with a teleprompter's defaults."""
    teleprompter = TELEPROMPTERS[name]
    options = teleprompter.parse({})
    given = {"lms": study.lms, "log": None, **known}
    return compile_arm(study, student.variant, student, teleprompter, options, **given)


def test_the_student_stays_as_it_was(study: Study) -> None:
    """A compiled copy comes back, its runs counted."""
    student = ValueSim("single")
    compiled = compiled_arm(study, student)
    assert demo_counts(student) == {} and demo_counts(compiled.program)
    assert compiled.runs > 0 and type(compiled.program) is ValueSim


def test_the_seed_given_wins_over_the_jobs(study: Study) -> None:
    """Another order of the trainset gives other demos; the same seed the same ones."""
    made = []
    for seed in (1, 2, 1):
        compiled = compiled_arm(study, ValueSim("single"), "labeled-few-shot", seed=seed)
        made.append(json.dumps(compiled.program.dump_state()))
    assert made[0] == made[2] != made[1]


def test_progress_is_shown_up_to_the_most_runs(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step for each run of the program, of at most as many as were predicted."""
    seen: list[Any] = []

    class Shown:
        def __init__(self, label: str, total: int) -> None:
            seen.append((label, total))

        def __enter__(self) -> Shown:
            return self

        def __exit__(self, *_: object) -> None:
            seen.append("end")

        def step(self, *_: object) -> None:
            seen.append("step")

    monkeypatch.setattr(arm_compiling, "Progress", Shown)
    compiled = compiled_arm(study, ValueSim("single"))
    assert seen[0] == ("compiling single, at most", 12) and seen[-1] == "end"
    assert seen.count("step") == compiled.runs <= 12


def test_a_spent_budget_hands_on_what_there_is() -> None:
    """The best so far is given before the error comes."""
    kept: list[Compiled] = []
    with (
        open_study(small_job(budget={"calls": 3}), cache=ResponseCache()) as study,
        pytest.raises(BudgetExceededError),
    ):
        compiled_arm(study, ValueSim("single"), on_stop=kept.append)
    assert len(kept) == 1 and demo_counts(kept[0].program) == {}


def test_who_reads_records_learns_them_before_and_after(study: Study) -> None:
    """Saved is what the compiled readers did; the student has learned nothing."""
    student = ValueSim("weighted-vote")
    compiled = compiled_arm(study, student)
    assert student.learned == {}
    assert any(note.startswith("trust: ") for note in compiled.notes)
    assert compiled.program._learned is None
    plain = compiled_arm(study, ValueSim("vote"))
    assert plain.program.learned == {} and not any("trust" in note for note in plain.notes)


def test_records_are_shuffled_as_a_control() -> None:
    """Where the config says so, and the notes say it."""
    config = small_job(compile={"trust": "shuffled"})
    with open_study(config, cache=ResponseCache()) as study:
        compiled = compiled_arm(study, ValueSim("full-records"), "labeled-few-shot")
    assert any("control: records and weights are shuffled" in note for note in compiled.notes)


def test_stopped_while_learning_it_hands_on_what_was_compiled() -> None:
    """Demos found are kept, though nobody's record of the compiled readers is known."""
    kept: list[Compiled] = []
    with open_study(small_job(), cache=ResponseCache()) as study:
        compiled_arm(study, ValueSim("weighted-vote"), "labeled-few-shot")
        whole = study.meter.paid.calls
    config = small_job(budget={"calls": whole - 1})
    with (
        open_study(config, cache=ResponseCache()) as study,
        pytest.raises(BudgetExceededError),
    ):
        compiled_arm(study, ValueSim("weighted-vote"), "labeled-few-shot", on_stop=kept.append)
    (stopped,) = kept
    assert demo_counts(stopped.program) and stopped.program._learned is None
    assert "before records of the compiled" in stopped.notes[-1]


def test_the_valset_decides_where_no_teleprompter_did(study: Study) -> None:
    """At least as good is compiled; worse is the uncompiled, and a note says so."""
    student, teleprompter = ValueSim("single"), TELEPROMPTERS["labeled-few-shot"]
    spoiled = ValueSim("single")
    spoiled.direct.answer.demos = [dspy.Example(**DEMO, answer=2)]
    same = Compiled(student.deepcopy())
    kept, notes = select_arm(study, "single", student, same, teleprompter)
    assert kept is same.program and notes == []

    def code(request: Any) -> dict[str, Any]:
        # One option that every question has, and with a demo none.
        return {"analysis": "So.", "answer": 1 if len(request.messages) == 1 else 999}

    from valuesim_dspy.lexical.engine import ScriptedEngine

    with answered_by(ScriptedEngine(code)), open_study(small_job(), cache=ResponseCache()) as other:
        kept, notes = select_arm(other, "single", student, Compiled(spoiled), teleprompter)
        assert demo_counts(kept) == {} and kept is not student
        assert notes == ["the valset prefers the uncompiled program, which is kept"]
        chooser = TELEPROMPTERS["bootstrap-random-search"]
        kept, notes = select_arm(other, "single", student, Compiled(spoiled), chooser)
        assert kept is spoiled and notes == []


def _save(study: Study, program: Any, folder: Path, **known: Any) -> Path:
    defaults = instructions_of(build_arm(study, program.variant))
    given = {"teleprompter": "bootstrap", "scores": {"dev accuracy": 0.5}, "defaults": defaults}
    return save_arm(study, program, folder, **{**given, **known})


def test_what_is_saved_is_told_and_answers_as_before(tmp_path: Path, study: Study) -> None:
    """Scores and teleprompter in the manifest; loaded, it has the same state."""
    program = compiled_arm(study, ValueSim("single")).program
    folder = _save(study, program, tmp_path / "program")
    manifest = read_manifest(folder)
    assert manifest.teleprompter == "bootstrap" and manifest.scores == {"dev accuracy": 0.5}
    assert load_program(folder).dump_state() == program.dump_state()


def test_without_a_call_the_state_is_compared(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing more may be paid; a program saved otherwise is still refused."""
    program = ValueSim("single")
    _save(study, program, tmp_path / "one", may_ask=False)
    assert study.meter.needed.calls == 0
    spoiled = ValueSim("single")
    spoiled.direct.answer.demos = [dspy.Example(**DEMO, answer=2)]
    monkeypatch.setattr(arm_compiling, "build_arm", lambda *_: spoiled)
    with pytest.raises(ProgramStateError, match="another one"):
        _save(study, program, tmp_path / "two", may_ask=False, defaults=instructions_of(program))


def test_calls_are_counted_where_they_are_asked() -> None:
    """On the LMs given, so that a job knows what compiling took."""
    with (
        answered_by(Stopping()) as engine,
        open_study(small_job(), cache=ResponseCache()) as study,
    ):
        meter = study.meter.child("compiling")
        lms = {name: lm.with_meter(meter) for name, lm in study.lms.items()}
        compiled_arm(study, ValueSim("weighted-vote"), lms=lms)
        assert meter.paid.calls == engine.answered > 0
