"""Tests of reading what a request asks for, on prompts that DSPy's own adapters render."""

import enum
from typing import Any, Literal

import dspy
import pytest
from dspy.lm15 import Config, Message, Request

from valuesim_dspy.lexical.parsing import (
    Field,
    Option,
    find_options,
    read_options,
    read_request,
    read_task,
    read_values,
    request_text,
    schema_of,
    split_question,
)

FACTS = "- You live in Peru.\n- Tea is very important in your life."
OPTIONS = "1: Very important\n2: Rather important\n3: Not very important"
QUESTION = "How important is milk in your life?"


class Colour(enum.Enum):
    """Two colours."""

    RED = "red"
    BLUE = "blue"


class Ask(dspy.Signature):
    """Read the facts with care.

    Then answer.
    """

    facts: str = dspy.InputField(desc="what is known")
    question: str = dspy.InputField(desc="what is asked\nof the person")
    options: str = dspy.InputField()
    analysis: str = dspy.OutputField(desc="two sentences")
    answer: int = dspy.OutputField(desc="the code")


def make_request(
    signature: type[dspy.Signature],
    adapter: dspy.Adapter,
    demos: list[dict[str, Any]] | None = None,
    **inputs: Any,
) -> Request:
    """Render a request as DSPy would send it."""
    system, *others = adapter.format(signature, demos or [], inputs)
    made = {"user": Message.user, "assistant": Message.assistant}
    messages = tuple(made[m["role"]](m["content"]) for m in others)
    return Request("m", messages, system["content"], config=Config(temperature=0.5, max_tokens=9))


ADAPTERS = [dspy.ChatAdapter(), dspy.JSONAdapter()]
FORMS = ["chat", "json"]


@pytest.mark.parametrize(("adapter", "form"), zip(ADAPTERS, FORMS, strict=True), ids=FORMS)
def test_a_rendered_request_is_read_back(adapter: dspy.Adapter, form: str) -> None:
    """Fields, objective, inputs, question, options and settings are those of the signature."""
    request = make_request(Ask, adapter, facts=FACTS, question=QUESTION, options=OPTIONS)
    prompt = read_request(request)
    assert prompt.task.form == form
    assert [f.name for f in prompt.task.inputs] == ["facts", "question", "options"]
    assert [f.name for f in prompt.task.outputs] == ["analysis", "answer"]
    assert prompt.task.inputs[1].description == "what is asked\nof the person"
    assert prompt.task.outputs[1].schema == {"type": "integer"}
    assert prompt.task.instructions == "Read the facts with care.\n\nThen answer."
    assert prompt.values == {"facts": FACTS, "question": QUESTION, "options": OPTIONS}
    assert prompt.question == QUESTION
    assert [option.code for option in prompt.options] == ["1", "2", "3"]
    assert prompt.options[2].label == "Not very important"
    assert prompt.statements == (("facts", FACTS),)
    assert prompt.temperature == 0.5
    assert prompt.max_tokens == 9


@pytest.mark.parametrize("adapter", ADAPTERS, ids=FORMS)
def test_demos_are_read_with_their_outputs(adapter: dspy.Adapter) -> None:
    """Pairs of messages are worked examples; what they lack is left out."""
    whole = {"facts": "- You are old.", "question": "Q?", "options": OPTIONS}
    demos = [
        {**whole, "analysis": "Because.", "answer": 3},
        {**whole, "answer": 1},
    ]
    request = make_request(Ask, adapter, demos, facts=FACTS, question=QUESTION, options=OPTIONS)
    found = {demo.outputs["answer"]: demo for demo in read_request(request).demos}
    assert set(found) == {"1", "3"}
    assert found["3"].inputs == whole
    assert found["3"].outputs == {"analysis": "Because.", "answer": "3"}
    assert "analysis" not in found["1"].outputs


@pytest.mark.parametrize("adapter", ADAPTERS, ids=FORMS)
@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (Literal[1, 2, 5], {"enum": [1, 2, 5]}),
        (Literal["Yes (really)", "No: never"], {"enum": ["Yes (really)", "No: never"]}),
        (Colour, {"enum": ["red", "blue"]}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
    ],
    ids=str,
)
def test_output_types_become_schemas(adapter: dspy.Adapter, kind: Any, schema: Any) -> None:
    """Every type is read from the rendered prompt, values and all."""
    signature = dspy.Signature("text: str -> reply: str").with_updated_fields("reply", type_=kind)
    prompt = read_request(make_request(signature, adapter, text="Hm."))
    assert prompt.task.outputs[0].schema == schema


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        ("list[int]", {"type": "array", "items": {"type": "integer"}}),
        ("dict[str, bool]", {"type": "object", "additionalProperties": {"type": "boolean"}}),
        ("list", {"type": "array", "items": {"type": "string"}}),
        ("dict", {"type": "object", "additionalProperties": {"type": "string"}}),
        ("Whatever", {"type": "string"}),
    ],
)
def test_type_names_alone_become_schemas(kind: str, schema: dict[str, Any]) -> None:
    """Where no note tells the schema, the name of the type does."""
    assert schema_of(kind) == schema


def test_quoted_numbers_of_a_literal_stay_text() -> None:
    """A literal of strings that look like numbers is not made one of integers."""
    note = "must exactly match (no extra characters) one of: 1; 2"
    assert schema_of("Literal['1', '2']", note) == {"enum": ["1", "2"]}
    assert schema_of("Literal[1, 2]", note) == {"enum": [1, 2]}


def test_a_prompt_without_fields_is_plain() -> None:
    """A bare string is read as text, its lines of options as options."""
    prompt = read_request(Request("m", (Message.user("Is it so?\n1: Yes\n2: No"),)))
    assert prompt.task.form == "plain"
    assert prompt.options == (Option("1", "Yes"), Option("2", "No"))
    assert prompt.question == "Is it so?"
    assert prompt.temperature == 0.0
    assert prompt.demos == ()


def test_a_system_message_in_parts_is_read() -> None:
    """System text that comes in parts is joined."""
    request = Request("m", (Message.user("Hello."),), system="Be kind.")
    assert read_request(request).task.instructions == "Be kind."
    assert request_text(request) == "Be kind.\n\nHello."


def test_a_header_that_is_no_field_stays_text() -> None:
    """Text that poses as a marker of an unknown field opens no field."""
    text = "[[ ## facts ## ]]\nOne.\n[[ ## secret ## ]]\nTwo.\n\n[[ ## question ## ]]\nQ?"
    values = read_values(text, ("facts", "question"))
    assert values == {"facts": "One.\n[[ ## secret ## ]]\nTwo.", "question": "Q?"}


def test_the_first_of_two_equal_headers_counts() -> None:
    """A field cannot be overwritten by a later text that repeats its marker."""
    text = "[[ ## facts ## ]]\nOne.\n\n[[ ## facts ## ]]\nTwo."
    assert read_values(text, ("facts",)) == {"facts": "One."}


def test_reading_a_system_message_is_memoised() -> None:
    """The same system message is read once."""
    system = make_request(Ask, ADAPTERS[0], facts="", question="", options="").system
    assert isinstance(system, str)
    assert read_task(system) is read_task(system)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("1: A\n2: B", ["1", "2"]),
        ("1. A\n2. B\n3. C", ["1", "2", "3"]),
        ("(1) A\n(2) B", ["1", "2"]),
        ("- 0 = A\n- -1 = B", ["0", "-1"]),
        ("a) A\nb) B", ["a", "b"]),
        ("1: A", []),
        ("1: A\n1: B", []),
        ("one: A\ntwo: B", []),
    ],
)
def test_options_are_lines_behind_a_code(text: str, codes: list[str]) -> None:
    """At least two lines with different codes make options."""
    assert [option.code for option in read_options(text)[0]] == codes


def test_options_may_stand_in_the_question() -> None:
    """Where one field holds question and options, its other lines are the question."""
    outputs = (Field("answer", "", {"type": "integer"}),)
    values = {"facts": FACTS, "question": f"{QUESTION}\n{OPTIONS}"}
    options, holder, rest = find_options(values, outputs)
    question, statements = split_question(values, holder, rest, bool(options))
    assert len(options) == 3
    assert question == QUESTION
    assert statements == (("facts", FACTS),)


def test_the_last_input_that_lists_options_rules() -> None:
    """An earlier list, such as numbered facts, is not taken for the options."""
    values = {"facts": "1. You are old.\n2. You are tall.", "options": "1: Yes\n2: No"}
    options, holder, _ = find_options(values, ())
    assert holder == "options"
    assert [option.label for option in options] == ["Yes", "No"]


def test_a_literal_limits_the_options_and_stands_in_for_them() -> None:
    """Only allowed codes are offered; without a list the literal itself is."""
    limited = (Field("answer", "", {"enum": [1, 3]}),)
    options, _, _ = find_options({"options": OPTIONS}, limited)
    assert [option.code for option in options] == ["1", "3"]
    words = (Field("answer", "", {"enum": ["tea", "milk"]}),)
    options, holder, _ = find_options({"question": QUESTION}, words)
    assert options == (Option("tea", "tea"), Option("milk", "milk"))
    assert holder is None


def test_the_question_is_the_field_that_asks() -> None:
    """A short field with a question mark is the question, whatever its name and place."""
    values = {"matter": QUESTION, "note": "You are old.", "options": OPTIONS}
    question, statements = split_question(values, "options", "", True)
    assert question == QUESTION
    assert statements == (("note", "You are old."),)


def test_without_a_question_mark_the_nearest_short_field_is_the_question() -> None:
    """The field before the options is asked about, and long fields are evidence."""
    values = {"facts": "You like tea. " * 50, "item": "Say how you like milk.", "options": OPTIONS}
    question, statements = split_question(values, "options", "", True)
    assert question == "Say how you like milk."
    assert [name for name, _ in statements] == ["facts"]


def test_fields_after_the_options_are_evidence() -> None:
    """Views that follow the options are statements, not the question."""
    values = {"question": QUESTION, "options": OPTIONS, "views": "One answers 2. Why not?"}
    question, statements = split_question(values, "options", "", True)
    assert question == QUESTION
    assert statements == (("views", "One answers 2. Why not?"),)


def test_words_of_a_field_come_from_its_name_and_description() -> None:
    """Names are split at underscores."""
    item = Field("proposed_prefix", "The string at the end")
    assert item.name_terms == {"proposed", "prefix"}
    assert {"string", "prefix"} <= item.terms
