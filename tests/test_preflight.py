from __future__ import annotations

import logging
import socket

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from loopback import LoopbackServer, Reply

from valuesim_dspy.config import EmbedderConfig, LMRole
from valuesim_dspy.errors import BudgetExceededError, ConfigError, MissingDataError
from valuesim_dspy.lm import MeteredLM, describe_error, make_lm, preflight, require_consent
from valuesim_dspy.preflight import hush, scrub

CANARY = "canary-0123456789"
FAR = LMRole(model="openai/m", api_base="https://far.example.org/v1")


def remote(url: str, **settings: object) -> MeteredLM:
    """Make an LM that asks at an address."""
    role = LMRole(**{"model": "openai/test", "api_base": url, **settings})  # type: ignore[arg-type]
    return make_lm(role, name="task_lm")


def test_a_host_that_answers_passes_with_one_small_call() -> None:
    """One request is sent, it is metered, and nothing is said."""
    with LoopbackServer() as server:
        lm = remote(server.url)
        preflight(lm)
    assert len(server.requests) == 1
    assert len(str(server.requests[0]["messages"])) < 100
    assert lm.meter.paid.calls == 1


def test_an_offline_model_is_not_called() -> None:
    """There is nothing to find out about a model in the process."""
    lm = make_lm(LMRole(), name="task_lm")
    preflight(lm)
    assert lm.meter.needed.calls == 0


def test_a_dead_host_is_told_with_its_address() -> None:
    """Nobody at the address: a ConfigError that names host and setting."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"^task_lm\.api_base: 127.0.0.1:{port} cannot be"):
        preflight(remote(f"http://127.0.0.1:{port}/v1"))


def test_a_refused_key_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable and the host are named; the key is not, though the server echoes it."""
    monkeypatch.setenv("CANARY_API_KEY", CANARY)
    with LoopbackServer(key="other") as server, pytest.raises(MissingDataError) as caught:
        preflight(remote(server.url, api_key_env="CANARY_API_KEY"))
    message = str(caught.value)
    assert "refused the key" in message
    assert "CANARY_API_KEY" in message
    assert server.host in message
    assert CANARY not in message
    assert "\n" not in message


def test_an_unknown_model_is_told() -> None:
    """The message names the model, the host, and where to look."""
    told = r"^task_lm\.model: .* does not know openai/test"
    with LoopbackServer(model="known") as server, pytest.raises(ConfigError, match=told):
        preflight(remote(server.url))


@pytest.mark.parametrize("answer", [b"<html>a web page</html>", b'{"object": "list"}'])
def test_a_host_of_another_kind_is_told(answer: bytes) -> None:
    """Bodies that are no completions are told once, without retries."""
    told = r"^task_lm: .* does not answer as a model should"
    server = LoopbackServer(answer=lambda _: answer)
    with server, pytest.raises(ConfigError, match=told):
        preflight(remote(server.url))
    assert len(server.requests) == 1


def test_a_host_that_fails_by_itself_is_told() -> None:
    """The address and the model's name are not to blame."""
    with LoopbackServer(answer=lambda _: 500) as server, pytest.raises(ConfigError) as caught:
        preflight(remote(server.url))
    assert str(caught.value).startswith(f"task_lm: {server.host} fails by itself (LMServerError (5")
    assert "api_base" not in str(caught.value) and len(server.requests) == 1


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_dead_proxy_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """It is the proxy that cannot be reached, and not the host."""
    monkeypatch.setenv(variable, "http://me:canary99@127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"through the proxy 127\.0\.0\.1:1 of the") as caught:
        preflight(remote("http://192.0.2.1:9/v1"))
    assert "canary99" not in str(caught.value) and "me:" not in str(caught.value)


def test_words_that_were_sent_are_found_in_any_writing() -> None:
    """Four words, or four letters of a writing without spaces; fewer are anybody's."""
    told = "its text repeats the prompt"
    for text, prompt, hushed in (
        ("no: I LIVE, in Tokyo", "People say I live in Kyoto.", False),
        ("no: I LIVE, in old Kyoto", "People say: I live in old Kyoto.", True),
        ("誤り 京都に住んでいます", "私は京都に住んでいます", True),
        ("too many requests", "too many", False),
    ):
        cause, error = ValueError(text), dspy.LMServerError(text, status=500)
        error.__cause__ = cause
        hush(error, prompt)
        assert (told in str(error), told in str(cause)) == (hushed, hushed)


def test_a_busy_host_is_there(caplog: pytest.LogCaptureFixture) -> None:
    """Too many requests is no reason to stop: it is logged."""
    with LoopbackServer(answer=lambda _: 429) as server, caplog.at_level(logging.WARNING):
        preflight(remote(server.url))
    assert "429" in caplog.text


def test_a_missing_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider without a key in sight is told before anything is sent."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MissingDataError, match="there is no key for openai"):
        preflight(make_lm(LMRole(model="openai/gpt-4o-mini"), name="task_lm"))


@pytest.mark.slow
def test_litellm_refusals_are_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other client leads to the same kinds of message."""
    monkeypatch.setenv("CANARY_API_KEY", CANARY)
    with LoopbackServer(key="other") as server, pytest.raises(MissingDataError) as caught:
        preflight(remote(server.url, api_key_env="CANARY_API_KEY", engine="litellm"))
    assert CANARY not in str(caught.value)
    with LoopbackServer(model="known") as server, pytest.raises(ConfigError, match="not know"):
        preflight(remote(server.url, engine="litellm"))


def test_consent_is_asked_for_real_people_and_far_hosts() -> None:
    """The message tells how many people's answers would go where, and how to agree."""
    with pytest.raises(ConfigError) as caught:
        require_consent(FAR, 120, False, ())
    assert str(caught.value) == (
        "answers of 120 respondents will be sent to far.example.org; "
        "pass --send-to far.example.org to agree"
    )
    with pytest.raises(ConfigError):
        require_consent(FAR, 1, False, ("other.example.org", "example.org"))
    with pytest.raises(ConfigError):
        require_consent(EmbedderConfig(model="openai/text-embedding-3-small"), 1, False, ())


def test_consent_is_not_asked_where_nothing_private_leaves() -> None:
    """Made-up people, hosts agreed to, and models here need no further consent."""
    require_consent(FAR, 1, True, ())
    require_consent(FAR, 1, False, ["far.example.org"])
    require_consent(LMRole(), 1, False, ())
    require_consent(LMRole(model="openai/m", api_base="http://localhost:1/v1"), 1, False, ())
    require_consent(EmbedderConfig(), 1, False, ())


def test_errors_are_described_in_one_line_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kind, status and a short message; keys by value and by shape are blanked."""
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    error = dspy.LMAuthError(
        f"refused:\n  {CANARY}\tand sk-canary123456, {'very ' * 100}long", status=401, model="m"
    )
    line = describe_error(error)
    assert line.startswith("LMAuthError (401): refused: [blanked] and [blanked], very")
    assert line.endswith("...")
    assert len(line) < 300
    assert "\n" not in line


def test_other_errors_are_described_too() -> None:
    """Our own errors speak for themselves, others are named, silent ones as well."""
    assert describe_error(BudgetExceededError("calls", 5, 5)).startswith("the budget of 5 calls")
    assert describe_error(ValueError("odd")) == "ValueError: odd"
    assert describe_error(KeyError()) == "KeyError"


def test_a_response_that_did_not_parse_is_not_repeated() -> None:
    """DSPy's error holds the whole response, which may tell of a person: it is left out."""
    signature = dspy.Signature("a -> b")
    error = AdapterParseError("ChatAdapter", signature, "You live in a small town.")
    assert "town" not in describe_error(error)


def test_scrubbing_reaches_the_causes() -> None:
    """Keys are blanked in an error and in all that led to it, also where these form a ring."""
    inner = ValueError(f"inner {CANARY}", 3)
    outer = RuntimeError(f"outer {CANARY}")
    outer.__cause__, inner.__context__ = inner, outer
    scrub(outer, CANARY)
    assert outer.args == ("outer [blanked]",)
    assert inner.args == ("inner [blanked]", 3)


def test_a_model_that_is_slow_is_told_from_one_that_is_not_there() -> None:
    """And the role's own time limit, long or short, is the trial call's, too."""
    late = r"hangs or is slow \(.* within 0\.2 s"
    script = [Reply(delay=60.0)]
    with LoopbackServer(script=script) as server, pytest.raises(ConfigError, match=late) as caught:
        preflight(remote(server.url, timeout=0.2))
    assert caught.value.key == "task_lm.timeout"
    assert "cannot be reached" not in str(caught.value)
