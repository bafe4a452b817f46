"""Own questions of a remembered person: each answer stays with the question that was asked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from valuesim_dspy.errors import ConfigError, SurveyDataError
from valuesim_dspy.people import People, Person
from valuesim_dspy.people_tables import ANSWERS, QUESTIONS, definition_of, found_among
from valuesim_dspy.survey.codebook import Question, UnknownQuestionError, load_codebook

TEXT = "Do you smoke?"
UP, DOWN = ["Never", "Daily"], ["Daily", "Never"]


@pytest.fixture
def me(tmp_path: Path) -> Person:
    """Somebody of whom nothing is kept."""
    return People(tmp_path / "people.db").add("me")


def old(me: Person, question: Question, code: int) -> str:
    """Keep an answer as earlier versions did, whose default ids were of the text; return the id."""
    id = "own-" + hashlib.sha256(question.text.encode()).hexdigest()[:8]
    with me.store.changing() as db:
        row = {"person": me.key, "id": id, "definition": json.dumps(definition_of(question))}
        db.execute(QUESTIONS.insert(), row)
        answer = {"person": me.key, "question": id, "code": code, "source": "then"}
        db.execute(ANSWERS.insert(), answer | {"time": "2025-01-01", "in_profile": False})
    return id


def history(me: Person) -> str:
    """Return what is told of the person's later answers."""
    return me.case("Q57").history_text


def test_default_ids_are_of_the_options_too() -> None:
    """Text, options, codes and order make the id; given again, it is the same one."""
    made = [
        Question(TEXT, UP),
        Question(TEXT, DOWN),
        Question(TEXT, [*UP, "Now and then"]),
        Question(TEXT, {2: "Never", 1: "Daily"}),
        Question(TEXT, UP, order=(2, 1)),
        Question(TEXT, UP, scale_kind="nominal"),
        Question(TEXT),
        Question(f"{TEXT} "),
    ]
    ids = [question.id for question in made]
    assert len(set(ids)) == len(ids)
    assert all(id.startswith("own-") and len(id) == 12 for id in ids)
    assert Question(TEXT, UP).id == ids[0] == Question(TEXT, {1: "Never", 2: "Daily"}).id
    assert Question(TEXT, UP, id="mine").default_id == ids[0]


def test_half_a_character_is_a_text_of_a_question() -> None:
    """A default id is made of whatever the text holds."""
    cut = Question("Do you smoke\ud83d?", UP)
    assert cut.id != Question("Do you smoke?", UP).id and cut.former_id.startswith("own-")


def test_the_same_text_with_other_options_is_another_question(me: Person) -> None:
    """A code means what its own question says."""
    me.observe(Question(TEXT, UP), 1)
    me.observe(Question(TEXT, DOWN), 1)
    assert '"Never"' in history(me).splitlines()[0] and '"Daily"' in history(me).splitlines()[1]
    assert me.case(Question(TEXT, DOWN)).question.label(1) == "Daily"


def test_an_id_stands_for_one_question(me: Person) -> None:
    """Another one under it is refused in one line, and nothing of it is kept."""
    me.observe(Question("Do you like cats?", ["Yes", "No"], id="own-1"), 1)
    smoking, before = Question(TEXT, UP, id="own-1"), me.export()
    for act in (lambda: me.observe(smoking, 2), lambda: me.case(smoking)):
        with pytest.raises(ConfigError, match=r"own-1: another question was .* an id of its own"):
            act()
    assert me.export() == before
    same = Question("Do  you like\ncats?", ["Yes", "No"], id="own-1")
    me.observe(same, 2)
    assert [answer.code for answer in me.kept.answers] == [1, 2]
    me.forget("own-1")
    me.observe(smoking, 2)
    assert "Daily" in history(me)


def test_what_was_asked_is_found_by_what_a_case_holds(me: Person) -> None:
    """The question of a case, its id, and one made anew are one question."""
    me.observe(Question("What [[ ## now ## ]]?", ["a {b}", "c"]), 1)
    made = Question("What [[ ## now ## ]]?", ["a {b}", "c"])
    found = me.case(made).question
    for again in (found, found.id, made, made.id):
        assert me.case(again).question.id == found.id and me.case(again).history == ()
    assert len(me.kept.questions) == 1


def test_an_older_store_finds_what_was_answered(me: Person) -> None:
    """Under the id it had then; answers of then and now are of one question."""
    id = old(me, Question(TEXT, UP), 2)
    assert '"Daily"' in history(me)
    again = Question(TEXT, UP)
    assert again.id != id and again.former_id == id
    for asked in (again, again.id, id):
        case = me.case(asked)
        assert case.question.id == id and case.history == ()
    me.observe(again, "Never")
    assert [(a.question, a.code) for a in me.kept.answers] == [(id, 2), (id, 1)]
    me.forget(id)
    assert me.kept.answers == () and me.kept.questions == {}


def test_an_older_store_mixes_nothing_up(me: Person) -> None:
    """The same text with other options is kept beside it, under an id of its own."""
    id = old(me, Question(TEXT, UP), 2)
    me.observe(Question(TEXT, DOWN), 2)
    kept = [(a.question, me.kept.questions[a.question].label(a.code)) for a in me.kept.answers]
    assert kept == [(id, "Daily"), (Question(TEXT, DOWN).id, "Never")]
    with pytest.raises(UnknownQuestionError):
        me.case(Question(TEXT, [*UP, "Now and then"]).id)


def test_a_given_id_is_never_taken_for_an_older_one(me: Person) -> None:
    """Only a question without an id of its own is looked for by its text."""
    id = old(me, Question(TEXT, UP), 2)
    named = Question(TEXT, UP, id="own-smoking")
    assert found_among(me.kept.questions, named) is None
    me.observe(named, 1)
    assert set(me.kept.questions) == {id, "own-smoking"}


def test_a_codebook_of_another_wording_is_no_question_of_ones_own(me: Person) -> None:
    """Its ids are the codebook's, whatever their texts."""
    asked = load_codebook()["Q57"]
    other = asked.reworded(asked.wording, [*asked.options[:1], type(asked.options[0])(2, "Or not")])
    me.observe(other, 2)
    assert me.kept.questions == {} and me.case(other).question == asked


@pytest.mark.parametrize(
    ("question", "error"),
    [
        (Question(TEXT, UP, id="x" * 65), ConfigError),
        (Question(TEXT, UP, id="own-\ud83d"), ConfigError),
        (Question(TEXT, ["[[ a", "( a"]), SurveyDataError),
    ],
)
def test_what_could_not_be_kept_is_refused(
    me: Person, question: Question, error: type[Exception]
) -> None:
    """Before it is written: the person can still be read."""
    with pytest.raises(error):
        me.observe(question, 1)
    assert me.kept.questions == {} and me.kept.answers == ()
