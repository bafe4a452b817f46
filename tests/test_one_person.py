"""One person that always fails never ends a run; an endpoint that does ends it soon."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import dspy
import pytest
from loopback import LoopbackServer
from misbehaving import GOOD, Messages, MisbehavingServer
from people import person

from valuesim_dspy.__main__ import main
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case
from valuesim_dspy.errors import BudgetExceededError, ConfigError, MissingDataError
from valuesim_dspy.limits import Limits
from valuesim_dspy.lm import MeteredLM, make_lm, preflight
from valuesim_dspy.loop import answer_cases, threads_for
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrying import Pauses
from valuesim_dspy.roles import LMRole
from valuesim_dspy.simulate import simulate
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.synthetic import write_synthetic
from valuesim_dspy.usage import Budget, Meter

MARK = "18 years"
"""What only the prompts of the failing person say."""
TRIAL = "word ready"
MANY = 60
STATUSES = [400, 401, 402, 403, 404, 413, 422, 500, 503]


async def _no_pause(seconds: float) -> None:
    """Wait no time."""


def remote(url: str, *, in_flight: int, meter: Meter | None = None, **known: Any) -> MeteredLM:
    """Make an LM that asks a server and never sleeps between attempts."""
    role = LMRole(**{"model": "openai/test", "api_base": url, "timeout": 20.0, **known})
    pauses = Pauses(lambda seconds: None, _no_pause)
    limits = Limits(in_flight=in_flight)
    return make_lm(role, name="task_lm", limits=limits, pauses=pauses, meter=meter)


def cases(count: int = MANY) -> list[dspy.Example]:
    """Return so many questions of the failing person in a row, then a few of two others."""
    codebook = load_codebook()
    questions = [each for each in codebook.questions.values() if each.id not in ("Q1", "Q262")]
    known = [person({"Q1": 1, "Q262": age}) for age in (18, 40, 41)]
    asked = [(known[0], question) for question in questions[:count]]
    asked += [(each, question) for each in known[1:] for question in questions[:10]]
    return [dspy.Example(case=Case(*each)).with_inputs("case") for each in asked]


class OnePersonServer(MisbehavingServer):
    """Meets one person's requests with a fault of the wire, and answers all others."""

    def _kind(self, body: bytes) -> str:
        return self._faults[0] if MARK.encode() in body else "good"


def split(outcomes: list[Outcome], count: int = MANY) -> None:
    """Check that the one person failed and the others were answered, every case once."""
    statuses = [outcome.status for outcome in outcomes]
    assert statuses[:count] == ["failed"] * count
    assert statuses[count:] == ["answered"] * 20


def trials(server: LoopbackServer) -> int:
    """Return how many trial calls came."""
    return sum(TRIAL in str(body["messages"]) for body in server.requests)


@pytest.mark.parametrize("in_flight", [1, 8, 64])
@pytest.mark.parametrize("status", STATUSES)
def test_one_person_in_a_row_fails_alone(status: int, in_flight: int) -> None:
    """Whatever status their prompts get, and however many questions follow each other."""

    def answer(messages: Messages) -> str | int:
        return status if MARK in messages[-1]["content"] else GOOD

    with LoopbackServer(answer) as server, ResponseCache().installed():
        lm = remote(server.url, in_flight=in_flight, num_retries=1)
        outcomes = answer_cases(ValueSim("single"), cases(), lm=lm, threads=threads_for(lm))
        split(outcomes)
        # Each trial makes the next one rarer.
        assert trials(server) <= 8
    assert lm.throttle is not None and lm.throttle.under_way == 0


@pytest.mark.parametrize("in_flight", [1, 64])
@pytest.mark.parametrize("status", [401, 403, 500])
def test_one_person_fails_alone_in_the_whole_program(status: int, in_flight: int) -> None:
    """Backstory, perspectives and coordinator."""

    def answer(messages: Messages) -> str | int:
        return status if MARK in messages[-1]["content"] else _said(messages)

    with LoopbackServer(answer) as server, ResponseCache().installed():
        lm = remote(server.url, in_flight=in_flight, num_retries=1)
        split(answer_cases(ValueSim(), cases(), lm=lm, threads=threads_for(lm)))


def _said(messages: Messages) -> str:
    story = "[[ ## backstory ## ]]\nI live here.\n\n"
    return f"{story}{GOOD}"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["timeout", "cut before", "cut in body", "html", "empty"])
@pytest.mark.parametrize("in_flight", [1, 8])
def test_one_person_whose_connections_break_fails_alone(fault: str, in_flight: int) -> None:
    """No answer in time, no whole answer, no answer at all."""
    seconds = 0.05 if fault == "timeout" else 20.0
    count = 30
    with OnePersonServer(faults=[fault]) as server, ResponseCache().installed():
        lm = remote(server.url, in_flight=in_flight, timeout=seconds, num_retries=1)
        split(answer_cases(ValueSim("single"), cases(count), lm=lm, threads=in_flight), count)


def test_the_command_ends_with_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of six people is refused all along: their rows fail, the others are there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("valuesim_dspy.retrying.sleep", lambda seconds: None)
    survey, out = write_synthetic(tmp_path / "people.csv", 6, seed=3), tmp_path / "answers.csv"
    first: list[str] = []

    def answer(messages: Messages) -> str | int:
        if len(messages) == 1:
            return "ready"
        who = messages[-1]["content"].split("[[ ## question")[0]
        first[:] = first or [who]
        return 403 if who == first[0] else GOOD

    with LoopbackServer(answer) as server:
        words = ["simulate", "--program", "single", "--survey", survey, "--questions", "Q1-Q20"]
        words += ["--model", "openai/test", "--api-base", server.url, "--in-flight", "1", "--yes"]
        assert main([*map(str, words), "--out", str(out)]) == 0
    rows = out.read_text(encoding="utf-8").splitlines()
    counts = Counter("failed" in row for row in rows[1:])
    assert counts == {True: 20, False: 100}


@pytest.mark.parametrize("status", [401, 403, 500])
def test_the_very_first_prompt_may_be_refused(status: int) -> None:
    """In Python no trial call comes before the work, and nobody was answered yet."""
    known = [person({"Q1": 1, "Q262": age}) for age in (18, 40)]

    def answer(messages: Messages) -> str | int:
        return status if MARK in messages[-1]["content"] else GOOD

    with LoopbackServer(answer) as server:
        lm = remote(server.url, in_flight=1)
        found = simulate(
            ValueSim("single"),
            respondents=known,
            questions=["Q69", "Q70"],
            lm=lm,
        )
    assert list(found["status"]) == ["failed"] * 2 + ["answered"] * 2


@pytest.mark.parametrize("status", [401, 403, 500])
def test_trials_alone_that_are_answered_become_rare(status: int) -> None:
    """Every case fails and is counted; hundreds of failures cost about ten trials."""

    def answer(messages: Messages) -> str | int:
        return "ready" if TRIAL in messages[-1]["content"] else status

    with LoopbackServer(answer) as server, ResponseCache().installed():
        lm = remote(server.url, in_flight=8, num_retries=3)
        outcomes = answer_cases(ValueSim("single"), cases(200), lm=lm, threads=8)
        assert {outcome.status for outcome in outcomes} == {"failed"}
        assert 1 <= trials(server) <= 10 and len(outcomes) == 220
        assert "ready" not in str([outcome.reason for outcome in outcomes])


@pytest.mark.parametrize(("status", "kind"), [(401, MissingDataError), (500, ConfigError)])
def test_an_endpoint_that_dies_after_one_person_failed_ends_the_run(
    status: int, kind: type[Exception]
) -> None:
    """What was learned of that person makes the end of all others hardly later."""
    dead: list[bool] = []

    def answer(messages: Messages) -> str | int:
        text = messages[-1]["content"]
        if "41 years" in text:
            dead.append(True)
        return status if dead or MARK in text else GOOD

    asked = cases()
    with LoopbackServer(answer) as server, ResponseCache().installed(), pytest.raises(kind):
        lm = remote(server.url, in_flight=4)
        answer_cases(ValueSim("single"), [*asked, *asked[-10:] * 60], lm=lm, threads=4)
    assert 1 <= len(dead) <= 400


def test_a_trial_has_a_place_in_the_budget_of_its_own() -> None:
    """Not one request more is answered than was allowed, and each of them is counted once."""

    def answer(messages: Messages) -> str | int:
        return 500 if MARK in messages[-1]["content"] else GOOD

    meter = Meter("run", budget=Budget(calls=12))
    seen: list[Outcome] = []
    with LoopbackServer(answer) as server, ResponseCache().installed():
        lm = remote(server.url, in_flight=4, meter=meter)
        with pytest.raises(BudgetExceededError):
            answer_cases(ValueSim("single"), cases(), lm=lm, threads=4, on_outcome=seen.append)
        answered = sum(MARK not in str(body["messages"]) for body in server.requests)
        assert trials(server) >= 1
    assert meter.paid.calls == answered == 12
    assert {outcome.status for outcome in seen[:MANY]} == {"failed"}


def test_one_place_in_the_budget_is_enough_for_a_trial() -> None:
    """The call that failed gives its own away, and takes another one before it is tried again."""

    def answer(messages: Messages) -> str | int:
        return "ready" if TRIAL in messages[-1]["content"] else 403

    meter = Meter("run", budget=Budget(calls=1))
    with LoopbackServer(answer) as server:
        lm = remote(server.url, in_flight=1, meter=meter)
        with pytest.raises(dspy.LMAuthError):
            lm("hi")
    assert (meter.paid.calls, len(server.requests)) == (1, 2)


@pytest.mark.parametrize("in_flight", [1, 8])
@pytest.mark.parametrize("status", [401, 500])
def test_awaited_calls_fail_alone_too(status: int, in_flight: int) -> None:
    """A trial does not hold up the event loop on which the others wait for their turns."""

    def answer(messages: Messages) -> str | int:
        return status if "poison" in messages[-1]["content"] else "fine"

    async def ask(lm: MeteredLM, text: str) -> str:
        with contextlib.suppress(dspy.LMError):
            return str((await lm.acall(text))[0])
        return "failed"

    async def run(lm: MeteredLM) -> list[str]:
        texts = [f"poison {number}" for number in range(40)] + [str(n) for n in range(10)]
        return await asyncio.gather(*(ask(lm, text) for text in texts))

    with LoopbackServer(answer) as server:
        lm = remote(server.url, in_flight=in_flight)
        said = asyncio.run(run(lm))
        assert said == ["failed"] * 40 + ["fine"] * 10
        assert 1 <= trials(server) <= 10
    assert lm.throttle is not None and lm.throttle.under_way == 0


def test_a_trial_tells_of_nobody_and_is_no_predictors() -> None:
    """Three words and no more, counted as nobody's call."""

    def answer(messages: Messages) -> str | int:
        return 403 if MARK in messages[-1]["content"] else GOOD

    with LoopbackServer(answer) as server, ResponseCache().installed():
        lm = remote(server.url, in_flight=1)
        answer_cases(ValueSim("single"), cases(5), lm=lm)
        (body, *_) = [each for each in server.requests if TRIAL in str(each["messages"])]
    assert [message["content"] for message in body["messages"]] == ["Reply with the word ready."]
    assert [usage.calls for usage in lm.meter.by_predictor.values()] == [20]


@pytest.mark.parametrize(
    ("given", "taken"), [(5.0, 5.0), (60.0, 60.0), (600.0, 600.0), (None, 30.0)]
)
def test_a_model_that_is_known_to_be_slow_has_its_time_for_a_trial(
    given: float | None, taken: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody gave a time limit, half a minute."""
    seen: list[float | None] = []
    monkeypatch.setattr(
        MeteredLM, "__call__", lambda self, *_, **__: seen.append(self.seconds) or ["ready"]
    )
    role = LMRole(model="openai/test", api_base="http://127.0.0.1:9/v1")
    if given is not None:
        role = role.model_copy(update={"timeout": given})
    preflight(make_lm(role))
    assert seen == [taken]
