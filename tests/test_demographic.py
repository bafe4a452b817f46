"""Demographics only: country and demographic facts reach the model, beliefs never."""

from people import person, prompt_of, reply, scripted

from evals.baselines import Demographics
from valuesim_dspy.case import NOTHING_KNOWN, Case, HistoryItem
from valuesim_dspy.own import own_profile
from valuesim_dspy.program import ValueSim
from valuesim_dspy.survey.codebook import load_codebook

BOOK = load_codebook()
ANSWERS = {"Q1": 1, "Q57": 2, "Q164": 9, "Q260": 2, "Q262": 44, "Q273": 1, "Q275": 3}


def test_only_country_and_demographic_facts_are_read() -> None:
    """Sex, age, marriage and schooling are told; family, trust and God are not."""
    asked = Case(person(dict(ANSWERS)), BOOK["Q69"])
    demographic = [id for id in ANSWERS if BOOK[id].kind == "demographic"]
    assert demographic == ["Q260", "Q262", "Q273", "Q275"]
    told = {fact.question: f"- {fact.text}" for fact in asked.profile.facts}
    expected = [told[id] for id in ("COUNTRY", *demographic)]
    assert Demographics().inputs(asked)["facts"].splitlines() == expected
    with scripted([reply(2)]) as engine:
        assert Demographics()(case=asked).answer == 2
    prompt = prompt_of(engine.requests[0])
    assert all(line in prompt for line in expected) and told["Q164"] not in prompt
    assert "Japan" in prompt and len(engine.requests) == 1


def test_of_the_history_only_demographic_answers_are_read() -> None:
    """A later marriage counts, a later belief does not."""
    later = (HistoryItem(BOOK["Q70"], 1), HistoryItem(BOOK["Q273"], 6))
    asked = Case(person(dict(ANSWERS)), BOOK["Q69"], later)
    only = Case(asked.profile, BOOK["Q69"], later[1:])
    assert Demographics().inputs(asked)["history"] == only.history_text
    rest = {"question", "options"}
    assert {k: v for k, v in Demographics().inputs(asked).items() if k in rest} == {
        k: v for k, v in asked.inputs().items() if k in rest
    }


def test_statements_of_one_s_own_are_left_out() -> None:
    """What a person says freely is no demographic fact; nothing at all is said to be nothing."""
    free = own_profile({"Q1": 1}, statements=["You keep bees."])
    assert Demographics().inputs(Case(free, BOOK["Q69"]))["facts"] == NOTHING_KNOWN


def test_the_signature_is_the_single_answer_s() -> None:
    """Only the evidence differs from the variant `single`."""
    assert Demographics().direct.answer.signature.equals(ValueSim("single").direct.answer.signature)
