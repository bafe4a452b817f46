"""The blank profile: everybody is asked the same."""

from people import case, person, prompt_of, reply, scripted

from evals.baselines import Blank
from valuesim_dspy.case import NOTHING_KNOWN, Case, HistoryItem
from valuesim_dspy.survey.codebook import load_codebook


def test_blank_knows_nothing_and_asks_everybody_the_same() -> None:
    """No facts, no history, no country: two people's requests are one and the same."""
    past = (HistoryItem(load_codebook()["Q70"], 1),)
    for question in ("Q69", "Q82", "Q254"):
        first = Blank().inputs(Case(person(), load_codebook()[question], past))
        second = Blank().inputs(Case(person({"Q1": 4}), load_codebook()[question]))
        assert first == second and first["facts"] == NOTHING_KNOWN
    with scripted([reply(2)]) as engine:
        found = Blank()(case=case("Q254"))
    prompt = prompt_of(engine.requests[0])
    assert found.answer == 2 and "Japan" not in prompt and NOTHING_KNOWN in prompt


def test_demos_are_as_long_as_the_job_says() -> None:
    """As every LM arm it takes the number of facts that a demo keeps."""
    assert Blank(demo_facts=3).direct.demo_facts == 3


def test_a_history_is_not_read_either() -> None:
    """What a person said later is no part of the question or its options."""
    past = (HistoryItem(load_codebook()["Q70"], 1), HistoryItem(load_codebook()["Q1"], 4))
    asked = Case(person(), load_codebook()["Q69"], past)
    inputs = Blank().inputs(asked)
    assert inputs["history"] == Blank().inputs(case("Q69"))["history"] != asked.history_text
    assert inputs["question"] == asked.question_text and inputs["options"] == asked.options_text
