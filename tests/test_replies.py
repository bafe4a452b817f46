"""Replies: the model's own answer is read, whatever it quotes on the way to it."""

from __future__ import annotations

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError

from valuesim_dspy.replies import ReplyAdapter, chat_adapter, field_of, salvaged, settled
from valuesim_dspy.several import AnswerSeveral
from valuesim_dspy.signatures import AnswerDirectly, WriteBackstory, answering_alone

END = "\n\n[[ ## completed ## ]]"
QUOTES = (
    "[[ ## answer ## ]] 5",
    "[[ ## answer ## ]]\n5",
    "[[ ## answer ## ]]\n5\n[[ ## completed ## ]]",
    "[[ ## analysis ## ]]\nSo it is.\n[[ ## answer ## ]]\n5\n[[ ## completed ## ]]",
    "x\u2028[[ ## answer ## ]]\u20285",
    "x\v[[ ## answer ## ]] 5\r",
    '{"answer": 5}',
    '"answer": 5',
    "Answer: 5",
    "**answer**: 5",
    "<answer>5</answer>",
    "```\n[[ ## answer ## ]]\n5\n```",
)


def reply(quote: str, answer: str = "2") -> str:
    """Return a reply whose analysis quotes something."""
    return f"[[ ## analysis ## ]]\nIt says {quote}\nSo what.\n\n[[ ## answer ## ]]\n{answer}{END}"


@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize("lead", ["", "\n"])
def test_a_quotation_does_not_answer(quote: str, lead: str) -> None:
    """Neither in the middle of a line nor at its beginning, with or without an end of its own."""
    read = ReplyAdapter().parse(AnswerDirectly, reply(lead + quote))
    assert read["answer"] == 2 and "So what." in read["analysis"]


@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize("lead", ["", "\n"])
def test_a_quotation_does_not_answer_where_the_answer_is_in_words(quote: str, lead: str) -> None:
    """An answer that has to be salvaged is the model's, too."""
    with pytest.raises(AdapterParseError) as caught:
        ReplyAdapter().parse(AnswerDirectly, reply(lead + quote, "Option 2"))
    found = salvaged(str(caught.value.lm_response), (1, 2, 5), AnswerDirectly)
    assert found is not None and found.answer == 2 and "So what." in found.analysis


@pytest.mark.parametrize("quote", QUOTES[6:8])
def test_a_key_that_is_quoted_is_no_answer(quote: str) -> None:
    """A reply with an analysis and no answer is asked for again."""
    said = f"[[ ## analysis ## ]]\nIt says {quote}"
    assert salvaged(said, (1, 2, 5), AnswerDirectly) is None
    middle = "[[ ## analysis ## ]]\nIt says [[ ## answer ## ]] 5, which I leave aside."
    assert salvaged(middle, (1, 2, 5), AnswerDirectly) is None
    early = "[[ ## analysis ## ]]\nAnswer: 5\nis what it says, and no more."
    assert salvaged(early, (1, 2, 5), AnswerDirectly) is None


@pytest.mark.parametrize(
    "said",
    [
        "[[ ## analysis ## ]]\nHm.\n\n[[ ## answer ## ]]\nOption 2",
        "[[ ## analysis ## ]]\nHm.\n\nAnswer: 2",
        "[[ ## analysis ## ]]\nHm.\n\n**Answer:** 2\n\n[[ ## completed ## ]]",
        "Hm.\nanswer: option 2",
        '{"analysis": "Hm.", "answer": "Option 2"}',
        '{\n "analysis": "It says \\"answer\\": 5",\n "answer": "2."\n}',
    ],
)
def test_one_option_that_is_named_at_the_end_is_read(said: str) -> None:
    """Where the marker is missing, or a reply is an object, the last words count."""
    found = salvaged(said, (1, 2, 5), AnswerDirectly)
    assert found is not None and found.answer == 2
    alone = salvaged(said, (1, 2, 5), answering_alone(AnswerDirectly))
    assert alone is not None and alone.answer == 2 and "analysis" not in alone


@pytest.mark.parametrize("said", ["", "2", "Option 2", "[[ ## answer ## ]]\n7", "answer: 1 or 2"])
def test_what_names_no_option_or_two_is_not_read(said: str) -> None:
    """Nothing is guessed."""
    assert salvaged(said, (1, 2, 5), AnswerDirectly) is None


def test_a_reply_as_it_should_be_is_left_alone() -> None:
    """Each field once, or twice with the same words: nothing to decide."""
    once = reply("nothing")
    assert settled(once, AnswerDirectly) == once
    same = "[[ ## analysis ## ]]\na\n[[ ## answer ## ]]\n2\n[[ ## answer ## ]]\n2" + END
    assert settled(same, AnswerDirectly) == same
    story = "[[ ## backstory ## ]]\na\n[[ ## backstory ## ]]\nb"
    assert settled(story, WriteBackstory) == story


def test_a_reply_that_goes_on_after_its_end_with_another_answer_is_refused() -> None:
    """Which of the two is the answer cannot be told; the same one twice is no question."""
    more = "\n\n[[ ## question ## ]]\nAnd?\n\n[[ ## analysis ## ]]\nb\n\n[[ ## answer ## ]]\n"
    said = reply("a") + more + "5" + END
    with pytest.raises(AdapterParseError):
        ReplyAdapter().parse(AnswerDirectly, said)
    assert salvaged(said, (1, 2, 5), AnswerDirectly) is None
    assert ReplyAdapter().parse(AnswerDirectly, reply("a") + more + "2" + END)["answer"] == 2


def test_the_answers_to_several_questions_are_read_alike() -> None:
    """The last field decides there, too."""
    said = "[[ ## analysis ## ]]\nIt says\n[[ ## answers ## ]]\n1: 5\n\n[[ ## answers ## ]]\n1: 2"
    assert ReplyAdapter().parse(AnswerSeveral, said)["answers"] == "1: 2"


def test_what_is_said_outside_the_answers_is_not_among_them() -> None:
    """A reply that lacks the field says nothing in it; one without fields is taken whole."""
    assert field_of("[[ ## analysis ## ]]\nIt says\n1: 5", "answers") == ""
    assert field_of("[[ ## analysis ## ]]\n1: 5\n[[ ## answers ## ]]\n1: 2", "answers") == "1: 2"
    assert field_of("1: 2\n2: 3", "answers") == "1: 2\n2: 3" and field_of("", "answers") == ""


def test_the_adapter_asks_once_and_writes_what_dspy_writes() -> None:
    """Prompts are those of DSPy's chat adapter; there is no second call through JSON."""
    adapter = chat_adapter()
    assert adapter is chat_adapter() and not adapter.use_json_adapter_fallback
    plain = dspy.ChatAdapter(use_json_adapter_fallback=False)
    changed = AnswerDirectly.with_instructions("Say what they say.")
    for signature in (AnswerDirectly, changed, WriteBackstory, AnswerSeveral):
        inputs = {name: f" {name}\n\t- \u00e9 1\n" for name in signature.input_fields}
        outputs = dict.fromkeys(signature.output_fields, "2")
        for demos in ([], [{**inputs, **outputs}]):
            assert adapter.format(signature, demos, inputs) == plain.format(
                signature, demos, inputs
            )
    numbers = dict.fromkeys(AnswerDirectly.input_fields, 3)
    assert adapter.format(AnswerDirectly, [], numbers) == plain.format(AnswerDirectly, [], numbers)
