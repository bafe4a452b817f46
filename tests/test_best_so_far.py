"""The best candidate of a search that a spent budget stopped."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from compiling import SMALL, Compiling, instructions, small_study

from optimize.best_so_far import BestSoFar, state_of
from optimize.compilation import Compiled
from optimize.demo_rendering import demo_counts
from valuesim_dspy.errors import BudgetExceededError
from valuesim_dspy.program import ValueSim

DEMO = {"facts": "- A fact.", "question": "Which?", "analysis": "So.", "answer": 1}


def _with_demos(count: int) -> ValueSim:
    program = ValueSim("single")
    program.direct.answer.demos = [dspy.Example(**DEMO) for _ in range(count)]
    return program


def _run(best: BestSoFar, program: Any, scores: list[float | None]) -> None:
    for example, score in zip(small_study()["val"], scores, strict=False):
        told = None if score is None else dspy.Prediction(answer=1)
        best.ran(program, example.case, told)
        if score is not None:
            best.scored(told, score)


def test_the_best_of_those_scored_on_all_cases_is_found() -> None:
    """With its demos, and beside the score of the uncompiled; a failure counts 0."""
    best, n = BestSoFar(small_study()["val"]), len(small_study()["val"])
    _run(best, _with_demos(0), [0.0] * n)
    _run(best, _with_demos(1), [1.0] * (n - 3) + [None] * 3)
    _run(best, _with_demos(2), [0.5] * n)
    found = best.best(_with_demos(0))
    assert found is not None
    program, score, before = found
    assert (score, before) == ((n - 3) / n, 0.0)
    assert demo_counts(program) == {"direct.answer": 1}
    assert dict(program.direct.answer.demos[0]) == DEMO


@pytest.mark.parametrize("given", ["part", "equal", "no uncompiled", "nothing"])
def test_without_a_candidate_known_to_be_better_there_is_none(given: str) -> None:
    """Scored on a part, as good only, or with nothing to compare with."""
    best, n = BestSoFar(small_study()["val"]), len(small_study()["val"])
    if given in ("part", "equal"):
        _run(best, _with_demos(0), [0.5] * n)
    if given != "nothing":
        _run(best, _with_demos(1), [0.5] * n if given == "equal" else [1.0] * (n - 1))
    if given == "no uncompiled":
        _run(best, _with_demos(1), [1.0] * n)
    assert best.best(_with_demos(0)) is None


def test_ties_go_to_the_earlier_candidate() -> None:
    """As in the searches themselves."""
    best, n = BestSoFar(small_study()["val"]), len(small_study()["val"])
    for count, score in ((0, 0.0), (2, 1.0), (1, 1.0)):
        _run(best, _with_demos(count), [score] * n)
    found = best.best(_with_demos(0))
    assert found is not None and demo_counts(found[0]) == {"direct.answer": 2}


def test_scores_of_other_cases_and_predictions_count_nothing() -> None:
    """Training cases run for demos, and a score of what did not run last in this thread."""
    best, n = BestSoFar(small_study()["val"]), len(small_study()["val"])
    for example in small_study()["train"]:
        best.ran(_with_demos(1), example.case, None)
    best.ran(_with_demos(1), None, None)
    _run(best, _with_demos(0), [0.0] * n)
    _run(best, _with_demos(1), [0.0] * n)
    best.scored(dspy.Prediction(answer=1), 1.0)
    assert best.best(_with_demos(0)) is None


def test_of_stages_the_last_one_counts() -> None:
    """A stage is scored by another metric, so that scores are compared within it."""
    best, n = BestSoFar(small_study()["val"]), len(small_study()["val"])
    _run(best, _with_demos(0), [0.0] * n)
    _run(best, _with_demos(2), [1.0] * n)
    for count, score in ((0, 0.1), (1, 0.2)):
        program: Any = _with_demos(count)
        program._stage = test_of_stages_the_last_one_counts
        _run(best, program, [score] * n)
    found = best.best(_with_demos(0))
    assert found is not None and demo_counts(found[0]) == {"direct.answer": 1}


def test_the_state_of_a_program_is_its_predictors_and_stage() -> None:
    """Equal programs are one candidate."""
    assert state_of(_with_demos(1)) == state_of(_with_demos(1).deepcopy())
    assert state_of(_with_demos(1)) != state_of(_with_demos(2))
    staged: Any = _with_demos(1)
    staged._stage = SimpleNamespace(__name__="vote_only")
    assert state_of(staged)[0] == "vote_only" and state_of(_with_demos(1))[0] == ""


class LikesLater:
    """A metric by which whatever is tried later is better."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, example: Any, prediction: Any, trace: Any = None) -> float | bool:
        """Return the score, in [0, 1], or True for a trace."""
        self.asked += 1
        return self.asked / 10_000 if trace is None else True


def _whole(name: str, options: dict[str, Any]) -> int:
    compiling = Compiling(name, options, score=LikesLater())
    compiling.run()
    return len(compiling.task.prompts) + len(compiling.prompt.prompts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["bootstrap-random-search", "bootstrap-optuna", "mipro-v2", "gepa", "infer-rules"]
)
def test_a_stopped_search_hands_on_the_best_candidate_so_far(name: str) -> None:
    """Stopped late it has seen some; what is handed on may be saved, and the error is raised."""
    longer = {"gepa": {"auto": "explicit", "runs": 60}}
    options = {**SMALL, "bootstrap-random-search": {"candidates": 2}, **longer}[name]
    whole, kept = _whole(name, options), list[Compiled]()
    for budget in (1, whole - 2):
        compiling = Compiling(name, options, score=LikesLater(), budget=budget, on_stop=kept.append)
        with pytest.raises(BudgetExceededError):
            compiling.run()
        assert len(compiling.task.prompts) + len(compiling.prompt.prompts) <= budget
    early, late = kept
    assert "no candidate was known" in early.notes[0]
    student = compiling.given.student
    assert state_of(early.program) == state_of(student)
    assert type(late.program) is ValueSim
    changed = demo_counts(late.program) or instructions(late.program) != instructions(student)
    assert changed and "the best candidate so far" in late.notes[0]
