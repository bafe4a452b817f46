"""The prompts, word for word: a change shows here and is noted under "Prompts" in the CHANGELOG.

To accept a change: `UPDATE_GOLDEN=1 python -m pytest tests/test_golden_prompts.py`.
"""

import os
from pathlib import Path

import dspy
import pytest
from people import case

from evals.baselines.rewritten import RewriteQuestion
from evals.recall import RecallMarginal
from valuesim_dspy.chances import ForeseeDistribution
from valuesim_dspy.panel import views_text
from valuesim_dspy.several import AnswerSeveral, questions_text
from valuesim_dspy.signatures import (
    PERSPECTIVES,
    AnswerDirectly,
    DecideAmongViews,
    DecideAnswer,
    WriteBackstory,
)
from valuesim_dspy.variants import CAPS, VARIANTS

GOLDEN = Path(__file__).parent / "golden"
SIGNATURES = {
    "write_backstory": WriteBackstory,
    **{f"read_{name}": signature for name, signature in PERSPECTIVES.items()},
    "decide_answer": DecideAnswer,
    "decide_answer_records": VARIANTS["full-records"].coordinator,
    "decide_among_views": DecideAmongViews,
    "answer_directly": AnswerDirectly,
    "foresee_distribution": ForeseeDistribution,
    "answer_directly_peers": VARIANTS["single-peers"].direct,
    "answer_directly_habits": VARIANTS["single-habits"].direct,
    "answer_several": AnswerSeveral,
    "rewrite_question": RewriteQuestion,
    "recall_marginal": RecallMarginal,
    "read_again": VARIANTS["interaction"].second_readers["cognitive"],
}


def rendered(signature: type[dspy.Signature]) -> str:
    """Return the whole prompt of a signature for the test's person."""
    known = case()
    views = {
        name: dspy.Prediction(answer=code, analysis="So the facts say.")
        for code, name in enumerate(CAPS, 1)
    }
    inputs = {
        **known.inputs(),
        "backstory": "You live in Japan. Family is very important in your life.",
        "views": views_text(known.question, views),
        "peers": "(what similar people answered)",
        "records": "(how the readers did)",
        "questions": questions_text((known.question,), known.profile.country),
        "survey": "(a survey)",
        "country": "Japan",
    }
    wanted = {name: inputs[name] for name in signature.input_fields}
    messages = dspy.ChatAdapter(use_json_adapter_fallback=False).format(signature, [], wanted)
    return "\n\n".join(f"=== {m['role']}\n{m['content']}" for m in messages) + "\n"


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_prompt_is_as_it_was_released(name: str) -> None:
    """Instructions, descriptions and the order of fields are product text."""
    path = GOLDEN / f"{name}.txt"
    text = rendered(SIGNATURES[name])
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_no_prompt_names_a_code_outside_the_options() -> None:
    """The codes come with the options, last: the shared prefix names none of them."""
    for signature in PERSPECTIVES.values():
        text = rendered(signature)
        assert text.index("[[ ## question ## ]]\nHow much confidence") < text.index("1: A great")
        assert "Literal" not in text


def test_two_questions_to_one_person_share_all_but_the_question() -> None:
    """System message, facts, backstory and history are the same text for every question."""
    for signature in (AnswerDirectly, DecideAnswer):
        texts = []
        for question in ("Q69", "Q57"):
            inputs = {**case(question).inputs(), "backstory": "You fish.", "views": "none"}
            wanted = {field: inputs[field] for field in signature.input_fields}
            messages = dspy.ChatAdapter().format(signature, [], wanted)
            texts.append("\n".join(str(m["content"]) for m in messages))
        shared = os.path.commonprefix(texts)  # noqa: RUF071 - texts, not paths
        assert shared.rstrip().endswith("[[ ## question ## ]]\nHow") or shared.endswith("]]\n")
