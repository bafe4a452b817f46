"""Watching a student: counts, stops that DSPy cannot swallow, and private output."""

import inspect
import logging
import stat
import sys
from pathlib import Path
from typing import Any

import dspy
import pytest
from people import case, reply, scripted, scripted_lm

from optimize.watching import (
    StopCompilingError,
    Watch,
    private_output,
    stopping,
    unwatched,
    watched,
)
from valuesim_dspy.errors import BudgetExceededError, InvalidAnswerError
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.program import ValueSim
from valuesim_dspy.usage import Budget, Meter


class Spent(dspy.Module):
    """A program whose budget is spent."""

    def forward(self, case: Any) -> Any:
        """Answer nothing."""
        raise BudgetExceededError("calls", 1, 1)


def test_a_watched_program_is_the_program_with_a_count() -> None:
    """Predictors keep their names, copies count together, failures are told apart."""
    watch, program = Watch(), ValueSim("single")
    student = watched(program, watch)
    assert [n for n, _ in student.named_predictors()] == ["direct.answer"]
    assert isinstance(student, ValueSim) and student.variant == "single"
    with scripted([reply(1), reply(2), reply(99), reply(99), reply(99)]):
        student(case=case("Q69"))
        student.reset_copy()(case=case("Q70"))
        with pytest.raises(InvalidAnswerError):
            student.deepcopy()(case=case("Q121"))
    assert (watch.runs, watch.answered, watch.failed) == (3, 2, 1)
    assert type(program) is ValueSim and not hasattr(program, "_watch")


def test_a_stop_is_no_exception_that_can_be_swallowed() -> None:
    """`except Exception` lets it through; every later run of any copy stops too."""
    watch = Watch()
    student = watched(Spent(), watch)
    swallowed = False
    with pytest.raises(StopCompilingError) as stopped:
        try:
            student(case=case())
        except Exception:  # noqa: BLE001 - what DSPy does
            swallowed = True
    assert not swallowed and isinstance(stopped.value.error, BudgetExceededError)
    healthy = watched(ValueSim("single"), watch)
    with scripted([]) as engine, pytest.raises(StopCompilingError):
        healthy(case=case())
    assert engine.requests == [] and watch.runs == 1


def test_an_lm_stops_the_job_too() -> None:
    """Whoever asks it, and through its copies; the LM itself stays as it was."""
    watch = Watch()
    lm = scripted_lm(ScriptedEngine([]), meter=Meter("spent", budget=Budget(calls=0)))
    watching = stopping(lm, watch)
    for each in (watching, watching.copy(temperature=1.0)):
        with pytest.raises(StopCompilingError):
            each("anything")
    with pytest.raises(BudgetExceededError):
        lm("anything")
    with pytest.raises(StopCompilingError):
        watch.start()


def test_backstories_are_kept_for_the_scan_each_once() -> None:
    """In the order of their coming."""
    watch = Watch()
    student = watched(ValueSim("vote"), watch)
    story = {"backstory": "You live by the sea."}
    with scripted([story, *[reply(2)] * 6]):
        student(case=case("Q69"))
        student(case=case("Q70"))
    assert list(watch.stories) == ["You live by the sea."] and watch.answered == 2


def test_the_source_of_a_watched_program_can_be_read() -> None:
    """Teleprompters show the program's code to the LM that writes."""
    source = inspect.getsource(type(watched(ValueSim("single"), Watch())))
    assert source.startswith("class ValueSim(")


def test_unwatched_takes_off_all_that_was_attached() -> None:
    """The class, the watch, DSPy's candidates and its mark."""
    student = watched(ValueSim("single"), Watch())
    student.candidate_programs, student._compiled = [{"program": student}], True
    program = unwatched(student, ValueSim)
    assert type(program) is ValueSim and program._compiled is False
    assert not {"_watch", "candidate_programs"} & set(vars(program))
    with scripted([reply(2)]):
        assert program(case=case()).answer == 2


def test_output_is_private_and_streams_come_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file that was open to others is closed to them, and continued."""
    path = tmp_path / "new" / "out.log"
    path.parent.mkdir()
    path.write_text("before\n")
    path.chmod(0o644)
    streams = (sys.stdout, sys.stderr)
    logger = logging.getLogger("dspy")
    handlers = list(logger.handlers)
    with pytest.raises(KeyError), private_output(path):
        print("printed")
        print("told", file=sys.stderr)
        logging.getLogger("dspy.some.part").error("logged")
        raise KeyError
    assert path.read_text() == "before\nprinted\ntold\nlogged\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (sys.stdout, sys.stderr) == streams and logger.handlers == handlers
    assert capfd.readouterr() == ("", "")


def test_without_a_file_output_is_thrown_away(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing reaches the terminal, also what no encoding of the locale could show."""
    with private_output(None):
        print("secret \udcff")
    assert capfd.readouterr() == ("", "")
