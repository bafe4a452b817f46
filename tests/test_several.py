"""Several questions in a call: which ones, how they read, what is taken from the reply."""

import dspy
import pytest
from people import ANSWERS, case, person, prompt_of, scripted

from valuesim_dspy.case import Case, HistoryItem
from valuesim_dspy.errors import InvalidAnswerError
from valuesim_dspy.lexical.several import answer_several, read_several
from valuesim_dspy.several import SeveralAnswerer, asked_together, questions_text, read_answers
from valuesim_dspy.survey.codebook import Question, load_codebook

CODEBOOK = load_codebook()


def said(*answers: str, analysis: str = "So they are.") -> dict[str, str]:
    """Return a reply with a line for each question, in order."""
    lines = [f"{number}: {code}" for number, code in enumerate(answers, 1)]
    return {"analysis": analysis, "answers": "\n".join(lines)}


def test_what_is_known_is_not_asked_again() -> None:
    """Of the confidence battery the person's own answers are left out, and so is the history."""
    together = [question.id for question in asked_together(case("Q69"), most=50)]
    assert "Q69" in together and "Q66" in together
    assert not {"Q64", "Q65"} & set(together) and {"Q64", "Q65"} <= set(ANSWERS)
    late = Case(person(), CODEBOOK["Q69"], (HistoryItem(CODEBOOK["Q66"], 2),))
    assert "Q66" not in [question.id for question in asked_together(late, most=50)]


def test_all_of_a_call_share_its_request() -> None:
    """Whichever is the case's own, the same questions stand in the same order."""
    together = asked_together(case("Q69"))
    for question in together:
        assert asked_together(Case(person(), question)) == together
    assert len(together) <= 12 and {question.battery for question in together} == {
        CODEBOOK["Q69"].battery
    }


def test_a_question_without_a_battery_is_asked_alone() -> None:
    """One's own question, and one that stands by itself."""
    own = Question(text="Would you move to the sea?", options=["Yes", "No"])
    assert asked_together(Case(person(), own)) == (own,)


def test_questions_stand_behind_their_numbers() -> None:
    """Options behind their codes, below their question."""
    text = questions_text((CODEBOOK["Q69"], CODEBOOK["Q57"]), "JPN")
    first, second = text.split("\n\n")
    assert first.startswith("[1] How much confidence") and "\n1: A great deal" in first
    assert second.startswith("[2] ")


@pytest.mark.parametrize(
    "text",
    [
        "1: 3\n2: 4",
        "1. 3\n2. 4",
        "[1]: 3\n[2]: 4",
        "- 1: 3\n- 2: 4 (None)",
        "**1**: 3\n2) 4",
        "1: 3, 2: 4",
        "1: 3; 2: 4.",
        '{"1": 3, "2": 4}',
        "1: 9\n2: 4\n1: 3",
        "1 - 3\n2 -> 4",
        "1: 3 (Not very much)\n2: 4 - None",
        "1: **3**\n2: `4`",
        "1: 3 (3: Not very much)\n2: 4",
    ],
)
def test_lines_are_read_as_models_write_them(text: str) -> None:
    """Number and code, whatever marks stand around them."""
    assert read_answers(text) == {1: 3, 2: 4}


@pytest.mark.parametrize("text", ["1: 3.5", "1: 3,000", "Q1: 3", "1: three", "13", "1 3", "", "1:"])
def test_what_is_no_number_and_code_is_not_read(text: str) -> None:
    """It is asked for again; nothing is guessed from half of a line."""
    assert read_answers(text) == {}


@pytest.mark.parametrize("code", ["-1", "- 1", "**-1**", "\u22121", "\u20131", "(-1)"])
def test_a_code_behind_a_minus_is_not_the_option_without(code: str) -> None:
    """In these surveys it says that somebody does not know."""
    assert read_answers(f"1: {code}\n2: 4") == {1: -1, 2: 4}
    assert read_answers(f'{{"1": {code}, "2": 4}}') == {1: -1, 2: 4}


@pytest.mark.parametrize("code", ["3-4", "4 or 5", "2/5", "3 (of 4)", "3, 4", "3 2: 4", "3rd"])
def test_a_line_that_names_two_codes_names_none(code: str) -> None:
    """It is asked for again, as it is where a question is asked alone."""
    assert read_answers(f"1: {code}\n2: 4") == {2: 4}


def test_the_cases_own_answer_is_taken_and_one_call_serves_all() -> None:
    """Two cases of a battery: one request, each its own line of the reply."""
    together = asked_together(case("Q69"))
    codes = [str(1 + place % 4) for place in range(len(together))]
    answerer = SeveralAnswerer()
    with scripted([said(*codes)]) as engine:
        for place, question in enumerate(together):
            asked = Case(person(), question)
            found = answerer(case=asked, inputs=asked.inputs())
            assert found.answer == int(codes[place]) and found.analysis == "So they are."
    assert len(engine.requests) == 1
    assert "[2]" in prompt_of(engine.requests[0])


def test_a_reply_without_an_option_is_asked_for_again_then_fails() -> None:
    """Bounded retries; what is missing or no option is never guessed."""
    together = asked_together(case("Q69"))
    number = [question.id for question in together].index("Q69") + 1
    bad = {"analysis": "Hm.", "answers": f"{number}: 9"}
    good = {"analysis": "Ah.", "answers": f"{number}: 2"}
    with scripted([bad, good]) as engine:
        assert SeveralAnswerer()(case=case("Q69"), inputs=case("Q69").inputs()).answer == 2
        assert len(engine.requests) == 2
    never = [bad, "no fields", {"analysis": "x", "answers": "none"}]
    with scripted(never), pytest.raises(InvalidAnswerError):
        SeveralAnswerer()(case=case("Q69"), inputs=case("Q69").inputs())


def test_no_demo_can_come_of_it() -> None:
    """A trace would show answers to questions that nobody scored."""
    together = asked_together(case("Q69"))
    with scripted([said(*["2"] * len(together))]), dspy.context(trace=[]):
        SeveralAnswerer()(case=case("Q69"), inputs=case("Q69").inputs())
        assert dspy.settings.trace == []


def test_the_embedded_model_answers_each_for_itself() -> None:
    """Every question gets the code that it would get asked alone, and other prompts stay plain."""
    from valuesim_dspy.lexical.parsing import Field, Prompt, Task

    text = questions_text((CODEBOOK["Q69"], CODEBOOK["Q71"]), "JPN")
    facts = "- You completely trust your family.\n- You do not trust people you meet for the first."
    prompt = Prompt(
        Task(outputs=(Field("answers"),)),
        {"facts": facts, "questions": text},
        statements=(("facts", facts), ("questions", text)),
    )
    asked = read_several(prompt)
    assert list(asked) == ["1", "2"] and len(asked["1"].options) == 4
    assert asked["1"].question.startswith("How much confidence")
    assert all(name != "questions" for name, _ in asked["2"].statements)
    lines = answer_several(prompt).splitlines()
    assert [line.split(":")[0] for line in lines] == ["1", "2"]
    assert read_several(Prompt(Task(), {"facts": facts})) == {}


def test_a_question_put_otherwise_is_asked_as_it_is_put() -> None:
    """The case's own wording and options stand in the call, not the codebook's."""
    from dataclasses import replace

    own = replace(CODEBOOK["Q69"], text="Do you trust the police?")
    together = asked_together(Case(person(), own))
    text = questions_text(together, "JPN")
    assert "Do you trust the police?" in text
    assert [one.id for one in together] == [one.id for one in asked_together(case("Q69"))]
