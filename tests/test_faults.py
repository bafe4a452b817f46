"""Every fault of a model server ends as an answer or as a counted failure, within bounds."""

import contextlib
import gc
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest
from loopback import LoopbackServer
from misbehaving import FAULTS, GOOD, LARGE, WIRE, WORDS, Messages, MisbehavingServer
from people import example, person

from benchmarks.prefix_share import lexical_reply
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case
from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.faults import Busy
from valuesim_dspy.limits import Limits
from valuesim_dspy.lm import MeteredLM, make_lm, preflight
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.modules import Answerer
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrying import Pauses
from valuesim_dspy.roles import LMRole
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.suspecting import TRIES

pytestmark = pytest.mark.slow

KEY = "sk-canary-0123456789abcdef"
QUESTIONS = ("Q69", "Q70", "Q71", "Q72", "Q73", "Q74", "Q241", "Q8")
HANGS = ("timeout", "drip", "drip head")
"""Faults that end with the time of an attempt; with others a busy machine has all it needs."""
BUSY = ("429", "429 retry-after", "429 date")
"""Faults that are waited for, and end a run that nothing else comes to."""
ASKED = 1 + Answerer(ValueSim("single").direct.answer.signature).retries
"""How often one question is put to the model until its answer is an option."""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)


def spoken(messages: Messages) -> str:
    """Answer as the lexical engine does, and the trial call, which brings no case."""
    return lexical_reply(messages) if len(messages) > 1 else "ready"


async def _no_pause(seconds: float) -> None:
    """Wait no time."""


def remote(server: Any, *, in_flight: int = 16, **known: Any) -> MeteredLM:
    """Make an LM that asks a server with a key, and never sleeps between attempts."""
    given = {"model": "openai/test", "api_base": server.url, "api_key_env": "MY_KEY"}
    role = LMRole(**{**given, "timeout": 20.0, "num_retries": 2, **known})
    pauses = Pauses(lambda seconds: None, _no_pause)
    lm = make_lm(role, name="task_lm", limits=Limits(in_flight=in_flight), pauses=pauses)
    assert lm.throttle is not None
    # After "too many requests" all wait, by the clock: here for almost no time.
    lm.throttle.busy = Busy(first=0.001, most=0.01, patience=0.1)
    return lm


def people(count: int) -> list[dspy.Example]:
    """Return eight questions each for so many people, who differ in one answer."""
    codebook = load_codebook()
    known = [person({"Q1": 1 + n % 4, "Q57": 1 + n % 2, "Q262": 18 + n}) for n in range(count)]
    return [
        dspy.Example(case=Case(each, codebook[question]), answer=2).with_inputs("case")
        for each in known
        for question in QUESTIONS
    ]


def told(outcome: Outcome) -> None:
    """Check that a failure says why, in one line that tells neither person nor key."""
    assert outcome.status in ("answered", "invalid", "failed")
    if outcome.status == "answered":
        assert outcome.answer is not None and not outcome.reason
        return
    assert outcome.answer is None and outcome.reason and "\n" not in outcome.reason
    assert len(outcome.reason) < 400
    for secret in (KEY, KEY[3:], "You live", "[[ ##", "Prediction"):
        assert secret not in outcome.reason


@pytest.mark.parametrize("fault", sorted({*FAULTS} - {*BUSY}))
def test_every_fault_by_itself_ends_as_a_counted_failure(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Attempts are bounded, the reason is told, and neither prompt nor key is logged."""
    cases = [example("Q69")]
    with (
        MisbehavingServer(faults=[fault]) as server,
        ResponseCache().installed(),
        caplog.at_level(logging.DEBUG, "valuesim_dspy"),
    ):
        lm = remote(server, timeout=0.5 if fault in HANGS else 20.0)
        (outcome,) = answer_cases(ValueSim("single"), cases, lm=lm)
    told(outcome)
    assert outcome.status == ("invalid" if fault in WORDS else "failed")
    tried_again = fault in WIRE and fault not in ("empty", "truncated", "html")
    assert server.requests == (ASKED if fault in WORDS else 3 if tried_again else 1)
    assert server.seen == {fault: server.requests}
    assert lm.throttle is not None and lm.throttle.under_way == 0
    assert lm.throttle.retries == (2 if tried_again else 0)
    assert KEY not in caplog.text and "You live" not in caplog.text


@pytest.mark.parametrize("fault", BUSY)
@pytest.mark.parametrize("variant", ["single", "full"])
def test_too_many_requests_and_nothing_else_end_the_run(fault: str, variant: str) -> None:
    """After a while, with all that was done kept; attempts are far between and not counted."""
    server = MisbehavingServer(spoken, rate=0.0, after=12, then=fault)
    with server, ResponseCache().installed(), pytest.raises(ConfigError) as caught:
        lm = remote(server, in_flight=4)
        answer_cases(ValueSim(variant), people(30), lm=lm, threads=8)
    told = f'task_lm: {server._address} answered "too many requests" for 0 seconds and nothing'
    assert str(caught.value).startswith(told) and "LMRateLimitError (429)" in str(caught.value)
    assert lm.throttle is not None and lm.throttle.under_way == 0
    assert server.requests <= 12 + 100


@pytest.mark.parametrize("fault", sorted(set(WIRE) - set(HANGS)))
def test_every_fault_that_passes_is_survived_or_counted(fault: str) -> None:
    """After one fault the server answers: what may be tried again is answered."""
    cases = [example("Q69"), example("Q70")]
    server = MisbehavingServer(faults=[fault], after=1, then="good")
    with server, ResponseCache().installed():
        first, second = answer_cases(ValueSim("single"), cases, lm=remote(server))
    told(first)
    lost = fault in ("empty", "truncated", "html")
    assert (first.status, second.status) == ("failed" if lost else "answered", "answered")
    assert server.requests == (2 if lost else 3)


@pytest.mark.parametrize("fault", HANGS)
def test_no_attempt_takes_longer_than_its_time(fault: str) -> None:
    """A byte now and then does not extend it; the connection is closed, not kept."""
    with MisbehavingServer(faults=[fault]) as server:
        lm = remote(server, timeout=0.1, num_retries=0)
        with pytest.raises(dspy.LMTransportError, match=r"no whole answer within 0\.1 s"):
            lm("hi")
        assert lm.native is not None
        assert lm.native._transport.pool_stats()["idle"] == 0


def test_a_reply_of_ten_megabytes_is_not_read() -> None:
    """The connection is closed at four; memory never holds what was sent."""
    with MisbehavingServer(faults=["large"]) as server:
        lm = remote(server, num_retries=0)
        with pytest.raises(dspy.LMTransportError, match="larger than 4096 KB"):
            lm("hi")
    assert LARGE > 4096 * 1024


def soup(cases: int, variant: str, seed: int) -> tuple[list[Outcome], MeteredLM, int]:
    """Put cases to a program whose server fails three times of ten."""
    examples = people(-(-cases // len(QUESTIONS)))[:cases]
    with MisbehavingServer(spoken, rate=0.3, seed=seed) as server:
        with ResponseCache().installed():
            lm = remote(server, timeout=0.6)
            outcomes = answer_cases(ValueSim(variant), examples, lm=lm, threads=16)
        lm.close()
    return outcomes, lm, server.requests


@pytest.mark.parametrize("seed", [1])
def test_a_soup_of_faults_ends_every_case(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Each of many cases is answered or counted with its reason, and requests are bounded."""
    with caplog.at_level(logging.DEBUG, "valuesim_dspy"):
        outcomes, lm, requests = soup(96, "single", seed)
    counts = Counter(outcome.status for outcome in outcomes)
    for outcome in outcomes:
        told(outcome)
    assert sum(counts.values()) == 96 and counts["answered"] > 60
    assert counts["failed"] and set(counts) <= {"answered", "failed", "invalid"}
    assert requests <= 96 * ASKED * 3
    assert lm.throttle is not None
    assert lm.throttle.under_way == 0 and lm.throttle.peak <= 16
    assert KEY not in caplog.text and "You live" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_the_whole_program_survives_the_soup(seed: int) -> None:
    """Backstory, perspectives and coordinator: a few hundred cases, all accounted for."""
    outcomes, lm, requests = soup(200, "full", seed)
    for outcome in outcomes:
        told(outcome)
    counts = Counter(outcome.status for outcome in outcomes)
    assert sum(counts.values()) == 200 and counts["answered"] > 20
    assert requests <= 200 * 6 * ASKED * 3
    assert lm.throttle is not None and lm.throttle.under_way == 0


def held() -> set[object]:
    """Return the open files and the threads of this process."""
    gc.collect()
    found: set[object] = set(threading.enumerate())
    for each in Path("/proc/self/fd").iterdir():
        # The listing is itself an open file, and gone by now.
        with contextlib.suppress(FileNotFoundError):
            found.add((each.name, each.readlink()))
    return found


def many(count: int, seed: int) -> Counter[str]:
    """Make so many calls through the soup, from 32 threads."""
    with MisbehavingServer(rate=0.3, seed=seed) as server:
        lm = remote(server, in_flight=32, timeout=0.12, num_retries=3)

        def one(number: int) -> str:
            try:
                return "answered" if lm(f"question {number}") else "empty"
            except dspy.LMError as error:
                return type(error).__name__

        with ThreadPoolExecutor(32) as pool:
            found = Counter(pool.map(one, range(count)))
        lm.close()
        assert server.requests <= count * 4
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_ten_thousand_calls_leak_neither_threads_nor_files() -> None:
    """None that was not there before, once the server and the LM are closed."""
    many(50, 1)
    before = held()
    found = many(10_000, 2)
    assert sum(found.values()) == 10_000 and found["answered"] > 9_000
    assert set(found) <= {"answered", "LMProviderError", "LMTransportError", "LMServerError"} | {
        "LMRateLimitError"
    }
    assert held() <= before


def test_a_few_hundred_calls_leave_nothing_open() -> None:
    """The same, quickly."""
    many(20, 1)
    before = held()
    found = many(150, 2)
    assert sum(found.values()) == 150 and found["answered"] > 100
    assert held() <= before


def test_a_server_that_is_not_there_stops_the_run_before_it_begins() -> None:
    """The first call tells, without retries."""
    with MisbehavingServer() as server:
        pass
    lm = remote(_Gone(server._address))
    with pytest.raises(ConfigError, match="cannot be reached"):
        preflight(lm)
    assert lm.throttle is not None and lm.throttle.retries == 0


def test_a_wrong_key_stops_the_run_before_it_begins() -> None:
    """One request, and the error names the variable and not the key."""
    server = LoopbackServer(key="other")
    with server, pytest.raises(MissingDataError, match="MY_KEY") as caught:
        preflight(remote(server))
    assert len(server.requests) == 1 and KEY not in str(caught.value)


class _Gone:
    """An address at which nobody is any more."""

    def __init__(self, host: str) -> None:
        self.url = f"http://{host}/v1"


@pytest.mark.parametrize("then", ["500", "503", "cut before", "html"])
@pytest.mark.parametrize("variant", ["single", "full"])
def test_a_server_that_dies_stops_the_run_soon(then: str, variant: str) -> None:
    """After as many failures in a row as are allowed; the error says what was seen."""
    server = MisbehavingServer(spoken, rate=0.0, after=12, then=then)
    with server, ResponseCache().installed(), pytest.raises(ConfigError) as caught:
        lm = remote(server, in_flight=4)
        answer_cases(ValueSim(variant), people(30), lm=lm, threads=8)
    assert str(caught.value).startswith(f"task_lm: {server._address} does not answer any more: 20")
    assert "what was done is kept" in str(caught.value)
    # An answer that comes late starts the count again; whoever fails late may make another trial.
    assert server.requests <= 12 + 2 * 20 + 2 * 8 + 8 * (1 + TRIES)


@pytest.mark.parametrize("then", ["401", "403", "402"])
@pytest.mark.parametrize("variant", ["single", "full"])
def test_a_key_that_is_withdrawn_stops_the_run_at_once(then: str, variant: str) -> None:
    """In the middle of a run too, through the threads of cases and of perspectives."""
    server = MisbehavingServer(spoken, rate=0.0, after=12, then=then)
    with server, ResponseCache().installed(), pytest.raises(MissingDataError) as caught:
        lm = remote(server, in_flight=4)
        answer_cases(ValueSim(variant), people(30), lm=lm, threads=8)
    assert KEY not in str(caught.value) and server._address in str(caught.value)
    assert server.requests <= 12 + 3 + 2 * 8
    assert lm.throttle is not None and lm.throttle.retries == 0


def test_a_model_that_is_withdrawn_stops_the_run() -> None:
    """An unknown model is every case's, not one's."""

    server = MisbehavingServer(rate=0.0, after=10, then="404")
    told = pytest.raises(ConfigError, match="does not know")
    with server, ResponseCache().installed(), told:
        answer_cases(ValueSim("single"), people(10), lm=remote(server), threads=4)
    assert server.requests <= 10 + 3 + 2 * 4


@pytest.mark.parametrize("status", [400, 413, 403])
def test_one_person_that_always_fails_does_not_stop_the_others(status: int) -> None:
    """Refused prompts are that person's failures, however many they are."""

    def answer(messages: Messages) -> str | int:
        return status if "18 years" in messages[-1]["content"] else GOOD

    failing, others = people(1) * 4, people(5)[8:]
    cases = [each for pair in zip(others, failing, strict=True) for each in pair]
    with MisbehavingServer(answer, rate=0.0) as server, ResponseCache().installed():
        outcomes = answer_cases(ValueSim("single"), cases, lm=remote(server, in_flight=1))
    assert len(failing) > 20
    assert {outcome.status for outcome in outcomes[::2]} == {"answered"}
    assert {outcome.status for outcome in outcomes[1::2]} == {"failed"}
    for outcome in outcomes:
        told(outcome)
