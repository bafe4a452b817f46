"""What all baselines share: the call shape, the sentence, the binding, the counts of calls."""

from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from people import case, reply, scripted

from evals.baselines import BaselineModule, Blank, Guesser, Uniform
from evals.baselines.baseline import nobody_answered, result
from valuesim_dspy.case import Case
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.program import ValueSim


class Second(Guesser):
    """Answers the second code."""

    kind, why = "second", "It comes second."

    def code(self, asked: Case) -> int:
        """Return the second code."""
        return asked.question.codes[1]


def test_a_baseline_gives_what_the_program_gives() -> None:
    """Field by field a reply looks like that of the program's variant without perspectives."""
    with scripted([reply(2, "So it is.")]):
        program = ValueSim("single")(case=case())
    made = result(dspy.Prediction(answer="2", analysis="So it is."))
    for field in ("answer", "analysis", "backstory", "views", "decision", "status"):
        assert made[field] == program[field]
    assert type(made.answer) is int


def test_calling_and_predicting_are_the_same() -> None:
    """Both give the same answer, and a guess has its sentence as analysis."""
    arm = Second()
    called, predicted = arm(case=case()), arm.predict(case())
    assert called.answer == predicted.answer == case().question.codes[1]
    assert called.analysis == "It comes second." and called.decision == "direct"


def test_a_guesser_must_say_what_it_answers() -> None:
    """Without a `code` of its own there is no answer."""
    with pytest.raises(NotImplementedError):
        Guesser().code(case())


def test_kind_and_variant_are_one_name() -> None:
    """Manifests and tables know a baseline by one name."""
    for arm in (Second(), Blank(), Uniform()):
        assert isinstance(arm, BaselineModule) and arm.variant == arm.kind


def test_by_default_there_is_nothing_to_bind_and_one_call_a_predictor() -> None:
    """Binding gives the module itself, and no predictor is counted more than once."""
    blank, study = Blank(), SimpleNamespace()
    bound: Any = blank.bind_to(study)  # type: ignore[arg-type]
    assert bound is blank and blank.calls_per_case == {}


def test_the_failure_names_the_question_and_nobody() -> None:
    """The message has the question's id and no person."""
    error = nobody_answered(case("Q69"))
    assert isinstance(error, PredictionError) and str(error).startswith("Q69: no respondent")
    assert case().profile.key not in str(error)
