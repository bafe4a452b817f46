"""The benchmark of simulations, run tiny: what its figures say, not how fast they are."""

import http.client
from collections import Counter
from itertools import islice

import pytest

from benchmarks import simulate, simulate_rivals
from benchmarks.simulate import costs, framework_time, main, memory, rivals, scheduling
from benchmarks.simulate_memory import QUESTIONS as ASKED
from benchmarks.simulate_memory import rows
from benchmarks.simulate_rivals import body_of, post
from benchmarks.simulate_runs import Run, ahead_for, people
from benchmarks.simulate_server import ODD_READER, Server, answer_text, disagrees, serving
from valuesim_dspy.modules import chat_adapter
from valuesim_dspy.program import ValueSim
from valuesim_dspy.signatures import PERSPECTIVES

ANSWERS = 8
LATENCY = 0.02


def prompts(name: str, answers: int = 100) -> list[list[dict[str, str]]]:
    """Return what a perspective is sent for so many cases."""
    reader = ValueSim("facts-only").panel
    signature = getattr(reader, name).answer.signature
    return [
        chat_adapter().format(signature, [], each.case.inputs())
        for person in people(answers)
        for each in person
    ]


def test_the_server_answers_in_the_programs_form() -> None:
    """A story where one is asked for, else a code that the question offers."""
    (message,) = prompts("cognitive", 1)
    answer = chat_adapter().parse(PERSPECTIVES["cognitive"], answer_text(message))
    (example,) = people(1)[0]
    assert answer["answer"] in example.case.question.codes and answer["analysis"]
    story = answer_text([{"content": f"[[ ## facts ## ]]\n{example.case.profile.facts_text}"}])
    assert story.startswith("[[ ## backstory ## ]]\nYou live")
    assert answer_text([{"content": "hello"}]) == "ok"


def test_one_perspective_disagrees_on_a_known_share() -> None:
    """About one case in ten, by the prompt alone; the others always take the first option."""
    told = {name: prompts(name) for name in ("cognitive", "affective", "behavioral")}
    odd = [ODD_READER in messages[0]["content"] for messages in told["behavioral"]]
    assert all(odd)
    assert not any(ODD_READER in messages[0]["content"] for messages in told["cognitive"])
    replies = {name: [answer_text(each) for each in asked] for name, asked in told.items()}
    assert replies["cognitive"] == replies["affective"]
    pairs = zip(replies["cognitive"], replies["behavioral"], strict=True)
    apart = sum(one != other for one, other in pairs)
    assert apart == sum(disagrees(each[-1]["content"]) for each in told["behavioral"])
    assert 3 <= apart <= 20


def test_the_server_counts_and_keeps_connections() -> None:
    """Two requests over one connection; what asks for the count is not counted."""
    with serving(0.0) as server:
        link = http.client.HTTPConnection("127.0.0.1", server.port)
        assert [post(link, body_of("hello")) for _ in range(2)] == ["ok", "ok"]
        link.close()
        seen = server.seen()
        assert (seen.requests, seen.under_way, seen.peak, seen.connections) == (2, 0, 1, 1)
        assert server.seen() == seen and server.url.endswith(f":{server.port}/v1")
    with pytest.raises(OSError):
        Server(server.port, 0.0, 0.0).seen()


def test_cases_are_those_asked_for() -> None:
    """So many in all, at most so many a person; few people come early."""
    cases = people(70, 30)
    assert list(map(len, cases)) == [30, 30, 10]
    assert len({each.case.profile for person in cases for each in person}) == 3
    assert [ahead_for(questions, limit=64) for questions in (1, 50, 500)] == [65, 3, 2]


def test_the_ideal_is_calls_by_latency_and_limit() -> None:
    """All calls in full rounds are the whole of the ideal; twice the time is half of it."""
    run = Run(64, 0, calls=640, tokens=0, wall=2.0, cpu=1.0, peak=64, connections=64)
    assert run.efficiency(0.2) == pytest.approx(1.0)
    assert run.efficiency(0.1) == pytest.approx(0.5)
    assert run.efficiency(0.2, limit=32) == pytest.approx(2.0)


def test_scheduling_counts_what_the_server_saw() -> None:
    """Answers, calls and the most in flight; never faster than the ideal."""
    found = scheduling(ANSWERS, LATENCY)
    assert (found["answers"], found["failed"]) == (ANSWERS, 0)
    assert 3 * ANSWERS < found["calls"] <= 4 * ANSWERS + 1
    assert 1 < found["peak calls in flight"] <= 64
    assert 0 < found["of the ideal"] < 1
    assert found["ideal, s"] == pytest.approx(found["calls"] * LATENCY / 64)
    assert found["of the ideal"] == pytest.approx(found["ideal, s"] / found["wall, s"])


def test_rivals_answer_the_same_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three answer; the ratios are those of the rates."""
    monkeypatch.setattr(simulate_rivals, "PAUSE", 0.001)
    found = rivals(4, 0.001)
    assert found["failed"] == 0
    for rival in ("Evaluate", "pool"):
        ratio = found["times Evaluate" if rival == "Evaluate" else "times the pool"]
        rate = found[f"{rival}: answers a second"]
        assert ratio == pytest.approx(found["answers a second"] / rate)
        assert found[f"{rival}: calls an answer"] >= 3
    assert found["calls an answer"] <= found["Evaluate: calls an answer"]


def test_framework_time_is_of_one_call_an_answer() -> None:
    """Each way sends each prompt once; the ratios are those of the times."""
    found = framework_time(4)
    assert found["calls"] == 4
    assert min(found.values()) > 0
    assert found["times HTTP"] == pytest.approx(
        found["a call, ms"] / found["a bare HTTP request, ms"]
    )
    assert found["times DSPy"] == pytest.approx(
        found["a call, ms"] / found["a bare call of DSPy, ms"]
    )


def test_costs_are_an_answers() -> None:
    """One call for `single`; three perspectives, a share of a backstory and of coordinators."""
    found = costs(ANSWERS)
    assert found["single: calls an answer"] == 1
    assert 3 < found["full: calls an answer"] <= 4 + 1 / ANSWERS
    assert found["full: tokens an answer"] > 2 * found["single: tokens an answer"] > 0
    assert found["questions a person"] == ANSWERS


def test_memory_is_measured_with_ever_new_people() -> None:
    """Rows are read as they are asked for, and no person comes again."""
    found = list(islice(rows(10**9), 3 * ASKED))
    assert [number for number, _ in found] == list(range(3 * ASKED))
    by_person = Counter(example.case.profile.key for _, example in found)
    assert max(by_person.values()) == ASKED and len(by_person) == 5


@pytest.mark.slow
def test_memory_hardly_grows_with_answers() -> None:
    """Ten times as many answers take at most a tenth more at their peak."""
    found = memory((1_000, 10_000))
    assert found["1,000 answers, MiB"] > 50
    assert found["last by first"] < 1.1


def test_the_command_prints_a_line_for_each_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts are chosen by letter; the load stands beside them."""
    monkeypatch.setattr(simulate, "costs", lambda answers: {"answers": float(answers), "half": 0.5})
    main(["--answers", "30", "--only", "e"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("e  (load before")
    assert [line.split() for line in lines] == [["answers", "30.000"], ["half", "0.500"]]
    assert simulate.figures("e", 30) == {"answers": 30, "half": 0.5}
    with pytest.raises(SystemExit):
        main(["--only", "z"])
