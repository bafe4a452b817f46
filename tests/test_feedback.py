"""What GEPA is told: scores without a predictor, words for one."""

from typing import Any

import dspy
import pytest
from people import example

from evals.metrics import SCORES
from optimize.compilation import as_metric
from optimize.feedback import feedback, make_feedback

VIEWS = {
    "cognitive": {"answer": 2, "analysis": "a"},
    "affective": {"answer": 4, "analysis": "b"},
}


def told(question: str, truth: int, own: int, program: int | None = None, **known: Any) -> str:
    """Return the feedback for one perspective."""
    given = own if program is None else program
    prediction = dspy.Prediction(answer=given, views=VIEWS, **known)
    mine = dspy.Prediction(answer=own, analysis="x")
    return feedback(example(question, truth), prediction, "panel.cognitive.answer", mine)


def test_all_that_bears_on_a_case_is_named() -> None:
    """Question, scale, answer, truth, votes and facts, in words."""
    asked = example("Q69", 2).case
    text = told("Q69", truth=2, own=4)
    assert f"Question: {asked.question_text}" in text
    assert "Scale: ordinal, 4 steps from 'None at all' to 'A great deal'" in text
    assert f"4 ({asked.question.label(4)}), which is wrong, 2 of 3 steps" in text
    assert "too near 'None at all'" in text
    assert f"True: 2 ({asked.question.label(2)})." in text
    assert "cognitive 2" in text and "(right)" in text and "affective 4" in text
    facts = [fact.text for fact in asked.profile.facts if fact.text in text]
    assert 1 <= len(facts) <= 4 and "Facts that bear on it:" in text


def test_a_right_answer_is_told_as_right() -> None:
    """Without a distance; and what the program made of it where that differs."""
    text = told("Q69", truth=2, own=2, program=4)
    assert "which is right." in text and "too near" not in text
    assert "The program as a whole answered 4" in text
    assert "as a whole" not in told("Q69", truth=2, own=2)


def test_a_distance_has_a_direction() -> None:
    """Towards the beginning or the end of the scale, in steps."""
    assert "7 of 9 steps too near 'Not at all important'" in told("Q164", truth=9, own=2)
    assert "1 of 9 steps too near 'Very important'" in told("Q164", truth=9, own=10)


def test_the_key_of_nobody_is_told() -> None:
    """Feedback is about a case, and holds no id."""
    assert example("Q69").case.profile.key not in told("Q69", truth=2, own=4)


def test_the_writer_is_told_what_it_lost() -> None:
    """Facts that the story does not keep, and the share that it does."""
    asked = example("Q69", 2)
    facts = asked.case.profile.facts
    story = " ".join(fact.text for fact in facts[1:])
    told = feedback(
        asked, dspy.Prediction(backstory=story), "writer.backstory", dspy.Prediction(backstory="x")
    )
    assert f"of {len(facts)} facts" in told and facts[0].text in told
    whole = " ".join(fact.text for fact in facts)
    kept = feedback(asked, dspy.Prediction(backstory=whole), "writer.backstory", {"backstory": "x"})
    assert "keeps 100%" in kept and "Lost" not in kept
    none = feedback(asked, dspy.Prediction(backstory=""), "writer.backstory", {"backstory": ""})
    assert none == "No backstory was written."


@pytest.mark.parametrize(("answer", "score"), [(2, 1.0), (3, 0.0)])
def test_the_metric_is_a_score_with_feedback_for_a_predictor(answer: int, score: float) -> None:
    """The score is the program's, with and without a predictor's name, as GEPA wants it."""
    metric = make_feedback(as_metric(SCORES["exact"]))
    prediction = dspy.Prediction(answer=answer, views={})
    own = dspy.Prediction(answer=2, analysis="x")
    assert metric(example("Q69", 2), prediction) == score
    assert metric(example("Q69", 2), prediction, []) == score
    both = metric(example("Q69", 2), prediction, [], "direct.answer", [(None, {}, own)])
    assert both.score == score and "which is right" in both.feedback
