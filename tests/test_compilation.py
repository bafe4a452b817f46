"""What a teleprompter is given: metrics from scores, the trainset's order, workers, the teacher."""

from typing import Any

import dspy
import pytest
from people import example, reply, scripted_lm

from optimize.compilation import Compilation, Compiled, as_metric, own_answers
from valuesim_dspy.lexical.engine import ScriptedEngine
from valuesim_dspy.program import ValueSim
from valuesim_dspy.survey.codebook import Question


def compilation(**known: Any) -> Compilation:
    """Return a compilation of ten examples."""
    questions = [f"Q{n}" for n in range(69, 79)]
    lm = scripted_lm(ScriptedEngine([reply(1)]))
    defaults: dict[str, Any] = {
        "student": ValueSim("single"),
        "trainset": [example(question) for question in questions],
        "valset": [],
        "score": as_metric(same),
        "seed": 1,
        "task_lm": lm,
        "options": None,
    }
    return Compilation(**{**defaults, **known})


def same(question: Question, truth: int, answer: int | None) -> float:
    """Score an answer: 1 for the true code, 0.5 for its neighbour."""
    return 1.0 if truth == answer else 0.5 if abs(truth - (answer or 99)) == 1 else 0.0


@pytest.mark.parametrize(("answer", "score"), [(2, 1.0), (3, 0.5), (4, 0.0)])
def test_a_metric_scores_without_and_decides_with_a_trace(answer: int, score: float) -> None:
    """An empty trace is a trace; the threshold decides, not the truth of a float."""
    given = dspy.Prediction(answer=answer)
    assert as_metric(same)(example("Q69", 2), given) == score
    assert as_metric(same)(example("Q69", 2), given, []) is (score >= 1.0)
    assert as_metric(same, threshold=0.5)(example("Q69", 2), given, []) is (score >= 0.5)


def test_steps_with_a_wrong_answer_are_taken_from_an_accepted_trace() -> None:
    """In place, since DSPy goes on with the trace it gave; a refused trace is left alone."""
    right, wrong = dspy.Prediction(answer=2), dspy.Prediction(answer=1)
    trace = [("a", {}, right), ("b", {}, wrong), ("c", {}, right)]
    metric = own_answers(as_metric(same))
    assert metric(example("Q69", 2), wrong, trace) is False and len(trace) == 3
    assert metric(example("Q69", 2), right, trace) is True
    assert [name for name, _, _ in trace] == ["a", "c"]
    assert metric(example("Q69", 2), wrong) == 0.5


def test_the_seed_orders_the_trainset() -> None:
    """A permutation, the same each time it is asked for; the trainset itself keeps its order."""
    made = compilation()
    before = list(made.trainset)
    assert made.shuffled == made.shuffled and made.shuffled != before
    assert sorted(map(repr, made.shuffled)) == sorted(map(repr, before))
    assert compilation(seed=2).shuffled != made.shuffled and list(made.trainset) == before


def test_threads_only_where_the_model_is_elsewhere() -> None:
    """One worker for a model in the process."""
    assert compilation(threads=8).workers == 1
    assert compilation(threads=8, task_lm=dspy.utils.DummyLM([])).workers == 8


def test_the_teacher_is_the_task_lm_unless_one_is_given() -> None:
    """What DSPy is told to set while demos are made."""
    teacher = scripted_lm(ScriptedEngine([]))
    assert compilation().teacher_settings == {}
    assert compilation(teacher_lm=teacher).teacher_settings == {"lm": teacher}


def test_a_result_counts_its_demos() -> None:
    """Predictors without demos are left out."""
    program = ValueSim()
    program.panel.cognitive.answer.demos = [{"question": "Q?"}]
    assert Compiled(program).demos == {"panel.cognitive.answer": 1}
