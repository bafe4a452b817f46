"""The program over HTTP: a second model behind the protocol, failures, keys, shared prefixes."""

import json
from typing import Any

import dspy
import pytest
from loopback import LoopbackServer, Messages, Reply
from people import example

from benchmarks.prefix_share import (
    lexical_reply,
    predictor_of,
)
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.lm import make_lm
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.program import VARIANTS, ValueSim
from valuesim_dspy.roles import LMRole

pytestmark = pytest.mark.slow

KEY = "sk-canary-0123456789abcdef"
FULL = tuple(name for name, _ in ValueSim().named_predictors())
GOOD = "[[ ## analysis ## ]]\nSo it is.\n\n[[ ## answer ## ]]\n2\n\n[[ ## completed ## ]]"
OUT_OF_RANGE = GOOD.replace("\n2\n", "\n7\n")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)


def role(server: LoopbackServer, **known: Any) -> LMRole:
    """Return the role of a model at this server, with a key from the environment."""
    given = {"model": "openai/test", "api_base": server.url, "api_key_env": "MY_KEY"}
    return LMRole(**{**given, "num_retries": 2, **known})


def ask(
    server: LoopbackServer, program: dspy.Module, *questions: str, **known: Any
) -> list[Outcome]:
    """Put questions to a program whose model is this server."""
    lm = make_lm(role(server, **known), name="task_lm")
    with ResponseCache().installed():
        return answer_cases(program, [example(question) for question in questions], lm=lm)


def offline(program: dspy.Module, *questions: str) -> list[Outcome]:
    """Put the same questions to the embedded model in this process."""
    lm = make_lm(LMRole(), name="task_lm")
    with ResponseCache().installed():
        return answer_cases(program, [example(question) for question in questions], lm=lm)


class Peers:
    """Stands in for an index of similar people."""

    def text(self, case: object) -> str:
        """Return what they answered."""
        return "Of 20 people most like you, 13 answered 2 and 7 answered 3."


def bound(variant: str) -> ValueSim:
    """Return a variant, with similar people where it reads them."""
    program = ValueSim(variant)
    return program.bind(peers=Peers()) if program.spec.peers else program  # type: ignore[arg-type]


def said(outcomes: list[Outcome]) -> list[tuple[Any, ...]]:
    """Return what was answered and how it was decided."""
    return [(o.question, o.status, o.answer, o.decision, dict(o.views)) for o in outcomes]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_program_answers_over_http_as_it_does_in_the_process(variant: str) -> None:
    """By DSPy's own client the same prompts arrive, and the same answers come back."""
    questions = ("Q69", "Q241", "Q8")
    with LoopbackServer(lexical_reply, key=KEY) as server:
        found = ask(server, bound(variant), *questions)
        assert set(server.paths) == {"/v1/chat/completions"} and set(server.keys) == {KEY}
        assert len(server.requests) == sum(outcome.paid for outcome in found)
    assert said(found) == said(offline(bound(variant), *questions))
    assert {outcome.status for outcome in found} == {"answered"}


@pytest.mark.slow
def test_a_program_answers_through_litellm() -> None:
    """The other client sends the same questions and gives the same answers."""
    questions = ("Q69", "Q241")
    with LoopbackServer(lexical_reply, key=KEY) as server:
        found = ask(server, ValueSim(), *questions, engine="litellm")
        assert len(server.requests) == sum(outcome.paid for outcome in found)
    assert said(found) == said(offline(ValueSim(), *questions))


def test_no_temperature_is_sent_unless_one_is_given() -> None:
    """By default the server's own temperature rules; a configured one is sent as it is."""
    for temperature in (None, 0.0, 0.7):
        with LoopbackServer(GOOD) as server:
            ask(server, ValueSim("single"), "Q69", temperature=temperature)
            assert [body.get("temperature") for body in server.requests] == [temperature]


def test_a_request_carries_the_prompt_and_its_limits() -> None:
    """System message, then the person and the question; tokens bounded; no schema, no tools."""
    with LoopbackServer(lexical_reply) as server:
        ask(server, ValueSim(), "Q69", max_tokens=300)
        bodies = server.requests
    assert [message["role"] for message in bodies[0]["messages"]] == ["system", "user"]
    for body in bodies:
        assert body["model"] == "test"
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        assert limit == (8192 if predictor_of(body["messages"], ValueSim()) == FULL[0] else 300)
        assert not {"tools", "response_format", "n"} & set(body)
    assert KEY not in json.dumps(bodies)


def fields(answer: object) -> str:
    """Return a reply with this answer."""
    return GOOD.replace("\n2\n", f"\n{answer}\n")


NO_OPTION = "Q69: no attempt gave one of the codes offered"
FAILURES: dict[str, tuple[list[Any], str, str, int, int]] = {
    # what the server does first: the status, the reason's start, requests sent, calls counted
    "429": ([Reply(429, "slow down", {"Retry-After": "0"})], "answered", "", 2, 1),
    "500": ([500], "answered", "", 2, 1),
    "503 twice": ([503, 503], "answered", "", 3, 1),
    "500 for good": ([500] * 3, "failed", "LMServerError (500): scripted status", 3, 0),
    "429 again and again": ([429] * 4, "answered", "", 5, 1),
    "400": ([Reply(400, "no such field")], "failed", "LMInvalidRequestError (400): no such", 1, 0),
    "garbage": ([b"\x00\xff garbage"], "failed", "LMProviderError (200): the reply", 1, 1),
    "half a body": ([b'{"id": "1", "cho'], "failed", "LMProviderError (200): the reply", 1, 1),
    "empty": ([""], "answered", "", 2, 2),
    "empty for good": ([""] * 3, "invalid", NO_OPTION, 3, 3),
    "no choices for good": ([b'{"id": "1", "choices": []}'] * 3, "invalid", NO_OPTION, 3, 3),
    "prose": (["I think two."], "answered", "", 2, 2),
    "prose for good": (["I would rather not say."] * 3, "invalid", NO_OPTION, 3, 3),
    "out of range": ([OUT_OF_RANGE], "answered", "", 2, 2),
    "out of range for good": ([OUT_OF_RANGE] * 3, "invalid", NO_OPTION, 3, 3),
    "a label": ([GOOD.replace("\n2\n", "\nquite a lot\n")], "answered", "", 2, 2),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_end_answered_or_counted(name: str) -> None:
    """Whatever the server does, a case ends; retries are bounded and counted; the next goes on."""
    script, status, reason, requests, calls = FAILURES[name]
    with LoopbackServer(GOOD, script=script, key=KEY) as server:
        first, second = ask(server, ValueSim("single"), "Q69", "Q70")
        assert len(server.requests) == requests + 1
    assert (first.status, first.answer) == (status, 2 if status == "answered" else None)
    assert first.reason.startswith(reason) and bool(first.reason) == bool(reason)
    assert first.reason.isprintable() or "\ufffd" in first.reason
    assert "\n" not in first.reason and KEY not in first.reason and len(first.reason) < 400
    assert first.calls == first.paid == calls
    assert (second.status, second.answer, second.calls) == ("answered", 2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["429", "500 for good", "400", "prose", "out of range for good"])
def test_failures_end_the_same_through_litellm(name: str) -> None:
    """The other client retries, fails and counts within the same bounds."""
    script, status, reason, requests, calls = FAILURES[name]
    with LoopbackServer(GOOD, script=script, key=KEY) as server:
        first, second = ask(server, ValueSim("single"), "Q69", "Q70", engine="litellm")
        assert len(server.requests) == requests + 1
    assert (first.status, first.calls, second.status) == (status, calls, "answered")
    assert "\n" not in first.reason and KEY not in first.reason
    assert first.reason.split(":")[0] == reason.split(":")[0]


@pytest.mark.parametrize("engine", ["auto", pytest.param("litellm", marks=pytest.mark.slow)])
def test_a_refused_key_ends_the_run_and_is_never_shown(engine: str) -> None:
    """401 is every case's: it is not retried, and the key that the server repeats is not told."""
    with LoopbackServer(lexical_reply, key="another-key-altogether") as server:
        with pytest.raises(MissingDataError) as caught:
            ask(server, ValueSim(), "Q69", "Q70", engine=engine)
        assert set(server.keys) == {KEY}
        # The call, and the trial that shows that it is not what was asked.
        assert len(server.requests) == 2
    message = str(caught.value)
    assert "refused the key" in message and "401" in message and "[blanked]" in message
    assert KEY not in message and KEY[3:] not in message
    assert "\n" not in message


def test_a_server_that_is_not_there_ends_the_run() -> None:
    """A refused connection is no failure of a case."""
    with LoopbackServer(GOOD) as server:
        pass
    with pytest.raises(ConfigError, match="cannot be reached") as caught:
        ask(server, ValueSim("single"), "Q69", num_retries=0)
    assert "\n" not in str(caught.value) and KEY not in str(caught.value)


def test_a_wait_that_the_server_asks_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits as long as `Retry-After` says."""
    waits: list[float] = []
    monkeypatch.setattr("valuesim_dspy.retrying.sleep", waits.append)
    with LoopbackServer(GOOD, script=[Reply(429, "slow down", {"Retry-After": "7"})]) as server:
        (outcome,) = ask(server, ValueSim("single"), "Q69")
    assert outcome.status == "answered" and waits == [7.0]


def test_one_perspective_out_of_range_is_asked_again_alone() -> None:
    """A retry repeats one call of the five, with a temperature and a fresh rollout."""
    spoiled: list[int] = []

    def answer(messages: Messages) -> str:
        if predictor_of(messages, ValueSim()) == FULL[2] and not spoiled:
            spoiled.append(1)
            return OUT_OF_RANGE
        return lexical_reply(messages)

    with LoopbackServer(answer) as server:
        (outcome,) = ask(server, ValueSim(), "Q69")
        asked = [predictor_of(body["messages"], ValueSim()) for body in server.requests]
        warm = [body for body in server.requests if body.get("temperature") == 1.0]
    assert outcome.status == "answered" and outcome.calls == len(asked)
    assert asked.count(FULL[2]) == 2 and asked.count(FULL[1]) == asked.count(FULL[3]) == 1
    assert [predictor_of(body["messages"], ValueSim()) for body in warm] == [FULL[2]]
    assert not any("rollout_id" in body for body in server.requests)


@pytest.mark.parametrize("story", ["", "prose without fields", 500])
def test_a_backstory_that_does_not_come_fails_the_case(story: str | int) -> None:
    """Without a story there is no answer, and no perspective is asked for one."""

    def answer(messages: Messages) -> Any:
        is_story = predictor_of(messages, ValueSim()) == FULL[0]
        return story if is_story else lexical_reply(messages)

    with LoopbackServer(answer) as server:
        (outcome,) = ask(server, ValueSim(), "Q69")
        assert {predictor_of(body["messages"], ValueSim()) for body in server.requests} == {FULL[0]}
    assert outcome.status == "failed" and outcome.answer is None and outcome.reason


def test_no_request_says_who_is_asked() -> None:
    """The facts go to the model; the key that stands for the person, and the case, do not."""
    asked = example("Q69").case
    with LoopbackServer(lexical_reply) as server:
        ask(server, ValueSim(), "Q69")
        sent = json.dumps(server.requests, ensure_ascii=False)
    assert asked.profile.facts[0].text in sent
    for hidden in (asked.profile.key, repr(asked), "Q69", "D_INTERVIEW"):
        assert hidden not in sent
