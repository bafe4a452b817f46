"""Demos: which cases are drawn, what a rendered demo holds, and what is refused."""

import random
from typing import Any

import dspy
import numpy as np
import pytest
from people import ANSWERS, case, person

from evals.baselines import RAG, Blank
from optimize.demo_rendering import add_labeled_demos, check_demos, demo_counts, draw_cases
from valuesim_dspy.case import NOTHING_KNOWN, Case, make_example
from valuesim_dspy.errors import ProgramStateError
from valuesim_dspy.own import own_profile
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrieval import LexicalEmbedder, Retriever
from valuesim_dspy.survey.codebook import load_codebook

MISSING = "not supplied"


def examples(people: int = 3, questions: tuple[str, ...] = ("Q69", "Q70", "Q121")) -> list[Any]:
    """Return examples: every person, every question, the true code 2."""
    profiles = [person({**ANSWERS, "Q2": 1 + n % 4, "Q3": 1 + n // 4}) for n in range(people)]
    return [make_example(Case(p, load_codebook()[q]), 2) for p in profiles for q in questions]


def rendered(predictor: Any) -> str:
    """Return what the adapter makes of a predictor's demos."""
    messages = dspy.ChatAdapter().format_demos(predictor.signature, predictor.demos)
    return "\n".join(str(message["content"]) for message in messages)


def test_drawn_cases_spread_over_people_and_batteries() -> None:
    """Of three people and two batteries, three draws take each person and both batteries."""
    for seed in range(20):
        drawn = draw_cases(examples(), 3, random.Random(seed))
        assert len({ex.case.profile.key for ex in drawn}) == 3
        assert len({ex.case.question.battery for ex in drawn}) == 2


def test_draws_follow_the_generator_and_end_with_the_trainset() -> None:
    """The same seed draws the same; others differ; nothing is drawn twice."""
    train = examples(6)
    first, again = (draw_cases(train, 4, random.Random(1)) for _ in range(2))
    assert first == again
    assert len({tuple(map(repr, draw_cases(train, 4, random.Random(s)))) for s in range(9)}) > 1
    everything = draw_cases(train, 99, random.Random(1))
    assert sorted(map(repr, everything)) == sorted(map(repr, train))


def test_only_predictors_that_answer_from_the_case_get_demos() -> None:
    """The writer has no true output and the coordinator needs views: both stay without."""
    program = ValueSim("full")
    assert add_labeled_demos(program, examples()[:2]) == 3
    assert demo_counts(program) == {
        "panel.cognitive.answer": 2,
        "panel.affective.answer": 2,
        "panel.behavioral.answer": 2,
    }


def test_a_demo_is_what_the_predictor_reads_condensed_and_the_true_code() -> None:
    """Facts are shortened to the nearest, the backstory is left out, habits are this case's."""
    program = ValueSim("full", demo_facts=3)
    asked = case("Q69")
    add_labeled_demos(program, [make_example(asked, 3)])
    demo = program.panel.behavioral.answer.demos[0]
    assert set(demo.keys()) == {
        "facts", "history", "habits", "question", "options", "analysis", "answer"
    }  # fmt: skip
    lines = demo.facts.splitlines()
    assert len(lines) == 3 and set(lines) < set(asked.profile.facts_text.splitlines())
    assert (demo.question, demo.options) == (asked.question_text, asked.options_text)
    assert demo.habits == asked.habits_text and demo.answer == 3
    assert "habits" not in program.panel.cognitive.answer.demos[0]


@pytest.mark.parametrize("variant", ["single", "facts-only"])
def test_without_backstory_a_demo_is_complete(variant: str) -> None:
    """The adapter finds every field: no placeholder, no word that something is not supplied."""
    program = ValueSim(variant)
    add_labeled_demos(program, examples()[:1])
    predictors = [p for _, p in program.named_predictors() if p.demos]
    assert predictors
    for predictor in predictors:
        assert set(predictor.demos[0].keys()) == set(predictor.signature.fields)
        assert MISSING not in rendered(predictor).lower()


def test_with_backstory_only_that_input_is_said_to_be_missing() -> None:
    """The reply of the demo is whole, so that no model learns to leave its analysis out."""
    program = ValueSim("full")
    add_labeled_demos(program, examples()[:1])
    predictor = program.panel.cognitive.answer
    messages = dspy.ChatAdapter().format_demos(predictor.signature, predictor.demos)
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert "[[ ## backstory ## ]]" not in messages[0]["content"]
    assert MISSING not in messages[1]["content"].lower()


def test_the_analysis_quotes_evidence_and_names_the_option() -> None:
    """It says what is known and what was chosen, and draws no conclusion of its own."""
    program = ValueSim("single")
    add_labeled_demos(program, [make_example(case("Q69"), 2)])
    demo = program.direct.answer.demos[0]
    label = load_codebook()["Q69"].label(2)
    quoted = demo.analysis.split('"')[1]
    assert f"- {quoted}" in demo.facts.splitlines()
    assert demo.analysis.endswith(f'" The option this person chooses is 2 ({label}).')
    add_labeled_demos(program, [make_example(case("Q164"), 4)])
    inner = program.direct.answer.demos[0].analysis
    assert inner.endswith("chooses is 4."), "a place on a scale is not told twice"


def test_the_behavioral_analysis_quotes_habits_too() -> None:
    """Where habits are read they are evidence; where none are known nothing is quoted."""
    program = ValueSim("full")
    asked = case("Q69")
    assert not asked.habits_text.startswith("(")
    add_labeled_demos(program, [make_example(asked, 2)])
    assert asked.habits_text in program.panel.behavioral.answer.demos[0].analysis
    assert asked.habits_text not in program.panel.cognitive.answer.demos[0].analysis
    nobody = Case(own_profile({}), load_codebook()["Q69"])
    add_labeled_demos(program, [make_example(nobody, 2)])
    assert program.panel.behavioral.answer.demos[0].analysis.startswith("The option")


def test_demos_of_a_baseline_show_what_the_baseline_reads() -> None:
    """RAG's demos hold its nearest facts, and those of Blank nothing of the person."""
    rag = RAG(k=2).bind(Retriever(LexicalEmbedder(load_codebook())))
    add_labeled_demos(rag, [make_example(case("Q69"), 2)])
    demo = rag.direct.answer.demos[0]
    assert demo.facts == rag.inputs(case("Q69"))["facts"] and len(demo.facts.splitlines()) == 2
    blank = Blank()
    add_labeled_demos(blank, [make_example(case("Q69"), 2)])
    assert blank.direct.answer.demos[0].facts == NOTHING_KNOWN


def test_sound_demos_pass() -> None:
    """Labeled ones, and bootstrapped ones with DSPy's mark."""
    program = ValueSim("full")
    add_labeled_demos(program, examples())
    program.coordinator.answer.demos = [dspy.Example(augmented=True, question="Q?", answer=1)]
    check_demos(program, keys={ex.case.profile.key for ex in examples()})


@pytest.mark.parametrize(
    ("demo", "flaw"),
    [
        (make_example(case("Q69"), 2), "the field 'case'"),
        ({"question": case("Q69"), "answer": 1}, "a Case in the field 'question'"),
        ({"question": "Q?", "respondent": "abc"}, "the field 'respondent'"),
        ({"question": "Q?", "answer": np.int64(1)}, "a int64"),
        ({"question": "Q?", "answer": True}, "a bool"),
        ({"question": "Q?", "answer": 1.0}, "a float"),
        ({"options": {1: "yes"}}, "a dict"),
        ({"question": f"says {person().key}"}, "the key of a respondent"),
        ({"question": "Q?", "augmented": "yes"}, "a mark"),
    ],
)
def test_a_demo_that_may_not_be_saved_is_refused(demo: Any, flaw: str) -> None:
    """The message names predictor and field, and shows nothing of what stands in them."""
    program = ValueSim("single")
    program.direct.answer.demos = [demo]
    with pytest.raises(ProgramStateError, match=r"direct\.answer") as caught:
        check_demos(program, keys={person().key})
    assert flaw in str(caught.value) and person().key not in str(caught.value)


def test_counts_leave_out_predictors_without_demos() -> None:
    """An uncompiled program has none."""
    program = ValueSim()
    assert demo_counts(program) == {}
    program.coordinator.answer.demos = [{"question": "Q?"}] * 2
    assert demo_counts(program) == {"coordinator.answer": 2}
