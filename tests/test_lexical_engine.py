"""Tests of the engines: determinism, diversity, forms, usage, scripts."""

import asyncio
import json
import pickle
import subprocess
import sys
from typing import Any

import dspy
import pytest
from dspy.lm15 import Config, Message, Request

from valuesim_dspy.lexical import (
    LEXICAL_MODEL,
    ROLLOUT,
    SCRIPTED_MODEL,
    AsyncEngine,
    LexicalEngine,
    ScriptedEngine,
    ScriptUsedUpError,
)
from valuesim_dspy.lexical.engine import render
from valuesim_dspy.lexical.parsing import Task

FACTS = "- Tea is very important in your life.\n- Milk is rather important in your life."
OPTIONS = "1: Very important\n2: Rather important\n3: Not very important\n4: Not at all important"
KNOWN = {"facts": FACTS, "question": "How important is rain for you?", "options": OPTIONS}
ASK = dspy.Signature("facts, question, options -> analysis, answer: int", "Answer.")
IMPROVE = dspy.Signature("basic_instruction -> proposed_instruction")


def make_request(
    signature: type[dspy.Signature], temperature: float | None = None, **inputs: str
) -> Request:
    """Render a request as the chat adapter sends it."""
    system, user = dspy.ChatAdapter().format(signature, [], inputs)
    config = Config(temperature=temperature)
    return Request(
        LEXICAL_MODEL, (Message.user(user["content"]),), system["content"], config=config
    )


def reply(
    request: Request, engine: LexicalEngine | None = None, rollout: tuple[Any, ...] = ()
) -> str:
    """Return the text of the reply within a rollout."""
    token = ROLLOUT.set(rollout)
    try:
        text = (engine or LexicalEngine()).complete(request).text
    finally:
        ROLLOUT.reset(token)
    assert text is not None
    return text


def test_the_name_of_the_model_carries_its_version() -> None:
    """Cache keys hold the name, so the name holds the version."""
    assert LEXICAL_MODEL == "offline/lexical-1"
    assert SCRIPTED_MODEL.startswith("offline/")


def test_equal_requests_get_equal_replies() -> None:
    """Neither time, engine object nor rollout changes a reply at temperature 0."""
    request = make_request(ASK, **KNOWN)
    replies = {reply(request, rollout=(number, 1)) for number in range(5)}
    replies |= {reply(make_request(ASK, 0.0, **KNOWN))}
    assert len(replies) == 1


@pytest.mark.parametrize("seed", ["0", "1"])
def test_replies_do_not_depend_on_hash_seeds(seed: str) -> None:
    """Another process with another order of sets gives the same replies, warm ones too."""
    code = (
        "import sys; sys.path[:0] = ['tests', '.']\n"
        "from test_lexical_engine import *\n"
        "print(repr([reply(make_request(ASK, t, **KNOWN), rollout=(3, 1)) for t in (None, 1.0)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": seed, "PATH": "", "HOME": "/nonexistent"},
    )
    here = [reply(make_request(ASK, t, **KNOWN), rollout=(3, 1)) for t in (None, 1.0)]
    assert done.stdout.strip() == repr(here)


def test_rollouts_differ_above_temperature_zero() -> None:
    """Teleprompters get varied proposals, and each rollout its own again."""
    request = make_request(IMPROVE, 1.0, basic_instruction="Answer.")
    replies = [reply(request, rollout=(number, 1)) for number in range(12)]
    assert len(set(replies)) > 4
    assert replies == [reply(request, rollout=(number, 1)) for number in range(12)]


def test_answers_vary_above_temperature_zero() -> None:
    """Samples of one direct answer spread over supported options."""
    request = make_request(ASK, 1.5, **KNOWN)
    assert len({reply(request, rollout=(number, 1)) for number in range(30)}) > 1


def test_completions_of_one_call_differ() -> None:
    """N completions are n requests within one rollout, are counted, and repeat in the next one."""
    request = make_request(IMPROVE, 1.0, basic_instruction="Answer.")
    calls = []
    for n in (6, 6):
        token = ROLLOUT.set((None, n))
        calls.append([LexicalEngine().complete(request).text for _ in range(n)])
        ROLLOUT.reset(token)
    assert len(set(calls[0])) > 2
    assert calls[0] == calls[1]


def test_without_a_rollout_warm_requests_repeat() -> None:
    """No hidden state: outside of rollouts the same warm request gets the same reply."""
    request = make_request(IMPROVE, 1.0, basic_instruction="Answer.")
    assert len({reply(request) for _ in range(4)}) == 1


def test_usage_is_estimated_from_lengths() -> None:
    """Input and output tokens are both reported, at four characters a token."""
    request = make_request(ASK, **KNOWN)
    response = LexicalEngine().complete(request)
    assert response.text is not None
    assert response.usage.output_tokens == len(response.text) // 4 + 1
    assert response.usage.input_tokens is not None
    assert response.usage.input_tokens > len(FACTS) // 4
    assert response.finish_reason == "stop"
    assert response.model == LEXICAL_MODEL


def test_engines_can_be_pickled() -> None:
    """Programs and LMs that hold an engine can be copied and sent to other processes."""
    request = make_request(ASK, **KNOWN)
    engine = pickle.loads(pickle.dumps(LexicalEngine()))
    assert reply(request, engine) == reply(request)
    scripted = ScriptedEngine(["one", "two"])
    scripted.complete(request)
    again = pickle.loads(pickle.dumps(scripted))
    assert again.complete(request).text == "two"
    assert len(again.requests) == 2


def test_the_asynchronous_engine_answers_alike() -> None:
    """The same reply comes from acall as from a call."""
    engine = LexicalEngine()
    lm = dspy.LM(LEXICAL_MODEL, engine=engine, async_engine=AsyncEngine(engine), cache=False)
    predict = dspy.Predict(ASK)
    with dspy.context(lm=lm):
        now = predict(**KNOWN)
        later = asyncio.run(predict.acall(**KNOWN))
    assert later.answer == now.answer
    assert later.analysis == now.analysis


def test_replies_stream_as_events() -> None:
    """A stream begins, ends, and carries the whole reply; closing is harmless."""
    engine = LexicalEngine()
    request = make_request(ASK, **KNOWN)
    events = list(engine.stream(request))
    assert len(events) > 2
    engine.close()

    async def collect() -> list[Any]:
        wrapped = AsyncEngine(engine)
        found = [event async for event in wrapped.stream(request)]
        await wrapped.aclose()
        return found

    assert len(asyncio.run(collect())) == len(events)


def test_values_are_rendered_in_both_forms() -> None:
    """Marked sections or one object, with lists and mappings as JSON."""
    values = {"answer": 2, "tags": ["a", "b"], "text": "Café"}
    chat = render(values, Task(form="chat"))
    assert '[[ ## tags ## ]]\n["a", "b"]' in chat
    assert chat.endswith("[[ ## completed ## ]]")
    assert json.loads(render(values, Task(form="json"))) == values


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(), dspy.JSONAdapter()], ids=["chat", "json"])
def test_scripted_mappings_take_the_adapters_form(adapter: dspy.Adapter) -> None:
    """A mapping of fields parses, whichever adapter asks."""
    engine = ScriptedEngine([{"analysis": "So.", "answer": 3}])
    with dspy.context(lm=dspy.LM(SCRIPTED_MODEL, engine=engine, cache=False), adapter=adapter):
        result = dspy.Predict(ASK)(**KNOWN)
    assert (result.analysis, result.answer) == ("So.", 3)
    assert len(engine.requests) == 1
    assert FACTS in str(engine.requests[0].messages[-1].text)


def test_scripted_texts_come_as_they_are_and_in_order() -> None:
    """Texts are not touched."""
    engine = ScriptedEngine(["one", "two"])
    lm = dspy.LM(SCRIPTED_MODEL, engine=engine, cache=False)
    assert [lm("a"), lm("b")] == [["one"], ["two"]]


def test_scripted_exceptions_are_raised() -> None:
    """An exception in the script reaches DSPy, which wraps or retries it."""
    engine = ScriptedEngine([dspy.lm15.AuthError("no key")])
    with pytest.raises(dspy.LMError, match="no key"):
        dspy.LM(SCRIPTED_MODEL, engine=engine, cache=False, num_retries=0)("a")


def test_a_function_may_answer() -> None:
    """A function sees the request, and may give text or a mapping, without end."""
    engine = ScriptedEngine(lambda request: {"analysis": "So.", "answer": len(request.messages)})
    with dspy.context(lm=dspy.LM(SCRIPTED_MODEL, engine=engine, cache=False)):
        assert [dspy.Predict(ASK)(**KNOWN).answer for _ in range(3)] == [1, 1, 1]
    assert len(engine.requests) == 3


def test_a_script_that_is_used_up_says_so() -> None:
    """One call too many names the call and the length of the script."""
    engine = ScriptedEngine(["one"])
    request = make_request(ASK, **KNOWN)
    engine.complete(request)
    with pytest.raises(ScriptUsedUpError, match="call 2 came, and it has 1 answer"):
        engine.complete(request)
    assert issubclass(ScriptUsedUpError, AssertionError)
