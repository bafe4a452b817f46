"""Tests of what replies say, through DSPy's adapters and with its teleprompters' signatures."""

import enum
from random import Random
from typing import Any, Literal

import dspy
import pydantic
import pytest
from dspy.lm15 import Message, Request
from dspy.propose.dataset_summary_generator import DatasetDescriptor, ObservationSummarizer
from dspy.propose.grounded_proposer import (
    DescribeModule,
    DescribeProgram,
    generate_instruction_class,
)
from dspy.teleprompt.avatar_optimizer import FeedbackBasedInstruction
from dspy.teleprompt.copro_optimizer import (
    BasicGenerateInstruction,
    GenerateInstructionGivenAttempts,
)
from dspy.teleprompt.infer_rules import RulesInductionProgram
from dspy.teleprompt.simba_utils import OfferFeedback
from gepa.strategies.instruction_proposal import InstructionProposalSignature

from valuesim_dspy.lexical import LEXICAL_MODEL, LexicalEngine
from valuesim_dspy.lexical.advice import ADVICE, CONNECTIVES, PREFIXES
from valuesim_dspy.lexical.composing import compose, compose_plain, story
from valuesim_dspy.lexical.parsing import Field, Prompt, Task, read_request
from valuesim_dspy.lexical.text import read_sentence, split_sentences

FACTS = (
    "- You live in Peru.\n- Tea is very important in your life.\n"
    "- Milk is rather important in your life.\n- You completely trust your family.\n"
    "- On whether divorce can be justified, you stand at 5 on a scale from 1 (never justifiable) "
    "to 10 (always justifiable)."
)
QUESTION = "How important is milk to you?"
OPTIONS = "1: Very important\n2: Rather important\n3: Not very important\n4: Not at all important"
ADAPTERS = [dspy.ChatAdapter(use_json_adapter_fallback=False), dspy.JSONAdapter()]


class Colour(enum.Enum):
    """Two colours."""

    RED = "red"
    BLUE = "blue"


class Note(pydantic.BaseModel):
    """A nested output."""

    title: str
    code: int
    tags: list[str]
    sure: bool


class WriteStory(dspy.Signature):
    """Write the story of a person from facts."""

    facts: str = dspy.InputField()
    story: str = dspy.OutputField(desc="the whole story")


@pytest.fixture(params=ADAPTERS, ids=["chat", "json"])
def lexical(request: pytest.FixtureRequest) -> Any:
    """Answer with the lexical engine, through each adapter."""
    lm = dspy.LM(LEXICAL_MODEL, engine=LexicalEngine(), cache=False)
    with dspy.context(lm=lm, adapter=request.param):
        yield lm


def ask_for(kind: Any, name: str = "answer", desc: str = "the reply") -> Any:
    """Return the value of one output of a type, asked with question and options."""
    signature = dspy.Signature("facts, question, options -> reply").delete("reply")
    signature = signature.append(name, dspy.OutputField(desc=desc), type_=kind)
    known = {"facts": FACTS, "question": QUESTION, "options": OPTIONS}
    return dspy.Predict(signature)(**known)[name]


@pytest.mark.usefixtures("lexical")
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 2),
        (Literal[1, 2, 3, 4], 2),
        (Literal[3, 4], 3),
        (Literal["1", "2"], "2"),
        (float, 2.0),
        (str, "2"),
        (int | None, 2),
    ],
    ids=str,
)
def test_a_choice_is_given_in_the_type_asked_for(kind: Any, value: Any) -> None:
    """The code of the supported option comes as int, literal, number or text."""
    assert ask_for(kind) == value


@pytest.mark.usefixtures("lexical")
def test_a_choice_by_label_is_the_label() -> None:
    """Where the wording is asked for, the label is given."""
    assert ask_for(str, desc="the label of the option") == "Rather important"


@pytest.mark.usefixtures("lexical")
def test_literals_of_labels_need_no_options() -> None:
    """Labels in the type are options by themselves."""
    kind = Literal["Very important", "Rather important", "Not very important"]
    signature = dspy.Signature("facts, question -> answer").with_updated_fields(
        "answer", type_=kind
    )
    answer = dspy.Predict(signature)(facts=FACTS, question=QUESTION).answer
    assert answer == "Rather important"


@pytest.mark.usefixtures("lexical")
@pytest.mark.parametrize("kind", [dict[str, float], dict[int, float]], ids=str)
def test_a_mapping_of_numbers_is_a_distribution(kind: Any) -> None:
    """Support by code sums to one and peaks at the choice."""
    shares = ask_for(kind, "shares")
    assert [int(code) for code in shares] == [1, 2, 3, 4]
    assert sum(shares.values()) == pytest.approx(1, abs=0.001)
    assert int(max(shares, key=shares.get)) == 2


@pytest.mark.usefixtures("lexical")
def test_lists_are_rankings_or_quotes() -> None:
    """A list of numbers ranks the codes; a list of text quotes the evidence."""
    ranking = ask_for(list[int], "ranking")
    assert ranking[0] == 2
    assert sorted(ranking) == [1, 2, 3, 4]
    quotes = ask_for(list[str], "quotes")
    assert quotes[0] == "Milk is rather important in your life."


@pytest.mark.usefixtures("lexical")
def test_confidence_is_the_share_of_support() -> None:
    """A number asked for as confidence is the support of the choice, in the range named."""
    share = ask_for(float, "confidence")
    assert 0.25 < share <= 1
    assert ask_for(int, "confidence", "from 0 to 100") == round(100 * share)


@pytest.mark.usefixtures("lexical")
@pytest.mark.parametrize(
    "kind",
    [bool, Colour, Note, list[Note], tuple[int, str], list[bool], dict[str, str], str | None],
)
def test_other_types_parse(kind: Any) -> None:
    """Enumerations, models, tuples and nested lists are filled so that they validate."""
    value = ask_for(kind, "reply")
    pydantic.TypeAdapter(kind).validate_python(value)
    assert value is not None


@pytest.mark.usefixtures("lexical")
def test_a_model_is_filled_field_by_field() -> None:
    """Nested fields get what their own names ask for."""
    note = ask_for(Note, "note")
    assert note.code == 2
    assert "Milk is rather important" in note.title


@pytest.mark.usefixtures("lexical")
def test_an_analysis_quotes_its_evidence_and_names_the_option() -> None:
    """The analysis holds the heaviest statement and the option the answer gives."""
    analysis = ask_for(str, "analysis")
    assert "“Milk is rather important in your life.”" in analysis
    assert "option 2 (Rather important)" in analysis


@pytest.mark.usefixtures("lexical")
def test_an_analysis_without_evidence_says_so() -> None:
    """Nothing is quoted where nothing is known."""
    predict = dspy.Predict("facts, question, options -> analysis, answer: int")
    reply = predict(facts="(nothing is known)", question=QUESTION, options=OPTIONS)
    assert reply.analysis.startswith("Nothing that is known")
    assert reply.answer in (1, 2, 3, 4)


@pytest.mark.usefixtures("lexical")
def test_numbers_without_options() -> None:
    """Without options: the number asked about, the low end of a range, or 0."""
    predict = dspy.Predict("text -> number: int, share: float")
    assert predict(text="Say 7. Then 9.").number == 7
    assert predict(text="Say nothing.").number == 0
    ranged = dspy.Signature("text -> number: int").with_updated_fields("number", desc="3 to 5")
    assert dspy.Predict(ranged)(text="Say nothing.").number == 3


@pytest.mark.usefixtures("lexical")
def test_plain_questions_are_answered_from_the_context() -> None:
    """A text answer without options is the statement nearest to the question."""
    predict = dspy.Predict("context, question -> answer")
    context = "Rome is old. The capital of Peru is Lima. Tea is green."
    answer = predict(context=context, question="What is the capital of Peru?").answer
    assert answer.startswith("The capital of Peru is Lima.")


@pytest.mark.usefixtures("lexical")
def test_a_story_keeps_every_fact_in_order() -> None:
    """Each fact's words stand in one sentence of the story, strength and number included."""
    told = [
        read_sentence(part) for part in split_sentences(dspy.Predict(WriteStory)(facts=FACTS).story)
    ]
    facts = [read_sentence(part) for part in split_sentences(FACTS)]
    assert len(told) == len(facts)
    for fact, sentence in zip(facts, told, strict=True):
        assert fact.stems <= sentence.stems
        assert fact.degree == sentence.degree
        assert fact.scale == sentence.scale


def make_prompt(facts: str, max_tokens: int | None = None) -> Prompt:
    """Return a prompt that asks for a story."""
    task = Task((Field("facts"),), (Field("story"),), "Write.", "chat")
    return Prompt(task, {"facts": facts}, statements=(("facts", facts),), max_tokens=max_tokens)


def test_a_story_tells_each_fact_once() -> None:
    """Repeated sentences are told once."""
    assert story(make_prompt("You are old.\nYou are old.\nYou are tall."), None) == (
        "You are old. You are tall."
    )


def test_a_story_keeps_within_its_bound() -> None:
    """A bounded story leaves out sentences of common words and keeps the rare ones, in order."""
    lines = [f"You like the tea of region {number}." for number in range(60)]
    lines.insert(30, "Zebras frighten you.")
    text = story(make_prompt("\n".join(lines), max_tokens=200), None)
    assert len(text) <= 200 * 4
    assert "Zebras frighten you." in text
    kept = [line for line in lines if line in text]
    assert [text.index(line) for line in kept] == sorted(text.index(line) for line in kept)


def test_stories_differ_between_draws_in_form_only() -> None:
    """Variation touches connectives and paragraphs, never the facts."""
    facts = "\n".join(f"You like the tea of region {number}." for number in range(20))
    stories = {story(make_prompt(facts), Random(seed)) for seed in range(8)}
    assert len(stories) > 1
    for text in stories:
        for connective in CONNECTIVES:
            text = text.replace(f"{connective} you", "You")
        assert " ".join(text.split()) == " ".join(facts.split())


def test_composing_varies_only_when_asked() -> None:
    """Without variation the generator changes nothing in a choice or a story."""
    prompt = make_prompt(FACTS)
    assert compose(prompt, Random(1), vary=False) == compose(prompt, Random(2), vary=False)


PROGRAM = {
    "program_code": "class P(Module):\n    def forward(self, case): return self.answer(case)",
    "program_example": "No task demos provided.",
    "program_description": "It answers questions about a person.",
    "module": "Predict(facts, question) -> answer",
    "module_description": "It answers.",
}
TELEPROMPTER_SIGNATURES = {
    "copro": (BasicGenerateInstruction, {"basic_instruction": "Answer."}),
    "copro-attempts": (
        GenerateInstructionGivenAttempts,
        {
            "attempted_instructions": [
                "Instruction #1: Answer.",
                "Prefix #1: A:",
                "Resulting Score #1: 3",
            ]
        },
    ),
    "mipro": (
        generate_instruction_class().signature,
        {
            **PROGRAM,
            "dataset_description": "Questions.",
            "task_demos": "Question: Q?\nAnswer: 1",
            "previous_instructions": "Old. | Score: 30",
            "basic_instruction": "Answer.",
            "tip": "Be creative!",
        },
    ),
    "mipro-program": (DescribeProgram, PROGRAM),
    "mipro-module": (DescribeModule, PROGRAM),
    "mipro-data": (DatasetDescriptor, {"examples": "[Example({'a': 'b'})]"}),
    "mipro-summary": (ObservationSummarizer, {"observations": "They are short. They ask."}),
    "infer-rules": (
        RulesInductionProgram(3).rules_induction.predict.signature,
        {"examples_text": "Input Fields:\nquestion: Q?\n\n=========\nOutput Fields:\nanswer: 1"},
    ),
    "avatar": (FeedbackBasedInstruction, {"previous_instruction": "Answer.", "feedback": "No."}),
}


@pytest.mark.usefixtures("lexical")
@pytest.mark.parametrize("name", TELEPROMPTER_SIGNATURES)
def test_teleprompters_signatures_are_filled(name: str) -> None:
    """Every text output of DSPy's own prompt-writing signatures is text of use."""
    signature, inputs = TELEPROMPTER_SIGNATURES[name]
    given = {field: value for field, value in inputs.items() if field in signature.input_fields}
    reply = dspy.Predict(signature)(**given)
    for field in signature.output_fields:
        assert reply[field].strip()
        if "instruction" in field:
            assert reply[field].startswith("Answer.\n")
            assert reply[field].splitlines()[-1] in ADVICE
        if "prefix" in field:
            assert reply[field] in PREFIXES


@pytest.mark.usefixtures("lexical")
def test_advice_is_given_for_each_module_that_is_listed() -> None:
    """SIMBA's feedback maps every module's name to advice."""
    texts = dict.fromkeys(OfferFeedback.input_fields, "none")
    values: dict[str, Any] = {**texts, "module_names": ["first.answer", "second.answer"]}
    values.update(worse_reward_value=0.0, better_reward_value=1.0)
    advice = dspy.Predict(OfferFeedback)(**values).module_advice
    assert list(advice) == ["first.answer", "second.answer"]
    assert all(any(item in text for item in ADVICE) for text in advice.values())


def test_a_fenced_instruction_comes_back_better_in_a_fence() -> None:
    """GEPA's reflection prompt, which is plain text, is answered as it asks."""
    asked = InstructionProposalSignature.prompt_renderer(
        {
            "current_instruction_doc": "Answer with care.",
            "dataset_with_feedback": [{"Inputs": {"question": "Q?"}, "Feedback": "Wrong."}],
        }
    )
    assert isinstance(asked, str)
    prompt = read_request(Request("m", (Message.user(asked),)))
    reply = compose_plain(prompt, Random(0), vary=True)
    found = InstructionProposalSignature.output_extractor(reply)["new_instruction"]
    assert found.startswith("Answer with care.\n")
    assert found.splitlines()[-1] in ADVICE


def test_plain_prompts_get_a_code_or_an_extract() -> None:
    """A bare prompt with options is answered by a code, another one from its own words."""
    offered = read_request(Request("m", (Message.user("Tea?\n1: Yes\n2: No"),)))
    assert compose_plain(offered, Random(0), vary=False) in ("1", "2")
    bare = read_request(Request("m", (Message.user("Tell me of tea."),)))
    assert "tea" in compose_plain(bare, Random(0), vary=False)
