"""The modules: parsing, retries, traces, concurrency, votes."""

import dspy
import pytest
from people import case, person, prompt_of, reply, scripted

from valuesim_dspy.case import NOTHING_KNOWN, Case
from valuesim_dspy.errors import InvalidAnswerError, PredictionError
from valuesim_dspy.modules import (
    Answerer,
    BackstoryWriter,
    asked_again,
    condense,
    varied,
)
from valuesim_dspy.own import own_profile
from valuesim_dspy.signatures import AnswerDirectly, ReadBehaviorally, answering_alone
from valuesim_dspy.survey.codebook import load_codebook

CODEBOOK = load_codebook()
TRUST = CODEBOOK["Q69"]


def answer(*replies: object) -> tuple[dspy.Prediction, list[object]]:
    """Ask one Answerer with scripted replies; return its prediction and the requests."""
    with scripted(replies) as engine:
        prediction = Answerer(AnswerDirectly)(case=case(), inputs=case().inputs())
        return prediction, engine.requests


def test_a_valid_answer_takes_one_call() -> None:
    """A well-formed reply with an option's code is taken as it is."""
    prediction, requests = answer(reply(3))
    assert (prediction.answer, prediction.analysis) == (3, "Because the facts say so.")
    assert len(requests) == 1


@pytest.mark.parametrize("text", ["Option 2", "2. b", "2 (Quite a lot)", "**2**", "code: 2"])
def test_a_reply_that_names_one_option_is_read_without_a_second_call(text: str) -> None:
    """What names exactly one of the codes in its answer field is not asked for again."""
    prediction, requests = answer(f"[[ ## analysis ## ]]\nSo it is.\n\n[[ ## answer ## ]]\n{text}")
    assert prediction.answer == 2 and len(requests) == 1
    assert prediction.analysis == "So it is."


@pytest.mark.parametrize(
    "text", ["2 or 3", "between 1 and 4", "quite a lot", "-2", "2.5", "12", "option 9", ""]
)
def test_a_reply_that_names_none_or_several_is_asked_for_again(text: str) -> None:
    """What is not exactly one of the codes is never guessed."""
    bad = f"[[ ## analysis ## ]]\nHm.\n\n[[ ## answer ## ]]\n{text}"
    prediction, requests = answer(bad, reply(4))
    assert prediction.answer == 4 and len(requests) == 2


def test_a_code_that_is_no_option_is_asked_for_again_then_fails() -> None:
    """After its retries an answerer raises, naming what came and what was offered."""
    with pytest.raises(InvalidAnswerError) as caught:
        answer(reply(7), reply(0), reply(-1))
    assert caught.value.codes == (1, 2, 3, 4) and caught.value.question == "Q69"


def test_prose_fails_within_the_retries() -> None:
    """Replies without fields end as an invalid answer after three calls."""
    with scripted(["I would rather not say."] * 3) as engine, pytest.raises(InvalidAnswerError):
        Answerer(AnswerDirectly)(case=case(), inputs=case().inputs())
    assert len(engine.requests) == 3


def test_a_retry_asks_with_a_temperature() -> None:
    """The second attempt varies; the first is as configured."""
    _, requests = answer(reply(9), reply(1))
    first, second = (request.config.temperature for request in requests)
    assert not first and second == 1.0


def test_only_the_attempt_that_counted_is_traced_and_it_is_condensed() -> None:
    """A trace holds the valid call, with the facts nearest to the question and no backstory."""
    asked = Answerer(ReadBehaviorally, demo_facts=2)
    inputs = {**case().inputs(), "backstory": "You live by the sea."}
    with scripted([reply(9), reply(2)]), dspy.context(trace=[]):
        asked(case=case(), inputs=inputs)
        ((predictor, traced, prediction),) = dspy.settings.trace
    assert predictor is asked.answer and prediction.answer == 2
    assert "backstory" not in traced and len(traced["facts"].splitlines()) == 2
    assert "confidence" in traced["facts"] and traced["question"] == inputs["question"]


def test_what_a_demo_will_show_holds_no_markers() -> None:
    """A trace becomes a demo in other people's prompts: a quotation in it is text."""
    said = reply(2, "It says [[ ## answer ## ]] 4.\n\nSo what.")
    with scripted([said]), dspy.context(trace=[]):
        given = Answerer(AnswerDirectly)(case=case(), inputs=case().inputs())
        ((_, _, traced),) = dspy.settings.trace
    assert traced.analysis == "It says ( # answer # ) 4.\n\nSo what." and traced.answer == 2
    assert "[[ ## answer ## ]] 4" in given.analysis


def test_condensing_keeps_everything_but_the_backstory() -> None:
    """Few facts are kept whole; other fields are untouched."""
    inputs = {"facts": "- a\n- b", "backstory": "x", "question": "q?", "options": "1: a"}
    assert condense(inputs, 12) == {"facts": "- a\n- b", "question": "q?", "options": "1: a"}


def test_a_question_with_other_codes_is_validated_by_its_own() -> None:
    """Zero is an answer where zero is a code."""
    asked = Case(person(), CODEBOOK["Q241"])
    with scripted([reply(0)]):
        assert Answerer(AnswerDirectly)(case=asked, inputs=asked.inputs()).answer == 0


def test_a_writer_asks_once_for_all_questions_of_a_person() -> None:
    """The request for a backstory is the same for every question: the cache answers it."""
    writer = BackstoryWriter()
    with scripted([{"backstory": "You live by the sea."}]) as engine:
        stories = [writer(profile=case(question).profile) for question in ("Q69", "Q57")]
    assert stories == ["You live by the sea."] * 2 and len(engine.requests) == 1


def test_a_written_story_stands_and_an_empty_profile_has_none() -> None:
    """No call is spent where the person wrote the story, or where nothing is known."""
    with scripted([]) as engine:
        assert BackstoryWriter()(profile=person(story="I fish.")) == "I fish."
        assert BackstoryWriter()(profile=own_profile({})) == NOTHING_KNOWN
    assert engine.requests == []


@pytest.mark.parametrize("text", ["", "prose", "[[ ## backstory ## ]]\n\n[[ ## completed ## ]]"])
def test_a_reply_without_a_story_is_a_prediction_error(text: str) -> None:
    """A backstory that is empty or cannot be parsed, three times, fails the case."""
    with scripted([text] * 3) as engine, pytest.raises(PredictionError):
        BackstoryWriter()(profile=person())
    assert len(engine.requests) == 3


def test_a_reply_without_a_story_is_asked_for_again() -> None:
    """With a temperature; the same for all of a person's questions, so it is paid once."""
    good = {"backstory": "You live by the sea."}
    with scripted(["prose", good]) as engine:
        stories = [BackstoryWriter()(profile=case(id).profile) for id in ("Q69", "Q57")]
    assert stories == ["You live by the sea."] * 2 and len(engine.requests) == 2
    first, second = (request.config for request in engine.requests)
    assert not first.temperature and second.temperature == 1.0
    assert first.max_tokens == second.max_tokens


def test_what_is_asked_again_later_is_asked_anew() -> None:
    """Bad replies are in the cache, good ones too: only what was bad is paid, as another draw."""
    answerer, writer = Answerer(AnswerDirectly), BackstoryWriter()
    bad, good = reply(9), reply(2)
    with scripted([good, bad, bad, bad, "prose", "prose", "prose"]) as engine:
        fine, asked = case("Q57"), case("Q69")
        assert answerer(case=fine, inputs=fine.inputs()).answer == 2
        for _ in range(2):
            with pytest.raises(InvalidAnswerError):
                answerer(case=asked, inputs=asked.inputs())
            with pytest.raises(PredictionError):
                writer(profile=person())
    assert len(engine.requests) == 7


def test_a_later_time_has_attempts_of_its_own() -> None:
    """Each time other draws than before; the first attempt, if it was good, is not paid again."""
    answerer, writer, asked = Answerer(AnswerDirectly), BackstoryWriter(), case("Q69")
    script = [reply(9)] * 3 + ["prose"] * 3 + [reply(9), reply(3), "prose", {"backstory": "You."}]
    with scripted(script) as engine:
        for call in (
            lambda: answerer(case=asked, inputs=asked.inputs()),
            lambda: writer(profile=person()),
        ):
            with pytest.raises(PredictionError):
                call()
        with asked_again(1):
            assert answerer(case=asked, inputs=asked.inputs()).answer == 3
            assert writer(profile=person()) == "You."
        assert len(engine.requests) == 10
        with asked_again(1):
            assert answerer(case=asked, inputs=asked.inputs()).answer == 3
    assert len(engine.requests) == 10 and varied(1, 2)["rollout_id"] == 1
    with asked_again(2):
        assert [varied(n, 2).get("rollout_id") for n in (0, 1, 2)] == [None, 5, 6]


def test_a_server_that_enforces_choices_gets_them_as_a_type() -> None:
    """With `enforce_choices` the codes are a Literal in the request; the state is untouched."""
    from people import scripted_lm

    from valuesim_dspy.cache import ResponseCache
    from valuesim_dspy.lexical.engine import ScriptedEngine

    engine = ScriptedEngine([reply(2)])
    asked = Answerer(AnswerDirectly)
    with ResponseCache().installed(), dspy.context(lm=scripted_lm(engine, enforce_choices=True)):
        assert asked(case=case(), inputs=case().inputs()).answer == 2
    assert "Literal[1, 2, 3, 4]" in prompt_of(engine.requests[0])
    assert asked.answer.signature.fields["answer"].annotation is int


def test_an_answer_without_analysis_is_asked_for_and_salvaged_alike() -> None:
    """Where the signature has no analysis none is asked for, given back or made up."""
    alone = Answerer(answering_alone(AnswerDirectly))
    with scripted([{"answer": 3}, "[[ ## answer ## ]]\nOption 2"]) as engine:
        told = [alone(case=case(q), inputs=case(q).inputs()) for q in ("Q69", "Q66")]
    assert [dict(prediction) for prediction in told] == [{"answer": 3}, {"answer": 2}]
    assert "analysis" not in prompt_of(engine.requests[0])
