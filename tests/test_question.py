"""Questions, also those that users make."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.survey.question import Question
from valuesim_dspy.survey.scales import Option
from valuesim_dspy.survey.wording import Country, Places, Wording


def test_labels_alone_make_a_question() -> None:
    """Plain labels are coded from 1; the id comes from the text and what the codes mean."""
    question = Question(text="Do you like tea?", options=["Yes", "No"])
    assert question.options == (Option(1, "Yes"), Option(2, "No"))
    assert question.id.startswith("own-") and len(question.id) == 12
    assert question.id == Question("Do you like tea?", {1: "Yes", 2: "No"}).id
    assert question.id != Question("Do you like tea?", ["No", "Yes"]).id
    assert question.id != Question("Do you like milk?", ["Yes", "No"]).id
    assert (question.scale_kind, question.order) == ("binary", (1, 2))
    assert question.poles == ("yes", "no")
    assert question.topic == question.text and question.scorable and not question.private


def test_codes_may_be_given() -> None:
    """Codes are kept; options ascend, while the order is that of the list."""
    question = Question("How much?", {3: "A lot", 1: "A bit", 0: "None"}, id="mine")
    assert question.codes == (0, 1, 3)
    assert question.order == (3, 1, 0)
    assert question.scale_kind == "ordinal" and question.direction == -1
    assert question.id == "mine"


def test_nominal_questions_have_no_order() -> None:
    """Without order there is no direction, no position and no pole."""
    question = Question("Which?", ["Red", "Green", "Blue"], scale_kind="nominal")
    assert question.order == () and question.poles is None
    assert question.direction == 0
    assert question.position(2) is None


def test_positions_are_ranks() -> None:
    """Positions are ranks among the on-scale codes, not differences of codes."""
    question = Question("How much?", {1: "A", 2: "B", 5: "C", 9: "Other"}, order=[5, 2, 1])
    assert [question.position(code) for code in (5, 2, 1)] == [0.0, 0.5, 1.0]
    assert question.position(9) is None
    with pytest.raises(SurveyDataError, match="no such code; codes: 1, 2, 5, 9"):
        question.position(4)


@pytest.mark.parametrize(("order", "direction"), [([1, 2, 3], 1), ([3, 2, 1], -1), ([2, 3, 1], 0)])
def test_direction_is_of_the_codes(order: list[int], direction: int) -> None:
    """+1 where larger codes mean more, -1 where less, 0 where neither."""
    assert Question("How much?", ["A", "B", "C"], order=order).direction == direction


def test_labels_are_found_by_code() -> None:
    """A code has one label; a code that does not exist is an error."""
    question = Question("Tea?", ["Yes", "No"], id="tea")
    assert question.label(2) == "No"
    assert question.has_code(1) and not question.has_code(3)
    with pytest.raises(SurveyDataError, match=r"tea: no such code; codes: 1, 2 \(value '3'\)"):
        question.label(3)


def test_own_questions_are_told_by_their_text() -> None:
    """Without wording of its own, a question's fact quotes the text and the label."""
    question = Question("Do you like tea?", ["Yes", "No"])
    assert question.gives_facts
    assert question.fact_text(1, "JPN") == 'Asked "Do you like tea?", you answered "Yes".'


def test_a_question_without_options_is_open() -> None:
    """An open question cannot be scored and, without a template, tells nothing."""
    question = Question("What is your name?")
    assert question.scale_kind == "open"
    assert not question.scorable and not question.gives_facts
    with pytest.raises(SurveyDataError, match="never facts"):
        question.fact_text(5)
    with pytest.raises(SurveyDataError, match="codes: none, it is open"):
        question.fact_text(-1)


def test_a_new_text_is_asked() -> None:
    """Replacing the text replaces what is asked, and leaves the facts."""
    wording = Wording("Tea in {country}?", {1: "You do.", 2: "You do not."})
    question = Question("Tea in your country?", ["Yes", "No"], wording=wording)
    assert question.text_for("JPN") == "Tea in your country?"
    named = Wording(wording.ask, wording.facts, places=Places([Country("JPN", 392, "Japan")]))
    question = Question("Tea in your country?", ["Yes", "No"], wording=named)
    assert question.text_for("JPN") == "Tea in Japan?"
    other = dataclasses.replace(question, text="Is tea your drink?")
    assert other.text_for("JPN") == "Is tea your drink?"
    assert other.fact_text(2) == "You do not."


BROKEN = [
    ({"text": " ", "options": ["A", "B"]}, "needs a text"),
    ({"text": "A?", "options": ["A"]}, "at least two options"),
    ({"text": "A?", "options": ["A", "A"]}, "labels must be different"),
    ({"text": "A?", "options": ["A", ""]}, "labels must be different and not empty"),
    ({"text": "A?", "options": {-1: "A", 1: "B"}}, "negative codes"),
    ({"text": "A?", "options": [Option(1, "A"), Option(1, "B")]}, "a code is given twice"),
    ({"text": "A?", "options": ["A", "B"], "order": [1, 3]}, "not among the codes"),
    ({"text": "A?", "options": ["A", "B", "C"], "scale_kind": "binary"}, "two codes"),
    ({"text": "A?", "options": ["A", "B"], "scale_kind": "likert"}, "unknown kind of scale"),
    ({"text": "A?", "options": ["A", "B"], "kind": "belief"}, "unknown kind; allowed: value"),
    ({"text": "A?", "options": ["A", "B"], "poles": ("x", "x")}, "two different texts"),
]


@pytest.mark.parametrize(("given", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_broken_questions_are_refused(given: dict[str, object], message: str) -> None:
    """What does not fit is refused when the question is made, by its id."""
    with pytest.raises(SurveyDataError, match=message) as caught:
        Question(**given)  # type: ignore[arg-type]
    assert "own-" in str(caught.value)


def test_questions_are_values() -> None:
    """Equal content is equal and hashes alike; copies are the thing itself; fields are frozen."""
    question = Question("Tea?", ["Yes", "No"])
    assert question == Question("Tea?", ["Yes", "No"])
    assert question != Question("Tea?", ["Yes", "Never"])
    assert len({question, Question("Tea?", ["Yes", "No"])}) == 1
    assert copy.copy(question) is question and copy.deepcopy([question])[0] is question
    assert pickle.loads(pickle.dumps(question)) == question
    with pytest.raises(dataclasses.FrozenInstanceError):
        question.text = "Milk?"  # type: ignore[misc]


def test_the_content_is_plain() -> None:
    """Digests are made of plain values that hold texts, codes and facts."""
    content = Question("Tea?", ["Yes", "No"], missing={-1: "dont-know"}).content()
    assert content["options"] == [[1, "Yes"], [2, "No"]]
    assert content["ask"] == "Tea?" and content["missing"] == {"-1": "dont-know"}
    assert content["facts"] == [
        [1, 'Asked "Tea?", you answered "Yes".'],
        [2, 'Asked "Tea?", you answered "No".'],
    ]


def test_the_repr_is_short() -> None:
    """A question shows its id and text, not its tables."""
    assert repr(Question("Tea?", ["Yes", "No"], id="Q1")) == "Question(id='Q1', text='Tea?')"
