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
